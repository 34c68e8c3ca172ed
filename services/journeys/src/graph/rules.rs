//! Which names the rules of a journey may use.

use std::collections::BTreeMap;

use authored::rule::{Catalogue, Type};
use rapport_proto::types::{Channel, ClearKind, Purpose};

use super::Consent;

/// What is known of the names that belong to other services. By default nothing is: every name may exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Types of the live traits; absent when nobody was asked.
    pub(crate) traits: Option<BTreeMap<String, ClearKind>>,
}

impl Names {
    /// For rules about the party as it stands: exit criteria, branches, slots, values.
    pub(super) fn party(&self) -> Catalogue {
        let decision = ["id", "action", "treatment", "channel"].map(|field| (field, Type::Text));
        let catalogue = Catalogue::new()
            .party()
            .open("attributes")
            .list("segments", Type::Text)
            .map("consent", Type::Bool)
            .open("entry")
            .open("event")
            .record("decision", decision)
            .value("now", Type::Time);
        match &self.traits {
            None => catalogue.open("traits"),
            Some(known) => {
                let types = known.iter().map(|(id, kind)| (id, Type::of_clear(*kind)));
                catalogue.record("traits", types)
            }
        }
    }

    /// For what filters interactions. It reads nothing but the interaction, so that it is the same whenever it is asked.
    pub(super) fn interaction() -> Catalogue {
        Catalogue::new().open("event")
    }

    /// For what filters interactions once an instance runs.
    pub(super) fn interaction_of_instance() -> Catalogue {
        Self::interaction().open("entry")
    }
}

/// `PROMOTIONAL/EMAIL/northwind`; `None` when it is no such question.
pub(super) fn consent(key: &str) -> Option<Consent> {
    let mut parts = key.split('/');
    let (purpose, channel, sender) = (parts.next()?, parts.next()?, parts.next()?);
    let purpose = Purpose::from_str_name(&format!("PURPOSE_{purpose}"))?;
    let channel = Channel::from_str_name(&format!("CHANNEL_{channel}"))?;
    let whole = parts.next().is_none()
        && purpose != Purpose::Unspecified
        && channel != Channel::Unspecified
        && chassis::name::is_authored_id(sender);
    whole.then(|| Consent { key: key.to_owned(), purpose, channel, sender_id: sender.to_owned() })
}

/// Segments that a rule asks for as `'lapsing' in segments`.
pub(super) fn segments(rule: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = rule;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = if rest.as_bytes()[start] == b'"' { '"' } else { '\'' };
        let Some((literal, after)) = rest[start + 1..].split_once(quote) else { break };
        let asked = after.trim_start().strip_prefix("in").map(str::trim_start);
        if asked.is_some_and(|it| it.starts_with("segments")) {
            found.push(literal.to_owned());
        }
        rest = after;
    }
    found
}
