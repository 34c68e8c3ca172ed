//! Who calls: a verified [`Caller`] from a bearer token, or a refusal.
//!
//! Three kinds of token, never mixed up:
//! - **OIDC**: a JSON Web Token of the configured issuer, verified with its published keys ([`oidc`]).
//! - **Service**: a token one target made for another with the deployment's key ([`service`]); it allows exactly the
//!   edges of the call graph, whatever permissions the person it acts for has.
//! - **Development**: 32 random bytes made at start and printed; exists in embedded mode only. Rules that need a second
//!   person can be tried: `<token>+alice` is the same token held by the person `alice`.

pub mod edges;
pub mod oidc;
pub mod service;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventstore::{Ids, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};

use crate::settings::{AuthMode, Settings};
use crate::status::{
    BRAND_FORBIDDEN, MARKET_FORBIDDEN, Problem, TENANT_UNKNOWN, TOKEN_INVALID, TOKEN_MISSING,
};

pub use oidc::is_algorithm;
pub use service::ServiceKeys;

/// The verified caller of a request; the layer puts it into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant every read and write of this call is confined to. Empty only for a target that heals a gap.
    pub tenant: String,
    /// The issuer's subject, `service:<target>`, or `developer`.
    pub subject: String,
    pub kind: Kind,
    pub roles: Vec<String>,
    pub permissions: Permissions,
    /// The markets that the caller is confined to; nothing for all of them.
    pub markets: Option<BTreeSet<String>>,
    /// The brands that the caller is confined to; nothing for all of them.
    pub brands: Option<BTreeSet<String>>,
    /// The person a service acts for.
    pub on_behalf_of: Option<String>,
    /// When the person proved to the issuer who they are, as far as the token says: its `auth_time`, else its `iat`,
    /// before which it must have been. Signatures keep it.
    pub authenticated_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    User,
    Service,
    Development,
}

/// Permissions as `<service>.<collection>.<verb>`; `*` and a final `.*` stand for all below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    granted: BTreeSet<String>,
}

impl Permissions {
    pub fn all() -> Self {
        ["*"].into_iter().collect()
    }

    pub fn allow(&self, permission: &str) -> bool {
        if self.granted.contains("*") || self.granted.contains(permission) {
            return true;
        }
        permission
            .match_indices('.')
            .any(|(dot, _)| self.granted.contains(&format!("{}.*", &permission[..dot])))
    }
}

impl<S: Into<String>> FromIterator<S> for Permissions {
    fn from_iter<I: IntoIterator<Item = S>>(granted: I) -> Self {
        Self { granted: granted.into_iter().map(Into::into).collect() }
    }
}

impl Caller {
    /// The caller of a request that came through the layer.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, Problem> {
        // The layer refuses calls without a caller, so this is a handler called around the layer: fail closed.
        request.extensions().get::<Self>().ok_or(Problem::of(TOKEN_MISSING))
    }

    /// Whether the caller may see and change what is in a market.
    pub fn reaches(&self, market: &str) -> bool {
        self.markets.as_ref().is_none_or(|it| it.contains(market))
    }

    /// Refuses a market that the caller is not to reach.
    pub fn in_market(&self, market: &str) -> Result<(), Problem> {
        match self.reaches(market) {
            true => Ok(()),
            false => Err(Problem::of(MARKET_FORBIDDEN).with("market", market)),
        }
    }

    /// The market that a list is asked for, empty for all: the only one there is for this caller need not be named.
    pub fn market_asked<'a>(&'a self, asked: &'a str) -> Result<&'a str, Problem> {
        let mut own = self.markets.iter().flatten();
        let only = own.next().filter(|_| asked.is_empty() && own.next().is_none());
        let market = only.map_or(asked, String::as_str);
        // All of them are none of some.
        self.in_market(market).map(|()| market)
    }

    /// Whether the caller may see and change what is of a brand.
    pub fn reaches_brand(&self, brand: &str) -> bool {
        self.brands.as_ref().is_none_or(|it| it.contains(brand))
    }

    /// Refuses a brand that the caller is not to reach.
    pub fn in_brand(&self, brand: &str) -> Result<(), Problem> {
        match self.reaches_brand(brand) {
            true => Ok(()),
            false => Err(Problem::of(BRAND_FORBIDDEN).with("brand", brand)),
        }
    }

    /// The target's name when the caller is one.
    pub fn target(&self) -> Option<&str> {
        (self.kind == Kind::Service).then(|| self.subject.strip_prefix("service:")).flatten()
    }
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Authenticator {
    tenants: BTreeSet<String>,
    roles: BTreeMap<String, Vec<String>>,
    markets_required: bool,
    brands_required: bool,
    people: People,
    services: ServiceKeys,
}

#[derive(Debug)]
enum People {
    Development { digest: [u8; 32], tenant: String },
    Oidc(Arc<oidc::Verifier>),
}

/// A development token: printed at start, new at every start.
#[derive(Clone)]
pub struct DevelopmentToken(String);

impl DevelopmentToken {
    /// 32 random bytes.
    pub fn generate() -> Self {
        Self(format!("dev-{}", URL_SAFE_NO_PAD.encode(Ids::system().bytes::<32>())))
    }

    /// The token as it is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DevelopmentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DevelopmentToken(***)")
    }
}

/// Authentication could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a development token exists in embedded mode only")]
    NotEmbedded,
    #[error("read the service key file {path}")]
    KeyFile { path: String, source: std::io::Error },
    #[error("the service key file {path} holds a key shorter than 32 characters, or none")]
    KeyShort { path: String },
    #[error("set up the client that reads the issuer's keys")]
    Client(#[source] reqwest::Error),
}

impl Authenticator {
    /// The authenticator the settings ask for, and the development token it accepts, if any.
    pub fn new(
        settings: &Settings,
        services: ServiceKeys,
    ) -> Result<(Self, Option<DevelopmentToken>), Error> {
        let (people, token) = match settings.auth.mode {
            AuthMode::Oidc => (People::Oidc(Arc::new(oidc::Verifier::new(&settings.auth)?)), None),
            // The settings were validated, but this is the line that would open the door: it looks again.
            AuthMode::Development if !settings.accepts_development() => {
                return Err(Error::NotEmbedded);
            }
            AuthMode::Development => {
                let token = DevelopmentToken::generate();
                let tenant = settings.tenants.first().cloned().unwrap_or_default();
                (People::Development { digest: digest(token.reveal()), tenant }, Some(token))
            }
        };
        let tenants = settings.tenants.iter().cloned().collect();
        let auth = &settings.auth;
        let authenticator = Self {
            tenants,
            roles: auth.roles.clone(),
            markets_required: auth.markets_required,
            brands_required: auth.brands_required,
            people,
            services,
        };
        Ok((authenticator, token))
    }

    /// The verifier of the issuer's tokens, whose keys want refreshing in the background.
    pub fn oidc(&self) -> Option<Arc<oidc::Verifier>> {
        match &self.people {
            People::Oidc(verifier) => Some(verifier.clone()),
            People::Development { .. } => None,
        }
    }

    /// The caller a request's metadata proves.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<service::Verified, Problem> {
        let token = bearer(headers)?;
        if let Some(verified) = self.services.verify(token)? {
            return self.of_known_tenant(verified);
        }
        let caller = match &self.people {
            People::Development { digest: expected, tenant } => developer(token, expected, tenant)?,
            People::Oidc(verifier) => self.person(&*verifier.verify(token).await?),
        };
        self.of_known_tenant(service::Verified { caller, audience: None })
    }

    fn person(&self, claims: &oidc::Claims) -> Caller {
        let from_roles = claims.roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        Caller {
            tenant: claims.tenant.clone(),
            subject: claims.sub.clone(),
            kind: Kind::User,
            roles: claims.roles.clone(),
            permissions: claims.permissions.iter().chain(from_roles).collect(),
            markets: confined(claims.markets.as_deref(), self.markets_required),
            brands: confined(claims.brands.as_deref(), self.brands_required),
            on_behalf_of: None,
            authenticated_at: claims.authenticated_at(),
        }
    }

    fn of_known_tenant(&self, verified: service::Verified) -> Result<service::Verified, Problem> {
        let caller = &verified.caller;
        // A target that heals a gap works for no tenant; the edges allow it nothing but the event log.
        let healing = caller.kind == Kind::Service && caller.tenant.is_empty();
        if healing || self.tenants.contains(&caller.tenant) {
            Ok(verified)
        } else {
            Err(Problem::of(TENANT_UNKNOWN))
        }
    }
}

/// What a token is confined to by a claim. One that says nothing is for everything, unless tokens must say it.
fn confined(claim: Option<&[String]>, required: bool) -> Option<BTreeSet<String>> {
    match claim {
        None => required.then(BTreeSet::new),
        Some(all) if all.iter().any(|it| it == "*") => None,
        Some(some) => Some(some.iter().cloned().collect()),
    }
}

fn developer(token: &str, expected: &[u8; 32], tenant: &str) -> Result<Caller, Problem> {
    let (token, person) = token.split_once('+').unwrap_or((token, "developer"));
    let named = !person.is_empty() && person.bytes().all(|it| it.is_ascii_lowercase());
    if !same(&digest(token), expected) || !named {
        return Err(Problem::of(TOKEN_INVALID));
    }
    Ok(Caller {
        tenant: tenant.to_owned(),
        subject: person.to_owned(),
        kind: Kind::Development,
        roles: Vec::new(),
        permissions: Permissions::all(),
        markets: None,
        brands: None,
        on_behalf_of: None,
        authenticated_at: None,
    })
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = headers.get(AUTHORIZATION).ok_or(Problem::of(TOKEN_MISSING))?;
    let text = value.to_str().map_err(|_| Problem::of(TOKEN_INVALID))?;
    let (scheme, token) = text.split_once(' ').ok_or(Problem::of(TOKEN_INVALID))?;
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(token.trim())
    } else {
        Err(Problem::of(TOKEN_INVALID))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Compares in a time that does not depend on where two digests differ.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Seconds since 1970 on the real clock: tokens live by it, facts never do.
pub(crate) fn unix_seconds() -> u64 {
    u64::try_from(Timestamp::real().to_parts().0).unwrap_or_default()
}

#[cfg(test)]
mod tests;
