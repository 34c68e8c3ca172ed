//! A local OpenID Connect issuer: discovery, keys that rotate, tokens of every bad kind.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::auth::unix_seconds;
use crate::settings::{AuthMode, Settings};
use crate::testing::signing::SigningKey;

/// What the tokens minted here are made for.
pub const AUDIENCE: &str = "rapport";

/// An issuer on a free loopback port; it stops when it is dropped.
#[derive(Debug)]
pub struct OidcIssuer {
    address: SocketAddr,
    state: Arc<Issuer>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Issuer {
    url: String,
    keys: Mutex<Vec<Signer>>,
    made: AtomicUsize,
    down: AtomicBool,
    asked: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Signer {
    id: String,
    key: Arc<SigningKey>,
}

/// The claims of a token to be; change what shall be wrong.
#[derive(Clone, Debug)]
pub struct TokenSpec {
    pub claims: Value,
}

impl TokenSpec {
    /// A valid token of a person with permissions, good for an hour.
    pub fn new(tenant: &str, subject: &str, permissions: &[&str]) -> Self {
        let now = unix_seconds();
        let claims = json!({
            "sub": subject, "tenant": tenant, "permissions": permissions, "aud": AUDIENCE,
            "iat": now, "exp": now + 3600,
        });
        Self { claims }
    }

    /// Sets a claim; null removes it.
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        if value.is_null() {
            self.claims.as_object_mut().expect("claims are an object").remove(claim);
        } else {
            self.claims[claim] = value;
        }
        self
    }

    /// The person has roles.
    pub fn roles(self, roles: &[&str]) -> Self {
        self.with("roles", json!(roles))
    }

    /// The person is confined to markets.
    pub fn markets(self, markets: &[&str]) -> Self {
        self.with("markets", json!(markets))
    }

    /// The person is confined to brands.
    pub fn brands(self, brands: &[&str]) -> Self {
        self.with("brands", json!(brands))
    }

    pub fn expired(self) -> Self {
        let past = unix_seconds() - 3600;
        self.with("exp", past.into())
    }
}

impl OidcIssuer {
    #[expect(clippy::disallowed_methods, reason = "aborted when the issuer is dropped")]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Issuer {
            url: format!("http://{address}"),
            keys: Mutex::default(),
            made: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .with_state(state.clone());
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        let issuer = Self { address, state, server };
        issuer.rotate();
        issuer
    }

    /// The issuer's name, for `auth.issuer`.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Points settings at this issuer.
    pub fn configure(&self, settings: &mut Settings) {
        settings.auth.mode = AuthMode::Oidc;
        settings.auth.issuer = self.url().to_owned();
        settings.auth.audience = AUDIENCE.to_owned();
    }

    /// Signs with a new key from now on; the old ones stay published.
    pub fn rotate(&self) {
        self.rotate_to("EdDSA");
    }

    /// The same with a key for another algorithm (RFC 7518), like `RS256`.
    pub fn rotate_to(&self, algorithm: &str) {
        let number = self.state.made.fetch_add(1, Ordering::Relaxed);
        let key = Arc::new(SigningKey::new(algorithm));
        self.signers().push(Signer { id: format!("key-{number}"), key });
    }

    /// Publishes the newest key only.
    pub fn withdraw_old_keys(&self) {
        let mut signers = self.signers();
        let newest = signers.pop();
        signers.clear();
        signers.extend(newest);
    }

    /// Answers nothing but errors until it is up again.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::Relaxed);
    }

    /// How often the keys were asked for.
    pub fn key_requests(&self) -> usize {
        self.state.asked.load(Ordering::Relaxed)
    }

    /// A valid token.
    pub fn token(&self, tenant: &str, subject: &str, permissions: &[&str]) -> String {
        self.mint(TokenSpec::new(tenant, subject, permissions))
    }

    /// A token as specified, signed with the newest key.
    pub fn mint(&self, spec: TokenSpec) -> String {
        let signer = self.signers().last().cloned().expect("an issuer has a key");
        self.sign(spec, &signer)
    }

    /// A token that looks right and is signed by somebody else, under our newest key's id.
    pub fn forge(&self, spec: TokenSpec) -> String {
        let Signer { id, key } = self.signers().last().cloned().expect("an issuer has a key");
        self.sign(spec, &Signer { id, key: Arc::new(SigningKey::new(key.algorithm)) })
    }

    /// A token that names a key nobody has.
    pub fn with_unknown_key(&self, spec: TokenSpec) -> String {
        self.sign(spec, &Signer { id: "nobodys".into(), key: Arc::new(SigningKey::new("EdDSA")) })
    }

    fn sign(&self, spec: TokenSpec, signer: &Signer) -> String {
        let mut claims = spec.claims;
        if claims.get("iss").is_none() {
            claims["iss"] = self.url().into();
        }
        let header = json!({"typ": "JWT", "alg": signer.key.algorithm, "kid": signer.id});
        let parts = [header, claims].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
        let message = parts.join(".");
        let signature = signer.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signers(&self) -> std::sync::MutexGuard<'_, Vec<Signer>> {
        self.state.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OidcIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answer = Result<Json<Value>, StatusCode>;

async fn discovery(State(issuer): State<Arc<Issuer>>) -> Answer {
    up(&issuer)?;
    Ok(Json(json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)})))
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> Answer {
    issuer.asked.fetch_add(1, Ordering::Relaxed);
    up(&issuer)?;
    let signers = issuer.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let keys = signers.iter().map(|signer| {
        let mut jwk = signer.key.public();
        jwk["kid"] = json!(signer.id);
        jwk["use"] = json!("sig");
        jwk
    });
    Ok(Json(json!({"keys": keys.collect::<Vec<_>>()})))
}

fn up(issuer: &Issuer) -> Result<(), StatusCode> {
    if issuer.down.load(Ordering::Relaxed) { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(()) }
}
