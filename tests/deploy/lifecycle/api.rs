//! The API over HTTP: as much of it as `helm` and `kubectl` use.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use prost::Message;
use serde_json::{Value, json};

use super::admission::Admission;
use super::kinds::{self, Kind};
use super::objects::{NAMESPACE, Objects, name, now};
use crate::chart::yaml;

pub(super) struct Api {
    pub(super) objects: Arc<Objects>,
    pub(super) admission: Admission,
}

/// What is asked of an object, or of all of a kind.
struct Asked<'a> {
    kind: &'static Kind,
    name: Option<&'a str>,
    query: HashMap<String, String>,
}

/// Why something is not done.
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{what} not found"))
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let told = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        (self.code, axum::Json(told)).into_response()
    }
}

pub(super) fn router(api: Api) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(api))
}

async fn answer(
    State(api): State<Arc<Api>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let path: Vec<_> = uri.path().split('/').filter(|it| !it.is_empty()).collect();
    if let Some(found) = kinds::discovered(&path) {
        return Ok(axum::Json(found).into_response());
    }
    if path == ["api", "v1", "namespaces", NAMESPACE] {
        let found =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        return Ok(axum::Json(found).into_response());
    }
    let asked = asked(&path, query).ok_or_else(|| Refusal::not_found(uri.path()))?;
    let content = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let content = content.unwrap_or_default();
    match (method, asked.name) {
        (Method::GET, None) if asked.watches() => Ok(watch(&api.objects, &asked)),
        (Method::GET, None) => Ok(axum::Json(list(&api.objects, &asked)).into_response()),
        (Method::GET, Some(name)) => found(api.objects.get(asked.kind.plural, name), name),
        (Method::POST, None) => {
            let object = read(content, &body)?;
            if api.objects.get(asked.kind.plural, name(&object)).is_some() {
                let message = format!("{} {:?} already exists", asked.kind.plural, name(&object));
                return Err(Refusal::new(StatusCode::CONFLICT, "AlreadyExists", message));
            }
            api.store(asked.kind, object, StatusCode::CREATED).await
        }
        (Method::PUT, Some(_)) => {
            api.store(asked.kind, read(content, &body)?, StatusCode::OK).await
        }
        (Method::PATCH, Some(name)) => {
            let patch = read(content, &body)?;
            let old = api.objects.get(asked.kind.plural, name);
            let object = match (content, old) {
                ("application/apply-patch+yaml", _) => patch,
                (
                    "application/merge-patch+json" | "application/strategic-merge-patch+json",
                    old,
                ) => {
                    let mut object = old.ok_or_else(|| Refusal::not_found(name))?;
                    merge(&mut object, patch);
                    object
                }
                (other, _) => return Err(Refusal::bad(format!("{other} is not known here"))),
            };
            api.store(asked.kind, object, StatusCode::OK).await
        }
        (Method::DELETE, Some(name)) => found(delete(&api.objects, asked.kind, name), name),
        _ => Err(Refusal::bad(format!("{uri} cannot be asked so"))),
    }
}

impl Api {
    async fn store(
        &self,
        kind: &Kind,
        mut object: Value,
        code: StatusCode,
    ) -> Result<Response, Refusal> {
        object["apiVersion"] = kind.api.into();
        object["kind"] = kind.kind.into();
        self.admission.admit(&object).await?;
        let stored = self.objects.put(kind.plural, object);
        Ok((code, axum::Json(stored)).into_response())
    }
}

/// `/api/v1/namespaces/{namespace}/{plural}/{name}` and its like.
fn asked<'a>(path: &[&'a str], query: HashMap<String, String>) -> Option<Asked<'a>> {
    let (api, rest) = match path {
        ["api", "v1", rest @ ..] => ("v1".to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", NAMESPACE, rest @ ..] => rest,
        rest => rest,
    };
    let (plural, name) = match rest {
        [plural] => (plural, None),
        [plural, name] => (plural, Some(*name)),
        _ => return None,
    };
    Some(Asked { kind: kinds::find(&api, plural)?, name, query })
}

impl Asked<'_> {
    fn watches(&self) -> bool {
        self.query.get("watch").is_some_and(|it| it == "true" || it == "1")
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.query.get(name).is_some_and(|it| it == value)
    }

    /// Whether an object is wanted, by its labels and its name.
    fn wants(&self, object: &Value) -> bool {
        let terms = |name| self.query.get(name).map(String::as_str).unwrap_or_default().split(',');
        let holds = |term: &str, value: &dyn Fn(&str) -> String| match term.split_once("!=") {
            Some((key, unwanted)) => value(key) != unwanted,
            None => match term.split_once('=') {
                Some((key, wanted)) => value(key) == wanted.trim_start_matches('='),
                None => term.is_empty() || !value(term).is_empty(),
            },
        };
        let label = |key: &str| text(&object["metadata"]["labels"][key]);
        let field = |key: &str| text(&object["metadata"][key.trim_start_matches("metadata.")]);
        terms("labelSelector").all(|it| holds(it, &label))
            && terms("fieldSelector").all(|it| holds(it, &field))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn found(object: Option<Value>, name: &str) -> Result<Response, Refusal> {
    let object = object.ok_or_else(|| Refusal::not_found(name))?;
    Ok(axum::Json(object).into_response())
}

fn list(objects: &Objects, asked: &Asked<'_>) -> Value {
    let revision = objects.revision();
    let mut items = objects.list(asked.kind.plural);
    items.retain(|it| asked.wants(it));
    json!({
        "kind": format!("{}List", asked.kind.kind), "apiVersion": asked.kind.api,
        "metadata": {"resourceVersion": revision.to_string()}, "items": items,
    })
}

/// What happens from now on, or from a revision on, one JSON object a line; before it, when asked, what there is.
fn watch(objects: &Arc<Objects>, asked: &Asked<'_>) -> Response {
    let initial = asked.says("sendInitialEvents", "true");
    let asked = Asked { kind: asked.kind, name: None, query: asked.query.clone() };
    let from = asked.query.get("resourceVersion").and_then(|it| it.parse().ok());
    let from = from.filter(|it| *it > 0 && !initial);
    let mut lines = Vec::new();
    let mut revision = from.unwrap_or_default();
    if from.is_none() {
        revision = objects.revision();
        let mut items = objects.list(asked.kind.plural);
        items.retain(|it| asked.wants(it));
        lines.extend(items.into_iter().map(|it| json!({"type": "ADDED", "object": it})));
    }
    if initial {
        let object = json!({
            "kind": asked.kind.kind, "apiVersion": asked.kind.api,
            "metadata": {
                "resourceVersion": revision.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        });
        lines.push(json!({"type": "BOOKMARK", "object": object}));
    }
    let (objects, changes) = (objects.clone(), objects.changes());
    let later = futures::stream::unfold((changes, revision), move |(mut changes, revision)| {
        let objects = objects.clone();
        async move {
            changes.wait_for(|it| *it > revision).await.ok()?;
            let news = objects.since(revision);
            Some((news.clone(), (changes, revision + news.len())))
        }
    });
    let later = later.flat_map(futures::stream::iter).filter_map(move |it| {
        let wanted = it.plural == asked.kind.plural && asked.wants(&it.object);
        futures::future::ready(wanted.then(|| json!({"type": it.verb, "object": it.object})))
    });
    let all = futures::stream::iter(lines).chain(later);
    let all = all.map(|it| Ok::<_, std::convert::Infallible>(format!("{it}\n")));
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(all)).into_response()
}

/// A pod is asked to end, and goes when it has; others go at once, and what they own after them.
fn delete(objects: &Objects, kind: &Kind, name: &str) -> Option<Value> {
    if kind.plural != "pods" {
        return objects.remove(kind.plural, name);
    }
    objects.edit("pods", name, |it| {
        if it["metadata"]["deletionTimestamp"].is_null() {
            it["metadata"]["deletionTimestamp"] = now().into();
        }
    });
    objects.get("pods", name)
}

/// JSON merge patch (RFC 7396).
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if !value.is_null() {
            merge(&mut into[key], value);
        } else if let Some(into) = into.as_object_mut() {
            into.remove(&key);
        }
    }
}

/// JSON or YAML; for the Secrets in which Helm keeps its releases, protobuf.
fn read(content: &str, body: &[u8]) -> Result<Value, Refusal> {
    if content == "application/vnd.kubernetes.protobuf" {
        return secret(body).map_err(Refusal::bad);
    }
    serde_json::from_slice(body).or_else(|_| {
        let text = std::str::from_utf8(body).map_err(|it| Refusal::bad(it.to_string()))?;
        let mut all = yaml::documents(text).map_err(Refusal::bad)?;
        all.pop().ok_or_else(|| Refusal::bad("no object"))
    })
}

/// `k8s.io/apimachinery/pkg/runtime`, message Unknown.
#[derive(Message)]
struct Unknown {
    #[prost(bytes, tag = "2")]
    raw: Vec<u8>,
}

/// `k8s.io/api/core/v1`, message Secret.
#[derive(Message)]
struct Secret {
    #[prost(message, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(map = "string, bytes", tag = "2")]
    data: HashMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    kind: String,
}

/// `k8s.io/apimachinery/pkg/apis/meta/v1`, message ObjectMeta.
#[derive(Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
}

fn secret(body: &[u8]) -> Result<Value, String> {
    let envelope = body.strip_prefix(b"k8s\0").ok_or("not protobuf of Kubernetes")?;
    let raw = Unknown::decode(envelope).map_err(|it| it.to_string())?.raw;
    let Secret { metadata, data, kind } = Secret::decode(&*raw).map_err(|it| it.to_string())?;
    let Metadata { name, labels } = metadata.unwrap_or_default();
    let data: HashMap<_, _> =
        data.into_iter().map(|(key, it)| (key, BASE64_STANDARD.encode(it))).collect();
    Ok(json!({"metadata": {"name": name, "labels": labels}, "type": kind, "data": data}))
}
