//! Between messages and domain values; the only files that see both.

use authored::document;
use chassis::auth::{Caller, Kind};
use chassis::status::{Problem, Violation};
use chassis::text::Check;
use eventstore::{Metadata, Timestamp};
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::{ReviewRole, State, Verdict};
use rapport_proto::is_market;
use rapport_proto::types::{Audience, Channel};

use crate::domain;
use crate::domain::claim;
use crate::domain::module;
use crate::domain::review::{Command, Opinion, Stage, StageTime, Version, Versions, role_name};
use crate::domain::text::{is_code, is_language};
use crate::refusal::ROLE_NOT_HELD;
use crate::render::{Ask, Values};

/// The part of a request that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::field(field, "Give it: it is required."))
}

/// A document given as YAML; each problem names its line and column.
pub(crate) fn yaml<M>(text: &str) -> Result<M, Problem>
where
    M: prost::Message + prost::Name + Default,
{
    document::parse(text).map_err(|problems| {
        let told = |it: &document::Problem| Violation::new("definition", it.to_string());
        problems.iter().map(told).collect::<Vec<_>>().into()
    })
}

/// A reason code, which also stands in the envelope.
pub(crate) fn reason(reason: &str) -> Result<String, Problem> {
    if is_code(reason) {
        Ok(reason.to_owned())
    } else {
        Err(Problem::field("reason", domain::text::CODE))
    }
}

/// What a reviewer says, whether of a claim or of a module.
pub(crate) struct Spoken<'a> {
    pub(crate) version: u32,
    pub(crate) role: ReviewRole,
    pub(crate) verdict: Verdict,
    pub(crate) comment: &'a str,
    pub(crate) content_hash: &'a str,
    pub(crate) printed_name: &'a str,
    pub(crate) meaning: &'a str,
    pub(crate) offset_seconds: i32,
}

macro_rules! spoken {
    ($($request:ident),*) => {$(
        impl<'a> From<&'a proto::$request> for Spoken<'a> {
            fn from(it: &'a proto::$request) -> Self {
                Self {
                    version: it.version,
                    role: it.role(),
                    verdict: it.verdict(),
                    comment: &it.comment,
                    content_hash: &it.content_hash,
                    printed_name: &it.printed_name,
                    meaning: &it.meaning,
                    offset_seconds: it.offset_seconds,
                }
            }
        }
    )*};
}
spoken!(ReviewClaimRequest, ReviewModuleRequest);

/// The furthest a clock is from UTC: 14 hours.
const FURTHEST: i32 = 50_400;

/// The command, and the id of its signature.
pub(crate) fn review(
    spoken: &Spoken<'_>,
    caller: &Caller,
    meta: &Metadata,
) -> Result<(Command, String), Problem> {
    let mut check = Check::default();
    check.require(spoken.version > 0, "version", "Name the version that was read.");
    check.require(spoken.role != ReviewRole::Unspecified, "role", "Choose a role.");
    check.require(spoken.verdict != Verdict::Unspecified, "verdict", "Choose a verdict.");
    let comment = check.prose("comment", spoken.comment, 0..=2000);
    let hashed = spoken.content_hash.len() == 64
        && spoken.content_hash.bytes().all(|b| b.is_ascii_hexdigit());
    check.require(hashed, "content_hash", "Give the hash of the version as 64 hexadecimal digits.");
    let printed_name = check.text("printed_name", spoken.printed_name, 1..=200);
    let meaning = check.text("meaning", spoken.meaning, 1..=500);
    let offset_fits = (-FURTHEST..=FURTHEST).contains(&spoken.offset_seconds);
    check.require(offset_fits, "offset_seconds", "Use -50400 to 50400.");
    check.finish()?;
    holds(caller, spoken.role)?;
    let signature_id = signature_id(meta);
    let signature = proto::Signature {
        signature_id: signature_id.clone(),
        signer: caller.subject.clone(),
        printed_name,
        signed_at: Some(meta.at.to_proto()),
        offset_seconds: spoken.offset_seconds,
        meaning,
        content_hash: spoken.content_hash.to_ascii_lowercase(),
        authenticated_at: caller.authenticated_at.map(Timestamp::to_proto),
    };
    let Spoken { version, role, verdict, .. } = *spoken;
    Ok((
        Command::Review(Box::new(Opinion { version, role, verdict, comment, signature })),
        signature_id,
    ))
}

/// Who signs in a role has it from the issuer of the token: no permission stands for it, not even `*`. A development
/// token, which exists in embedded mode only, names nobody's roles and has them all.
fn holds(caller: &Caller, role: ReviewRole) -> Result<(), Problem> {
    let name = role_name(role);
    let held = caller.roles.iter().any(|it| it.eq_ignore_ascii_case(&name));
    if held || caller.kind == Kind::Development {
        return Ok(());
    }
    let remedy = format!(
        "Sign in a role that your token names, or let a person sign whose token names {name}."
    );
    Err(Problem::of(ROLE_NOT_HELD).violation("role", remedy))
}

/// An id that a retry derives again: from who asked for what, with which request id.
fn signature_id(meta: &Metadata) -> String {
    const PREFIX: &str = "sig";
    let parts =
        [meta.tenant.as_str(), &meta.actor.subject, &meta.method, &meta.request_id, PREFIX, "0"];
    eventstore::derive_id(PREFIX, &parts)
}

/// For whom, where and when; `time` is now when it is absent.
pub(crate) fn ask(
    market: &str,
    audience: Audience,
    channel: Channel,
    language: &str,
    time: Option<&prost_types::Timestamp>,
    now: Timestamp,
) -> Result<Ask, Problem> {
    let mut check = Check::default();
    check.require(is_market(market), "market", domain::text::MARKET);
    check.require(audience != Audience::Unspecified, "audience", "Choose an audience.");
    check.require(channel != Channel::Unspecified, "channel", "Choose a channel.");
    check.require(language.is_empty() || is_language(language), "language", domain::text::LANGUAGE);
    let at = if time.is_some() { domain::instant(time) } else { Some(now) };
    check.require(at.is_some(), "time", "Use a time between the years 1 and 9999.");
    check.finish()?;
    Ok(Ask {
        market: market.to_owned(),
        audience,
        channel,
        language: language.to_owned(),
        tone: String::new(),
        at: at.unwrap_or(now),
    })
}

/// What a render request asks for. Values are checked against their slots when they are printed.
pub(crate) fn render(
    request: &proto::RenderRequest,
    now: Timestamp,
) -> Result<(Ask, Values), Problem> {
    const MOST: usize = 200;
    let (audience, channel) = (request.audience(), request.channel());
    let ask =
        ask(&request.market, audience, channel, &request.language, request.time.as_ref(), now)?;
    let mut check = Check::default();
    check.require(request.tone.is_empty() || is_code(&request.tone), "tone", domain::text::CODE);
    check.require(request.slots.len() <= MOST, "slots", "Give at most 200 values.");
    check.require(request.party_fields.len() <= MOST, "party_fields", "Give at most 200 values.");
    check.finish()?;
    let values =
        Values { slots: request.slots.clone(), party_fields: request.party_fields.clone() };
    Ok((Ask { tone: request.tone.clone(), ..ask }, values))
}

/// Which versions of a claim or module are told, and which content with them: a stream has room for far more than a
/// reply has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The newest and those that are approved.
    Listed,
    /// Every version.
    All,
    /// One of them.
    One(u32),
}

impl Shown {
    fn holds(self, version: &Version, versions: &Versions) -> bool {
        match self {
            Self::Listed => version.stage == Stage::Approved || is_newest(version, versions),
            Self::All => true,
            Self::One(number) => version.number == number,
        }
    }

    /// Whether the content of a module's version is told.
    fn holds_content(self, version: &Version, versions: &Versions) -> bool {
        let read = matches!(version.stage, Stage::InReview | Stage::Approved);
        match self {
            Self::Listed => false,
            Self::All => read || is_newest(version, versions),
            Self::One(number) => version.number == number,
        }
    }
}

fn is_newest(version: &Version, versions: &Versions) -> bool {
    versions.newest().is_some_and(|it| it.number == version.number)
}

pub(crate) fn claim(
    tenant: &str,
    claim_id: &str,
    versions: &Versions,
    now: Timestamp,
    shown: Shown,
) -> proto::Claim {
    let version = |it: &Version| proto::ClaimVersion {
        version: it.number,
        state: state_of(it.stage).into(),
        content: claim::content_of(it),
        content_hash: it.hash.clone(),
        author: it.author.clone(),
        roles: it.roles.iter().map(|role| i32::from(*role)).collect(),
        reviews: reviews(it),
        stage_times: stage_times(it, now),
        reason: it.reason.clone(),
        packs: it.packs.clone(),
        cause: it.cause.clone(),
    };
    proto::Claim {
        name: chassis::name::print(tenant, &[("claims", claim_id)]),
        claim_id: claim_id.to_owned(),
        versions: versions.iter().filter(|it| shown.holds(it, versions)).map(version).collect(),
    }
}

pub(crate) fn module(
    tenant: &str,
    module_id: &str,
    versions: &Versions,
    now: Timestamp,
    shown: Shown,
) -> proto::Module {
    let version = |it: &Version| {
        let content = module::content_of(it);
        let (usable_time, expire_time) =
            content.as_ref().map(|it| (it.usable_from, it.expires_at)).unwrap_or_default();
        proto::ModuleVersion {
            version: it.number,
            state: state_of(it.stage).into(),
            content: content.filter(|_| shown.holds_content(it, versions)),
            content_hash: it.hash.clone(),
            author: it.author.clone(),
            roles: it.roles.iter().map(|role| i32::from(*role)).collect(),
            packs: it.packs.clone(),
            reviews: reviews(it),
            stage_times: stage_times(it, now),
            reason: it.reason.clone(),
            usable_time,
            expire_time,
            cause: it.cause.clone(),
        }
    };
    proto::Module {
        name: chassis::name::print(tenant, &[("modules", module_id)]),
        module_id: module_id.to_owned(),
        versions: versions.iter().filter(|it| shown.holds(it, versions)).map(version).collect(),
    }
}

fn reviews(version: &Version) -> Vec<proto::Review> {
    let review = |(round, it): &(u32, Opinion)| proto::Review {
        role: it.role.into(),
        verdict: it.verdict.into(),
        comment: it.comment.clone(),
        signature: Some(it.signature.clone()),
        round: *round,
    };
    version.opinions.iter().map(review).collect()
}

fn stage_times(version: &Version, now: Timestamp) -> Vec<proto::StageTime> {
    let told = |StageTime { stage, seconds, open }| proto::StageTime { stage, seconds, open };
    version.stage_times(now).into_iter().map(told).collect()
}

fn state_of(stage: Stage) -> State {
    match stage {
        Stage::Draft => State::Draft,
        Stage::InReview => State::InReview,
        Stage::ChangesRequested => State::ChangesRequested,
        Stage::Approved => State::Approved,
        Stage::Expired => State::Expired,
        Stage::Withdrawn => State::Withdrawn,
        Stage::Superseded => State::Superseded,
    }
}
