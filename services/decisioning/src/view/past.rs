//! What own tables know of a party, and up to which revision of the rules: what a decision reads here.
//!
//! Many are decided about at the same time: a few statements, however many parties.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use eventstore::{Database, Error, Timestamp, Together};
use futures::try_join;
use rapport_proto::decisioning::v1::Happening;

use super::affinity::{self, Count};
use super::happening;
use super::shared::{Revision, revisions};
use crate::domain::policy::compiled::Compiled;

/// Whose past, as far as a policy looks, and when.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) party_id: String,
    pub(crate) policy: Arc<Compiled>,
    pub(crate) at: Timestamp,
}

/// A party's past.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Of what decisions of the tenant share, when this was read.
    pub(crate) revision: Revision,
    /// Newest first; of each thing that is wanted as many as a line may count.
    pub(crate) happenings: Vec<Happening>,
    pub(crate) counts: Vec<Count>,
}

/// Reads pasts, many together. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pasts(Together<Asked, Past>);

impl Pasts {
    pub(crate) fn new(database: &Database) -> Self {
        Self(Together::new(database.clone(), |database, asked: Vec<Asked>| async move {
            of_parties(&database, &asked).await
        }))
    }

    pub(crate) async fn read(&self, asked: Asked) -> Result<Past, Error> {
        self.0.read(asked).await
    }
}

/// The pasts of several, in their order.
async fn of_parties(database: &Database, asked: &[Asked]) -> Result<Vec<Past>, Error> {
    let tenants: BTreeSet<&str> = asked.iter().map(|it| it.tenant.as_str()).collect();
    let (revisions, happenings, counts): (HashMap<_, _>, Vec<_>, Vec<_>) = try_join!(
        revisions(database, &tenants),
        happening::of_parties(database, asked),
        affinity::of_parties(database, asked),
    )?;
    let read = asked.iter().zip(happenings).zip(counts);
    let past = |((asked, happenings), counts): ((&Asked, _), _)| Past {
        revision: revisions.get(&asked.tenant).cloned().unwrap_or_default(),
        happenings,
        counts,
    };
    Ok(read.map(past).collect())
}
