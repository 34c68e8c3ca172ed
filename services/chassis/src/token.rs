//! Tokens in links that leave the platform: each names a thing of a tenant and proves that we wrote it, so that nobody
//! reaches somebody else's by counting through ids.
//!
//! `<tenant>.<id>.<proof>`. The proof is a keyed hash over tenant, purpose and id, under a key that the targets of a
//! deployment share: one mints a token and another one opens it. While a key is exchanged, tokens of either are opened. A
//! token says nothing of how often or how long it may be used; that is for the owner of the thing to know.

use crate::auth::ServiceKeys;

/// Characters of the proof: 128 bits.
const PROOF: usize = 32;

/// What a personal link to a survey is minted for; the id is an invitation's.
pub const SURVEY: &str = "survey";

/// The token of a thing for a purpose.
pub fn mint(keys: &ServiceKeys, tenant: &str, purpose: &str, id: &str) -> String {
    let proof = keys.proofs(&[tenant, purpose, id]).next().unwrap_or_default();
    format!("{tenant}.{id}.{}", &proof[..PROOF])
}

/// The id a token names; `None` when it is not ours, of another tenant or for another purpose.
pub fn open<'a>(
    keys: &ServiceKeys,
    tenant: &str,
    purpose: &str,
    token: &'a str,
) -> Option<&'a str> {
    let (stated, rest) = token.split_once('.')?;
    let (id, given) = rest.split_once('.')?;
    let ours = keys.proofs(&[tenant, purpose, id]).any(|it| same(given, &it[..PROOF]));
    (stated == tenant && ours).then_some(id)
}

/// Looks at every character, so that the time it takes tells nothing.
fn same(given: &str, wanted: &str) -> bool {
    let differs = given.bytes().zip(wanted.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

/// The tenant a token states, not proven yet: whom to ask about it.
pub fn tenant_of(token: &str) -> Option<&str> {
    let (tenant, _) = token.split_once('.')?;
    crate::name::is_tenant(tenant).then_some(tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> ServiceKeys {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        std::fs::write(&path, text).expect("written");
        ServiceKeys::read(&path).expect("keys")
    }

    #[test]
    fn a_token_opens_for_what_it_was_minted_for_while_its_key_is_known() {
        let (old, new) = ("o".repeat(32), "n".repeat(32));
        let (before, both) = (keys(&old), keys(&format!("{new}\n{old}\n")));
        let token = mint(&before, "acme", SURVEY, "inv_1");
        for keys in [&before, &both] {
            assert_eq!(open(keys, "acme", SURVEY, &token), Some("inv_1"));
            assert_eq!(open(keys, "umbrella", SURVEY, &token), None);
            assert_eq!(open(keys, "acme", "another", &token), None);
            assert_eq!(open(keys, "acme", SURVEY, &token.replace("inv_1", "inv_2")), None);
            assert_eq!(open(keys, "acme", SURVEY, &token[..token.len() - 1]), None);
        }
        assert_eq!(open(&keys(&new), "acme", SURVEY, &token), None);
        let token = mint(&both, "acme", SURVEY, "inv_1");
        assert_eq!(open(&keys(&new), "acme", SURVEY, &token), Some("inv_1"));
        assert_eq!(open(&before, "acme", SURVEY, &token), None);
    }
}
