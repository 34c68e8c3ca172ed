//! Two-stage shutdown, and background tasks whose panics do not go unnoticed.
//!
//! The first signal begins the *soft* stage: finish what was begun, start nothing new. A second signal or the end
//! of the drain time begins the *hard* stage: stop where you are; every unit of work is one transaction, so nothing
//! is half done. A task that panics or fails begins the soft stage as well: a process without one of its loops is
//! worth less than a fresh one.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process's will to stop, shared by everything that runs in it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<Failure>>>,
}

/// A background task that ended on its own, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {task} {why}")]
pub struct Failure {
    pub task: String,
    pub why: String,
}

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task finished by itself.
    Clean,
    /// The hard stage was needed.
    Aborted,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when nothing new shall be started.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when everything shall stop where it is.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Every background task of the process.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Begins the soft stage, or the hard one if the soft one has begun.
    pub fn advance(&self) {
        if self.soft.is_cancelled() { self.hard.cancel() } else { self.soft.cancel() }
    }

    /// Runs a background task until it ends or the hard stage drops it. It watches [`soft`](Self::soft) itself. A
    /// panic or an error is kept as the process's [`failure`](Self::failure) and begins the soft stage.
    pub fn spawn<E: fmt::Display>(
        &self,
        task: impl Into<String>,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (shutdown, task) = (self.clone(), task.into());
        self.tasks.spawn(async move {
            let work = AssertUnwindSafe(work).catch_unwind();
            let ended = shutdown.hard.run_until_cancelled(work).await;
            let why = match ended {
                None | Some(Ok(Ok(()))) => return,
                Some(Ok(Err(error))) => format!("failed: {error}"),
                Some(Err(panic)) => format!("panicked: {}", panic_text(panic.as_ref())),
            };
            shutdown.fail(Failure { task, why });
        });
    }

    /// Notes a failure and begins the soft stage. The first failure is kept, the later ones are its consequences.
    pub fn fail(&self, failure: Failure) {
        tracing::error!(task = %failure.task, why = %failure.why, "a background task ended; the process stops");
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.soft.cancel();
    }

    /// Why the process stopped on its own; `None` when it was asked to.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Turns SIGTERM and SIGINT into the two stages, for the rest of the process's life.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for the signal that would end the wait for it"
    )]
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            while !shutdown.hard.is_cancelled() {
                // Both receivers are cancel-safe: a signal not received stays pending.
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!(again = shutdown.soft.is_cancelled(), "asked to stop");
                shutdown.advance();
            }
        });
        Ok(())
    }

    /// Waits for every task, at most `bound` or until the hard stage; what is left is dropped then.
    pub async fn drain(&self, bound: Duration) -> Drained {
        self.soft.cancel();
        self.tasks.close();
        let finished =
            self.hard.run_until_cancelled(tokio::time::timeout(bound, self.tasks.wait()));
        if matches!(finished.await, Some(Ok(()))) {
            return Drained::Clean;
        }
        tracing::warn!(
            tasks = self.tasks.len(),
            "background work did not finish in time and is stopped"
        );
        self.hard.cancel();
        // Tasks end at their next await once the hard stage has begun; one that never awaits is left behind.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        Drained::Aborted
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    type Never = Result<(), Infallible>;

    #[tokio::test]
    async fn the_first_wish_is_soft_and_the_second_hard() {
        let shutdown = Shutdown::new();
        shutdown.advance();
        assert!(shutdown.soft().is_cancelled() && !shutdown.hard().is_cancelled());
        shutdown.advance();
        assert!(shutdown.hard().is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_watches_the_soft_stage_drains_cleanly() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft().clone();
        shutdown.spawn("polite", async move {
            soft.cancelled().await;
            Never::Ok(())
        });
        assert_eq!(shutdown.drain(Duration::from_secs(10)).await, Drained::Clean);
        assert_eq!(shutdown.failure(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_soft_stage_is_dropped_at_the_deadline() {
        let shutdown = Shutdown::new();
        shutdown.spawn("deaf", std::future::pending::<Never>());
        assert_eq!(shutdown.drain(Duration::from_secs(10)).await, Drained::Aborted);
        assert!(shutdown.tasks().is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_kept_and_stops_the_process() {
        let shutdown = Shutdown::new();
        shutdown.spawn("relay", async {
            assert!(std::env::args().count() == usize::MAX, "out of luck");
            Never::Ok(())
        });
        shutdown.soft().cancelled().await;
        let failure = shutdown.failure().expect("kept");
        assert_eq!(
            (failure.task.as_str(), failure.why.as_str()),
            ("relay", "panicked: out of luck")
        );
    }

    #[tokio::test]
    async fn the_first_failure_is_the_one_told() {
        let shutdown = Shutdown::new();
        for task in ["first", "second"] {
            shutdown.fail(Failure { task: task.into(), why: "failed".into() });
        }
        assert_eq!(shutdown.failure().expect("kept").task, "first");
    }
}
