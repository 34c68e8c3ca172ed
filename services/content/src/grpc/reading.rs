//! Reading what rendering needs, until nothing is missing.

use chassis::status::Problem;

use super::Api;
use crate::domain::asset::Asset;
use crate::domain::claim::Claim;
use crate::domain::module::Module;
use crate::domain::reference::Reference;
use crate::render::{Ask, Library, Selection, Unusable, Wanted, select};

impl Api {
    /// What a message of a module is made of now, or why there is none. Everything is folded from events, those that are
    /// in the store when this is asked; each round reads one level of parts, as far as it does not stand on the shelf.
    pub(super) async fn select(
        &self,
        tenant: &str,
        library: &mut Library,
        module_id: &str,
        ask: &Ask,
    ) -> Result<Result<Selection, Unusable>, Problem> {
        let head = self.deps.store.read_head().await?;
        loop {
            let wanted = match select(library, module_id, ask) {
                Ok(answer) => return Ok(answer),
                Err(wanted) => self.shelf.take(head, tenant, wanted, library),
            };
            self.read(tenant, library, wanted.clone()).await?;
            self.shelf.put(head, tenant, wanted, library);
        }
    }

    /// Adds what is wanted. Every id is there afterwards, empty if it is unknown.
    pub(super) async fn read(
        &self,
        tenant: &str,
        library: &mut Library,
        wanted: Wanted,
    ) -> Result<(), Problem> {
        let store = &self.deps.store;
        if let [only] = wanted.modules.as_slice() {
            let loaded = store.load::<Module>(tenant, only, eventstore::AsOf::Now).await?;
            library.modules.insert(only.clone(), loaded.state.into());
        } else if !wanted.modules.is_empty() {
            let loaded = store.load_many::<Module>(tenant, &wanted.modules).await?;
            let states = loaded.into_iter().map(|it| it.state.into());
            library.modules.extend(wanted.modules.into_iter().zip(states));
        }
        if !wanted.claims.is_empty() {
            let loaded = store.load_many::<Claim>(tenant, &wanted.claims).await?;
            let states = loaded.into_iter().map(|it| it.state.into());
            library.claims.extend(wanted.claims.into_iter().zip(states));
        }
        if !wanted.references.is_empty() {
            let loaded = store.load_many::<Reference>(tenant, &wanted.references).await?;
            let states = loaded.into_iter().map(|it| it.state);
            library.references.extend(wanted.references.into_iter().zip(states));
        }
        if !wanted.assets.is_empty() {
            let loaded = store.load_many::<Asset>(tenant, &wanted.assets).await?;
            library
                .assets
                .extend(wanted.assets.into_iter().zip(loaded.into_iter().map(|it| it.state)));
        }
        Ok(())
    }
}
