//! Ids and chance, both as arguments: domain ids are derived, draws are seeded, and only event ids and
//! key material come from a random source that tests can replace.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::time::Timestamp;

/// Lower-case Crockford base 32: no i, l, o, u.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Derives the id `<prefix>_` + 26 characters: the first 128 bits of SHA-256 over the length-prefixed
/// (u32, big endian) parts, in lower-case Crockford base 32.
///
/// A retry, a second run and another topology derive the same id. Never pass an identifier's value:
/// a dictionary would undo it.
///
/// ```
/// let id = eventstore::derive_id("pty", &["default", "pty", "ordinal-1"]);
/// assert_eq!(id.len(), 30);
/// assert_eq!(id, eventstore::derive_id("pty", &["default", "pty", "ordinal-1"]));
/// ```
pub fn derive_id(prefix: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bits = 0_u128;
    for byte in &digest[..16] {
        bits = bits << 8 | u128::from(*byte);
    }
    base32(prefix, bits)
}

fn base32(prefix: &str, bits: u128) -> String {
    let mut id = String::with_capacity(prefix.len() + 27);
    id.push_str(prefix);
    id.push('_');
    for index in (0..26).rev() {
        let digit = usize::try_from(bits >> (index * 5) & 31).unwrap_or_default();
        id.push(char::from(CROCKFORD[digit]));
    }
    id
}

/// A seeded draw in [0, 1): the first 53 bits of SHA-256(`salt` ‖ 0x00 ‖ `key`), divided by 2⁵³.
///
/// The same salt and key give the same draw for ever, on every machine:
///
/// ```
/// for (salt, key, expected) in [
///     ("", "", 0.4304816492364817),
///     ("holdout-2026", "pty_00000000000000000000000000", 0.3760243179086884),
///     ("split", "a", 0.5490854188088542),
/// ] {
///     assert_eq!(eventstore::draw(salt, key), expected);
/// }
/// ```
pub fn draw(salt: &str, key: &str) -> f64 {
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let bits = u64::from_be_bytes(first) >> 11;
    // 53 bits fit a double exactly.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let value = bits as f64 / (1_u64 << 53) as f64;
    value
}

/// The source of event ids and key material. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ids(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    Seeded(Mutex<(u64, u64)>),
}

impl Ids {
    /// The operating system's random source.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A repeatable source for tests and differential runs: SHA-256(seed ‖ counter).
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Source::Seeded(Mutex::new((seed, 0)))))
    }

    /// Fresh bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &*self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
            Source::System => {
                getrandom::fill(&mut bytes).expect("the operating system has a random source");
            }
            Source::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(32) {
                    let mut hash = Sha256::new();
                    hash.update(state.0.to_be_bytes());
                    hash.update(state.1.to_be_bytes());
                    chunk.copy_from_slice(&hash.finalize()[..chunk.len()]);
                    state.1 += 1;
                }
            }
        }
        bytes
    }

    /// A UUIDv7 for an event recorded at an instant.
    pub fn event_id(&self, at: Timestamp) -> String {
        let millis = u64::try_from(at.0 / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid().to_string()
    }

    /// A random id with a prefix, for things no natural key names.
    pub fn random(&self, prefix: &str) -> String {
        base32(prefix, u128::from_be_bytes(self.bytes()))
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |it: u8| char::from(DIGITS[usize::from(it & 15)]);
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(*it)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_length_prefixed() {
        assert_ne!(derive_id("x", &["ab", "c"]), derive_id("x", &["a", "bc"]));
    }

    #[test]
    fn derived_ids_never_change() {
        assert_eq!(derive_id("pty", &["default", "a"]), "pty_2z37vrqyrvjt9mwpbtzfxc0vcp");
    }

    #[test]
    fn draws_are_spread_evenly() {
        let low = (0..10_000).filter(|it| draw("salt", &it.to_string()) < 0.1).count();
        assert!((850..1_150).contains(&low), "{low} of 10,000 below 0.1");
    }

    #[test]
    fn seeded_ids_repeat() {
        let (a, b) = (Ids::seeded(1), Ids::seeded(1));
        assert_eq!(a.event_id(Timestamp(5)), b.event_id(Timestamp(5)));
        assert_ne!(a.bytes::<40>(), Ids::seeded(2).bytes::<40>());
    }
}
