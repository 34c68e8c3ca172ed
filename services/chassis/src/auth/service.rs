//! Tokens between targets: short-lived, made for one callee, naming the person the caller acts for.

use std::path::Path;
use std::sync::Arc;

use eventstore::{Ids, Secret, hex};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Caller, Error, Kind, Permissions, signatures, unix_seconds};
use crate::status::{Problem, TOKEN_EXPIRED, TOKEN_INVALID};

/// Seconds a service token lives: one call, and some difference between clocks.
const LIFE_S: u64 = 60;
const LEEWAY_S: u64 = 10;
const MIN_KEY_CHARS: usize = 32;
const ISSUER: &str = "rapport";
/// The JOSE type that tells our own tokens from everybody else's.
const TYPE: &str = "rapport-service+jwt";

/// The keys that the targets of a deployment share: the first signs, all verify, so a key can be exchanged without a
/// pause. They sign what targets ask of each other, and links that one target mints and another one opens.
#[derive(Clone)]
pub struct ServiceKeys {
    keys: Arc<[Key]>,
}

#[derive(Clone)]
struct Key {
    encoding: EncodingKey,
    decoding: DecodingKey,
    links: Secret,
}

/// A verified token: who, and for a service token, which target it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub caller: Caller,
    pub audience: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<String>,
}

/// What a service token says.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The target that calls.
    pub from: &'a str,
    /// The target that is called.
    pub to: &'a str,
    /// Empty for healing, which belongs to no tenant.
    pub tenant: &'a str,
    pub on_behalf_of: Option<&'a str>,
}

impl ServiceKeys {
    /// A key made at start, for a process whose targets are all inside it.
    pub fn generate() -> Self {
        Self::of(&[&Ids::system().bytes::<32>()])
    }

    /// The keys of a file, one a line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::KeyFile { path: shown.clone(), source })?;
        let keys: Vec<&[u8]> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::as_bytes)
            .collect();
        if keys.is_empty() || keys.iter().any(|key| key.len() < MIN_KEY_CHARS) {
            return Err(Error::KeyShort { path: shown });
        }
        Ok(Self::of(&keys))
    }

    fn of(keys: &[&[u8]]) -> Self {
        signatures::install();
        let key = |key: &&[u8]| Key {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            links: Secret::new(Sha256::digest(key).into()),
        };
        Self { keys: keys.iter().map(key).collect() }
    }

    /// Proofs that what a link says is ours: the first is given, any is believed.
    pub(crate) fn proofs(&self, of: &[&str]) -> impl Iterator<Item = String> {
        // No part holds the character between them.
        let name = format!("rapport/link/v1\0{}", of.join("\0"));
        self.keys.iter().map(move |key| hex(&*key.links.derive(&name)))
    }

    /// Makes a token for one callee.
    pub fn mint(&self, grant: Grant<'_>) -> String {
        self.mint_at(grant, unix_seconds())
    }

    fn mint_at(&self, grant: Grant<'_>, now: u64) -> String {
        let claims = Claims {
            iss: ISSUER.into(),
            sub: format!("service:{}", grant.from),
            aud: grant.to.into(),
            iat: now,
            exp: now + LIFE_S,
            tenant: grant.tenant.into(),
            on_behalf_of: grant.on_behalf_of.map(str::to_owned),
        };
        let header = Header { typ: Some(TYPE.into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &self.keys[0].encoding)
            .expect("plain claims serialise and an HMAC takes a key of any length")
    }

    /// The caller of a service token; `None` when the token is of another kind.
    pub(super) fn verify(&self, token: &str) -> Result<Option<Verified>, Problem> {
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return Ok(None);
        };
        if header.alg != Algorithm::HS256 || header.typ.as_deref() != Some(TYPE) {
            return Ok(None);
        }
        let mut refusal = Problem::of(TOKEN_INVALID);
        for key in self.keys.iter() {
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation()) {
                Ok(decoded) => return Ok(Some(verified(decoded.claims))),
                Err(error) if super::oidc::is_about_time(&error) => {
                    refusal = Problem::of(TOKEN_EXPIRED)
                }
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = LEEWAY_S;
    // Checked by the layer, which knows what is called and what is served.
    validation.validate_aud = false;
    validation
}

fn verified(claims: Claims) -> Verified {
    let caller = Caller {
        tenant: claims.tenant,
        subject: claims.sub,
        kind: Kind::Service,
        roles: Vec::new(),
        permissions: Permissions::default(),
        markets: None,
        brands: None,
        on_behalf_of: claims.on_behalf_of,
        authenticated_at: None,
    };
    Verified { caller, audience: Some(claims.aud) }
}

impl std::fmt::Debug for ServiceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceKeys({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const GRANT: Grant<'_> =
        Grant { from: "journeys", to: "profiles", tenant: "acme", on_behalf_of: Some("ada") };

    #[test]
    fn a_token_names_caller_callee_tenant_and_person() {
        let keys = ServiceKeys::generate();
        let verified = keys.verify(&keys.mint(GRANT)).expect("valid").expect("a service token");
        assert_eq!(verified.audience.as_deref(), Some("profiles"));
        assert_eq!(verified.caller.target(), Some("journeys"));
        assert_eq!(verified.caller.tenant, "acme");
        assert_eq!(verified.caller.on_behalf_of.as_deref(), Some("ada"));
        assert!(!verified.caller.permissions.allow("profiles.parties.read"));
    }

    #[test]
    fn another_deployments_and_an_old_token_are_refused() {
        let (ours, theirs) = (ServiceKeys::generate(), ServiceKeys::generate());
        assert_eq!(ours.verify(&theirs.mint(GRANT)).expect_err("foreign").reason, TOKEN_INVALID);
        let old = ours.mint_at(GRANT, unix_seconds() - 3600);
        assert_eq!(ours.verify(&old).expect_err("expired").reason, TOKEN_EXPIRED);
    }

    #[test]
    fn a_new_key_signs_while_the_old_one_still_verifies() {
        let file = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().expect("file");
            file.write_all(text.as_bytes()).expect("written");
            file
        };
        let (old, new) = ("o".repeat(32), "n".repeat(32));
        let before = ServiceKeys::read(file(&old).path()).expect("one key");
        let after = ServiceKeys::read(file(&format!("{new}\n{old}\n")).path()).expect("two keys");
        assert!(after.verify(&before.mint(GRANT)).expect("old key verifies").is_some());
        assert!(before.verify(&after.mint(GRANT)).is_err());
        assert!(matches!(ServiceKeys::read(file("short\n").path()), Err(Error::KeyShort { .. })));
        assert!(matches!(ServiceKeys::read(file("").path()), Err(Error::KeyShort { .. })));
    }
}
