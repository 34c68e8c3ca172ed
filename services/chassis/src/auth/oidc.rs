//! Tokens of an OpenID Connect issuer, verified with the keys it publishes.
//!
//! Keys are read at start, every five minutes, and when a token names a key we do not know, at most once in ten
//! seconds: a flood of forged key ids costs the issuer nothing. When the issuer does not answer, the keys read last
//! go on being used. A verified token is remembered for a minute, so that a busy client costs one signature check.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use eventstore::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Error, signatures, unix_seconds};
use crate::settings;
use crate::status::{
    KEYS_UNAVAILABLE, Problem, TENANT_UNKNOWN, TOKEN_EXPIRED, TOKEN_INVALID, chain,
};

/// How often the keys are read again without being asked.
const REFRESH: Duration = Duration::from_secs(300);
/// The least time between two readings asked for by unknown key ids.
const PAUSE: Duration = Duration::from_secs(10);
/// How long the issuer may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a verified token is believed without another check.
const REMEMBER_S: u64 = 60;
const REMEMBERED_TOKENS: usize = 8192;

/// The claims we use.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    #[serde(default)]
    pub tenant: String,
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default)]
    pub roles: Vec<String>,
    /// ISO 3166-1 alpha-2 codes, or `*`.
    #[serde(default)]
    pub markets: Option<Vec<String>>,
    /// Names of brands, or `*`.
    #[serde(default)]
    pub brands: Option<Vec<String>>,
    /// Seconds since 1970; numbers of this kind may have a fraction (RFC 7519, section 2).
    #[serde(default)]
    auth_time: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
    exp: u64,
}

impl Claims {
    /// When the person authenticated: without `auth_time`, the latest instant that it can have been.
    pub(super) fn authenticated_at(&self) -> Option<Timestamp> {
        const YEAR_10000: f64 = 253_402_300_800.0;
        let seconds = self.auth_time.or(self.iat).filter(|it| (0.0..YEAR_10000).contains(it))?;
        Some(Timestamp::default().plus(Duration::from_secs_f64(seconds)))
    }
}

/// Verifies an issuer's tokens.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    audience: String,
    jwks_url: String,
    algorithms: Vec<Algorithm>,
    leeway_s: u64,
    pause: Duration,
    client: reqwest::Client,
    keys: RwLock<Arc<Keys>>,
    last_read: tokio::sync::Mutex<Option<Instant>>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    claims: Arc<Claims>,
    until: u64,
}

/// The issuer's keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("ask the issuer for its keys")]
    Http(#[from] reqwest::Error),
    #[error("the discovery document is of the issuer {0}")]
    OtherIssuer(String),
    #[error("the issuer publishes no key for the accepted algorithms")]
    NoKey,
}

/// Asymmetric algorithms only: with a symmetric one, everybody who can verify could also sign.
pub fn is_algorithm(name: &str) -> bool {
    algorithm(name).is_some()
}

fn algorithm(name: &str) -> Option<Algorithm> {
    use Algorithm as A;
    let accepted =
        [A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512, A::ES256, A::ES384, A::EdDSA];
    name.parse().ok().filter(|algorithm| accepted.contains(algorithm))
}

/// True when the token is well signed but too old or too new.
pub(super) fn is_about_time(error: &jsonwebtoken::errors::Error) -> bool {
    matches!(error.kind(), ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature)
}

impl Verifier {
    pub fn new(settings: &settings::Auth) -> Result<Self, Error> {
        // An error says that a provider is installed already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        signatures::install();
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            jwks_url: settings.jwks_url.clone(),
            algorithms: settings.algorithms.iter().filter_map(|name| algorithm(name)).collect(),
            leeway_s: settings.leeway_s,
            pause: PAUSE,
            client,
            keys: RwLock::default(),
            last_read: tokio::sync::Mutex::default(),
            remembered: Mutex::default(),
        })
    }

    /// The same with another least time between two readings; for tests of rotation.
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The claims of a valid token.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, Problem> {
        let fingerprint: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.remembered(&fingerprint) {
            return Ok(claims);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Problem::of(TOKEN_INVALID))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(Problem::of(TOKEN_INVALID));
        }
        let keys = self.keys_with(header.kid.as_deref()).await?;
        let key = keys.find(header.kid.as_deref(), header.alg).ok_or(Problem::of(TOKEN_INVALID))?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation(header.alg));
        let claims = decoded.map_err(|error| refusal(&error))?.claims;
        if claims.tenant.is_empty() {
            return Err(Problem::of(TENANT_UNKNOWN));
        }
        Ok(self.remember(fingerprint, claims))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = self.leeway_s;
        validation.validate_nbf = true;
        validation
    }

    fn remembered(&self, fingerprint: &[u8; 32]) -> Option<Arc<Claims>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = remembered.get(fingerprint)?;
        (unix_seconds() < entry.until).then(|| entry.claims.clone())
    }

    fn remember(&self, fingerprint: [u8; 32], claims: Claims) -> Arc<Claims> {
        let until = (claims.exp + self.leeway_s).min(unix_seconds() + REMEMBER_S);
        let claims = Arc::new(claims);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        // Starting over is simpler than ageing and costs one signature check a token.
        if remembered.len() >= REMEMBERED_TOKENS {
            remembered.clear();
        }
        remembered.insert(fingerprint, Remembered { claims: claims.clone(), until });
        claims
    }

    /// The keys, read again if they do not know this key id.
    async fn keys_with(&self, kid: Option<&str>) -> Result<Arc<Keys>, Problem> {
        let keys = self.current();
        if keys.know(kid) {
            return Ok(keys);
        }
        self.read_if_due(self.pause).await;
        let keys = self.current();
        if keys.is_empty() {
            Err(Problem::of(KEYS_UNAVAILABLE).retry_after(PAUSE))
        } else {
            Ok(keys)
        }
    }

    fn current(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True once keys were read.
    pub fn has_keys(&self) -> bool {
        !self.current().is_empty()
    }

    /// Reads the keys unless somebody did within `pause`; waits for a reading under way. Failing keeps the old ones.
    async fn read_if_due(&self, pause: Duration) {
        let mut last = self.last_read.lock().await;
        if last.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        *last = Some(Instant::now());
        if let Err(error) = self.read().await {
            tracing::warn!(error = %chain(&error), "the issuer's keys could not be read; the last ones stay in use");
        }
    }

    /// Reads the issuer's keys and takes them into use.
    pub async fn read(&self) -> Result<(), ReadError> {
        let url = self.keys_url().await?;
        let set: JwkSet = self.get(&url).await?;
        let keys = Keys::of(&set, &self.algorithms);
        if keys.is_empty() {
            return Err(ReadError::NoKey);
        }
        let changed = keys.ids() != self.current().ids();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        // A key the issuer withdrew shall not live on in what was verified with it.
        if changed {
            self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        Ok(())
    }

    /// Reads the keys for ever, and says after each attempt whether there are any. Until there are, it tries often.
    pub async fn keep_reading(&self, tell: impl Fn(bool)) {
        loop {
            self.read_if_due(Duration::ZERO).await;
            tell(self.has_keys());
            let pause = if self.has_keys() { REFRESH } else { Duration::from_secs(1) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn keys_url(&self) -> Result<String, ReadError> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        if !self.jwks_url.is_empty() {
            return Ok(self.jwks_url.clone());
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let discovery: Discovery = self.get(&url).await?;
        if discovery.issuer == self.issuer {
            Ok(discovery.jwks_uri)
        } else {
            Err(ReadError::OtherIssuer(discovery.issuer))
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, ReadError> {
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }
}

fn refusal(error: &jsonwebtoken::errors::Error) -> Problem {
    Problem::of(if is_about_time(error) { TOKEN_EXPIRED } else { TOKEN_INVALID })
}

#[derive(Default)]
struct Keys {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    /// Pinned by the key itself; without, every accepted algorithm of its family.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl Keys {
    fn of(set: &JwkSet, accepted: &[Algorithm]) -> Self {
        Self { keys: set.keys.iter().filter_map(|jwk| Key::of(jwk, accepted)).collect() }
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn ids(&self) -> Vec<Option<&str>> {
        self.keys.iter().map(|key| key.id.as_deref()).collect()
    }

    fn know(&self, kid: Option<&str>) -> bool {
        !self.is_empty() && (kid.is_none() || self.keys.iter().any(|key| key.id.as_deref() == kid))
    }

    /// The key a token names. A token that names none may use the only key there is.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let fits = |key: &&Key| {
            key.algorithm.is_none_or(|pinned| pinned == algorithm)
                && key.key.family() == algorithm.family()
        };
        match kid {
            Some(_) => self
                .keys
                .iter()
                .filter(|key| key.id.as_deref() == kid)
                .find(fits)
                .map(|key| &key.key),
            None if self.keys.len() == 1 => self.keys.first().filter(fits).map(|key| &key.key),
            None => None,
        }
    }
}

impl Key {
    fn of(jwk: &Jwk, accepted: &[Algorithm]) -> Option<Self> {
        let algorithm = match jwk.common.key_algorithm {
            Some(named) => Some(named.to_string().parse().ok().filter(|it| accepted.contains(it))?),
            None => None,
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        if !signatures::is_strong(&key) {
            tracing::warn!(kid = jwk.common.key_id, "a key of the issuer is too short to be used");
            return None;
        }
        accepted.iter().any(|it| it.family() == key.family()).then(|| Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key,
        })
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}
