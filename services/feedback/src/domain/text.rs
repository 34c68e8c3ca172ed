//! A free text, and what becomes of it.
//!
//! ```text
//! UNSCREENED ─┬→ CLEAR
//!             └→ CANDIDATE ─┬→ HANDED_OFF → RECONCILED
//!                           └→ NOT_A_CASE (a person, a reason, a comment)
//! ```
//!
//! The text stands once, sealed, in its first event. [`State::open`] is the only way to it: while it is unscreened only
//! the screening reads it, while it is a candidate only safety does, and afterwards those who may unseal it. The clock
//! of a candidate is one of the wall: 24 hours from receipt, whatever calendar anybody keeps. It runs from receipt, too: a
//! text that nobody could screen by the first level of escalation is a candidate, so that a person reads it in time.

use eventstore::{About, Decider, Timestamp};
use rapport_proto::Personal;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::text_event::Event;

use super::{HOUR, instant, later};

/// What a text may tell is processed for the safety of patients.
const PURPOSE: &str = "SAFETY";
/// Until then a candidate has to be with safety.
pub(crate) const LIMIT: i64 = 24 * HOUR;
/// When each level of escalation is reached, after receipt.
pub(crate) const LEVELS: [i64; 3] = [12 * HOUR, 18 * HOUR, LIMIT];

/// The aggregate; stream `text/txt_…`.
pub(crate) enum Text {}

/// What can be wished of a text.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Receive(Box<proto::TextReceived>),
    Screen(Screening),
    /// So much of the time is gone; `candidate_id`: what it becomes if it was not screened by now.
    Escalate {
        level: u32,
        candidate_id: String,
    },
    HandOff {
        receipt: String,
    },
    Reconcile {
        case_number: String,
    },
    /// `person`: whether a person says so.
    Dismiss {
        reason: String,
        comment: String,
        person: bool,
    },
}

/// What the lexicon found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Screening {
    pub(crate) lexicon_version: String,
    /// Up to where names of products were known.
    pub(crate) content_position: u64,
    pub(crate) hits: Vec<String>,
    pub(crate) products: Vec<String>,
    pub(crate) clear: bool,
    /// Id of the candidate, if it is one.
    pub(crate) candidate_id: String,
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the text is not known")]
    Unknown,
    #[error("the text is {0:?}")]
    WrongState(Status),
    #[error("only a person can say that it is no case")]
    NotAPerson,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Unknown,
    Unscreened,
    Clear,
    Candidate,
    HandedOff,
    Reconciled,
    NotACase,
}

/// Who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The screening.
    Screening,
    /// The people of pharmacovigilance.
    Safety,
    /// Anybody else, with the right to unseal texts and that to unseal texts of medical questions.
    Person { unseals: bool, medical: bool },
}

/// Why a text is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    Unscreened,
    Candidate,
    NotPermitted,
    Erased,
}

impl Withheld {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unscreened => "unscreened",
            Self::Candidate => "candidate",
            Self::NotPermitted => "not_permitted",
            Self::Erased => "erased",
        }
    }
}

/// What the facts add up to. The text is reached through [`State::open`] only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) status: Status,
    /// What was received, without the text.
    pub(crate) received: proto::TextReceived,
    pub(crate) hits: Vec<String>,
    pub(crate) products: Vec<String>,
    pub(crate) candidate_id: String,
    pub(crate) level: u32,
    pub(crate) receipt: String,
    pub(crate) case_number: String,
    pub(crate) reason: String,
    /// Why it is no case.
    comment: Option<Personal>,
    text: Option<Personal>,
}

impl State {
    /// The text, if this reader may see it as things stand.
    pub(crate) fn open(&self, reader: Reader) -> Result<&str, Withheld> {
        let permitted = match (self.status, reader) {
            (Status::Unknown, _) => false,
            (_, Reader::Screening) => self.status == Status::Unscreened,
            (Status::Unscreened, _) => return Err(Withheld::Unscreened),
            (Status::Clear, Reader::Safety) => false,
            (_, Reader::Safety) => true,
            (Status::Candidate, _) => return Err(Withheld::Candidate),
            (_, Reader::Person { unseals, medical }) => {
                if self.received.medical {
                    medical
                } else {
                    unseals
                }
            }
        };
        if !permitted {
            return Err(Withheld::NotPermitted);
        }
        self.text.as_ref().and_then(Personal::as_text).ok_or(Withheld::Erased)
    }

    /// What led to the word that it is no case, for safety; empty before and when it was erased.
    pub(crate) fn comment(&self) -> &str {
        self.comment.as_ref().and_then(Personal::as_text).unwrap_or_default()
    }

    /// When it was received.
    pub(crate) fn received_at(&self) -> Timestamp {
        instant(self.received.received_at.as_ref()).unwrap_or_default()
    }

    /// When a candidate has to be with safety.
    pub(crate) fn due_at(&self) -> Timestamp {
        later(self.received_at(), LIMIT)
    }

    fn screen(&self, it: Screening) -> Vec<Event> {
        let clear = it.clear;
        let screened = Event::Screened(proto::TextScreened {
            text_id: self.received.text_id.clone(),
            lexicon_version: it.lexicon_version,
            hits: it.hits,
            products: it.products,
            clear,
            content_position: it.content_position,
        });
        let opened = (!clear).then(|| self.opened(it.candidate_id));
        [Some(screened), opened].into_iter().flatten().collect()
    }

    fn opened(&self, candidate_id: String) -> Event {
        Event::Opened(proto::SafetyCandidateOpened {
            candidate_id,
            text_id: self.received.text_id.clone(),
            party_id: self.received.party_id.clone(),
            received_at: self.received.received_at,
            due_at: Some(self.due_at().to_proto()),
        })
    }

    fn escalate(&self, level: u32, candidate_id: String, at: Timestamp) -> Vec<Event> {
        let reached = escalates_at(self.received_at(), level).is_some_and(|it| it <= at);
        if level <= self.level || !reached {
            return Vec::new();
        }
        let unscreened = self.status == Status::Unscreened;
        let opened = unscreened.then(|| self.opened(candidate_id.clone()));
        let candidate_id = if unscreened { candidate_id } else { self.candidate_id.clone() };
        let escalated = proto::SafetyCandidateEscalated { candidate_id, level };
        opened.into_iter().chain([Event::Escalated(escalated)]).collect()
    }
}

/// The instant at which a level of escalation is reached; none beyond the last.
pub(crate) fn escalates_at(received_at: Timestamp, level: u32) -> Option<Timestamp> {
    let index = usize::try_from(level).ok()?.checked_sub(1)?;
    LEVELS.get(index).map(|it| later(received_at, *it))
}

impl Decider for Text {
    const AGGREGATE: &'static str = "text";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let wrong = Err(Refusal::WrongState(state.status));
        let candidate_id = state.candidate_id.clone();
        match (command, state.status) {
            (Command::Receive(it), Status::Unknown) => Ok(vec![Event::Received(*it)]),
            (Command::Receive(_), _) => Ok(Vec::new()),
            (_, Status::Unknown) => Err(Refusal::Unknown),
            (Command::Screen(it), Status::Unscreened) => Ok(state.screen(it)),
            (Command::Screen(_), _) => Ok(Vec::new()),
            (Command::Escalate { level, candidate_id }, Status::Unscreened | Status::Candidate) => {
                Ok(state.escalate(level, candidate_id, at))
            }
            (Command::Escalate { .. }, _) => Ok(Vec::new()),
            (Command::HandOff { receipt }, Status::Candidate) => {
                let late = at > state.due_at();
                let handed_off = proto::SafetyCandidateHandedOff { candidate_id, receipt, late };
                Ok(vec![Event::HandedOff(handed_off)])
            }
            (Command::HandOff { receipt }, Status::HandedOff | Status::Reconciled) => {
                if receipt == state.receipt { Ok(Vec::new()) } else { wrong }
            }
            (Command::Reconcile { case_number }, Status::HandedOff) => {
                let reconciled = proto::SafetyCandidateReconciled { candidate_id, case_number };
                Ok(vec![Event::Reconciled(reconciled)])
            }
            (Command::Reconcile { case_number }, Status::Reconciled) => {
                if case_number == state.case_number { Ok(Vec::new()) } else { wrong }
            }
            (Command::Dismiss { person: false, .. }, _) => Err(Refusal::NotAPerson),
            (Command::Dismiss { reason, comment, .. }, Status::Candidate) => {
                let comment = Some(Personal::text(comment));
                let dismissed = proto::SafetyCandidateDismissed { candidate_id, reason, comment };
                Ok(vec![Event::Dismissed(dismissed)])
            }
            (Command::Dismiss { reason, .. }, Status::NotACase) if reason == state.reason => {
                Ok(Vec::new())
            }
            (Command::HandOff { .. } | Command::Reconcile { .. } | Command::Dismiss { .. }, _) => {
                wrong
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Received(it) => {
                state.status = Status::Unscreened;
                state.text.clone_from(&it.text);
                state.received = proto::TextReceived { text: None, ..it.clone() };
            }
            Event::Screened(it) => {
                state.status = if it.clear { Status::Clear } else { Status::Candidate };
                state.hits.clone_from(&it.hits);
                state.products.clone_from(&it.products);
            }
            Event::Opened(it) => {
                state.status = Status::Candidate;
                state.candidate_id.clone_from(&it.candidate_id);
            }
            Event::Escalated(it) => state.level = it.level,
            Event::HandedOff(it) => {
                state.status = Status::HandedOff;
                state.receipt.clone_from(&it.receipt);
            }
            Event::Reconciled(it) => {
                state.status = Status::Reconciled;
                state.case_number.clone_from(&it.case_number);
            }
            Event::Dismissed(it) => {
                state.status = Status::NotACase;
                state.reason.clone_from(&it.reason);
                state.comment.clone_from(&it.comment);
            }
        }
        state
    }

    fn about(_: &str, state: &State, _: &Event) -> About {
        About {
            party_id: state.received.party_id.clone(),
            market: state.received.market.clone(),
            purpose: PURPOSE.to_owned(),
            ..About::default()
        }
    }
}

#[cfg(test)]
mod tests;
