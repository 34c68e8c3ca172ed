//! What the pressure stream of each party adds up to, beside the version at which it does. The gate reads this row
//! instead of the stream, and insists on the version when it commits: a row that is behind lets nothing pass.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Database, Decider as _, Error, Recorded, Row, Tx, values};
use prost::Message as _;
use rapport_proto::delivery::v1::ContactReserved;
use rapport_proto::delivery::v1::pressure_event::Event;

use crate::domain::pressure::{Contact, Pressure, State};

/// A stream as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) version: u64,
    pub(crate) state: State,
}

type Key = (String, String);

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let key = |it: &Recorded| (it.envelope.tenant.clone(), it.id().to_owned());
    let keys: BTreeSet<Key> = events.iter().map(|it| key(it)).collect();
    let keys: Vec<_> = keys.into_iter().map(|(tenant, party)| values![tenant, party]).collect();
    let rows = tx.query_keys("k(tenant, party_id)", &keys, STANDING).await?;
    let mut standing = rows.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
    for event in events {
        let it = standing.entry(key(event)).or_default();
        if let Some(fact) = event.decode::<Event>()? {
            it.state = Pressure::evolve(std::mem::take(&mut it.state), &fact);
        }
        it.version = event.envelope.version;
    }
    let rows = standing
        .into_iter()
        .map(|((tenant, party_id), it)| values![tenant, party_id, it.version, write(&it.state)])
        .collect();
    tx.insert_many(
        "INSERT INTO pressure (tenant, party_id, version, contacts)",
        rows,
        "ON CONFLICT (tenant, party_id) DO UPDATE SET version = excluded.version, contacts = excluded.contacts",
    )
    .await
    .map(drop)
}

const STANDING: &str = "SELECT p.tenant, p.party_id, p.version, p.contacts FROM k
     JOIN pressure p ON p.tenant = k.tenant AND p.party_id = k.party_id";

/// The streams of parties, in the order asked; one that is empty stands at version 0.
pub(crate) async fn of_parties(
    database: &Database,
    tenant: &str,
    party_ids: &[String],
) -> Result<Vec<Standing>, Error> {
    let keys: Vec<_> = party_ids.iter().map(|it| values![tenant, it]).collect();
    let rows = database.query_keys("k(tenant, party_id)", &keys, STANDING).await?;
    let mut found = rows.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
    let of = |id: &String| found.remove(&(tenant.to_owned(), id.clone())).unwrap_or_default();
    Ok(party_ids.iter().map(of).collect())
}

fn read(row: &Row) -> Result<(Key, Standing), Error> {
    let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
    let (mut contacts, mut bytes) = (Vec::new(), row.blob(3)?);
    while !bytes.is_empty() {
        let one = ContactReserved::decode_length_delimited(&mut bytes);
        let one = one.map_err(|it| Error::corrupt(format!("the contacts of {}: {it}", key.1)))?;
        contacts.push(Contact::of(&one));
    }
    Ok((key, Standing { version: row.count(2)?, state: State { contacts } }))
}

/// Contacts one after another, in their order.
fn write(state: &State) -> Vec<u8> {
    let one = |it: &Contact| {
        let contact = ContactReserved {
            touch_id: it.touch_id.clone(),
            channel: it.channel.into(),
            product_id: it.product_id.clone(),
            reserved: Vec::new(),
            reserved_at: Some(it.at.to_proto()),
        };
        contact.encode_length_delimited_to_vec()
    };
    state.contacts.iter().flat_map(one).collect()
}
