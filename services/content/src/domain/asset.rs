//! A binary file that content may show, known by its hash, for as long as its rights last: VALID → EXPIRED.

use eventstore::{Decider, Timestamp};
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::asset_event::Event;

use super::instant;
use super::wrong::{Findings, ends_later};

/// The aggregate; stream `asset/<id>`.
pub(crate) enum Asset {}

/// What can be wished of an asset.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Register(proto::Asset),
    /// Note that its rights ran out.
    Expire {
        reason: String,
    },
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the asset is not known")]
    Unknown,
    #[error("the asset is known with another content")]
    Exists,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) asset: Option<proto::Asset>,
    expired: bool,
}

impl State {
    /// Whether it may be shown at an instant.
    pub(crate) fn counts_at(&self, at: Timestamp) -> bool {
        let rights_until = |it: &proto::Asset| instant(it.rights_until.as_ref());
        !self.expired
            && self.asset.as_ref().is_some_and(|it| rights_until(it).is_none_or(|until| until > at))
    }
}

impl Decider for Asset {
    const AGGREGATE: &'static str = "asset";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (command, &state.asset) {
            (Command::Register(asset), None) => {
                Ok(vec![Event::Stored(proto::AssetStored { asset: Some(asset) })])
            }
            (Command::Register(asset), Some(known)) if asset == *known => Ok(Vec::new()),
            (Command::Register(_), Some(_)) => Err(Refusal::Exists),
            (Command::Expire { .. }, None) => Err(Refusal::Unknown),
            (Command::Expire { .. }, Some(_)) if state.expired => Ok(Vec::new()),
            (Command::Expire { reason }, Some(_)) => {
                let expired_at = Some(at.to_proto());
                Ok(vec![Event::Expired(proto::AssetExpired { reason, expired_at })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Stored(it) => state.asset.clone_from(&it.asset),
            Event::Expired(_) => state.expired = true,
        }
        state
    }
}

/// What is wrong with an asset that is stored at an instant.
pub(crate) fn check(asset: &proto::Asset, at: Timestamp) -> Findings {
    let mut found = Findings::default();
    found.keep(chassis::name::authored_id("asset.asset_id", &asset.asset_id));
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let hashed = asset.sha256.len() == 64 && asset.sha256.bytes().all(lower_hex);
    found.require(
        hashed,
        "asset.sha256",
        "Give the SHA-256 of the bytes as 64 lower-case hexadecimal digits.",
    );
    let token = |it: &str| {
        !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    let typed = asset.media_type.len() <= 127
        && asset.media_type.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name));
    found.require(typed, "asset.media_type", "Use a media type, for example image/png.");
    ends_later(&mut found, "asset.rights_until", asset.rights_until.as_ref(), at);
    found
}

#[cfg(test)]
mod tests {
    use eventstore::testing::given;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn logo() -> proto::Asset {
        let rights_until = Some(NOW.plus(std::time::Duration::from_secs(9)).to_proto());
        proto::Asset {
            asset_id: "logo".into(),
            sha256: "a".repeat(64),
            media_type: "image/png".into(),
            rights_until,
        }
    }

    fn stored() -> Event {
        Event::Stored(proto::AssetStored { asset: Some(logo()) })
    }

    #[test]
    fn an_asset_is_stored_once_and_expires_once() {
        let expire = || Command::Expire { reason: "expired".into() };
        let expired = || {
            Event::Expired(proto::AssetExpired {
                reason: "expired".into(),
                expired_at: Some(NOW.to_proto()),
            })
        };
        given::<Asset>(vec![]).at(NOW).when(Command::Register(logo())).then(vec![stored()]);
        given::<Asset>(vec![]).at(NOW).when(expire()).refused(|it| *it == Refusal::Unknown);
        given::<Asset>(vec![stored()]).at(NOW).when(Command::Register(logo())).then(vec![]);
        let other = proto::Asset { sha256: "b".repeat(64), ..logo() };
        given::<Asset>(vec![stored()])
            .when(Command::Register(other))
            .refused(|it| *it == Refusal::Exists);
        given::<Asset>(vec![stored()]).at(NOW).when(expire()).then(vec![expired()]);
        given::<Asset>(vec![stored(), expired()]).at(NOW).when(expire()).then(vec![]);
    }

    #[test]
    fn it_may_be_shown_until_its_rights_end() {
        let state = eventstore::fold::<Asset>(&[stored()]);
        let end = instant(logo().rights_until.as_ref()).expect("an instant");
        assert!(state.counts_at(NOW) && !state.counts_at(end));
    }

    #[test]
    fn malformed_assets_are_refused_field_by_field() {
        assert_eq!(check(&logo(), NOW).0, []);
        let bad = proto::Asset {
            asset_id: "Logo".into(),
            sha256: "A".repeat(64),
            media_type: "png".into(),
            rights_until: Some(NOW.to_proto()),
        };
        let fields: Vec<_> = check(&bad, NOW).0.into_iter().map(|it| it.field).collect();
        assert_eq!(
            fields,
            ["asset.asset_id", "asset.sha256", "asset.media_type", "asset.rights_until"]
        );
    }
}
