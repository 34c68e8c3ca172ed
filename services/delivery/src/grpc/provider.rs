//! What providers report: each event once, by the provider's own id of it, and in one unit with what it leads to: an
//! unsubscription suppresses in the same commit.

use std::collections::{BTreeMap, BTreeSet};

use chassis::status::{CONFLICT, Problem};
use eventstore::{MAX_EVENTS, Metadata, Outcome};
use rapport_proto::delivery::v1::ProviderEventResult;

use super::Api;
use super::settle::{ATTEMPTS, refused, refused_unit};
use crate::convert::provider::{Named, Report};
use crate::domain::touch::Command;
use crate::ledger::Ledger;
use crate::view::provider_event::{self, Known, TAKEN};
use crate::{token, view};

/// Reports that fit into one unit, each with all that it can lead to: what is known now of the touch, the report itself,
/// and a suppression.
const PART: usize = MAX_EVENTS / 3;

const RECORDED: &str = "recorded";
const REPEATED: &str = "repeated";
const UNKNOWN_TOUCH: &str = "unknown_touch";

/// Recorded events by provider and event id.
type Recorded = BTreeMap<(String, String), Known>;

impl Api {
    /// Records a request part by part. Each part is remembered by an id of its own, so that a repeat of the request
    /// goes on where the first run was interrupted.
    pub(super) async fn record(
        &self,
        meta: &Metadata,
        reports: &[Report],
    ) -> Result<(Vec<ProviderEventResult>, u64), Problem> {
        let (mut results, mut position) = (Vec::with_capacity(reports.len()), 0);
        for (number, part) in reports.chunks(PART).enumerate() {
            let mut meta = meta.clone();
            if number > 0 {
                // No caller's id has a space.
                meta.request_id = format!("{} {number}", meta.request_id);
            }
            let (told, at) = self.record_part(&meta, part).await?;
            results.extend(told);
            position = at;
        }
        Ok((results, position))
    }

    async fn record_part(
        &self,
        meta: &Metadata,
        reports: &[Report],
    ) -> Result<(Vec<ProviderEventResult>, u64), Problem> {
        let store = &self.deps.store;
        match store.find_request(meta).await? {
            None => {}
            Some(Outcome::Repeated { position, .. }) => {
                return Ok((self.told_before(meta, reports).await?, position));
            }
            Some(other) => return Err(refused(other)),
        }
        let touches = self.touches_of(&meta.tenant, reports).await?;
        for _ in 0..ATTEMPTS {
            let known = self.recorded(&meta.tenant, reports).await?;
            let ids: BTreeSet<String> = touches.iter().flatten().cloned().collect();
            let ids: Vec<String> = ids.into_iter().collect();
            let mut ledger = Ledger::open(store, &meta.tenant, &ids).await?;
            let results = decide(meta, reports, &touches, &known, &mut ledger);
            if !ledger.is_changed() {
                let position = store.read_head().await?.position;
                return Ok((results, position));
            }
            let unit = ledger.unit(store, meta.clone()).await.map_err(refused_unit)?;
            match store.append(unit).await {
                Outcome::Committed { position } => return Ok((results, position)),
                Outcome::Repeated { position, .. } => {
                    return Ok((self.told_before(meta, reports).await?, position));
                }
                // Another request recorded one of them, or changed one of the streams.
                Outcome::Conflict => {}
                Outcome::Refused(reason) if reason == TAKEN => {}
                other => return Err(refused(other)),
            }
        }
        Err(Problem::of(CONFLICT))
    }

    /// The touch each report is about, as far as its name leads to one.
    async fn touches_of(
        &self,
        tenant: &str,
        reports: &[Report],
    ) -> Result<Vec<Option<String>>, Problem> {
        let store = &self.deps.store;
        let messages = reports.iter().filter_map(|it| match &it.named {
            Named::Message(id) => Some(id.as_str()),
            Named::Touch(_) | Named::Token(_) => None,
        });
        let found = view::touch::by_provider(store.database(), tenant, messages).await?;
        let name = |report: &Report| match &report.named {
            Named::Touch(id) => Some(id.clone()),
            Named::Message(id) => found.get(id).cloned(),
            Named::Token(token) => token::open(store.keys(), tenant, token).map(str::to_owned),
        };
        Ok(reports.iter().map(name).collect())
    }

    /// What the first run of a request told, read from what it recorded.
    async fn told_before(
        &self,
        meta: &Metadata,
        reports: &[Report],
    ) -> Result<Vec<ProviderEventResult>, Problem> {
        let known = self.recorded(&meta.tenant, reports).await?;
        let mut seen = BTreeSet::new();
        let tell = |report: &Report| match known.get(&report.key()) {
            Some(it) if it.request_id == meta.request_id && seen.insert(report.key()) => {
                result(RECORDED, &it.touch_id)
            }
            Some(it) => result(REPEATED, &it.touch_id),
            None => result(UNKNOWN_TOUCH, ""),
        };
        Ok(reports.iter().map(tell).collect())
    }

    async fn recorded(&self, tenant: &str, reports: &[Report]) -> Result<Recorded, Problem> {
        let keys = reports.iter().map(|it| {
            let source = &it.fact.source;
            (source.provider.as_str(), source.provider_event_id.as_str())
        });
        Ok(provider_event::known(self.deps.store.database(), tenant, keys).await?)
    }
}

/// Decides every report in order; one that stands twice in a request counts once.
fn decide(
    meta: &Metadata,
    reports: &[Report],
    touches: &[Option<String>],
    known: &Recorded,
    ledger: &mut Ledger,
) -> Vec<ProviderEventResult> {
    let mut seen = BTreeMap::new();
    let mut results = Vec::with_capacity(reports.len());
    for (report, touch_id) in reports.iter().zip(touches) {
        let before = known.get(&report.key()).map(|it| it.touch_id.clone());
        if let Some(touch_id) = before.or_else(|| seen.get(&report.key()).cloned()) {
            results.push(result(REPEATED, &touch_id));
            continue;
        }
        let observed = touch_id.as_ref().filter(|touch_id| {
            ledger.decide(touch_id, Command::Observe(report.fact.clone()), meta.at).is_ok()
        });
        match observed {
            Some(touch_id) => {
                seen.insert(report.key(), touch_id.clone());
                results.push(result(RECORDED, touch_id));
            }
            None => results.push(result(UNKNOWN_TOUCH, "")),
        }
    }
    results
}

fn result(outcome: &str, touch_id: &str) -> ProviderEventResult {
    ProviderEventResult { outcome: outcome.to_owned(), touch_id: touch_id.to_owned() }
}
