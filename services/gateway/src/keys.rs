//! Write keys: which source of which tenant a key opens. `profiles` says, and is asked again after a minute; that a
//! source was disabled it says at once, when something is to be recorded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use chassis::Call;
use chassis::deps::Deps;
use http::{HeaderMap, StatusCode, header};
use rapport_proto::profiles::v1::AuthenticateSourceRequest;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::types::ClearKind;
use tonic::Code;

use crate::answer::Refusal;

/// How long what a key opens is remembered.
const KEPT: Duration = Duration::from_secs(60);
/// How long it is remembered that a key opens nothing: it may be registered soon.
const KEPT_UNKNOWN: Duration = Duration::from_secs(5);
/// Beyond this many keys what is remembered starts afresh.
const MOST: usize = 10_000;
/// How long a call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) tenant: String,
    pub(crate) source_id: String,
    /// Properties that stay clear.
    pub(crate) clear: BTreeMap<String, ClearKind>,
}

/// The keys that were seen lately. Those that open nothing are kept apart: however many are tried, the others stay.
#[derive(Debug)]
pub(crate) struct Keys {
    known: Lately<Source>,
    unknown: Lately<()>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { known: Lately::new(KEPT), unknown: Lately::new(KEPT_UNKNOWN) }
    }
}

impl Keys {
    /// The source a key opens.
    pub(crate) async fn open(&self, deps: &Deps, key: &str) -> Result<Source, Refusal> {
        let hash = eventstore::digest(key.as_bytes());
        if let Some(source) = self.known.get(hash, Instant::now()) {
            return Ok(source);
        }
        if self.unknown.get(hash, Instant::now()).is_some() {
            return Err(unknown());
        }
        let Some(found) = ask(deps, key).await? else {
            self.unknown.keep(hash, (), Instant::now());
            return Err(unknown());
        };
        self.known.keep(hash, found.clone(), Instant::now());
        Ok(found)
    }

    /// Asks again next time.
    pub(crate) fn forget(&self, key: &str) {
        self.known.forget(eventstore::digest(key.as_bytes()));
    }
}

/// What was heard of keys, by hash, and when.
#[derive(Debug)]
struct Lately<T> {
    kept: Duration,
    held: Mutex<HashMap<[u8; 32], (T, Instant)>>,
}

impl<T: Clone> Lately<T> {
    fn new(kept: Duration) -> Self {
        Self { kept, held: Mutex::default() }
    }

    fn get(&self, hash: [u8; 32], now: Instant) -> Option<T> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, at) = held.get(&hash)?;
        (now.saturating_duration_since(*at) < self.kept).then(|| value.clone())
    }

    fn keep(&self, hash: [u8; 32], value: T, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(hash, (value, now));
    }

    fn forget(&self, hash: [u8; 32]) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
    }
}

/// A key names no tenant, so every tenant is asked whose it is: they are few, and the answer is kept.
async fn ask(deps: &Deps, key: &str) -> Result<Option<Source>, Refusal> {
    for tenant in &deps.settings.tenants {
        let request = AuthenticateSourceRequest {
            parent: format!("tenants/{tenant}"),
            write_key: key.to_owned(),
        };
        let mut client = SourceServiceClient::new(deps.peers.to("profiles"));
        let call = Call::of_tenant(tenant, PATIENCE);
        match call.scope(client.authenticate_source(request)).await {
            Ok(reply) => {
                let source = reply.into_inner().source.unwrap_or_default();
                let clear = source.clear_fields.iter().map(|it| (it.name.clone(), it.kind()));
                return Ok(Some(Source {
                    tenant: tenant.clone(),
                    clear: clear.collect(),
                    source_id: source.source_id,
                }));
            }
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(None)
}

/// The key of a request: the user of Basic authentication, else what its body says.
pub(crate) fn of_request(headers: &HeaderMap, body: &serde_json::Value) -> Result<String, Refusal> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|it| basic(it.to_str().ok()?));
    let stated = body.get("writeKey").and_then(|it| it.as_str()).map(str::to_owned);
    basic.or(stated).filter(|it| (1..=256).contains(&it.len())).ok_or_else(unknown)
}

/// `Basic base64(key:)`; the colon may be missing.
fn basic(text: &str) -> Option<String> {
    let (scheme, encoded) = text.split_once(' ')?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let key = decoded.split(':').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("basic") && !key.is_empty()).then(|| key.to_owned())
}

pub(crate) fn unknown() -> Refusal {
    let told = "Send the source's write key as the user of Basic authentication, or as writeKey in the body.";
    let field = "Authorization".to_owned();
    Refusal { field, ..Refusal::new(StatusCode::UNAUTHORIZED, "write_key", told) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn authorised(text: &str) -> HeaderMap {
        let value = HeaderValue::from_str(text).expect("a header");
        [(header::AUTHORIZATION, value)].into_iter().collect()
    }

    #[test]
    fn a_key_is_remembered_for_a_while_and_so_many_at_most() {
        let (lately, now) = (Lately::new(KEPT_UNKNOWN), Instant::now());
        let hash = |n: usize| eventstore::digest(&n.to_be_bytes());
        lately.keep(hash(0), (), now);
        assert_eq!(lately.get(hash(0), now + KEPT_UNKNOWN / 2), Some(()));
        assert_eq!(lately.get(hash(0), now + KEPT_UNKNOWN), None);
        assert_eq!(lately.get(hash(1), now), None);
        for n in 0..=MOST {
            lately.keep(hash(n), (), now);
            assert!(lately.held.lock().expect("whole").len() <= MOST);
        }
        lately.forget(hash(MOST));
        assert_eq!(lately.get(hash(MOST), now), None);
    }

    #[test]
    fn a_key_is_found_where_sdks_put_it() {
        let none = json!({});
        for text in ["Basic a2V5Og==", "basic a2V5", "Basic a2V5OnNlY3JldA=="] {
            assert_eq!(of_request(&authorised(text), &none), Ok("key".to_owned()), "{text}");
        }
        let body = json!({"writeKey": "other"});
        assert_eq!(of_request(&HeaderMap::new(), &body), Ok("other".to_owned()));
        assert_eq!(of_request(&authorised("Bearer x"), &body), Ok("other".to_owned()));
        for text in ["Basic", "Basic !!", "Basic Og==", "Bearer a2V5"] {
            let refused = of_request(&authorised(text), &none).expect_err("no key");
            assert_eq!((refused.status, refused.code), (StatusCode::UNAUTHORIZED, "write_key"));
        }
    }
}
