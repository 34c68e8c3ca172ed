//! The token in an unsubscribe link: it names a touch and proves that we wrote it, so that nobody can end somebody
//! else's messages by counting through ids.

use eventstore::{Keyring, hex};

/// Characters of the proof: 128 bits.
const PROOF: usize = 32;

/// `<touch id>.<proof>`.
pub(crate) fn mint(keys: &Keyring, tenant: &str, touch_id: &str) -> String {
    format!("{touch_id}.{}", proof(keys, tenant, touch_id))
}

/// The touch a token names; `None` when it is not ours.
pub(crate) fn open<'a>(keys: &Keyring, tenant: &str, token: &'a str) -> Option<&'a str> {
    let (touch_id, given) = token.split_once('.')?;
    let wanted = proof(keys, tenant, touch_id);
    // Every character is looked at, so that the time it takes tells nothing.
    let differs = given.bytes().zip(wanted.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    (given.len() == wanted.len() && differs == 0).then_some(touch_id)
}

fn proof(keys: &Keyring, tenant: &str, touch_id: &str) -> String {
    let mut text = hex(&keys.blind_index(tenant, &["unsubscribe", touch_id]));
    text.truncate(PROOF);
    text
}
