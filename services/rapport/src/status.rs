//! `rapport status`: how the stores of the targets stand, whether or not anything runs on them.
//!
//! It opens what no service could: a store that is fenced, or whose schema is not that of this binary.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use chassis::assembly::{Means, Target};
use chassis::settings::Settings;
use eventstore::status::{Checkpoint, Status, Tables};
use eventstore::{Database, DatabaseOptions, Log, Tail, hex};
use serde_json::{Value, json};

use crate::cli::print;
use crate::people::Output;
use crate::table::Table;
use crate::targets;

/// How long the log may take to say where it ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// How one target stands.
struct Row {
    target: &'static str,
    store: Result<Status, String>,
    /// Where the log ends; nothing when it is a view on the stores.
    log: Option<Result<u64, String>>,
}

/// Prints how the targets stand; exit code 1 when somebody should look.
pub(crate) async fn show(settings: &Settings, output: Output) -> anyhow::Result<ExitCode> {
    let targets = targets::select(&settings.targets)?;
    let log = within(async { Ok(Means::of(settings).await?.log) }).await;
    let mut rows = Vec::new();
    for target in &targets {
        rows.push(Row {
            target: target.name,
            store: read(settings, target).await.map_err(|it| it.chain()),
            log: end(&log, target.name).await,
        });
    }
    let attention: Vec<_> = rows.iter().flat_map(Row::attention).collect();
    print(&match output {
        Output::Table => text(&rows, &attention),
        Output::Json => format!("{:#}\n", value(&rows, &attention)),
    });
    Ok(if attention.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn read(settings: &Settings, target: &Target) -> Result<Status, eventstore::Error> {
    let url = settings.database.url_for(target.name);
    let options =
        DatabaseOptions { create: false, max_connections: 1, ..DatabaseOptions::new(url) };
    let database = Database::open(&options).await?;
    let status = eventstore::status::read(&database, &(target.schema)()).await;
    database.close().await;
    status
}

async fn end(log: &Result<Log, String>, source: &str) -> Option<Result<u64, String>> {
    let log = match log {
        Ok(log) if !log.is_remote() => return None,
        Ok(log) => log,
        Err(error) => return Some(Err(error.clone())),
    };
    let tail = within(async { Ok(log.tail(source).await?) }).await;
    Some(tail.map(|it: Option<Tail>| it.map_or(0, |it| it.last)))
}

/// An answer of the log, or why there is none.
async fn within<T>(asked: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

impl Row {
    fn tables(&self) -> Option<&Tables> {
        self.store.as_ref().ok()?.tables.as_ref()
    }

    fn position(&self) -> Option<u64> {
        self.tables().map(|it| it.head.position)
    }

    /// Where the source ends, as far as this command can see it.
    fn end(&self) -> Option<u64> {
        match &self.log {
            None => self.position(),
            Some(it) => it.as_ref().ok().copied(),
        }
    }

    /// Events that are in the store and not on the log yet.
    fn pending(&self) -> Option<u64> {
        let end = self.log.as_ref()?.as_ref().ok()?;
        Some(self.position()?.saturating_sub(*end))
    }

    fn parked(&self) -> Option<u64> {
        let tables = self.tables()?;
        Some(tables.parked.iter().map(|it| it.events).sum::<u64>() + tables.timers_parked)
    }

    /// What somebody should look at, and with which command.
    fn attention(&self) -> Vec<String> {
        let mut found = Vec::new();
        match &self.store {
            Err(error) => found.push(format!("the store cannot be read: {error}")),
            Ok(store) => {
                let schema = &store.schema;
                let steps = |names: &[String], what: &str| {
                    (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
                };
                found.extend(steps(&schema.pending, "pending, run `rapport migrate`"));
                found.extend(steps(&schema.edited, "edited after they were applied"));
                found.extend(steps(&schema.newer, "applied by a newer binary than this one"));
            }
        }
        if let Some(Err(error)) = &self.log {
            found.push(format!("the log cannot be read: {error}"));
        }
        if let Some((end, position)) = self.end().zip(self.position()).filter(|it| it.0 > it.1) {
            found.push(format!(
                "the store ends at {position}, the log at {end}: it lost events, which are imported at the next start"
            ));
        }
        if let Some(tables) = self.tables() {
            if let Some(first) = tables.fenced.lines().next() {
                found.push(format!("fenced, see `rapport store unfence`: {first}"));
            }
            for it in &tables.parked {
                let (events, consumer, source) = (it.events, &it.consumer, &it.source);
                found.push(format!(
                    "{events} events of {source} parked by {consumer}, see `rapport parked list`"
                ));
            }
            if tables.timers_parked > 0 {
                let timers = tables.timers_parked;
                found.push(format!("{timers} timers parked, see `rapport parked list`"));
            }
        }
        found.into_iter().map(|it| format!("{}: {it}", self.target)).collect()
    }
}

/// Events that a consumer has yet to read, where the end of the source can be seen.
fn lag(ends: &BTreeMap<&str, u64>, it: &Checkpoint) -> Option<u64> {
    Some(ends.get(it.source.as_str())?.saturating_sub(it.position))
}

fn ends(rows: &[Row]) -> BTreeMap<&str, u64> {
    rows.iter().filter_map(|it| Some((it.target, it.end()?))).collect()
}

fn text(rows: &[Row], attention: &[String]) -> String {
    let ends = ends(rows);
    let number = |it: Option<u64>| it.map_or("?".to_owned(), |it| it.to_string());
    let (mut targets, mut consumers, mut leases) = (
        Table::new(&[
            "TARGET", "POSITION", "LOG", "OUTBOX", "LAG", "PARKED", "TIMERS", "SCHEMA", "KEK",
            "FENCED",
        ]),
        Table::new(&["TARGET", "CONSUMER", "SOURCE", "POSITION", "LAG", "PARKED"]),
        Table::new(&["LEASE", "HOLDER", "LEFT"]),
    );
    for row in rows {
        let tables = row.tables();
        let checkpoints = tables.map_or(&[][..], |it| &it.checkpoints);
        let behind = checkpoints.iter().map(|it| lag(&ends, it)).max().unwrap_or(Some(0));
        let local = row.log.is_none();
        let schema = row.store.as_ref().map_or("?".to_owned(), |it| {
            let (known, pending) = (it.schema.known, it.schema.pending.len() as u64);
            format!("{} of {known}", known - pending)
        });
        targets.row([
            row.target.to_owned(),
            number(row.position()),
            if local { "embedded".to_owned() } else { number(row.end()) },
            if local { "0".to_owned() } else { number(row.pending()) },
            tables.map_or("?".to_owned(), |_| number(behind)),
            number(row.parked()),
            number(tables.map(|it| it.timers)),
            schema,
            tables.map_or("?", |it| &it.kek).to_owned(),
            tables.map_or("?", |it| if it.fenced.is_empty() { "no" } else { "YES" }).to_owned(),
        ]);
        for it in checkpoints {
            let parked = tables.into_iter().flat_map(|it| &it.parked);
            let parked = parked.filter(|at| at.consumer == it.consumer && at.source == it.source);
            consumers.row([
                row.target.to_owned(),
                it.consumer.clone(),
                it.source.clone(),
                it.position.to_string(),
                number(lag(&ends, it)),
                parked.map(|it| it.events).sum::<u64>().to_string(),
            ]);
        }
        for it in tables.into_iter().flat_map(|it| &it.leases) {
            let left = format!("{:.1} s", it.left.as_secs_f64());
            let (holder, left) =
                if it.left.is_zero() { ("nobody", String::new()) } else { (&*it.holder, left) };
            leases.row([&it.name, holder, &left]);
        }
    }
    let mut text = format!("rapport {}\n\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&targets.print("there are no targets"));
    text.push_str(&format!("\n{}", consumers.print("no consumer has run yet")));
    text.push_str(&format!("\n{}", leases.print("there are no leases")));
    if attention.is_empty() {
        return text + "\nnothing needs attention\n";
    }
    text.push_str("\nneeds attention:\n");
    text.extend(attention.iter().map(|it| crate::table::wrap(it, "  ")));
    text
}

fn value(rows: &[Row], attention: &[String]) -> Value {
    let ends = ends(rows);
    let targets: Vec<_> = rows.iter().map(|row| row.value(&ends)).collect();
    json!({"build": env!("CARGO_PKG_VERSION"), "targets": targets, "attention": attention})
}

impl Row {
    fn value(&self, ends: &BTreeMap<&str, u64>) -> Value {
        let tables = self.tables();
        let consumer = |it: &Checkpoint| json!({"consumer": it.consumer, "source": it.source, "position": it.position, "lag": lag(ends, it)});
        let consumers: Option<Vec<_>> =
            tables.map(|it| it.checkpoints.iter().map(consumer).collect());
        let parked: Option<Vec<_>> = tables.map(|it| {
            let one = |it: &eventstore::status::ParkedEvents| json!({"consumer": it.consumer, "source": it.source, "events": it.events});
            it.parked.iter().map(one).collect()
        });
        let leases: Option<Vec<_>> = tables.map(|it| {
            let one = |it: &eventstore::status::Held| json!({"lease": it.name, "holder": it.holder, "left_seconds": it.left.as_secs_f64()});
            it.leases.iter().map(one).collect()
        });
        let schema = self.store.as_ref().ok().map(|it| &it.schema);
        json!({
            "target": self.target,
            "position": self.position(),
            "chain": tables.map(|it| hex(&it.head.chain)),
            "log": self.log.as_ref().and_then(|it| it.as_ref().ok()),
            "outbox": if self.log.is_none() { Some(0) } else { self.pending() },
            "consumers": consumers,
            "parked": parked,
            "timers": tables.map(|it| it.timers),
            "timers_parked": tables.map(|it| it.timers_parked),
            "leases": leases,
            "schema": schema.map(|it| json!({
                "known": it.known, "pending": it.pending, "edited": it.edited, "newer": it.newer,
            })),
            "kek": tables.map(|it| &it.kek),
            "fenced": tables.map(|it| &it.fenced),
            "error": self.store.as_ref().err(),
        })
    }
}
