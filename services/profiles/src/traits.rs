//! Computed traits: values of a party that follow from what it did. They are computed when they are asked for, never
//! stored; a definition says how, see [`trait_definition`](crate::domain::trait_definition).

use std::collections::BTreeMap;

use eventstore::{Error, Store};
use rapport_proto::types::ClearKind;

use crate::domain::source::Source;
use crate::domain::trait_definition::{Kind, Trait};
use crate::segments::Live;
use crate::view;

/// Sources read at once.
const PAGE: u32 = 500;

/// What the live traits hold, by id; unspecified when no source declares the property, or several do differently.
pub(crate) async fn kinds(
    store: &Store,
    tenant: &str,
    live: &Live,
) -> Result<BTreeMap<String, ClearKind>, Error> {
    kinds_of(store, tenant, live.traits.values().map(|it| &*it.definition)).await
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
