//! A copy of one store in a file, the same on both databases: every table as it stood at one instant, events verbatim,
//! subject keys wrapped as they are.
//!
//! What happened after that instant comes from the log, as for every store that lost its end. Two things the log does
//! not hold. A subject key that was made later is lost, and a tail that names it is not imported. A subject key that was
//! destroyed later would come back: a restore takes the tombstones of other, later copies.
//!
//! ```text
//! file = frame(manifest) (frame(table) frame(rows)*)* frame(end)      frame = length, message
//! ```

mod file;
mod tables;

use std::io::{Read, Write};

use crate::error::Error;
use crate::event::{Head, digest, next_chain};
use crate::migrate;
use crate::secret::{self, KeyManagement};
use crate::sql::{Database, Tx, Value};
use crate::time::Timestamp;
use crate::values;
use crate::view::Schema;

use file::{Frame, Reader, Writer, frame};
use tables::Table;

pub use file::Manifest;

/// Belongs to the database, not to what it holds: leases name processes, migrations were run there.
const LEFT: [&str; 2] = ["lease", "migration"];

/// The one table in which migrations leave a row.
const HEAD: &str = "head";

/// A subject key that is destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    tenant: String,
    subject: String,
    destroyed_at: Timestamp,
    reason: String,
}

/// Copies a store whose schema is up to date. It reads one snapshot, and nobody waits for it.
pub async fn write(
    database: &Database,
    source: &str,
    schema: &Schema,
    out: &mut (impl Write + Send),
) -> Result<Manifest, Error> {
    let mut tx = database.snapshot().await?;
    let steps = refuse_other_schema(&mut tx, schema).await?;
    let head = tx.query("SELECT position, chain FROM head WHERE one = 1", vec![]).await?;
    let head = head.first().ok_or_else(|| Error::corrupt("the head row is missing"))?;
    let manifest = Manifest {
        source: source.to_owned(),
        position: head.count(0)?,
        chain: head.hash(1)?.to_vec(),
        taken_at: Timestamp::real().to_string(),
        steps,
        key: secret::key(&mut tx).await?,
    };
    let mut out = Writer::new(out);
    out.write(Frame::Manifest(manifest.clone()))?;
    for table in tables::all(&mut tx).await? {
        if LEFT.contains(&table.name.as_str()) {
            continue;
        }
        out.write(Frame::Table(frame::Table {
            name: table.name.clone(),
            columns: table.columns.clone(),
        }))?;
        let mut page = tables::page(&mut tx, &table, None).await?;
        while let Some(last) = page.last().cloned() {
            out.write(Frame::Rows(file::rows(&page)?))?;
            page = tables::page(&mut tx, &table, Some(&last)).await?;
        }
    }
    tx.rollback().await?;
    out.end()?;
    Ok(manifest)
}

/// Fills an empty store from a copy, all of it or nothing; makes its tables first. Tombstones win over keys.
pub async fn restore(
    database: &Database,
    source: &str,
    schema: &Schema,
    kms: &dyn KeyManagement,
    copy: &mut (impl Read + Send),
    tombstones: &[Tombstone],
) -> Result<Manifest, Error> {
    let mut copy = Reader::new(copy);
    let manifest = copy.manifest()?;
    if manifest.source != source {
        return Err(Error::refused(format!("the copy is one of {}", manifest.source)));
    }
    let migrations: Vec<_> = migrate::OWN.iter().chain(&schema.migrations).copied().collect();
    migrate::run(database, &migrations, true).await?;
    let mut tx = database.begin().await?;
    crate::commit::lock_head(&mut tx).await?;
    if refuse_other_schema(&mut tx, schema).await? != manifest.steps {
        return Err(Error::refused(format!(
            "the copy's schema is {}: restore it with the binary that made it, then migrate",
            manifest.steps.join(", ")
        )));
    }
    let tables = tables::all(&mut tx).await?;
    for table in tables.iter().filter(|it| it.name != HEAD && !LEFT.contains(&it.name.as_str())) {
        if !tables::page(&mut tx, table, None).await?.is_empty() {
            return Err(Error::refused(format!(
                "table {} holds rows; a copy is restored into an empty store",
                table.name
            )));
        }
    }
    fill(&mut tx, &mut copy, &manifest, &tables).await?;
    secret::verify(&mut tx, source, kms).await?;
    for it in tombstones {
        bury(&mut tx, it).await?;
    }
    // Another database than the one that was copied: the next append compares it with the log first.
    tx.exec("UPDATE head SET database_id = '' WHERE one = 1", vec![]).await?;
    tx.commit().await?;
    Ok(manifest)
}

/// The subject keys that were destroyed when a copy was made.
pub fn tombstones(copy: &mut impl Read) -> Result<Vec<Tombstone>, Error> {
    let mut copy = Reader::new(copy);
    copy.manifest()?;
    let (mut table, mut found) = (Table::default(), Vec::new());
    while let Some(next) = copy.next()? {
        match next {
            Frame::Table(it) => table = Table::of(it),
            Frame::Rows(rows) if table.name == "subject_key" => {
                let rows = file::values(rows)?;
                found.extend(rows.iter().filter_map(|row| Tombstone::of(&table, row)));
            }
            _ => {}
        }
    }
    Ok(found)
}

impl Tombstone {
    fn of(table: &Table, row: &[Value]) -> Option<Self> {
        match ["tenant", "subject", "destroyed_at", "reason"].map(|it| table.cell(row, it)) {
            [
                Some(Value::Text(tenant)),
                Some(Value::Text(subject)),
                Some(Value::Int(at)),
                Some(Value::Text(reason)),
            ] if *at > 0 => Some(Self {
                tenant: tenant.clone(),
                subject: subject.clone(),
                destroyed_at: Timestamp(*at),
                reason: reason.clone(),
            }),
            _ => None,
        }
    }
}

async fn bury(tx: &mut Tx, it: &Tombstone) -> Result<u64, Error> {
    tx.exec(
        "UPDATE subject_key SET wrapped = $3, destroyed_at = $4, reason = $5
         WHERE tenant = $1 AND subject = $2 AND destroyed_at = 0",
        values![&it.tenant, &it.subject, Vec::new(), it.destroyed_at, &it.reason],
    )
    .await
}

/// Names of the steps of a store that has all of them and no other.
async fn refuse_other_schema(tx: &mut Tx, schema: &Schema) -> Result<Vec<String>, Error> {
    let applied = migrate::applied(tx, &schema.migrations).await?;
    let others = [applied.pending, applied.edited, applied.newer].concat();
    if !others.is_empty() {
        let what = format!("the schema is not this binary's: {}", others.join(", "));
        return Err(Error::unavailable(what));
    }
    Ok(migrate::OWN.iter().chain(&schema.migrations).map(|it| it.name.to_owned()).collect())
}

/// Writes every row; the events must be a whole chain up to what the manifest says.
async fn fill<R: Read>(
    tx: &mut Tx,
    copy: &mut Reader<'_, R>,
    manifest: &Manifest,
    known: &[Table],
) -> Result<(), Error> {
    let (mut table, mut head) = (Table::default(), Head::default());
    while let Some(next) = copy.next()? {
        match next {
            Frame::Manifest(_) => return Err(Error::corrupt("the copy has two beginnings")),
            Frame::Table(it) => {
                table = Table::of(it);
                if !known.iter().any(|it| it.is_like(&table)) {
                    return Err(Error::corrupt(format!("the store has no table {}", table.name)));
                }
                if table.name == HEAD {
                    tx.exec("DELETE FROM head", vec![]).await?;
                }
            }
            Frame::Rows(rows) => {
                let rows = file::values(rows)?;
                if table.name == "event" {
                    head = follow(&table, &rows, head)?;
                }
                tables::insert(tx, &table, rows).await?;
            }
        }
    }
    if (head.position, &head.chain[..]) == (manifest.position, &manifest.chain[..]) {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the copy's events end at {}, its manifest at {}",
        head.position, manifest.position
    )))
}

fn follow(table: &Table, rows: &[Vec<Value>], mut head: Head) -> Result<Head, Error> {
    for row in rows {
        let cells = ["position", "chain", "envelope"].map(|it| table.cell(row, it));
        let [Some(Value::Int(at)), Some(Value::Blob(chain)), Some(Value::Blob(envelope))] = cells
        else {
            return Err(Error::corrupt("an event of the copy is none"));
        };
        let position = head.position + 1;
        let next = next_chain(&head.chain, position, &digest(envelope));
        if u64::try_from(*at) != Ok(position) || chain[..] != next {
            return Err(Error::corrupt(format!("event {position} of the copy breaks the chain")));
        }
        head = Head { position, chain: next };
    }
    Ok(head)
}
