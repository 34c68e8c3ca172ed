//! The live versions of traits and segments.

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::profiles::v1::{segment_event, trait_event};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Trait,
    Segment,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Trait => "trait",
            Self::Segment => "segment",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Trait, Self::Segment].into_iter().find(|it| it.as_str() == text)
    }
}

/// A live definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) live_at: Timestamp,
    pub(crate) position: u64,
    /// `Trait` or `Segment`.
    pub(crate) document: Vec<u8>,
}

pub(super) async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    let mut rows = std::collections::BTreeMap::new();
    for event in events {
        let Some((kind, version, document)) = activated(event)? else {
            continue;
        };
        let (tenant, id) = (&event.envelope.tenant, event.id());
        let row = values![
            tenant,
            kind.as_str(),
            id,
            version,
            event.recorded_at(),
            event.position,
            document
        ];
        rows.insert((tenant.clone(), kind.as_str(), id.to_owned()), row);
    }
    tx.insert_many(
        "INSERT INTO definition (tenant, kind, definition_id, version, live_at, position, document)",
        rows.into_values().collect(),
        "ON CONFLICT (tenant, kind, definition_id) DO UPDATE SET version = excluded.version,
             live_at = excluded.live_at, position = excluded.position, document = excluded.document",
    )
    .await
    .map(drop)
}

fn activated(event: &Recorded) -> Result<Option<(Kind, u32, Vec<u8>)>, Error> {
    Ok(match event.aggregate() {
        "trait" => event.decode()?.map(|trait_event::Event::Activated(it)| {
            (Kind::Trait, it.version, it.r#trait.unwrap_or_default().encode_to_vec())
        }),
        "segment" => event.decode()?.map(|segment_event::Event::Activated(it)| {
            (Kind::Segment, it.version, it.segment.unwrap_or_default().encode_to_vec())
        }),
        _ => None,
    })
}

/// All live definitions of a tenant.
pub(crate) async fn all(database: &Database, tenant: &str) -> Result<Vec<Definition>, Error> {
    let rows = database
        .query(
            "SELECT kind, definition_id, version, live_at, position, document
             FROM definition
             WHERE tenant = $1
             ORDER BY kind, definition_id",
            values![tenant],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Live definitions of a kind after an id, in the order of ids.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    kind: Kind,
    after: &str,
    limit: u32,
) -> Result<Vec<Definition>, Error> {
    let rows = database
        .query(
            "SELECT kind, definition_id, version, live_at, position, document
             FROM definition
             WHERE tenant = $1 AND kind = $2 AND definition_id > $3
             ORDER BY definition_id
             LIMIT $4",
            values![tenant, kind.as_str(), after, limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Definition, Error> {
    let kind =
        Kind::parse(row.text(0)?).ok_or_else(|| Error::corrupt("a definition of no kind"))?;
    Ok(Definition {
        kind,
        id: row.text(1)?.to_owned(),
        version: u32::try_from(row.int(2)?).unwrap_or(u32::MAX),
        live_at: row.time(3)?,
        position: row.count(4)?,
        document: row.blob(5)?.to_vec(),
    })
}
