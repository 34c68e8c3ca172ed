//! A range of the log as JSON lines, source by source, each in the order of its positions.

use std::collections::VecDeque;
use std::sync::Arc;

use eventstore::{Error, SourceReader, Stored, Timestamp};

use crate::shown;

/// Events read at once.
const PAGE: usize = 500;
/// Bytes of lines in one answer; a single line may have more, and stays below the limit of a message all the same.
const ENOUGH: usize = 1 << 20;

/// What is exported.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) tenant: String,
    /// Empty: all.
    pub(crate) party_id: String,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// A source, and what is left of it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) source: String,
    pub(crate) after: u64,
    pub(crate) until: u64,
}

/// Goes through sources page by page.
pub(crate) struct Export<R> {
    reader: Arc<R>,
    range: Range,
    /// Sources left, the next one last.
    left: Vec<Part>,
    /// What was read of it and is not exported yet.
    read: VecDeque<Stored>,
}

impl<R: SourceReader> Export<R> {
    pub(crate) fn new(reader: Arc<R>, range: Range, mut parts: Vec<Part>) -> Self {
        parts.reverse();
        Self { reader, range, left: parts, read: VecDeque::new() }
    }

    /// The next lines; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Error> {
        while let Some(part) = self.left.last_mut() {
            if self.read.is_empty() {
                self.read = self.reader.read(&part.source, part.after, PAGE).await?.into();
            }
            if self.read.is_empty() {
                // A source that ends before it should is at its end: what is missing is `VerifyLog`'s to tell.
                part.after = part.until;
            }
            let lines = part.lines(&self.range, &mut self.read)?;
            if part.after >= part.until {
                self.left.pop();
                self.read.clear();
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }
}

impl Part {
    /// Lines of what was read, until there are enough.
    fn lines(&mut self, range: &Range, read: &mut VecDeque<Stored>) -> Result<String, Error> {
        let mut lines = String::new();
        while let Some(event) = read.front() {
            if event.position > self.until {
                self.after = self.until;
                break;
            }
            let envelope = event.envelope()?;
            if range.holds(&envelope) {
                let line = shown::line(&self.source, event, &envelope)?;
                if !lines.is_empty() && lines.len() + line.len() > ENOUGH {
                    break;
                }
                lines += &line;
            }
            self.after = event.position;
            read.pop_front();
        }
        Ok(lines)
    }
}

impl Range {
    fn holds(&self, envelope: &rapport_proto::types::Envelope) -> bool {
        let recorded = envelope.recorded_at.as_ref().and_then(Timestamp::from_proto);
        let recorded = recorded.unwrap_or_default();
        envelope.tenant == self.tenant
            && (self.party_id.is_empty() || envelope.party_id == self.party_id)
            && (self.from..self.until).contains(&recorded)
    }
}
