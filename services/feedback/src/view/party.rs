//! Where parties are and what they read: facts about a party are recorded with its market, and a form is shown in its
//! language.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Row, Tx, View, values};
use rapport_proto::profiles::v1::party_event::Event;

use super::Applied;

/// Follows `profiles`.
pub(crate) struct Parties;

/// What is known of a party; empty when nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) market: String,
    pub(crate) language: String,
}

impl View for Parties {
    fn name(&self) -> &'static str {
        "feedback.parties"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["party"]
    }

    fn reads(&self, type_name: &str) -> bool {
        concerns(type_name)
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let mut parties = BTreeMap::new();
            for event in events.iter().filter(|it| concerns(&it.envelope.r#type)) {
                let (market, language) = match event.decode::<Event>()? {
                    Some(Event::Registered(it)) => (it.market, it.language),
                    Some(Event::Moved(it)) => (it.market, it.language),
                    _ => continue,
                };
                let key = (event.envelope.tenant.clone(), event.id().to_owned());
                parties.insert(key, Party { market, language });
            }
            let rows = (parties.into_iter())
                .map(|((tenant, id), it)| values![tenant, id, it.market, it.language]);
            tx.insert_many(
                "INSERT INTO party (tenant, party_id, market, language)",
                rows.collect(),
                "ON CONFLICT (tenant, party_id) DO UPDATE SET market = excluded.market,
                     language = excluded.language",
            )
            .await
            .map(drop)
        })
    }
}

/// What says something of that.
fn concerns(type_name: &str) -> bool {
    matches!(type_name, "rapport.profiles.v1.PartyRegistered" | "rapport.profiles.v1.PartyMoved")
}

/// Where a party is; of one that nobody knows, nothing.
pub(crate) async fn find(
    database: &Database,
    tenant: &str,
    party_id: &str,
) -> Result<Party, Error> {
    Ok(look_up(database, tenant, party_id).await?.unwrap_or_default())
}

/// Where a party is that is known.
pub(crate) async fn look_up(
    database: &Database,
    tenant: &str,
    party_id: &str,
) -> Result<Option<Party>, Error> {
    let rows = database
        .query(
            "SELECT market, language FROM party WHERE tenant = $1 AND party_id = $2",
            values![tenant, party_id],
        )
        .await?;
    let party = |row: &Row| {
        Ok(Party { market: row.text(0)?.to_owned(), language: row.text(1)?.to_owned() })
    };
    rows.first().map(party).transpose()
}
