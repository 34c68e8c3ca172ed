//! A statement that may be printed, verbatim, once approved, while a reference substantiates it.

use eventstore::{Decider, Timestamp};
use prost::Message as _;
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::claim_event::Event;
use rapport_proto::content::v1::{ReviewRole, Verdict};

use super::review::{self, Command, Fact, Opinion, Refusal, Version, Versions};
use super::{Window, instant};

pub(crate) mod content;

/// The aggregate; stream `claim/<id>`.
pub(crate) enum Claim {}

impl Decider for Claim {
    const AGGREGATE: &'static str = "claim";
    type Command = Command;
    type State = Versions;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(versions: &Versions, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let facts = review::decide(versions, command, at, window)?;
        Ok(facts.into_iter().map(|fact| named(versions, fact)).collect())
    }

    fn evolve(versions: Versions, event: &Event) -> Versions {
        review::evolve(versions, fact(event))
    }
}

/// The content of a version; none when its bytes are no content.
pub(crate) fn content_of(version: &Version) -> Option<proto::ClaimContent> {
    proto::ClaimContent::decode(version.content.as_slice()).ok()
}

fn window(content: &[u8]) -> Window {
    let content = proto::ClaimContent::decode(content).unwrap_or_default();
    Window { from: None, until: instant(content.expires_at.as_ref()) }
}

/// The fact as a claim's own.
fn named(versions: &Versions, fact: Fact) -> Event {
    match fact {
        Fact::Drafted { version, content, hash: content_hash, author, at } => {
            let saved_at = Some(at.to_proto());
            Event::DraftSaved(proto::ClaimDraftSaved {
                version,
                content,
                content_hash,
                author,
                saved_at,
            })
        }
        Fact::Submitted { version, markets: _, roles, packs, at } => {
            let roles = roles.into_iter().map(i32::from).collect();
            let submitted_at = Some(at.to_proto());
            Event::Submitted(proto::ClaimSubmitted { version, roles, packs, submitted_at })
        }
        Fact::Reviewed(opinion) => Event::VerdictRecorded(proto::ClaimVerdictRecorded {
            version: opinion.version,
            role: opinion.role.into(),
            verdict: opinion.verdict.into(),
            comment: opinion.comment,
            signature: Some(opinion.signature),
        }),
        Fact::ChangesRequested { version, role } => {
            Event::ChangesRequested(proto::ClaimChangesRequested { version, role: role.into() })
        }
        Fact::Approved { version, hash, signature_ids } => {
            let content = versions.get(version).and_then(content_of);
            Event::Approved(approved(version, hash, signature_ids, content))
        }
        Fact::Superseded { version, by } => {
            Event::Superseded(proto::ClaimSuperseded { version, by })
        }
        Fact::Withdrawn { version, reason, cause, at } => {
            let withdrawn_at = Some(at.to_proto());
            Event::Withdrawn(proto::ClaimWithdrawn { version, reason, cause, withdrawn_at })
        }
        Fact::Expired { version } => Event::Expired(proto::ClaimExpired { version }),
    }
}

fn approved(
    version: u32,
    content_hash: String,
    signature_ids: Vec<String>,
    content: Option<proto::ClaimContent>,
) -> proto::ClaimApproved {
    proto::ClaimApproved { version, content_hash, signature_ids, content }
}

/// What a claim's fact says about its review.
pub(crate) fn fact(event: &Event) -> Fact {
    let at = |time: &Option<prost_types::Timestamp>| instant(time.as_ref()).unwrap_or_default();
    match event.clone() {
        Event::DraftSaved(it) => Fact::Drafted {
            version: it.version,
            content: it.content,
            hash: it.content_hash,
            author: it.author,
            at: at(&it.saved_at),
        },
        Event::Submitted(it) => Fact::Submitted {
            version: it.version,
            roles: it.roles().collect(),
            markets: Vec::new(),
            packs: it.packs,
            at: at(&it.submitted_at),
        },
        Event::VerdictRecorded(it) => Fact::Reviewed(Box::new(Opinion {
            version: it.version,
            role: ReviewRole::try_from(it.role).unwrap_or_default(),
            verdict: Verdict::try_from(it.verdict).unwrap_or_default(),
            comment: it.comment,
            signature: it.signature.unwrap_or_default(),
        })),
        Event::ChangesRequested(it) => {
            Fact::ChangesRequested { version: it.version, role: it.role() }
        }
        Event::Approved(it) => Fact::Approved {
            version: it.version,
            hash: it.content_hash,
            signature_ids: it.signature_ids,
        },
        Event::Superseded(it) => Fact::Superseded { version: it.version, by: it.by },
        Event::Withdrawn(it) => Fact::Withdrawn {
            version: it.version,
            reason: it.reason,
            cause: it.cause,
            at: at(&it.withdrawn_at),
        },
        Event::Expired(it) => Fact::Expired { version: it.version },
    }
}

#[cfg(test)]
mod tests;
