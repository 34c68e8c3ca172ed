//! Which version of a module or claim counts at an instant, and which variant of it.

use rapport_proto::content::v1::{ClaimContent, ModuleContent, Variant};
use rapport_proto::types::{Audience, Channel};

use super::{Ask, EXPIRED, NOT_APPROVED, Unusable, WITHDRAWN};
use crate::domain::claim;
use crate::domain::module;
use crate::domain::review::{Stage, Version, Versions};
use crate::domain::{Window, instant};

/// A version that may be used now, and its content.
#[derive(Clone, Debug)]
pub(super) struct Chosen<'a, C> {
    pub(super) version: &'a Version,
    pub(super) content: C,
}

/// The newest approved version of a module that fits.
pub(super) fn module<'a>(
    versions: &'a Versions,
    ask: &Ask,
) -> Result<Chosen<'a, ModuleContent>, Unusable> {
    let fits = |it: &ModuleContent| {
        if !it.markets.contains(&ask.market) {
            return Err("market");
        }
        if !it.audiences.contains(&i32::from(ask.audience)) || ask.audience == Audience::Unspecified
        {
            return Err("audience");
        }
        let said = it.variants.iter().any(|it| it.channel() == ask.channel);
        if said && ask.channel != Channel::Unspecified { Ok(()) } else { Err("channel") }
    };
    newest(versions, ask, module::content_of, module::window_of, fits)
}

/// The newest approved version of a claim for the market.
pub(super) fn claim<'a>(
    versions: &'a Versions,
    ask: &Ask,
) -> Result<Chosen<'a, ClaimContent>, Unusable> {
    let fits =
        |it: &ClaimContent| if it.markets.contains(&ask.market) { Ok(()) } else { Err("market") };
    let window = |it: &ClaimContent| Window { from: None, until: instant(it.expires_at.as_ref()) };
    newest(versions, ask, claim::content_of, window, fits)
}

/// The newest version that is approved, in its time, and fits. If there is none, the newest that would have been used
/// says why it is not.
fn newest<'a, C>(
    versions: &'a Versions,
    ask: &Ask,
    content_of: impl Fn(&Version) -> Option<C>,
    window: impl Fn(&C) -> Window,
    fits: impl Fn(&C) -> Result<(), &'static str>,
) -> Result<Chosen<'a, C>, Unusable> {
    let (mut over, mut misfit) = (None, None);
    for version in versions.iter().rev().filter(|it| it.was_approved()) {
        // What was signed is what is used, or nothing is.
        let content = content_of(version).filter(|_| version.is_intact());
        let Some(content) = content else {
            if version.stage == Stage::Approved {
                return Err(Unusable::new(NOT_APPROVED, "tampered"));
            }
            continue;
        };
        if let Err(what) = fits(&content) {
            misfit.get_or_insert(what);
            continue;
        }
        let window = window(&content);
        match version.stage {
            Stage::Approved if window.is_over(ask.at) => {
                over.get_or_insert(Unusable::new(EXPIRED, "expired"));
            }
            Stage::Approved if window.has_begun(ask.at) => return Ok(Chosen { version, content }),
            Stage::Approved => misfit = misfit.or(Some("not_yet_usable")),
            Stage::Expired => drop(over.get_or_insert(Unusable::new(EXPIRED, "expired"))),
            Stage::Withdrawn => drop(over.get_or_insert(Unusable::new(WITHDRAWN, "withdrawn"))),
            Stage::Superseded | Stage::Draft | Stage::InReview | Stage::ChangesRequested => {}
        }
    }
    let never = || versions.newest().map_or("unknown", |it| it.stage.name());
    Err(over.unwrap_or_else(|| Unusable::new(NOT_APPROVED, misfit.unwrap_or_else(never))))
}

/// The variant of the root: in the language asked for, else in the market's default; in the tone, else the plain one.
pub(super) fn variant_of_root<'a>(content: &'a ModuleContent, ask: &Ask) -> Option<&'a Variant> {
    let default = content.default_languages.get(&ask.market).map(String::as_str);
    let asked = Some(ask.language.as_str()).filter(|it| !it.is_empty());
    asked.into_iter().chain(default).find_map(|language| variant_in(content, ask, language))
}

/// The variant of a part: in the language of the root, so that a message has one.
pub(super) fn variant_in<'a>(
    content: &'a ModuleContent,
    ask: &Ask,
    language: &str,
) -> Option<&'a Variant> {
    let of = |tone: &str| {
        content.variants.iter().find(|it| {
            it.channel() == ask.channel
                && it.language.eq_ignore_ascii_case(language)
                && it.tone == tone
        })
    };
    of(&ask.tone).or_else(|| of(""))
}
