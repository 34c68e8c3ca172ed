//! Tokens in links that leave the platform: each names a thing of a tenant and proves that we wrote it, so that nobody
//! reaches somebody else's by counting through ids.
//!
//! `<tenant>.<id>.<proof>`. The proof is a keyed hash under the deployment's key over tenant, purpose and id: the target
//! that mints a token and the one that opens it share nothing but that key. A token says nothing of how often or how long
//! it may be used; that is for the owner of the thing to know.

use eventstore::{Keyring, hex};

/// Characters of the proof: 128 bits.
const PROOF: usize = 32;

/// What a personal link to a survey is minted for; the id is an invitation's.
pub const SURVEY: &str = "survey";

/// The token of a thing for a purpose.
pub fn mint(keys: &Keyring, tenant: &str, purpose: &str, id: &str) -> String {
    format!("{tenant}.{id}.{}", proof(keys, tenant, purpose, id))
}

/// The id a token names; `None` when it is not ours, of another tenant or for another purpose.
pub fn open<'a>(keys: &Keyring, tenant: &str, purpose: &str, token: &'a str) -> Option<&'a str> {
    let (stated, rest) = token.split_once('.')?;
    let (id, given) = rest.split_once('.')?;
    let wanted = proof(keys, tenant, purpose, id);
    // Every character is looked at, so that the time it takes tells nothing.
    let differs = given.bytes().zip(wanted.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    (stated == tenant && given.len() == wanted.len() && differs == 0).then_some(id)
}

/// The tenant a token states, not proven yet: whom to ask about it.
pub fn tenant_of(token: &str) -> Option<&str> {
    let (tenant, _) = token.split_once('.')?;
    crate::name::is_tenant(tenant).then_some(tenant)
}

fn proof(keys: &Keyring, tenant: &str, purpose: &str, id: &str) -> String {
    let mut text = hex(&keys.blind_index(tenant, &["link", purpose, id]));
    text.truncate(PROOF);
    text
}
