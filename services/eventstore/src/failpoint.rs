//! Named points at which a child process parks until it is killed: the crash matrix.
//!
//! Without feature `failpoints` a point compiles to nothing. With it, the point named by the
//! environment variable `FAILPOINT` (`name` or `name:hit`, hits from 1) writes `parked <name>` to
//! standard error and never goes on.

/// Parks here if this point was asked for.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "a fault injected by the test that started us")]
pub async fn reach(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("FAILPOINT").ok()?;
        let (name, hit) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), hit.parse().unwrap_or(1)))
    });
    let Some((wanted, hit)) = asked else { return };
    if wanted == name && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *hit {
        eprintln!("parked {name}");
        // Every other task of the process stops too: nothing may tidy up behind the crash.
        std::thread::sleep(std::time::Duration::MAX);
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline]
#[expect(clippy::unused_async, reason = "the same call with and without the feature")]
pub async fn reach(_name: &'static str) {}
