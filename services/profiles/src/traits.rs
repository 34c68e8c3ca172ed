//! Computed traits: values of a party that follow from what it did. They are computed when they are asked for, never
//! stored; a definition says how, see [`trait_definition`](crate::domain::trait_definition).

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Error, Store, Timestamp};
use rapport_proto::types::{Clear, ClearKind};

use crate::domain::source::Source;
use crate::domain::trait_definition::{Kind, Trait};
use crate::segments::Definitions;
use crate::segments::facts::{self, Needs};
use crate::view;

/// Sources read at once.
const PAGE: u32 = 500;

/// Values of a party's traits at an instant, by id; all live traits, or those named. A trait without a value is
/// absent, and so is one that is not live.
pub(crate) async fn values(
    definitions: &Definitions,
    tenant: &str,
    party_id: &str,
    names: Option<&[String]>,
    at: Timestamp,
) -> Result<BTreeMap<String, Clear>, Error> {
    let live = definitions.live(tenant).await?;
    let wanted: BTreeSet<String> = match names {
        Some(names) => names.iter().filter(|it| live.traits.contains_key(*it)).cloned().collect(),
        None => live.traits.keys().cloned().collect(),
    };
    let needs = Needs { traits: wanted, ..Needs::default() };
    let ids = [party_id.to_owned()];
    let found = facts::load(definitions.store(), &live, tenant, &ids, &needs, at).await?;
    Ok(found.first().map(|it| it.traits(at)).unwrap_or_default())
}

/// What the live traits hold, by id; unspecified when no source declares the property, or several do differently.
pub(crate) async fn kinds(
    definitions: &Definitions,
    tenant: &str,
) -> Result<BTreeMap<String, ClearKind>, Error> {
    let live = definitions.live(tenant).await?;
    let traits = live.traits.values().map(|it| &it.definition);
    kinds_of(definitions.store(), tenant, traits).await
}

/// What these traits hold, by id.
pub(crate) async fn kinds_of(
    store: &Store,
    tenant: &str,
    traits: impl Iterator<Item = &Trait> + Clone,
) -> Result<BTreeMap<String, ClearKind>, Error> {
    let needed = traits.clone().any(|it| it.property().is_some());
    let declared = if needed { declared(store, tenant).await? } else { Vec::new() };
    Ok(traits.map(|it| (it.id.clone(), kind(it, &declared))).collect())
}

/// A source and its clear properties.
type Declared = (String, BTreeMap<String, ClearKind>);

async fn declared(store: &Store, tenant: &str) -> Result<Vec<Declared>, Error> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let ids = view::source::list(store.database(), tenant, &after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(found) };
        after.clone_from(last);
        let loaded = store.load_many::<Source>(tenant, &ids).await?;
        found.extend(ids.into_iter().zip(loaded.into_iter().map(|it| it.state.clear_fields)));
    }
}

fn kind(of: &Trait, declared: &[Declared]) -> ClearKind {
    let property = |name: &str| {
        let mut kinds = (declared.iter())
            .filter(|(source, _)| of.source.is_empty() || of.source == *source)
            .filter_map(|(_, fields)| fields.get(name).copied());
        let first = kinds.next()?;
        kinds.all(|it| it == first).then_some(first)
    };
    match &of.kind {
        Kind::Count | Kind::DaysSince | Kind::DecayedCount(_) => ClearKind::Number,
        Kind::Sum(name) if property(name) == Some(ClearKind::Money) => ClearKind::Money,
        Kind::Sum(_) => ClearKind::Number,
        Kind::Last(name) | Kind::First(name) => property(name).unwrap_or_default(),
    }
}
