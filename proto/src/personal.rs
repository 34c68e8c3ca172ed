//! A personal field of an event: plain text in the domain, ciphertext on the log.

use std::fmt;
use std::hash::{Hash, Hasher};

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

/// Name of the one cipher in use.
pub const CIPHER: &str = "XChaCha20-Poly1305";

/// A personal field. On the wire it is `rapport.type.v1.Sealed`; in the domain it is clear or erased.
///
/// A clear value cannot leave: encoding it writes nothing, so a codec that forgot to seal loses the
/// value rather than the customer's privacy. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub enum Personal {
    /// Readable: freshly stated, or unsealed on load.
    Clear(Vec<u8>),
    /// As it stands on the log.
    Sealed {
        /// Subject key.
        key_id: String,
        /// Nonce, 24 bytes.
        nonce: Vec<u8>,
        /// Ciphertext with its tag.
        ciphertext: Vec<u8>,
    },
    /// The subject key is destroyed.
    Erased,
}

impl Personal {
    /// A clear text.
    pub fn text(value: impl Into<String>) -> Self {
        Self::Clear(value.into().into_bytes())
    }

    /// A clear message.
    pub fn message(value: &impl Message) -> Self {
        Self::Clear(value.encode_to_vec())
    }

    /// The text, unless it is sealed, erased or no UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Clear(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Sealed { .. } | Self::Erased => None,
        }
    }

    /// The message, unless it is sealed, erased or malformed.
    pub fn as_message<M: Message + Default>(&self) -> Option<M> {
        match self {
            Self::Clear(bytes) => M::decode(bytes.as_slice()).ok(),
            Self::Sealed { .. } | Self::Erased => None,
        }
    }
}

impl Default for Personal {
    fn default() -> Self {
        Self::Sealed { key_id: String::new(), nonce: Vec::new(), ciphertext: Vec::new() }
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Personal(clear)",
            Self::Sealed { .. } => "Personal(sealed)",
            Self::Erased => "Personal(erased)",
        })
    }
}

impl Hash for Personal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Clear(bytes) => bytes.hash(state),
            Self::Sealed { ciphertext, .. } => ciphertext.hash(state),
            Self::Erased => 0_u8.hash(state),
        }
    }
}

/// The wire form, `rapport.type.v1.Sealed`.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(string, tag = "1")]
    key_id: String,
    #[prost(string, tag = "2")]
    alg: String,
    #[prost(bytes = "vec", tag = "3")]
    nonce: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    ciphertext: Vec<u8>,
}

impl Wire {
    fn of(value: &Personal) -> Self {
        match value {
            Personal::Sealed { key_id, nonce, ciphertext } if !ciphertext.is_empty() => Self {
                key_id: key_id.clone(),
                alg: CIPHER.to_owned(),
                nonce: nonce.clone(),
                ciphertext: ciphertext.clone(),
            },
            Personal::Sealed { .. } | Personal::Clear(_) | Personal::Erased => Self::default(),
        }
    }
}

impl Message for Personal {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        Wire::of(self).encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut wire = Wire::of(self);
        // Fields arrive one by one, before the ciphertext too: keep what came so far.
        if let Self::Sealed { key_id, nonce, .. } = self {
            wire.key_id.clone_from(key_id);
            wire.nonce.clone_from(nonce);
        }
        wire.merge_field(tag, wire_type, buf, ctx)?;
        *self =
            Self::Sealed { key_id: wire.key_id, nonce: wire.nonce, ciphertext: wire.ciphertext };
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        Wire::of(self).encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_field_survives_the_wire() {
        let sealed = Personal::Sealed {
            key_id: "key_1".into(),
            nonce: vec![7; 24],
            ciphertext: vec![1, 2, 3],
        };
        assert_eq!(Personal::decode(sealed.encode_to_vec().as_slice()), Ok(sealed));
    }

    #[test]
    fn a_clear_field_is_never_encoded_or_printed() {
        let clear = Personal::text("Ada Lovelace");
        assert!(clear.encode_to_vec().is_empty());
        assert_eq!(format!("{clear:?}"), "Personal(clear)");
    }
}
