//! The life cycle that every authored document shares. A version is immutable; what changes is its state:
//!
//! ```text
//! DRAFT ──check──▶ CHECKED ──approve──▶ APPROVED ──activate──▶ LIVE ──retire, or another goes live──▶ RETIRED
//!                  (again)   by someone other
//!                            than the author
//! ```
//!
//! One version of an id is live. Each step keeps who and when, so the time from request to live is a subtraction.
//! Every service has its own events for these steps: its `decide` asks `may_…`, its `evolve` tells what happened.
//!
//! ```
//! use authored::version::{Draft, Refusal, Versions};
//! use eventstore::Timestamp;
//!
//! let mut versions = Versions::default();
//! assert_eq!(versions.draft(&[7; 32]), Draft::New(1));
//! versions.drafted(1, "ada", [7; 32], Timestamp(0));
//! versions.checked(1, [7; 32], Timestamp(1));
//! assert_eq!(
//!     versions.may_approve(1, "ada", None),
//!     Err(Refusal::AuthorMayNotApprove { version: 1 })
//! );
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use eventstore::{Timestamp, hex};
use rapport_proto::types::{VersionInfo, VersionState};

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Saved.
    Draft,
    /// Checked against what it names; policies and packs were simulated.
    Checked,
    /// Approved by someone other than the author.
    Approved,
    /// In force.
    Live,
    /// No longer in force.
    Retired,
}

impl From<State> for VersionState {
    fn from(state: State) -> Self {
        match state {
            State::Draft => Self::Draft,
            State::Checked => Self::Checked,
            State::Approved => Self::Approved,
            State::Live => Self::Live,
            State::Retired => Self::Retired,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draft => "DRAFT",
            Self::Checked => "CHECKED",
            Self::Approved => "APPROVED",
            Self::Live => "LIVE",
            Self::Retired => "RETIRED",
        })
    }
}

/// What is known of a version, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub state: State,
    /// Subject of the author.
    pub author: String,
    /// SHA-256 of the document's bytes.
    pub hash: [u8; 32],
    /// Hash of what was checked last.
    pub checked_hash: Option<[u8; 32]>,
    /// Subject of the approver.
    pub approved_by: Option<String>,
    /// When it was saved.
    pub drafted_at: Timestamp,
    /// When it was checked last.
    pub checked_at: Option<Timestamp>,
    /// When it was approved.
    pub approved_at: Option<Timestamp>,
    /// When it went live.
    pub live_at: Option<Timestamp>,
    /// When it was retired.
    pub retired_at: Option<Timestamp>,
}

/// Why a step may not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such version.
    #[error("there is no version {version}")]
    UnknownVersion {
        /// The version named.
        version: u32,
    },
    /// The step begins elsewhere.
    #[error("version {version} is {state}; it needs to be {needs}")]
    WrongState {
        /// The version named.
        version: u32,
        /// Where it stands.
        state: State,
        /// Where it has to stand.
        needs: &'static str,
    },
    /// Four eyes.
    #[error("version {version} needs the approval of someone other than its author")]
    AuthorMayNotApprove {
        /// The version named.
        version: u32,
    },
    /// What is to be approved is not what was checked.
    #[error("version {version} was checked with other bytes; check it again")]
    CheckStale {
        /// The version named.
        version: u32,
    },
}

/// What saving a document comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draft {
    /// A new version with this number.
    New(u32),
    /// The newest version has these bytes already.
    AlreadySo(u32),
}

/// How long each step took; absent when it was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// From saved to checked.
    pub to_check: Option<Duration>,
    /// From checked to approved.
    pub to_approve: Option<Duration>,
    /// From approved to live.
    pub to_live: Option<Duration>,
    /// From saved to live.
    pub request_to_live: Option<Duration>,
}

/// All versions of one authored document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    entries: BTreeMap<u32, Entry>,
    live: Option<u32>,
}

/// What decide asks.
impl Versions {
    /// A version.
    pub fn get(&self, version: u32) -> Option<&Entry> {
        self.entries.get(&version)
    }

    /// The version saved last.
    pub fn newest(&self) -> Option<(u32, &Entry)> {
        self.entries.last_key_value().map(|(version, entry)| (*version, entry))
    }

    /// The version in force.
    pub fn live(&self) -> Option<(u32, &Entry)> {
        self.live.and_then(|version| Some((version, self.get(version)?)))
    }

    /// Every version, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter().map(|(version, entry)| (*version, entry))
    }

    /// Whether nothing was ever saved.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What saving these bytes comes to.
    pub fn draft(&self, hash: &[u8; 32]) -> Draft {
        match self.newest() {
            Some((version, entry)) if entry.hash == *hash && entry.state != State::Retired => {
                Draft::AlreadySo(version)
            }
            Some((version, _)) => Draft::New(version.saturating_add(1)),
            None => Draft::New(1),
        }
    }

    /// Whether a version may be checked; one that was checked may be checked again.
    pub fn may_check(&self, version: u32) -> Result<&Entry, Refusal> {
        self.standing(version, &[State::Draft, State::Checked], "DRAFT or CHECKED")
    }

    /// Whether this person may approve a version. A request that names the hash it means is held to what was checked.
    pub fn may_approve(
        &self,
        version: u32,
        actor: &str,
        hash: Option<&[u8]>,
    ) -> Result<&Entry, Refusal> {
        let entry = self.standing(version, &[State::Checked], "CHECKED")?;
        if entry.author == actor {
            return Err(Refusal::AuthorMayNotApprove { version });
        }
        let meant = hash.unwrap_or(&entry.hash);
        if entry.checked_hash.is_none_or(|checked| checked != entry.hash || checked != *meant) {
            return Err(Refusal::CheckStale { version });
        }
        Ok(entry)
    }

    /// Whether a version may go live.
    pub fn may_activate(&self, version: u32) -> Result<&Entry, Refusal> {
        self.standing(version, &[State::Approved], "APPROVED")
    }

    /// Whether a version of a kind of document that needs no approval may go live.
    pub fn may_activate_unapproved(&self, version: u32) -> Result<&Entry, Refusal> {
        const READY: [State; 3] = [State::Draft, State::Checked, State::Approved];
        self.standing(version, &READY, "DRAFT, CHECKED or APPROVED")
    }

    /// Whether a version may be retired.
    pub fn may_retire(&self, version: u32) -> Result<&Entry, Refusal> {
        self.standing(version, &[State::Live], "LIVE")
    }

    fn standing(
        &self,
        version: u32,
        states: &[State],
        needs: &'static str,
    ) -> Result<&Entry, Refusal> {
        let entry = self.get(version).ok_or(Refusal::UnknownVersion { version })?;
        if states.contains(&entry.state) {
            Ok(entry)
        } else {
            Err(Refusal::WrongState { version, state: entry.state, needs })
        }
    }

    /// How long the steps of a version took.
    pub fn times(&self, version: u32) -> Option<Stages> {
        let entry = self.get(version)?;
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.since(from?));
        Some(Stages {
            to_check: between(Some(entry.drafted_at), entry.checked_at),
            to_approve: between(entry.checked_at, entry.approved_at),
            to_live: between(entry.approved_at, entry.live_at),
            request_to_live: between(Some(entry.drafted_at), entry.live_at),
        })
    }

    /// A version as the API shows it.
    pub fn info(&self, version: u32) -> Option<VersionInfo> {
        let entry = self.get(version)?;
        Some(VersionInfo {
            version,
            state: VersionState::from(entry.state).into(),
            hash: hex(&entry.hash),
            author: entry.author.clone(),
            approver: entry.approved_by.clone().unwrap_or_default(),
            draft_time: Some(entry.drafted_at.to_proto()),
            check_time: entry.checked_at.map(Timestamp::to_proto),
            approve_time: entry.approved_at.map(Timestamp::to_proto),
            live_time: entry.live_at.map(Timestamp::to_proto),
            retire_time: entry.retired_at.map(Timestamp::to_proto),
        })
    }
}

/// What evolve tells. Events are facts: nothing is refused, and a version that was never saved is passed over.
impl Versions {
    /// A version was saved.
    pub fn drafted(&mut self, version: u32, author: &str, hash: [u8; 32], at: Timestamp) {
        let entry = Entry {
            state: State::Draft,
            author: author.to_owned(),
            hash,
            checked_hash: None,
            approved_by: None,
            drafted_at: at,
            checked_at: None,
            approved_at: None,
            live_at: None,
            retired_at: None,
        };
        self.entries.insert(version, entry);
    }

    /// A version was checked, or simulated, with these bytes.
    pub fn checked(&mut self, version: u32, hash: [u8; 32], at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&version) {
            entry.state = State::Checked;
            entry.checked_hash = Some(hash);
            entry.checked_at = Some(at);
        }
    }

    /// A version was approved.
    pub fn approved(&mut self, version: u32, by: &str, at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&version) {
            entry.state = State::Approved;
            entry.approved_by = Some(by.to_owned());
            entry.approved_at = Some(at);
        }
    }

    /// A version went live; the one that was live before it is retired.
    pub fn activated(&mut self, version: u32, at: Timestamp) {
        if let Some(before) = self.live.filter(|it| *it != version) {
            self.retired(before, at);
        }
        if let Some(entry) = self.entries.get_mut(&version) {
            entry.state = State::Live;
            entry.live_at = Some(at);
            self.live = Some(version);
        }
    }

    /// A version was retired.
    pub fn retired(&mut self, version: u32, at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&version) {
            entry.state = State::Retired;
            entry.retired_at = Some(at);
        }
        self.live = self.live.filter(|it| *it != version);
    }
}

/// A hash as events have it; `None` when it is none.
pub fn hash_from(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
