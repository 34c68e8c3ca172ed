//! How often somebody may call: a bucket of tokens that fills evenly and holds a second's worth.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Beyond this many keys the buckets start afresh.
const MOST_KEYS: usize = 10_000;

/// The buckets of this process, by who calls.
#[derive(Debug)]
pub struct Rate<K> {
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Rate<K> {
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Takes a token, or says when there is one again.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_KEYS && !buckets.contains_key(&key) {
            buckets.clear();
        }
        let full = Bucket { tokens: self.per_second, at: now };
        let bucket = buckets.entry(key).or_insert(full);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.per_second);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_at_once_and_then_evenly() {
        let (rate, now) = (Rate::new(10), Instant::now());
        assert_eq!((0..20).filter(|_| rate.take([1; 32], now).is_ok()).count(), 10);
        assert!(rate.take([1; 32], now).expect_err("empty") <= Duration::from_millis(100));
        assert_eq!(rate.take([2; 32], now), Ok(()), "another key has a bucket of its own");
        let later = now + Duration::from_millis(500);
        assert_eq!((0..20).filter(|_| rate.take([1; 32], later).is_ok()).count(), 5);
    }
}
