//! Reads that are made together: what is asked for while one read runs is read by the next, so that many callers at
//! once cost few round trips.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

use crate::error::Error;

/// Questions read at once, at most.
const MOST: usize = 64;
/// Reads on their way at once.
const AT_ONCE: usize = 2;

/// Answers to questions, each read after it was asked. Cheap to clone.
///
/// A caller that is given up takes nobody with it: whoever waited for its read asks again.
///
/// ```
/// # use eventstore::Together;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let longer = 1;
/// let lengths = Together::new(longer, |by, words: Vec<&str>| async move {
///     Ok(words.iter().map(|it| it.len() + by).collect())
/// });
/// let (two, four) = futures::join!(lengths.read("of"), lengths.read("many"));
/// assert_eq!((two.unwrap(), four.unwrap()), (3, 5));
/// # });
/// ```
pub struct Together<Q, A>(Arc<Inner<Q, A>>);

type Read<Q, A> = dyn Fn(Vec<Q>) -> BoxFuture<'static, Result<Vec<A>, Error>> + Send + Sync;

struct Inner<Q, A> {
    read: Box<Read<Q, A>>,
    waiting: Mutex<Vec<Waiting<Q, A>>>,
    turns: Semaphore,
}

struct Waiting<Q, A> {
    question: Q,
    reply: oneshot::Sender<Result<A, Error>>,
}

impl<Q, A> Clone for Together<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q, A> std::fmt::Debug for Together<Q, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Together")
    }
}

impl<Q: Clone, A> Together<Q, A> {
    /// With what reads the answers to several questions, in their order, and what it reads them from.
    pub fn new<C, R>(from: C, read: impl Fn(C, Vec<Q>) -> R + Send + Sync + 'static) -> Self
    where
        C: Clone + Send + Sync + 'static,
        R: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
    {
        let read = move |questions| read(from.clone(), questions).boxed();
        let (read, turns) = (Box::new(read), Semaphore::new(AT_ONCE));
        Self(Arc::new(Inner { read, waiting: Mutex::default(), turns }))
    }

    /// Reads one answer, together with those that others wait for.
    pub async fn read(&self, question: Q) -> Result<A, Error> {
        loop {
            let (reply, mut answer) = oneshot::channel();
            self.waiting().push(Waiting { question: question.clone(), reply });
            // Who is about to ask does so before the read.
            tokio::task::yield_now().await;
            let answered = loop {
                tokio::select! {
                    biased;
                    answered = &mut answer => break answered,
                    Ok(_turn) = self.0.turns.acquire() => {
                        if self.read_waiting().await {
                            continue;
                        }
                    }
                }
                // Somebody is at it.
                break answer.await;
            };
            // Whoever read it for us may have been given up: then once more.
            if let Ok(answer) = answered {
                return answer;
            }
        }
    }

    /// Reads those that have waited longest; tells whether any waited.
    async fn read_waiting(&self) -> bool {
        let batch: Vec<_> = {
            let mut waiting = self.waiting();
            let most = waiting.len().min(MOST);
            waiting.drain(..most).collect()
        };
        let (questions, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|it| (it.question, it.reply)).unzip();
        if questions.is_empty() {
            return false;
        }
        // Whoever gave up does not listen.
        match (self.0.read)(questions.clone()).await {
            Ok(answers) => {
                (replies.into_iter().zip(answers)).for_each(|(to, it)| drop(to.send(Ok(it))));
            }
            // One of them is damaged: that is not the others' affair.
            Err(error) if !error.is_transient() && questions.len() > 1 => {
                for (question, reply) in questions.into_iter().zip(replies) {
                    drop(reply.send(self.read_one(question).await));
                }
            }
            Err(error) => {
                let text = error.chain();
                let mut first = Some(error);
                for reply in replies {
                    let again = || Error::unavailable(text.clone());
                    drop(reply.send(Err(first.take().unwrap_or_else(again))));
                }
            }
        }
        true
    }

    async fn read_one(&self, question: Q) -> Result<A, Error> {
        let answers = (self.0.read)(vec![question]).await?;
        answers.into_iter().next().ok_or_else(|| Error::corrupt("a question without an answer"))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<Q, A>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    /// Reads numbers, and counts its reads; 13 cannot be read, 99 cannot be read now.
    fn counting(reads: &Arc<AtomicUsize>, gate: &Arc<Notify>) -> Together<u32, u32> {
        let from = (reads.clone(), gate.clone());
        Together::new(from, |(reads, gate), numbers: Vec<u32>| async move {
            reads.fetch_add(1, Ordering::SeqCst);
            // As a database would, it answers later.
            tokio::task::yield_now().await;
            gate.notified().await;
            gate.notify_one();
            if numbers.contains(&13) {
                return Err(Error::corrupt("13"));
            }
            if numbers.contains(&99) {
                return Err(Error::unavailable("99"));
            }
            Ok(numbers.iter().map(|it| it * 2).collect())
        })
    }

    #[tokio::test]
    async fn many_that_ask_at_once_cost_few_reads_and_each_gets_its_own() {
        let (reads, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let together = counting(&reads, &gate);
        gate.notify_one();
        let answers =
            join_all((0..100).filter(|it| ![13, 99].contains(it)).map(|it| together.read(it)))
                .await;
        let expected: Vec<u32> =
            (0..100).filter(|it| ![13, 99].contains(it)).map(|it| it * 2).collect();
        let answers: Vec<u32> = answers.into_iter().map(|it| it.expect("read")).collect();
        assert_eq!(answers, expected);
        assert!(reads.load(Ordering::SeqCst) <= 4, "{reads:?}");
    }

    #[tokio::test]
    async fn what_is_damaged_fails_alone_and_what_cannot_be_reached_fails_for_all() {
        let (reads, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let together = counting(&reads, &gate);
        gate.notify_one();
        let answers = join_all([1, 13, 2].map(|it| together.read(it))).await;
        let told: Vec<_> = answers.iter().map(|it| it.as_ref().ok().copied()).collect();
        assert_eq!(told, [Some(2), None, Some(4)]);
        let answers = join_all([5, 99].map(|it| together.read(it))).await;
        assert!(answers[1].as_ref().is_err_and(Error::is_transient));
    }

    #[tokio::test]
    async fn who_reads_for_others_and_is_given_up_takes_nobody_with_it() {
        let (reads, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let together = counting(&reads, &gate);
        let mut first = Box::pin(together.read(1));
        let mut second = Box::pin(together.read(2));
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        gate.notify_one();
        assert_eq!(second.await.expect("read"), 4);
    }
}
