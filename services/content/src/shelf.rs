//! What rendering read before, kept while it still stands.
//!
//! Before anything is taken from the shelf, the end of the store is read from the database: its position and its chain,
//! whichever replica moved it. The shelf belongs to one such end. When anything at all was appended since, a withdrawal
//! for example, it is emptied and read again: what is taken is what the events say at the end that was just read, as if
//! they had been read themselves. What was read for an end that is not the shelf's any more is not put there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use eventstore::Head;

use crate::render::{Library, Wanted};

/// Parts kept at most: what nobody has published may be asked for too.
const KEPT: usize = 10_000;

/// The shelf of this replica. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    head: Head,
    libraries: HashMap<String, Library>,
    kept: usize,
}

impl Shelf {
    /// Adds to a library what is wanted and stands on the shelf at this end of the store; the rest has to be read.
    pub(crate) fn take(
        &self,
        head: Head,
        tenant: &str,
        wanted: Wanted,
        library: &mut Library,
    ) -> Wanted {
        let mut held = self.lock();
        if held.head != head {
            // Whoever read the end earlier than somebody else did reads for himself.
            if held.head.position <= head.position {
                *held = Held { head, ..Held::default() };
            }
            return wanted;
        }
        let Some(shelf) = held.libraries.get(tenant) else { return wanted };
        Wanted {
            modules: known(wanted.modules, &shelf.modules, &mut library.modules),
            claims: known(wanted.claims, &shelf.claims, &mut library.claims),
            references: known(wanted.references, &shelf.references, &mut library.references),
            assets: known(wanted.assets, &shelf.assets, &mut library.assets),
        }
    }

    /// Keeps what was read after the store had this end.
    pub(crate) fn put(&self, head: Head, tenant: &str, read: Wanted, library: &Library) {
        let count =
            read.modules.len() + read.claims.len() + read.references.len() + read.assets.len();
        let mut held = self.lock();
        if held.head != head || count == 0 {
            return;
        }
        if held.kept + count > KEPT {
            *held = Held { head, ..Held::default() };
        }
        held.kept += count;
        let shelf = held.libraries.entry(tenant.to_owned()).or_default();
        known(read.modules, &library.modules, &mut shelf.modules);
        known(read.claims, &library.claims, &mut shelf.claims);
        known(read.references, &library.references, &mut shelf.references);
        known(read.assets, &library.assets, &mut shelf.assets);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies what is there; returns the ids of what is not.
fn known<T: Clone>(
    ids: Vec<String>,
    from: &BTreeMap<String, T>,
    to: &mut BTreeMap<String, T>,
) -> Vec<String> {
    let mut unknown = Vec::new();
    for id in ids {
        match from.get(&id) {
            Some(it) => drop(to.insert(id, it.clone())),
            None => unknown.push(id),
        }
    }
    unknown
}

#[cfg(test)]
mod tests;
