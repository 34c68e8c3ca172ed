//! What providers report: each event once, by the provider's own id of it, and in one unit with what it leads to: an
//! unsubscription suppresses in the same commit.
//!
//! **What comes too early.** A provider may report about a message before the hand-over has noted under which id it took
//! it. Such a report is kept; it counts from the commit that notes the message, and it is asked for again for a while all
//! the same, because a message may be noted in the very moment in which its report is being kept. What names no message
//! that is ever noted, one of several messages with one id, or a touch that nothing was handed over for, is kept and
//! listed, and counts only if it comes again and its touch is known then. Of a token that is not ours nothing is kept.
//!
//! One that cannot be used is told apart, and refuses none of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chassis::status::{CONFLICT, Problem, Violation};
use eventstore::{MAX_EVENTS, Metadata, Outcome};
use rapport_proto::delivery::v1::ProviderEventResult;

use super::Api;
use super::settle::{ATTEMPTS, refused, refused_unit};
use crate::convert::provider::{Named, Report};
use crate::domain::touch::Command;
use crate::domain::{instant, report};
use crate::ledger::Ledger;
use crate::refusal::REPORT_TOO_EARLY;
use crate::view::provider_event::{self, Known, TAKEN};
use crate::{token, view};

/// Reports that fit into one unit, each with all that it can lead to: what is known now of the touch, the report itself,
/// a suppression, and that it is kept no longer.
const PART: usize = MAX_EVENTS / 4;
/// For this long a message that nobody knows may be one that is about to be noted as sent.
const EARLY: Duration = Duration::from_secs(15 * 60);
/// When to repeat what came too early.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

const RECORDED: &str = "recorded";
const REPEATED: &str = "repeated";
const UNKNOWN_TOUCH: &str = "unknown_touch";
const REFUSED: &str = "refused";

/// Recorded events by provider and event id.
type Recorded = BTreeMap<(String, String), Known>;

/// Where the name of a touch leads.
enum Lead {
    To(String),
    /// To none, or to one of several.
    Nowhere,
    /// To a message that may be about to be noted as sent.
    NowhereYet,
}

impl Lead {
    fn touch_id(&self) -> Option<&String> {
        match self {
            Self::To(touch_id) => Some(touch_id),
            Self::Nowhere | Self::NowhereYet => None,
        }
    }
}

/// What became of reports.
#[derive(Default)]
struct Taken {
    results: Vec<ProviderEventResult>,
    position: u64,
    /// Some came too early, and are asked for again.
    early: bool,
}

impl Api {
    /// Records what of a request can be used, part by part. Each part is remembered by an id of its own, so that a repeat
    /// of the request goes on where the first run was interrupted.
    pub(super) async fn record(
        &self,
        meta: &Metadata,
        reports: Vec<Result<Report, Violation>>,
    ) -> Result<(Vec<ProviderEventResult>, u64), Problem> {
        let usable: Vec<Report> = reports.iter().filter_map(|it| it.clone().ok()).collect();
        let mut all = Taken::default();
        for (number, part) in usable.chunks(PART).enumerate() {
            let mut meta = meta.clone();
            if number > 0 {
                // No caller's id has a space.
                meta.request_id = format!("{} {number}", meta.request_id);
            }
            let taken = self.record_part(meta, part).await?;
            all.results.extend(taken.results);
            all.position = taken.position;
            all.early |= taken.early;
        }
        if all.early {
            return Err(Problem::of(REPORT_TOO_EARLY).retry_after(REPEAT_AFTER));
        }
        let mut told = all.results.into_iter();
        let results = reports.into_iter().filter_map(|it| match it {
            Ok(_) => told.next(),
            Err(Violation { field, remedy }) => {
                Some(ProviderEventResult { field, remedy, ..result(REFUSED, "") })
            }
        });
        Ok((results.collect(), all.position))
    }

    async fn record_part(&self, meta: Metadata, reports: &[Report]) -> Result<Taken, Problem> {
        let store = &self.deps.store;
        match store.find_request(&meta).await? {
            None => {}
            Some(Outcome::Repeated { position, .. }) => {
                return self.told_before(&meta, reports, position).await;
            }
            Some(other) => return Err(refused(other)),
        }
        for _ in 0..ATTEMPTS {
            let known = self.recorded(&meta.tenant, reports).await?;
            let leads = self.leads_of(&meta.tenant, reports).await?;
            let ids: BTreeSet<&String> = leads.iter().filter_map(|it| it.touch_id()).collect();
            let ids: Vec<String> = ids.into_iter().cloned().collect();
            let mut ledger = Ledger::open(store, &meta.tenant, &ids).await?;
            let results = decide(&meta, reports, &leads, &known, &mut ledger);
            let early = self.keep(&meta, reports, &leads, &results, &mut ledger).await?;
            if !ledger.is_changed() {
                let position = store.read_head().await?.position;
                return Ok(Taken { results, position, early });
            }
            let mut unit_meta = meta.clone();
            if early {
                // The caller's own request has not been answered yet: its id is for the run that answers.
                unit_meta.request_id = self.deps.ids.random("req");
            }
            let unit = ledger.unit(store, unit_meta).await.map_err(refused_unit)?;
            match store.append(unit).await {
                Outcome::Committed { position } => return Ok(Taken { results, position, early }),
                Outcome::Repeated { position, .. } => {
                    return self.told_before(&meta, reports, position).await;
                }
                // Another request recorded one of them, or changed one of the streams.
                Outcome::Conflict => {}
                Outcome::Refused(reason) if reason == TAKEN => {}
                other => return Err(refused(other)),
            }
        }
        Err(Problem::of(CONFLICT))
    }

    /// Where the name leads that each report gives its touch.
    async fn leads_of(&self, tenant: &str, reports: &[Report]) -> Result<Vec<Lead>, Problem> {
        let store = &self.deps.store;
        let messages = reports.iter().filter_map(|it| match &it.named {
            Named::Message(id) => Some(id.as_str()),
            Named::Touch(_) | Named::Token(_) => None,
        });
        let messages: BTreeSet<&str> = messages.collect();
        let found =
            view::touch::by_provider(store.database(), tenant, messages.into_iter()).await?;
        let known = |touch_id: Option<String>| touch_id.map_or(Lead::Nowhere, Lead::To);
        let lead = |report: &Report| match &report.named {
            Named::Touch(id) => Lead::To(id.clone()),
            Named::Message(id) => found.get(id).cloned().map_or(Lead::NowhereYet, known),
            Named::Token(token) => {
                known(token::open(store.keys(), tenant, token).map(str::to_owned))
            }
        };
        Ok(reports.iter().map(lead).collect())
    }

    /// Keeps what has no touch, and keeps no longer what has one now. Tells whether one of them is to be asked for again.
    async fn keep(
        &self,
        meta: &Metadata,
        reports: &[Report],
        leads: &[Lead],
        results: &[ProviderEventResult],
        ledger: &mut Ledger,
    ) -> Result<bool, Problem> {
        let (store, tenant) = (&self.deps.store, meta.tenant.as_str());
        let ids: Vec<String> = reports.iter().map(|it| it.id(tenant)).collect();
        let kept = view::report::kept(store.database(), tenant, ids.iter()).await?;
        let (mut wishes, mut early) = (BTreeMap::new(), false);
        for (((report, lead), told), id) in reports.iter().zip(leads).zip(results).zip(ids) {
            let since = kept.get(&id).copied();
            match told.outcome.as_str() {
                UNKNOWN_TOUCH => {
                    // What happened long ago overtook no hand-over.
                    let said_at = instant(report.fact.source.occurred_at.as_ref());
                    let age = meta.at.since(since.unwrap_or(meta.at).min(said_at));
                    early |= matches!(lead, Lead::NowhereYet) && age < EARLY;
                    if let (None, Some(it)) = (since, report.kept(tenant)) {
                        wishes.insert(id, report::Command::Keep(it));
                    }
                }
                _ if since.is_some() => {
                    let touch_id = told.touch_id.clone();
                    wishes.insert(id, report::Command::Place { touch_id });
                }
                _ => {}
            }
        }
        ledger.keep(store, tenant, wishes, meta.at).await?;
        Ok(early)
    }

    /// What the first run of a request told, read from what it recorded.
    async fn told_before(
        &self,
        meta: &Metadata,
        reports: &[Report],
        position: u64,
    ) -> Result<Taken, Problem> {
        let known = self.recorded(&meta.tenant, reports).await?;
        let mut seen = BTreeSet::new();
        let tell = |report: &Report| match known.get(&report.key()) {
            Some(it) if it.request_id == meta.request_id && seen.insert(report.key()) => {
                result(RECORDED, &it.touch_id)
            }
            Some(it) => result(REPEATED, &it.touch_id),
            None => result(UNKNOWN_TOUCH, ""),
        };
        let results = reports.iter().map(tell).collect();
        Ok(Taken { results, position, early: false })
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
    leads: &[Lead],
    known: &Recorded,
    ledger: &mut Ledger,
) -> Vec<ProviderEventResult> {
    let mut seen = BTreeMap::new();
    let mut results = Vec::with_capacity(reports.len());
    for (report, lead) in reports.iter().zip(leads) {
        let before = known.get(&report.key()).map(|it| &it.touch_id);
        if let Some(touch_id) = before.or_else(|| seen.get(&report.key())) {
            results.push(result(REPEATED, touch_id));
            continue;
        }
        let observed = lead.touch_id().filter(|touch_id| {
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
    ProviderEventResult {
        outcome: outcome.to_owned(),
        touch_id: touch_id.to_owned(),
        ..ProviderEventResult::default()
    }
}
