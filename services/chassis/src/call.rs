//! What a request carries on: until when, for which tenant, for whom. Peers read it, so that a handler that calls
//! another target passes its deadline and its person on without naming them.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::auth::Caller;

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The instant after which nobody waits for the answer. Also in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    pub fn within(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// Zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// What the caller asked for, if anything.
    pub(crate) fn asked(headers: &HeaderMap) -> Option<Duration> {
        let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let count = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(count * 3600),
            "M" => Duration::from_secs(count * 60),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    }

    /// Tells a callee what is left; at most eight digits fit.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let left = self.remaining();
        let text = match left.as_micros() {
            micros if micros < 100_000_000 => format!("{micros}u"),
            micros => format!("{}m", (micros / 1000).min(99_999_999)),
        };
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }
}

/// On whose account calls to other targets are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Empty when the process acts for itself.
    pub tenant: String,
    pub on_behalf_of: Option<String>,
    pub deadline: Option<Deadline>,
    /// True while a call that has passed the layers is being worked on.
    pub(crate) holds_place: bool,
}

tokio::task_local! {
    static CURRENT: Call;
}

impl Call {
    /// A worker's call: no person, a tenant, and a bound.
    pub fn of_tenant(tenant: impl Into<String>, bound: Duration) -> Self {
        Self { tenant: tenant.into(), deadline: Some(Deadline::within(bound)), ..Self::default() }
    }

    /// A request's call: a service passes on the person it acts for, anybody else is that person.
    pub(crate) fn of_caller(caller: &Caller, deadline: Option<Deadline>) -> Self {
        let person = match caller.target() {
            Some(_) => caller.on_behalf_of.clone(),
            None => Some(caller.subject.clone()),
        };
        Self { tenant: caller.tenant.clone(), on_behalf_of: person, deadline, holds_place: true }
    }

    /// The call we are in; the default outside any.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Runs a future on this account.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(text).expect("header"));
        Deadline::asked(&headers)
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        assert_eq!(asked("100m"), Some(Duration::from_millis(100)));
        assert_eq!(asked("2S"), Some(Duration::from_secs(2)));
        assert_eq!(asked("1H"), Some(Duration::from_secs(3600)));
        for nonsense in ["", "m", "-1m", "1", "123456789m", "1x", "1.5S"] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_what_is_left() {
        for left in [Duration::from_millis(5), Duration::from_secs(30), Duration::from_secs(4000)] {
            let mut headers = HeaderMap::new();
            Deadline::within(left).tell(&mut headers);
            assert_eq!(Deadline::asked(&headers), Some(left));
        }
    }

    #[tokio::test]
    async fn a_call_is_seen_inside_its_scope_only() {
        let call = Call { tenant: "acme".into(), ..Call::default() };
        let seen = call.clone().scope(async { Call::current() }).await;
        assert_eq!(seen, call);
        assert_eq!(Call::current(), Call::default());
    }
}
