//! What policies and rule packs have in common: the commands and facts of a version's life.

use ::authored::version::{Refusal, State, Versions, hash_from};
use eventstore::{Timestamp, hex};
use rapport_proto::decisioning::v1::VersionStep;

/// Who takes a step, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
}

impl Step {
    pub(crate) fn to_proto(&self) -> Option<VersionStep> {
        Some(VersionStep { by: self.by.clone(), at: Some(self.at.to_proto()) })
    }

    /// A fact without a step is of nobody and of no time.
    pub(crate) fn of(step: Option<&VersionStep>) -> Self {
        let by = step.map(|it| it.by.clone()).unwrap_or_default();
        Self { by, at: super::instant(step.and_then(|it| it.at.as_ref())).unwrap_or_default() }
    }
}

/// A step in the life of a version that carries nothing but itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn<'a> {
    Drafted(&'a [u8]),
    Checked(&'a [u8]),
    Approved,
    Activated,
    Retired,
}

/// Folds a step.
pub(crate) fn turn(
    versions: &mut Versions,
    version: u32,
    step: Option<&VersionStep>,
    turn: &Turn<'_>,
) {
    let Step { by, at } = Step::of(step);
    match turn {
        Turn::Drafted(hash) => {
            versions.drafted(version, &by, hash_from(hash).unwrap_or_default(), at);
        }
        Turn::Checked(hash) => versions.checked(version, hash_from(hash).unwrap_or_default(), at),
        Turn::Approved => versions.approved(version, &by, at),
        Turn::Activated => versions.activated(version, at),
        Turn::Retired => versions.retired(version, at),
    }
}

/// The bytes of a hash that a request gave in hexadecimal.
pub(crate) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    (hex(&hash) == text.to_ascii_lowercase()).then_some(hash)
}

/// Whether the version was approved already by this person: a repeat without the request id is harmless.
pub(crate) fn approved_by(versions: &Versions, version: u32, by: &str) -> bool {
    let approved = [State::Approved, State::Live, State::Retired];
    (versions.get(version))
        .is_some_and(|it| approved.contains(&it.state) && it.approved_by.as_deref() == Some(by))
}

/// The version meant by a request: 0 is the newest.
pub(crate) fn meant(versions: &Versions, version: u32) -> Result<u32, Refusal> {
    match version {
        0 => versions.newest().map(|(it, _)| it).ok_or(Refusal::UnknownVersion { version }),
        version => Ok(version),
    }
}
