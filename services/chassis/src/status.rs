//! Refusals and errors on the wire; the only file that names a gRPC status code.
//!
//! Every answer that is not OK carries `google.rpc.Status` details: an `ErrorInfo` whose `reason` is one of the
//! catalogue's, field violations that say what to do instead, and the time to wait where waiting helps.
//! A [`Reason`] is declared once with [`reasons!`](crate::reasons); [`catalogue`] prints all of them as the document.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderMap;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "rapport";

/// The closed set of answers a caller may branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    Cancelled,
    Unimplemented,
    Internal,
}

impl Code {
    /// The name the gRPC specification gives the code; the value of `rpc.response.status_code`.
    pub fn name(self) -> &'static str {
        code_name(tonic::Code::from(self) as i32)
    }
}

impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        match code {
            Code::InvalidArgument => Self::InvalidArgument,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::Unavailable => Self::Unavailable,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::Cancelled => Self::Cancelled,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
        }
    }
}

/// One entry of the error catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The stable name a program branches on, `UPPER_SNAKE_CASE`.
    pub name: &'static str,
    pub code: Code,
    /// The situation, as a sentence without a full stop.
    pub when: &'static str,
    /// What the caller can do about it.
    pub remedy: &'static str,
}

/// Declares the reasons of a crate, and one constant with all of them for the catalogue.
///
/// ```
/// chassis::reasons! {
///     /// Why a parcel is refused.
///     pub REASONS {
///         PARCEL_TOO_HEAVY: FailedPrecondition, "the parcel weighs more than 30 kg", "Send two parcels.";
///     }
/// }
/// assert_eq!(REASONS[0], PARCEL_TOO_HEAVY);
/// ```
#[macro_export]
macro_rules! reasons {
    ($(#[$meta:meta])* $vis:vis $all:ident { $($name:ident: $code:ident, $when:literal, $remedy:literal;)* }) => {
        $(
            #[doc = $when]
            $vis const $name: $crate::status::Reason = $crate::status::Reason {
                name: stringify!($name),
                code: $crate::status::Code::$code,
                when: $when,
                remedy: $remedy,
            };
        )*
        $(#[$meta])*
        $vis const $all: &[$crate::status::Reason] = &[$($name),*];
    };
}

reasons! {
    /// What the chassis itself answers, for every service alike.
    pub REASONS {
        FIELD_INVALID: InvalidArgument, "a field of the request breaks a rule", "Correct the fields listed in the violations.";
        MESSAGE_MALFORMED: InvalidArgument, "the request is not the protobuf message this method takes", "Generate the client from the published protos.";
        MESSAGE_TOO_LARGE: ResourceExhausted, "a request or a reply is larger than grpc.max_message_bytes", "Send smaller batches or ask for smaller pages.";
        PAGE_TOKEN_INVALID: InvalidArgument, "the page token does not belong to this query", "Repeat the query without a page token; keep the other arguments unchanged between pages.";
        REQUEST_ID_REUSED: AlreadyExists, "the request id was used before with another request", "Use a new request_id for a new request; repeat a request unchanged.";
        NOT_FOUND: NotFound, "the thing does not exist", "Check the name.";
        CONFLICT: Aborted, "others changed the same thing at the same time, several times in a row", "Read again and retry.";
        ETAG_MISMATCH: Aborted, "the thing changed since it was read", "Read again and retry with the new etag.";
        TOKEN_MISSING: Unauthenticated, "the call carries no bearer token", "Send the metadata `authorization: Bearer <token>`.";
        TOKEN_INVALID: Unauthenticated, "the token is malformed, forged, foreign or meant for somebody else", "Ask the configured issuer for a token with the configured audience.";
        TOKEN_EXPIRED: Unauthenticated, "the token is no longer valid, or not yet", "Ask the issuer for a new token; check the clocks.";
        TENANT_UNKNOWN: PermissionDenied, "the token names no tenant, or one this deployment does not serve", "Use a token whose claim `tenant` is listed in the setting `tenants`.";
        PERMISSION_MISSING: PermissionDenied, "the caller may not call this method or see this resource", "Ask an administrator for the permission named in the method's description.";
        MARKET_FORBIDDEN: PermissionDenied, "the caller's token is confined to other markets", "Use a token whose claim `markets` names this one, or `*`.";
        MARKETS_UNHEEDED: PermissionDenied, "the method cannot keep to the markets that the caller's token is confined to", "Use a token without the claim `markets`, or with `*`.";
        BRAND_FORBIDDEN: PermissionDenied, "the caller's token is confined to other brands", "Use a token whose claim `brands` names this one, or `*`.";
        BRANDS_UNHEEDED: PermissionDenied, "the method cannot keep to the brands that the caller's token is confined to", "Use a token without the claim `brands`, or with `*`.";
        METHOD_UNKNOWN: Unimplemented, "the method is not part of this server's API", "Check the method's name, the release and the targets served here.";
        KEYS_UNAVAILABLE: Unavailable, "the issuer's keys have not been read yet", "Retry; check that the issuer can be reached.";
        OVERLOADED: ResourceExhausted, "the server works on as many calls as grpc.max_in_flight allows", "Retry after the delay given, with jitter.";
        TOO_MANY_STREAMS: ResourceExhausted, "the server holds as many streams open as grpc.max_streams allows", "Close streams that nobody reads; retry after the delay given, with jitter.";
        TENANT_TOO_FAST: ResourceExhausted, "people of the tenant make more calls a second than grpc.tenant_requests_per_second allows", "Retry after the delay given, with jitter.";
        STOPPING: Unavailable, "the server is shutting down", "Retry; another replica answers.";
        DEADLINE_PASSED: DeadlineExceeded, "the call took longer than its deadline or grpc.request_timeout_ms", "Retry a read; repeat a command with the same request_id to learn its outcome.";
        COMMAND_TOO_LARGE: InvalidArgument, "the command leads to more or larger events than one command may", "Split the request.";
        STORE_FENCED: Unavailable, "the database and the log tell different histories, and nothing is written until a person decides", "Ask the operator; see the server's log.";
        STORE_UNAVAILABLE: Unavailable, "the service's database does not answer; a command may or may not have been committed", "Retry; repeat a command with the same request_id to learn its outcome.";
        BEHIND: Unavailable, "this replica has not yet seen the positions asked for in min_positions", "Retry after the delay given.";
        PEER_UNAVAILABLE: Unavailable, "another target that is needed for the answer cannot be reached", "Retry.";
        NOT_SETTLED: Unavailable, "a process on a simulated clock did not come to rest in time", "Repeat the call; if it waits for the same thing again, see the log of the target that is named.";
        PANICKED: Internal, "a defect of the server, noticed and counted", "Report it with the trace id in the details.";
        INTERNAL: Internal, "an error that is ours; its cause is in the server's log", "Report it with the trace id in the details.";
    }
}

/// One field that breaks a rule, and what would obey it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field from the request, in proto names: `party.contact_points[0].value`.
    pub field: String,
    /// The rule as an instruction. Never repeats the value: it may be hostile or personal.
    pub remedy: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), remedy: remedy.into() }
    }
}

/// An answer that is not OK, before it becomes a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Told>);

/// What a [`Problem`] tells; read through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub reason: Reason,
    pub message: Cow<'static, str>,
    pub violations: Vec<Violation>,
    pub retry_after: Option<Duration>,
    pub metadata: BTreeMap<String, String>,
}

impl Problem {
    /// A problem told in the catalogue's own words.
    pub fn of(reason: Reason) -> Self {
        Self::new(reason, reason.when)
    }

    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Told {
            reason,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            metadata: BTreeMap::new(),
        }))
    }

    /// `FIELD_INVALID` for one field.
    pub fn field(field: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::from(Violation::new(field, remedy))
    }

    pub fn violation(mut self, field: impl Into<String>, remedy: impl Into<String>) -> Self {
        self.0.violations.push(Violation::new(field, remedy));
        self
    }

    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds a fact to the `ErrorInfo`'s metadata: an id, a position; nothing personal.
    pub fn with(mut self, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.0.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    pub fn into_status(self) -> Status {
        let Told { reason, message, violations, retry_after, mut metadata } = *self.0;
        metadata.insert("remedy".into(), reason.remedy.into());
        let mut details = ErrorDetails::new();
        details.set_error_info(
            reason.name,
            DOMAIN,
            metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        for violation in violations {
            details.add_bad_request_violation(violation.field, violation.remedy);
        }
        if let Some(delay) = retry_after {
            details.set_retry_info(Some(delay));
        }
        if let Some(trace_id) = crate::telemetry::current_trace_id() {
            details.set_request_info(trace_id, "");
        }
        Status::with_error_details(reason.code.into(), message, details)
    }
}

impl std::ops::Deref for Problem {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl From<Violation> for Problem {
    fn from(violation: Violation) -> Self {
        Self::from(vec![violation])
    }
}

impl From<Vec<Violation>> for Problem {
    fn from(violations: Vec<Violation>) -> Self {
        let fields: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
        let message = format!("the request is invalid in: {}", fields.join(", "));
        let mut problem = Self::new(FIELD_INVALID, message);
        problem.0.violations = violations;
        problem
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        problem.into_status()
    }
}

/// INTERNAL for the caller; the whole chain of causes for the log, once, here.
pub fn internal(error: &(dyn Error + 'static)) -> Status {
    tracing::error!(error = %chain(error), "the request met an unexpected error");
    Problem::of(INTERNAL).into_status()
}

/// An error and its causes on one line: `append unit: write events: disk is full`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let all: Vec<_> = causes(error).map(ToString::to_string).collect();
    all.join(": ")
}

/// The `reason` of a status, if it came from one of our servers.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

/// The facts beside a reason, `remedy` among them, if it came from one of our servers.
pub fn metadata(status: &Status) -> BTreeMap<String, String> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default()
}

/// The field violations of a status.
pub fn violations(status: &Status) -> Vec<Violation> {
    let bad = status.get_details_bad_request().map(|b| b.field_violations).unwrap_or_default();
    bad.into_iter().map(|v| Violation::new(v.field, v.description)).collect()
}

/// How long the status asks to wait.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// True when the same request may succeed if it is repeated unchanged.
pub fn is_transient(status: &Status) -> bool {
    match status.code() {
        tonic::Code::Unavailable => true,
        tonic::Code::ResourceExhausted => retry_delay(status).is_some(),
        _ => false,
    }
}

/// The Markdown table of every reason, sorted by name: the error catalogue.
pub fn catalogue(reasons: &[&[Reason]]) -> String {
    let all: BTreeMap<&str, &Reason> =
        reasons.iter().flat_map(|list| list.iter()).map(|r| (r.name, r)).collect();
    let mut text = String::from(
        "# Error catalogue\n\nGenerated from the code. Every refusal and error carries `google.rpc.ErrorInfo` with \
         domain `rapport` and one of these reasons.\n\n| reason | code | when | remedy |\n|---|---|---|---|\n",
    );
    for reason in all.values() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            reason.name,
            reason.code.name(),
            reason.when,
            reason.remedy
        );
    }
    text
}

/// The specification's name for a numeric status code.
pub(crate) fn code_name(code: i32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code).copied()).unwrap_or("UNKNOWN")
}

/// The code in a response's headers or trailers; `None` when they carry none.
pub(crate) fn code_in(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The six codes that are the server's fault: they mark the span and count against availability.
pub(crate) fn is_server_fault(code: i32) -> bool {
    use tonic::Code as C;
    [C::Unknown, C::DeadlineExceeded, C::Unimplemented, C::Internal, C::Unavailable, C::DataLoss]
        .iter()
        .any(|fault| *fault as i32 == code)
}

/// The status for a response that ends without one.
pub(crate) fn ended_without_status() -> i32 {
    tonic::Code::Cancelled as i32
}

/// The error, what caused it, and so on.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// True when tonic's client ended the call because its time was up.
pub(crate) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<tonic::TimeoutExpired>)
}

/// True when no server has looked at the call: it was not sent, its connection's last word was that it takes no more
/// calls, or it was turned away as a whole. It may be sent again whatever it does.
pub fn is_unseen(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| {
        let unsent = error.downcast_ref().is_some_and(hyper::Error::is_canceled);
        let turned_away = |error: &h2::Error| {
            let said = error.is_remote().then(|| error.reason()).flatten();
            error.is_go_away() && said == Some(h2::Reason::NO_ERROR)
                || error.is_reset() && said == Some(h2::Reason::REFUSED_STREAM)
        };
        unsent || error.downcast_ref().is_some_and(turned_away)
    })
}

/// Gives a status that tonic or a handler made without details its reason, and hides raw internal messages.
pub(crate) fn with_details(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let message = status.message();
    let problem = match status.code() {
        _ if message.contains("message length too large") => Problem::of(MESSAGE_TOO_LARGE),
        tonic::Code::Internal if message.starts_with("failed to decode Protobuf message") => {
            Problem::of(MESSAGE_MALFORMED)
        }
        tonic::Code::Internal if message.contains("Unexpected EOF decoding stream") => {
            Problem::of(MESSAGE_MALFORMED)
        }
        tonic::Code::Internal if message.contains("Missing request message") => {
            Problem::of(MESSAGE_MALFORMED)
        }
        tonic::Code::Unimplemented => Problem::of(METHOD_UNKNOWN),
        tonic::Code::Internal | tonic::Code::Unknown => {
            tracing::error!(status = %message, "a handler answered with an unexplained error");
            Problem::of(INTERNAL)
        }
        _ => return status,
    };
    problem.into_status()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_reason_violations_and_delay() {
        let status = Problem::field("party.kind", "Choose a kind.")
            .retry_after(Duration::from_secs(2))
            .with("position", &7)
            .into_status();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(reason(&status).as_deref(), Some("FIELD_INVALID"));
        assert_eq!(violations(&status), [Violation::new("party.kind", "Choose a kind.")]);
        assert_eq!(retry_delay(&status), Some(Duration::from_secs(2)));
        let info = status.get_details_error_info().expect("error info");
        assert_eq!(info.metadata["position"], "7");
        assert_eq!(info.domain, DOMAIN);
    }

    #[test]
    fn the_catalogue_names_every_reason_once_and_in_order() {
        let text = catalogue(&[REASONS, REASONS]);
        for reason in REASONS {
            assert_eq!(
                text.matches(&format!("| `{}` |", reason.name)).count(),
                1,
                "{}",
                reason.name
            );
            assert!(!reason.when.ends_with('.'), "{}: `when` is no sentence", reason.name);
            assert!(reason.remedy.ends_with('.'), "{}: `remedy` is a sentence", reason.name);
        }
        let names: Vec<_> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn a_raw_internal_message_never_reaches_the_caller() {
        let told = with_details(Status::internal("password is hunter2"));
        assert_eq!(told.code(), tonic::Code::Internal);
        assert!(!told.message().contains("hunter2"));
        assert_eq!(reason(&told).as_deref(), Some("INTERNAL"));
    }

    #[test]
    fn undecodable_bytes_are_the_callers_mistake() {
        let told =
            with_details(Status::internal("failed to decode Protobuf message: buffer underflow"));
        assert_eq!(told.code(), tonic::Code::InvalidArgument);
        assert_eq!(reason(&told).as_deref(), Some("MESSAGE_MALFORMED"));
    }

    #[test]
    fn an_error_chain_reads_on_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("append unit")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(
            chain(&Outer(std::io::Error::other("disk is full"))),
            "append unit: disk is full"
        );
    }
}
