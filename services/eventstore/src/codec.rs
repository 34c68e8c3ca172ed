//! The event codec: names, seals and serialises a fact once, before any lock; lifts old shapes and
//! unseals on load.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use prost::Message as _;
use rapport_proto::types::Envelope;
use rapport_proto::{EventSet, Personal, UPCASTERS};

use crate::error::Error;
use crate::event::{About, Recorded, Stored};
use crate::ids::Ids;
use crate::keys::{DataKey, KeyState};

/// Lifts a payload step by step until no upcaster applies.
pub fn lift(envelope: &mut Envelope) -> Result<(), Error> {
    while let Some(step) =
        UPCASTERS.iter().find(|it| it.type_name == envelope.r#type && it.from == envelope.schema)
    {
        envelope.payload = (step.upcast)(&envelope.payload)
            .map_err(|it| Error::corrupt(format!("upcast {}: {it}", envelope.r#type)))?;
        envelope.schema = step.to.to_owned();
    }
    Ok(())
}

/// A fact on its way into a unit: sealed and encoded, its place in the stream known.
pub(crate) struct Draft {
    pub id: String,
    pub stream: String,
    pub version: u64,
    pub type_name: &'static str,
    pub about: About,
    pub key: KeyState,
    pub payload: Vec<u8>,
}

/// Whether a fact has personal fields.
pub(crate) fn has_personal<E: EventSet>(event: &mut E) -> bool {
    let mut found = false;
    event.personal(&mut |_, field| found |= matches!(field, Personal::Clear(_)));
    found
}

/// Seals every clear field with the subject's key, bound to its place.
pub(crate) fn seal<E: EventSet>(
    event: &mut E,
    event_id: &str,
    tenant: &str,
    key: &DataKey,
    ids: &Ids,
) -> Result<(), Error> {
    let cipher = XChaCha20Poly1305::new(&Key::from(**key.secret));
    let mut outcome = Ok(());
    event.personal(&mut |path, field| {
        let Personal::Clear(plain) = field else { return };
        let nonce: [u8; 24] = ids.bytes();
        let aad = associated(event_id, path, tenant);
        match cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad }) {
            Ok(ciphertext) => {
                *field = Personal::Sealed {
                    key_id: key.key_id.clone(),
                    nonce: nonce.to_vec(),
                    ciphertext,
                };
            }
            Err(_) => outcome = Err(Error::corrupt(format!("{path} is too long to seal"))),
        }
    });
    outcome
}

/// Opens every sealed field; a destroyed key leaves it erased.
pub(crate) fn unseal<E: EventSet>(
    event: &mut E,
    envelope: &Envelope,
    key: &KeyState,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    event.personal(&mut |path, field| {
        let Personal::Sealed { key_id, nonce, ciphertext } = field else { return };
        match key {
            KeyState::Live(key) if key.key_id == *key_id => {
                match open(key, nonce, ciphertext, &envelope.id, path, &envelope.tenant) {
                    Some(plain) => *field = Personal::Clear(plain),
                    None => {
                        let what = format!("{path} of event {} was tampered with", envelope.id);
                        outcome = Err(Error::corrupt(what));
                    }
                }
            }
            KeyState::Destroyed => *field = Personal::Erased,
            // A reader without the key sees ciphertext.
            KeyState::Live(_) | KeyState::Absent => {}
        }
    });
    outcome
}

fn open(
    key: &DataKey,
    nonce: &[u8],
    ciphertext: &[u8],
    event_id: &str,
    path: &str,
    tenant: &str,
) -> Option<Vec<u8>> {
    let nonce: [u8; 24] = nonce.try_into().ok()?;
    let aad = associated(event_id, path, tenant);
    XChaCha20Poly1305::new(&Key::from(**key.secret))
        .decrypt(&XNonce::from(nonce), Payload { msg: ciphertext, aad: &aad })
        .ok()
}

/// Event id, field path and tenant, separated by NUL: none of them holds one.
fn associated(event_id: &str, path: &str, tenant: &str) -> Vec<u8> {
    [event_id, path, tenant].join("\0").into_bytes()
}

/// Decodes a stored event and lifts its payload.
pub(crate) fn recorded(stored: &Stored, key: KeyState) -> Result<Recorded, Error> {
    let mut envelope = stored.envelope()?;
    lift(&mut envelope)?;
    Ok(Recorded {
        position: stored.position,
        chain: stored.chain,
        envelope,
        key,
        hop: stored.hop.clone(),
    })
}

/// Encodes an envelope.
pub(crate) fn serialise(envelope: &Envelope) -> bytes::Bytes {
    envelope.encode_to_vec().into()
}
