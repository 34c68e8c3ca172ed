//! The review that claims and modules share.
//!
//! ```text
//! DRAFT → IN_REVIEW → APPROVED → EXPIRED | WITHDRAWN | SUPERSEDED
//!            ⇅
//!    CHANGES_REQUESTED          (any stage before APPROVED → WITHDRAWN)
//! ```
//!
//! A version is bytes and their hash; any byte changed is another version. Submitting names the roles that must
//! approve. Each of them is filled by another person, none by the author, and whoever signs states the hash of what was
//! read. One rejection returns the version; the same bytes may be submitted again, in another round. What a newer
//! approved version replaces is superseded once that version may be used.

use std::collections::BTreeMap;

use eventstore::Timestamp;
use rapport_proto::content::v1::{PackUsed, ReviewRole, Signature, Verdict};

use super::{Window, hash_of};

mod stages;

pub(crate) use stages::StageTime;

/// Versions of one claim or module: loading folds them all.
pub(crate) const MOST_VERSIONS: u32 = 500;

/// What can be wished of a claim or a module. A version of 0 is the newest in `Submit`, all in `Withdraw`.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Keep these bytes as a version.
    Save { content: Vec<u8>, author: String },
    /// Have a version reviewed.
    Submit { version: u32, markets: Vec<String>, roles: Vec<ReviewRole>, packs: Vec<PackUsed> },
    /// Speak in a role.
    Review(Box<Opinion>),
    /// Stop a version from being used.
    Withdraw { version: u32, reason: String, cause: String },
    /// Note that the time of a version is over.
    Expire { version: u32 },
    /// Note that a version which was approved ahead of its time may be used now.
    TakeOver { version: u32 },
}

/// `medical` for `REVIEW_ROLE_MEDICAL`: as tokens and stage times name it.
pub(crate) fn role_name(role: ReviewRole) -> String {
    role.as_str_name().trim_start_matches("REVIEW_ROLE_").to_ascii_lowercase()
}

/// A signed verdict on a version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opinion {
    pub(crate) version: u32,
    pub(crate) role: ReviewRole,
    pub(crate) verdict: Verdict,
    pub(crate) comment: String,
    pub(crate) signature: Signature,
}

/// What happened, before it is named a fact of a claim or of a module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Drafted {
        version: u32,
        content: Vec<u8>,
        hash: String,
        author: String,
        at: Timestamp,
    },
    Submitted {
        version: u32,
        markets: Vec<String>,
        roles: Vec<ReviewRole>,
        packs: Vec<PackUsed>,
        at: Timestamp,
    },
    Reviewed(Box<Opinion>),
    ChangesRequested {
        version: u32,
        role: ReviewRole,
    },
    Approved {
        version: u32,
        hash: String,
        signature_ids: Vec<String>,
    },
    Superseded {
        version: u32,
        by: u32,
    },
    Withdrawn {
        version: u32,
        reason: String,
        cause: String,
        at: Timestamp,
    },
    Expired {
        version: u32,
    },
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Draft,
    InReview,
    ChangesRequested,
    Approved,
    Expired,
    Withdrawn,
    Superseded,
}

impl Stage {
    /// Whether nothing can become of it any more.
    pub(crate) fn is_over(self) -> bool {
        match self {
            Self::Draft | Self::InReview | Self::ChangesRequested | Self::Approved => false,
            Self::Expired | Self::Withdrawn | Self::Superseded => true,
        }
    }

    /// Its name in details and stage times.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::InReview => "in_review",
            Self::ChangesRequested => "changes_requested",
            Self::Approved => "approved",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Superseded => "superseded",
        }
    }
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such version")]
    Unknown,
    #[error("the version is {}, not {needs}", stage.name())]
    WrongStage { stage: Stage, needs: &'static str },
    #[error("version {by} is newer and approved")]
    Overtaken { by: u32 },
    #[error("the time of the version is over before it was used")]
    TimeOver,
    #[error("the review does not ask for this role")]
    RoleMissing,
    #[error("this person or somebody in this role has signed before")]
    AlreadySigned,
    #[error("the author of a version may not sign it")]
    AuthorMayNotSign,
    #[error("the signed hash is not the hash of the version")]
    HashMismatch,
    #[error("a rejection needs a comment")]
    CommentRequired,
    #[error("there are as many versions as there can be")]
    Full,
}

/// A version and everything that became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) stage: Stage,
    /// The signed bytes, as they are in the event.
    pub(crate) content: Vec<u8>,
    /// Their hash, as the event states it.
    pub(crate) hash: String,
    pub(crate) author: String,
    pub(crate) roles: Vec<ReviewRole>,
    pub(crate) packs: Vec<PackUsed>,
    /// Verdicts with their round, oldest first.
    pub(crate) opinions: Vec<(u32, Opinion)>,
    /// Round of review, from 1; 0 before submission.
    pub(crate) round: u32,
    /// What the approval signed; empty before.
    pub(crate) approved_hash: String,
    pub(crate) signature_ids: Vec<String>,
    /// Why it was withdrawn.
    pub(crate) reason: String,
    pub(crate) cause: String,
    stays: Vec<stages::Stay>,
}

impl Version {
    /// Whether it was approved, whatever became of it since.
    pub(crate) fn was_approved(&self) -> bool {
        !self.approved_hash.is_empty()
    }

    /// Whether the bytes are those that were approved, and every role that was asked for signed them.
    pub(crate) fn is_intact(&self) -> bool {
        let hash = hash_of(&self.content);
        let signed = |role: &ReviewRole| {
            self.opinions.iter().any(|(round, it)| {
                *round == self.round
                    && it.role == *role
                    && it.verdict == Verdict::Approve
                    && it.signature.content_hash == hash
                    && self.signature_ids.contains(&it.signature.signature_id)
            })
        };
        self.hash == hash
            && self.approved_hash == hash
            && !self.roles.is_empty()
            && self.roles.iter().all(signed)
    }

    /// Time per stage of its review, and what each role let it wait.
    pub(crate) fn stage_times(&self, now: Timestamp) -> Vec<StageTime> {
        stages::times(self, now)
    }

    fn in_round(&self) -> impl Iterator<Item = &Opinion> {
        self.opinions.iter().filter(|(round, _)| *round == self.round).map(|(_, it)| it)
    }

    fn enter(&mut self, stage: Stage, at: Timestamp) {
        if let Some(stay) = self.stays.last_mut() {
            stay.until.get_or_insert(at);
        }
        if matches!(stage, Stage::Draft | Stage::InReview | Stage::ChangesRequested) {
            self.stays.push(stages::Stay { stage, from: at, until: None });
        }
        self.stage = stage;
    }

    /// When the last verdict was given: an approval or a return happens with it.
    fn signed_at(&self) -> Timestamp {
        let last = self
            .opinions
            .last()
            .and_then(|(_, it)| super::instant(it.signature.signed_at.as_ref()));
        last.or_else(|| self.stays.last().map(|it| it.from)).unwrap_or_default()
    }
}

/// What the facts of a claim or a module add up to: its versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Versions(BTreeMap<u32, Version>);

impl Versions {
    pub(crate) fn get(&self, number: u32) -> Option<&Version> {
        self.0.get(&number)
    }

    pub(crate) fn newest(&self) -> Option<&Version> {
        self.0.values().next_back()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.0.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Versions that are approved and neither expired, withdrawn nor superseded, newest first.
    pub(crate) fn approved(&self) -> impl Iterator<Item = &Version> {
        self.0.values().rev().filter(|it| it.stage == Stage::Approved)
    }

    fn find(&self, number: u32) -> Result<&Version, Refusal> {
        self.get(number).ok_or(Refusal::Unknown)
    }
}

/// Decides. `window` reads from a content when it may be used.
pub(crate) fn decide(
    versions: &Versions,
    command: Command,
    at: Timestamp,
    window: fn(&[u8]) -> Window,
) -> Result<Vec<Fact>, Refusal> {
    match command {
        Command::Save { content, author } => save(versions, content, author, at),
        Command::Submit { version, markets, roles, packs } => {
            let version = submittable(versions, version, at, window)?;
            let Some(version) = version else { return Ok(Vec::new()) };
            Ok(vec![Fact::Submitted { version, markets, roles, packs, at }])
        }
        Command::Review(opinion) => review(versions, *opinion, at, window),
        Command::Withdraw { version, reason, cause } => {
            withdraw(versions, version, reason, cause, at)
        }
        Command::Expire { version } => {
            let over = versions
                .find(version)
                .is_ok_and(|it| it.stage == Stage::Approved && window(&it.content).is_over(at));
            Ok(if over { vec![Fact::Expired { version }] } else { Vec::new() })
        }
        Command::TakeOver { version } => {
            let usable = versions
                .find(version)
                .is_ok_and(|it| it.stage == Stage::Approved && window(&it.content).has_begun(at));
            Ok(if usable { superseded(versions, version) } else { Vec::new() })
        }
    }
}

fn save(
    versions: &Versions,
    content: Vec<u8>,
    author: String,
    at: Timestamp,
) -> Result<Vec<Fact>, Refusal> {
    let newest = versions.newest();
    if newest.is_some_and(|it| it.content == content && !it.stage.is_over()) {
        return Ok(Vec::new());
    }
    let version = newest.map_or(0, |it| it.number).checked_add(1).filter(|it| *it <= MOST_VERSIONS);
    let version = version.ok_or(Refusal::Full)?;
    let hash = hash_of(&content);
    Ok(vec![Fact::Drafted { version, content, hash, author, at }])
}

/// The number of a version that can go into review; nothing when it is in review already.
fn submittable(
    versions: &Versions,
    version: u32,
    at: Timestamp,
    window: fn(&[u8]) -> Window,
) -> Result<Option<u32>, Refusal> {
    let found = if version == 0 { versions.newest() } else { versions.get(version) };
    let found = found.ok_or(Refusal::Unknown)?;
    match found.stage {
        Stage::InReview => return Ok(None),
        Stage::Draft | Stage::ChangesRequested => {}
        stage @ (Stage::Approved | Stage::Expired | Stage::Withdrawn | Stage::Superseded) => {
            return Err(Refusal::WrongStage { stage, needs: "draft or changes_requested" });
        }
    }
    not_overtaken(versions, found.number)?;
    if window(&found.content).is_over(at) {
        return Err(Refusal::TimeOver);
    }
    Ok(Some(found.number))
}

fn not_overtaken(versions: &Versions, number: u32) -> Result<(), Refusal> {
    match versions.approved().next() {
        Some(newer) if newer.number > number => Err(Refusal::Overtaken { by: newer.number }),
        _ => Ok(()),
    }
}

fn review(
    versions: &Versions,
    opinion: Opinion,
    at: Timestamp,
    window: fn(&[u8]) -> Window,
) -> Result<Vec<Fact>, Refusal> {
    let version = versions.find(opinion.version)?;
    may_sign(versions, version, &opinion)?;
    let Opinion { version: number, role, verdict, .. } = opinion;
    let mut missing = version.roles.clone();
    missing.retain(|it| *it != role && version.in_round().all(|given| given.role != *it));
    let mut signature_ids: Vec<_> =
        version.in_round().map(|it| it.signature.signature_id.clone()).collect();
    signature_ids.push(opinion.signature.signature_id.clone());
    let mut facts = vec![Fact::Reviewed(Box::new(opinion))];
    match verdict {
        Verdict::Reject | Verdict::Unspecified => {
            facts.push(Fact::ChangesRequested { version: number, role });
        }
        Verdict::Approve if !missing.is_empty() => {}
        Verdict::Approve => {
            facts.push(Fact::Approved {
                version: number,
                hash: version.hash.clone(),
                signature_ids,
            });
            // Ahead of its time it replaces nothing yet; a timer does so when its time comes.
            if window(&version.content).has_begun(at) {
                facts.extend(superseded(versions, number));
            }
        }
    }
    Ok(facts)
}

fn may_sign(versions: &Versions, version: &Version, opinion: &Opinion) -> Result<(), Refusal> {
    if version.stage != Stage::InReview {
        return Err(Refusal::WrongStage { stage: version.stage, needs: "in_review" });
    }
    not_overtaken(versions, version.number)?;
    let signature = &opinion.signature;
    if signature.signer == version.author {
        return Err(Refusal::AuthorMayNotSign);
    }
    // Asked of the bytes: what was stored is not trusted to be what was hashed.
    if signature.content_hash != version.hash || version.hash != hash_of(&version.content) {
        return Err(Refusal::HashMismatch);
    }
    if !version.roles.contains(&opinion.role) {
        return Err(Refusal::RoleMissing);
    }
    let taken = version
        .in_round()
        .any(|it| it.role == opinion.role || it.signature.signer == signature.signer);
    let other_role = (version.opinions.iter())
        .any(|(_, it)| it.signature.signer == signature.signer && it.role != opinion.role);
    if taken || other_role {
        return Err(Refusal::AlreadySigned);
    }
    if opinion.verdict != Verdict::Approve && opinion.comment.trim().is_empty() {
        return Err(Refusal::CommentRequired);
    }
    Ok(())
}

/// The older approved versions that a version replaces.
fn superseded(versions: &Versions, by: u32) -> Vec<Fact> {
    let mut older: Vec<_> = versions.approved().map(|it| it.number).filter(|it| *it < by).collect();
    older.sort_unstable();
    older.into_iter().map(|version| Fact::Superseded { version, by }).collect()
}

fn withdraw(
    versions: &Versions,
    version: u32,
    reason: String,
    cause: String,
    at: Timestamp,
) -> Result<Vec<Fact>, Refusal> {
    let live = match version {
        0 if versions.is_empty() => return Err(Refusal::Unknown),
        0 => versions.iter().any(|it| !it.stage.is_over()),
        number => !versions.find(number)?.stage.is_over(),
    };
    Ok(if live { vec![Fact::Withdrawn { version, reason, cause, at }] } else { Vec::new() })
}

/// Folds a fact. A fact of an unknown version changes nothing.
pub(crate) fn evolve(mut versions: Versions, fact: Fact) -> Versions {
    match fact {
        Fact::Drafted { version, content, hash, author, at } => {
            versions.0.insert(version, drafted(version, content, hash, author, at));
        }
        Fact::Submitted { version, roles, packs, at, markets: _ } => {
            if let Some(it) = versions.0.get_mut(&version) {
                (it.roles, it.packs, it.round) = (roles, packs, it.round.saturating_add(1));
                it.enter(Stage::InReview, at);
            }
        }
        Fact::Reviewed(opinion) => {
            if let Some(it) = versions.0.get_mut(&opinion.version) {
                it.opinions.push((it.round, *opinion));
            }
        }
        Fact::ChangesRequested { version, role: _ } => {
            if let Some(it) = versions.0.get_mut(&version) {
                it.enter(Stage::ChangesRequested, it.signed_at());
            }
        }
        Fact::Approved { version, hash, signature_ids } => {
            if let Some(it) = versions.0.get_mut(&version) {
                (it.approved_hash, it.signature_ids) = (hash, signature_ids);
                it.enter(Stage::Approved, it.signed_at());
            }
        }
        Fact::Superseded { version, by: _ } => {
            if let Some(it) = versions.0.get_mut(&version) {
                it.stage = Stage::Superseded;
            }
        }
        Fact::Expired { version } => {
            if let Some(it) = versions.0.get_mut(&version) {
                it.stage = Stage::Expired;
            }
        }
        Fact::Withdrawn { version, reason, cause, at } => {
            let named = |it: &&mut Version| version == 0 || it.number == version;
            for it in versions.0.values_mut().filter(named).filter(|it| !it.stage.is_over()) {
                it.enter(Stage::Withdrawn, at);
                (it.reason, it.cause) = (reason.clone(), cause.clone());
            }
        }
    }
    versions
}

fn drafted(number: u32, content: Vec<u8>, hash: String, author: String, at: Timestamp) -> Version {
    Version {
        number,
        stage: Stage::Draft,
        content,
        hash,
        author,
        roles: Vec::new(),
        packs: Vec::new(),
        opinions: Vec::new(),
        round: 0,
        approved_hash: String::new(),
        signature_ids: Vec::new(),
        reason: String::new(),
        cause: String::new(),
        stays: vec![stages::Stay { stage: Stage::Draft, from: at, until: None }],
    }
}

#[cfg(test)]
mod tests;
