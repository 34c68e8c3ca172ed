//! Units of several streams: one commit, or none.
//!
//! | what | streams |
//! |---|---|
//! | an invitation is decided | invitation, asked |
//! | its touch was not sent | invitation, asked |
//! | an answer | invitation, response, its texts, cases it calls for |
//! | a case with a text | case, text |

mod answer;

use eventstore::{
    AsOf, Decider as _, Error, Loaded, Metadata, Outcome, Store, Unit, UnitBuilder, UnitError,
    derive_id,
};
use rapport_proto::Personal;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::invitation::State as Status;

use crate::domain::asked::{self, Asked};
use crate::domain::case::{self, Case};
use crate::domain::invitation::{self, Command, Invitation, NOT_LIVE, NOT_SURVEY, QUOTA};
use crate::domain::survey::{Gaps, Survey, answer_within};
use crate::domain::text::{self, Text};
use crate::domain::{Wrong, later};
use crate::view;
use crate::view::party::Party;

pub(crate) use answer::{Submission, submit};

/// How often a unit is decided again because others got ahead.
const ATTEMPTS: usize = 32;

/// Why a unit has no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0} names nothing")]
    Unknown(&'static str),
    #[error(transparent)]
    Invitation(#[from] invitation::Refusal),
    #[error(transparent)]
    Case(#[from] case::Refusal),
    #[error("the answers do not fit the survey")]
    Answers(Vec<Wrong>),
    #[error("the request id was used for another request")]
    RequestReused,
    #[error("{0}")]
    TooLarge(String),
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<UnitError> for Failure {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Store(it) => Self::Store(it),
            other => Self::TooLarge(other.to_string()),
        }
    }
}

/// A unit of a consumer or a timer that cannot be built is damaged input.
pub(crate) fn unbuilt(error: UnitError) -> Error {
    match error {
        UnitError::Store(it) => it,
        other => Error::corrupt(other.to_string()),
    }
}

/// What became of a unit.
enum Appended {
    Yes(u64),
    /// Others changed a stream, or took the last place: decide again.
    Again,
    /// The same request was granted before.
    Before,
    /// Another replica did it.
    Elsewhere,
}

async fn append(store: &Store, unit: Unit) -> Result<Appended, Failure> {
    match store.append(unit).await {
        Outcome::Committed { position } => Ok(Appended::Yes(position)),
        Outcome::Conflict => Ok(Appended::Again),
        Outcome::Refused(what) if what.contains(view::survey::FULL) => Ok(Appended::Again),
        Outcome::Refused(what) => Err(Error::corrupt(what).into()),
        Outcome::Repeated { .. } => Ok(Appended::Before),
        Outcome::Superseded => Ok(Appended::Elsewhere),
        Outcome::RequestReused => Err(Failure::RequestReused),
        Outcome::Failed(error) => Err(error.into()),
    }
}

fn kept_changing(what: &str) -> Failure {
    Error::unavailable(format!("{what} kept changing")).into()
}

/// Decides an invitation that was asked for: it is issued, or declined with a reason.
pub(crate) async fn decide(store: &Store, meta: &Metadata, id: &str) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS {
        let invitation = store.load::<Invitation>(&meta.tenant, id, AsOf::Now).await?;
        if invitation.state.status != Status::Requested {
            return Ok(());
        }
        let (command, asked) = judge(store, meta, &invitation.state.requested).await?;
        let events = Invitation::decide(&invitation.state, command, meta.at)?;
        let mut unit = store.unit(meta.clone());
        unit.push::<Invitation>(id, invitation.version, &invitation.state, events).await?;
        if let Some((loaded, events)) = asked {
            let party_id = &invitation.state.requested.party_id;
            unit.push::<Asked>(party_id, loaded.version, &loaded.state, events).await?;
        }
        match append(store, unit.finish()?).await? {
            Appended::Again => {}
            Appended::Yes(_) | Appended::Before | Appended::Elsewhere => return Ok(()),
        }
    }
    Err(kept_changing(id))
}

type Counting = (Loaded<asked::State>, Vec<proto::asked_event::Event>);

async fn judge(
    store: &Store,
    meta: &Metadata,
    requested: &proto::InvitationRequested,
) -> Result<(Command, Option<Counting>), Error> {
    let decline = |reason, next_allowed_at| (Command::Decline { reason, next_allowed_at }, None);
    let survey = store.load::<Survey>(&meta.tenant, &requested.survey, AsOf::Now).await?.state;
    let Some((version, document)) = survey.live() else { return Ok(decline(NOT_LIVE, None)) };
    let module = document.module.as_str();
    if view::module::is_no_survey(store.database(), &meta.tenant, module).await? {
        return Ok(decline(NOT_SURVEY, None));
    }
    let asked = store.load::<Asked>(&meta.tenant, &requested.party_id, AsOf::Now).await?;
    let ask = asked::Command::Ask {
        party_id: requested.party_id.clone(),
        invitation_id: requested.invitation_id.clone(),
        family: document.family.clone(),
        gaps: Gaps::of(document),
    };
    let counting = match Asked::decide(&asked.state, ask, meta.at) {
        Ok(events) => (asked, events),
        Err(held) => return Ok(decline(held.reason, Some(held.next_allowed_at))),
    };
    if document.quota > 0 {
        let database = store.database();
        let issued = view::survey::issued(database, &meta.tenant, &requested.survey).await?;
        if issued >= document.quota.into() {
            return Ok(decline(QUOTA, None));
        }
    }
    let issued = issued(meta, requested, version, document);
    Ok((Command::Issue(Box::new(issued)), Some(counting)))
}

fn issued(
    meta: &Metadata,
    requested: &proto::InvitationRequested,
    version: u32,
    document: &proto::Survey,
) -> proto::InvitationIssued {
    let it = requested.clone();
    let touch_id = derive_id("tch", &[&meta.tenant, "tch", &it.invitation_id]);
    proto::InvitationIssued {
        invitation_id: it.invitation_id,
        survey: it.survey,
        version,
        family: document.family.clone(),
        party_id: it.party_id,
        module: document.module.clone(),
        channel: it.channel,
        sender_id: it.sender_id,
        about_touch_id: it.about_touch_id,
        instance_id: it.instance_id,
        touch_id,
        expires_at: it.expires_at,
        answer_until: Some(later(meta.at, answer_within(document)).to_proto()),
        journey_id: it.journey_id,
        quota: document.quota,
    }
}

/// What became of an invitation's touch; nothing when that changes nothing. One that was not sent no longer counts
/// against cooldowns.
pub(crate) async fn settle(
    store: &Store,
    meta: Metadata,
    id: &str,
    sent: bool,
    detail: String,
) -> Result<Option<Unit>, Error> {
    let invitation = store.load::<Invitation>(&meta.tenant, id, AsOf::Now).await?;
    let settle = Command::Settle { sent, detail };
    let events = Invitation::decide(&invitation.state, settle, meta.at)
        .map_err(|refusal| Error::corrupt(format!("{id}: {refusal}")))?;
    if events.is_empty() {
        return Ok(None);
    }
    let party_id = invitation.state.requested.party_id.clone();
    let asked = store.load::<Asked>(&meta.tenant, &party_id, AsOf::Now).await?;
    let at = meta.at;
    let mut unit = store.unit(meta);
    let pushed = unit.push::<Invitation>(id, invitation.version, &invitation.state, events);
    pushed.await.map_err(unbuilt)?;
    if !sent {
        let release = asked::Command::Release { invitation_id: id.to_owned() };
        let released = Asked::decide(&asked.state, release, at).unwrap_or_default();
        let pushed = unit.push::<Asked>(&party_id, asked.version, &asked.state, released);
        pushed.await.map_err(unbuilt)?;
    }
    unit.finish().map(Some).map_err(unbuilt)
}

/// A free text on its way into a unit: it is screened before anybody reads it.
struct NewText<'a> {
    text_id: String,
    of: &'static str,
    of_id: &'a str,
    party_id: &'a str,
    party: &'a Party,
    language: &'a str,
    products: &'a [String],
    medical: bool,
    text: &'a str,
}

async fn receive(
    unit: &mut UnitBuilder,
    meta: &Metadata,
    new: NewText<'_>,
) -> Result<(), UnitError> {
    let received = proto::TextReceived {
        text_id: new.text_id.clone(),
        party_id: new.party_id.to_owned(),
        of: new.of.to_owned(),
        of_id: new.of_id.to_owned(),
        language: new.language.to_owned(),
        products: new.products.to_vec(),
        text: Some(Personal::text(new.text)),
        received_at: Some(meta.at.to_proto()),
        market: new.party.market.clone(),
        medical: new.medical,
    };
    let state = text::State::default();
    let receive = text::Command::Receive(Box::new(received));
    let events = Text::decide(&state, receive, meta.at).unwrap_or_default();
    unit.push::<Text>(&new.text_id, 0, &state, events).await
}

/// A case that is to be opened, with what the customer said.
pub(crate) struct NewCase {
    pub(crate) opened: proto::CaseOpened,
    pub(crate) text: String,
    pub(crate) language: String,
}

/// Opens a case; returns the position at which it holds. Nobody else writes its streams, but the key of a party that is
/// new here may be made by another at the same moment.
pub(crate) async fn open_case(
    store: &Store,
    meta: &Metadata,
    new: NewCase,
) -> Result<u64, Failure> {
    let NewCase { mut opened, text, language } = new;
    let (case_id, party_id) = (opened.case_id.clone(), opened.party_id.clone());
    let party = view::party::find(store.database(), &meta.tenant, &party_id).await?;
    let medical = opened.r#type() == proto::CaseType::MedicalInquiry;
    opened.market.clone_from(&party.market);
    if !text.is_empty() {
        opened.text_id = derive_id("txt", &[&meta.tenant, "txt", &case_id]);
    }
    for _ in 0..ATTEMPTS {
        match store.find_request(meta).await? {
            Some(Outcome::Repeated { position, .. }) => return Ok(position),
            Some(_) => return Err(Failure::RequestReused),
            None => {}
        }
        let mut unit = store.unit(meta.clone());
        push_case(&mut unit, meta, opened.clone()).await?;
        if !text.is_empty() {
            let new = NewText {
                text_id: opened.text_id.clone(),
                of: "case",
                of_id: &case_id,
                party_id: &party_id,
                party: &party,
                language: &language,
                products: &[],
                medical,
                text: &text,
            };
            receive(&mut unit, meta, new).await?;
        }
        match append(store, unit.finish()?).await? {
            Appended::Yes(position) => return Ok(position),
            Appended::Again | Appended::Before => {}
            Appended::Elsewhere => break,
        }
    }
    Err(kept_changing(&case_id))
}

async fn push_case(
    unit: &mut UnitBuilder,
    meta: &Metadata,
    opened: proto::CaseOpened,
) -> Result<(), Failure> {
    let (case_id, state) = (opened.case_id.clone(), case::State::default());
    let events = Case::decide(&state, case::Command::Open(Box::new(opened)), meta.at)?;
    Ok(unit.push::<Case>(&case_id, 0, &state, events).await?)
}
