//! Reading a source again from its producer and comparing it with the index.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Head, SourceReader, Stored};
use rapport_proto::audit::v1::VerifiedSource;

use crate::index::{self, Entry};

/// Events read at once.
const PAGE: usize = 1_000;

/// Reads a source from its beginning up to `head`, and says what it found.
///
/// `head` is what the source held when it was asked: every event up to there is read, whatever the index says of it, and
/// a row that is not there is missing. `last` is the last row, read before `head`: one beyond is nobody's.
pub(crate) async fn source(
    database: &Database,
    reader: &impl SourceReader,
    source: &str,
    (last, head): (u64, u64),
) -> Result<VerifiedSource, Error> {
    let mut found = Findings::default();
    let beyond = last > head;
    while found.head.position < head && !found.gaps && !found.broken {
        let after = found.head.position;
        let mut events = reader.read(source, after, PAGE).await?;
        events.retain(|event| event.position <= head);
        let Some(last) = events.last().map(|it| it.position) else {
            found.fault(Kind::Gap, format!("nothing after position {after} of {head}"));
            break;
        };
        let rows = index::entries(database, source, after, last).await?;
        found.page(&events, rows)?;
    }
    if beyond {
        found.fault(Kind::Index, format!("the index has position {last}, which nobody wrote"));
    }
    Ok(found.said(source))
}

#[derive(Clone, Copy)]
enum Kind {
    Gap,
    Chain,
    Index,
}

#[derive(Default)]
struct Findings {
    head: Head,
    events: u64,
    rows: u64,
    gaps: bool,
    broken: bool,
    incomplete: bool,
    /// The first fault, in words.
    fault: String,
}

impl Findings {
    fn page(&mut self, events: &[Stored], rows: Vec<Entry>) -> Result<(), Error> {
        self.rows += rows.len() as u64;
        let rows: BTreeMap<_, _> = rows.into_iter().map(|it| (it.event.position, it)).collect();
        for event in events {
            let at = event.position;
            if at != self.head.position + 1 {
                self.fault(Kind::Gap, format!("{} is followed by {at}", self.head.position));
                return Ok(());
            }
            if !event.follows(self.head.position, &self.head.chain) {
                self.fault(Kind::Chain, format!("the chain breaks at position {at}"));
                return Ok(());
            }
            let written = Entry::of(at, &event.chain, &event.envelope()?);
            let told = match rows.get(&at) {
                None => format!("the index lacks position {at}"),
                Some(row) if row.chain != written.chain => {
                    format!("the index was told another event at position {at}")
                }
                Some(row) if *row != written => {
                    format!("the index says something else of position {at}")
                }
                Some(_) => String::new(),
            };
            if !told.is_empty() {
                self.fault(Kind::Index, told);
            }
            self.head = Head { position: at, chain: event.chain };
            self.events += 1;
        }
        Ok(())
    }

    fn fault(&mut self, kind: Kind, fault: String) {
        match kind {
            Kind::Gap => self.gaps = true,
            Kind::Chain => self.broken = true,
            Kind::Index => self.incomplete = true,
        }
        if self.fault.is_empty() {
            self.fault = fault;
        }
    }

    fn said(self, source: &str) -> VerifiedSource {
        VerifiedSource {
            source: source.to_owned(),
            head: self.head.position,
            events: self.events,
            rows: self.rows,
            gap_free: !self.gaps,
            // What was not read because of a fault before it cannot be vouched for.
            chain_intact: !self.broken && !self.gaps,
            index_complete: !self.incomplete && !self.gaps && !self.broken,
            fault: self.fault,
        }
    }
}
