//! A range of the log as JSON lines, source by source, each in the order of its positions.

use std::sync::Arc;

use eventstore::{Error, SourceReader, Timestamp};

use crate::shown;

/// Events read at once.
const PAGE: usize = 500;

/// What is exported.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) tenant: String,
    /// Empty: all.
    pub(crate) party_id: String,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// Goes through sources page by page.
pub(crate) struct Export<R> {
    reader: Arc<R>,
    range: Range,
    /// Sources left, the next one last, each with the position up to which it is exported.
    left: Vec<(String, u64)>,
    after: u64,
}

impl<R: SourceReader> Export<R> {
    /// `sources` with the position up to which each is exported.
    pub(crate) fn new(reader: Arc<R>, range: Range, sources: Vec<(String, u64)>) -> Self {
        let left = sources.into_iter().rev().collect();
        Self { reader, range, left, after: 0 }
    }

    /// The lines of the next page that has some; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Error> {
        while let Some((source, until)) = self.left.last().cloned() {
            let lines = self.page(&source, until).await?;
            if self.after >= until {
                self.left.pop();
                self.after = 0;
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }

    async fn page(&mut self, source: &str, until: u64) -> Result<String, Error> {
        let events = self.reader.read(source, self.after, PAGE).await?;
        let mut lines = String::new();
        for event in events.iter().take_while(|it| it.position <= until) {
            let envelope = event.envelope()?;
            if self.range.holds(&envelope) {
                lines += &shown::line(source, event, &envelope)?;
            }
        }
        // A source that ends before it should is at its end: what is missing is `VerifyLog`'s to tell.
        self.after = events.last().map_or(until, |it| it.position);
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
