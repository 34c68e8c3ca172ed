//! The threads that serve connections are not those that work. Whoever asks for too much keeps the former busy with
//! refusals; the latter commit, publish and renew leases as before.

use std::future::Future;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::available_parallelism;

use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tracing::Instrument as _;

/// Serves connections: half as many threads as the machine runs at once.
#[derive(Debug)]
pub(crate) struct Edge(Option<Runtime>);

impl Edge {
    pub(crate) fn start() -> std::io::Result<Self> {
        let threads = available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("edge")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs what listens or answers there.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let runtime = self.0.as_ref().map(|it| it.handle().clone());
        // Only `drop` takes it.
        runtime.unwrap_or_else(Handle::current).spawn(work)
    }
}

impl Drop for Edge {
    /// Ends the connections that are left. It is dropped by tasks, which may not wait for threads.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where calls are worked on, whoever serves their connections.
#[derive(Clone, Debug)]
pub(crate) struct Inside(Handle);

impl Inside {
    /// The threads of whoever asks.
    pub(crate) fn here() -> Self {
        Self(Handle::current())
    }

    /// What is spawned while this is held is spawned there.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }

    /// Works there, for as long as somebody waits for it; a panic is that of the caller.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        if Handle::current().id() == self.0.id() {
            return work.await;
        }
        let work = self.0.spawn(work.in_current_span());
        match AbortOnDropHandle::new(work).await {
            Ok(done) => done,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The threads are ending, and this one with them.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// A body that is made there, a frame ahead of who reads it. A panic is that of who reads.
    pub(crate) fn body(&self, mut body: Body) -> Body {
        if Handle::current().id() == self.0.id() {
            return body;
        }
        let (made, read) = mpsc::channel(1);
        let making = async move {
            while let Some(frame) = body.frame().await {
                if made.send(frame).await.is_err() {
                    break;
                }
            }
        };
        let making = AbortOnDropHandle::new(self.0.spawn(making.in_current_span()));
        let frames = stream::unfold((read, making), |(mut read, making)| async move {
            match read.recv().await {
                Some(frame) => Some((frame, (read, making))),
                None => match making.await.map_err(JoinError::try_into_panic) {
                    Err(Ok(panic)) => resume_unwind(panic),
                    _ => None,
                },
            }
        });
        Body::new(StreamBody::new(frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::panic::AssertUnwindSafe;

    use bytes::Bytes;
    use futures::{FutureExt as _, StreamExt as _};
    use http_body::Frame;
    use tokio::sync::oneshot;
    use tonic::Status;

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn serves_on_its_own_threads_and_works_on_those_of_the_process() {
        let (edge, inside) = (Edge::start().expect("threads"), Inside::here());
        let here = thread();
        let served = edge.spawn(async move { (thread(), inside.run(async { thread() }).await) });
        assert_eq!(served.await.expect("it serves"), ("edge".into(), here));
    }

    #[tokio::test]
    async fn works_for_as_long_as_somebody_waits() {
        let (edge, inside) = (Edge::start().expect("threads"), Inside::here());
        let (began, begins) = oneshot::channel();
        let (held, ends) = oneshot::channel::<()>();
        let call = edge.spawn(async move {
            let work = async move {
                let _held = held;
                began.send(()).expect("somebody waits");
                std::future::pending::<()>().await;
            };
            inside.run(work).await;
        });
        begins.await.expect("it began");
        call.abort();
        ends.await.expect_err("nothing holds it any more");
    }

    #[tokio::test]
    async fn a_body_is_made_on_the_threads_of_the_process() {
        let (edge, inside) = (Edge::start().expect("threads"), Inside::here());
        let here = thread();
        let frames = stream::iter(0..3).then(|it| async move {
            assert!(it < 2, "of the body");
            Ok::<_, Status>(Frame::data(Bytes::from(thread())))
        });
        let read = async move {
            let mut body = inside.body(Body::new(StreamBody::new(frames)));
            let mut told = Vec::new();
            for _ in 0..2 {
                let frame = body.frame().await.expect("a frame").expect("no error");
                told.push(frame.into_data().expect("data"));
            }
            let panic = AssertUnwindSafe(body.frame()).catch_unwind().await.map(drop);
            (told, panic.expect_err("a panic"))
        };
        let (told, panic) = edge.spawn(read).await.expect("the task lives");
        assert_eq!(told, [here.clone(), here]);
        assert_eq!(panic.downcast_ref(), Some(&"of the body"));
    }

    #[tokio::test]
    async fn a_panic_is_that_of_who_waits() {
        let (edge, inside) = (Edge::start().expect("threads"), Inside::here());
        let work = async move { inside.run(async { panic!("of the work") }).await };
        let ended = edge.spawn(AssertUnwindSafe(work).catch_unwind()).await;
        let panic = ended.expect("the task lives").expect_err("a panic");
        assert_eq!(panic.downcast_ref(), Some(&"of the work"));
    }
}
