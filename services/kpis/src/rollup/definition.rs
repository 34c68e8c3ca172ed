//! A document, checked and compiled: which events a series reads, and what each of them adds to it.

use std::collections::{BTreeMap, BTreeSet};

use authored::calendar::{Period, Zone, end_of, start_of};
use authored::document::{self, descriptor};
use authored::rule::{Problem, Rule, Type};
use eventstore::Timestamp;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Held};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::measure::Measure;
use rapport_proto::kpis::v1::{Bucket, Metric, Selection, Unit};
use rapport_proto::types::{Finding, PartyKind};

use super::contribution::{Contribution, PART, Role, measured, part};
use super::experiment::{self, Fact};
use super::record::{Event, Record, catalogue, currency};
use super::suppression::{Guarded, guarded};

/// Services whose events can be measured: all that have some, this one too.
pub(crate) const SOURCES: [&str; 7] =
    ["content", "decisioning", "delivery", "feedback", "journeys", "kpis", "profiles"];
/// Dimensions that every metric has, whatever its definition says.
pub(crate) const PARTY_KIND: &str = "party_kind";
pub(crate) const CURRENCY: &str = "currency";
/// Dimensions and parts of a key, at most.
const MOST_DIMENSIONS: usize = 8;
/// Further events that say the same, at most.
const MOST_ALSO: usize = 8;
/// Elements of one event that are measured, at most.
const MOST_ELEMENTS: usize = 10_000;

/// What is computed over the contributions of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Count,
    Distinct,
    Sum,
    Mean,
    /// Without keys: events per events. With keys: the share of things.
    Ratio {
        keyed: bool,
    },
    Quantile(f64),
    /// With the share of the survival curve that is read.
    Span(f64),
    /// The arms of an experiment.
    Experiment,
}

impl Shape {
    /// Whether sums are enough; everything else needs each contribution.
    pub(crate) fn is_summed(self) -> bool {
        match self {
            Self::Count | Self::Sum | Self::Mean | Self::Ratio { keyed: false } => true,
            Self::Distinct
            | Self::Ratio { keyed: true }
            | Self::Quantile(_)
            | Self::Span(_)
            | Self::Experiment => false,
        }
    }

    /// Whether contributions stand in the bucket and dimensions of the thing that they belong to.
    pub(crate) fn is_joined(self) -> bool {
        matches!(self, Self::Ratio { keyed: true } | Self::Span(_))
    }
}

/// A compiled series: what a consumer applies to events.
#[derive(Debug)]
pub(crate) struct Series {
    /// `metric/<id>/<version>` or `experiment/<id>`.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    picks: Vec<Pick>,
    zone: Zone,
    period: Period,
    money: bool,
    /// Names of the dimensions, in order.
    pub(crate) dimensions: Vec<String>,
}

/// Which events, and what they add.
#[derive(Debug)]
struct Pick {
    role: Role,
    source: String,
    event: MessageDescriptor,
    each: Option<FieldDescriptor>,
    filter: Option<Rule>,
    value: Option<Rule>,
    key: Vec<Rule>,
    dims: Vec<Rule>,
    /// What is read in code because no rule can say it.
    fact: Option<Fact>,
}

impl Series {
    /// Sources that it reads.
    pub(crate) fn sources(&self) -> BTreeSet<&str> {
        self.picks.iter().map(|it| it.source.as_str()).collect()
    }

    /// The bucket of an instant.
    pub(crate) fn bucket(&self, at: Timestamp) -> Option<Timestamp> {
        start_of(&self.zone, at, self.period)
    }

    /// The first instant after a bucket.
    pub(crate) fn bucket_end(&self, bucket: Timestamp) -> Option<Timestamp> {
        end_of(&self.zone, bucket, self.period)
    }

    /// What an event adds.
    pub(crate) fn contributions(&self, event: &Event<'_>) -> Vec<Contribution> {
        let mut found = Vec::new();
        for pick in &self.picks {
            if pick.source != event.source || pick.event.full_name() != event.type_name {
                continue;
            }
            if let Some(fact) = &pick.fact {
                found.extend(self.told(pick, fact, event));
            } else if let Some(message) = event.message(&pick.event) {
                self.measure(pick, event, message, &mut found);
            }
        }
        found
    }

    fn measure(
        &self,
        pick: &Pick,
        event: &Event<'_>,
        message: &DynamicMessage,
        to: &mut Vec<Contribution>,
    ) {
        let Some(each) = &pick.each else {
            to.extend(self.one(pick, &Record { event, message, item: None }, 0));
            return;
        };
        let held = message.get_field(each);
        let Held::List(items) = &*held else { return };
        let kind = each.kind();
        for (element, item) in (0..).zip(items.iter().take(MOST_ELEMENTS)) {
            let record = Record { event, message, item: Some((&kind, item)) };
            to.extend(self.one(pick, &record, element));
        }
    }

    /// What one element adds; nothing when the filter does not hold, or when what is measured is not known.
    fn one(&self, pick: &Pick, record: &Record<'_>, element: u32) -> Option<Contribution> {
        if pick.filter.as_ref().is_some_and(|it| !it.check(record).is_true()) {
            return None;
        }
        let mut added = self.added(pick.role, record.event, element)?;
        let parts: Option<Vec<String>> =
            pick.key.iter().map(|it| it.value(record).ok().map(|it| part(&it))).collect();
        added.key = joined(parts?);
        if let Some(rule) = &pick.value {
            added.value = measured(&rule.value(record).ok()?)?;
            if self.money {
                added.currency = currency_of(rule, record)?;
            }
        }
        let value = |rule: &Rule| rule.value(record).map(|it| part(&it)).unwrap_or_default();
        added.dims = joined(pick.dims.iter().map(value));
        Some(added)
    }

    /// What an event of an experiment tells.
    fn told(&self, pick: &Pick, fact: &Fact, event: &Event<'_>) -> Option<Contribution> {
        let key = fact.read(event)?;
        let mut added = self.added(pick.role, event, 0)?;
        added.key = key;
        if let Some(rule) = &pick.value {
            let record = Record { event, message: event.message(&pick.event)?, item: None };
            added.value = measured(&rule.value(&record).ok()?)?;
        }
        Some(added)
    }

    fn added(&self, role: Role, event: &Event<'_>, element: u32) -> Option<Contribution> {
        let at = event.occurred_at;
        Some(Contribution {
            role,
            position: event.position,
            element,
            event_id: event.event_id.to_owned(),
            at,
            bucket: self.bucket(at)?,
            dims: String::new(),
            key: String::new(),
            value: 0,
            currency: String::new(),
            party_id: event.party_id.to_owned(),
        })
    }
}

/// The currency of the amounts that a value is computed from, empty for plain numbers; none when there are several,
/// because their sum means nothing.
fn currency_of(rule: &Rule, record: &Record<'_>) -> Option<String> {
    let of: BTreeSet<String> = rule.names().iter().filter_map(|it| currency(record, it)).collect();
    let mut of = of.into_iter();
    let first = of.next().unwrap_or_default();
    of.next().is_none().then_some(first)
}

fn joined(parts: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            text.push(PART);
        }
        text.push_str(&part);
    }
    text
}

/// The name of a metric's series.
pub(crate) fn series_of(metric: &str, version: u32) -> String {
    format!("metric/{metric}/{version}")
}

/// A metric as it is computed.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) metric: Metric,
    pub(crate) version: u32,
    pub(crate) hash: [u8; 32],
    pub(crate) series: Series,
    /// Kinds of parties of which too few are not told.
    pub(crate) guarded: Guarded,
}

impl Definition {
    /// Compiles a document, or tells everything that is wrong with it.
    pub(crate) fn compile(metric: &Metric, version: u32) -> Result<Self, Vec<Finding>> {
        let mut check = Findings::default();
        let series = check.series(metric, version);
        match series {
            Some(series) if check.0.is_empty() => Ok(Self {
                metric: metric.clone(),
                version,
                hash: document::hash(metric),
                series,
                guarded: guarded(&metric.suppress_below),
            }),
            _ => Err(check.0),
        }
    }
}

impl Definition {
    /// Whether a span's time is stated by what ends it, rather than being the difference of two instants.
    pub(crate) fn seconds_stated(&self) -> bool {
        match self.metric.measure.as_ref().and_then(|it| it.measure.as_ref()) {
            Some(Measure::Span(it)) => !it.seconds.is_empty(),
            _ => false,
        }
    }
}

/// An experiment as it is read.
pub(crate) fn of_experiment(document: &proto::Experiment) -> Result<Series, Vec<Finding>> {
    let mut check = Findings::default();
    let picks = experiment::facts(document)
        .into_iter()
        .filter_map(|(role, source, type_name, fact)| {
            let event = descriptor(type_name).ok()?;
            let value = (role == Role::Main && !document.value.is_empty())
                .then(|| check.rule("value", &document.value, &event, None, &Type::Number))
                .flatten();
            Some(Pick {
                role,
                source: source.to_owned(),
                event,
                each: None,
                filter: None,
                value,
                key: Vec::new(),
                dims: Vec::new(),
                fact: Some(fact),
            })
        })
        .collect();
    let zone = check.zone("");
    match zone {
        Some(zone) if check.0.is_empty() => Ok(Series {
            name: format!("experiment/{}", document.experiment),
            shape: Shape::Experiment,
            picks,
            zone,
            period: Period::Day,
            money: false,
            dimensions: Vec::new(),
        }),
        _ => Err(check.0),
    }
}

/// What a check of a document finds.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, place: &str, code: &str, text: impl Into<String>) {
        let finding = Finding {
            place: place.to_owned(),
            code: code.to_owned(),
            text: text.into(),
            ..Finding::default()
        };
        self.0.push(finding);
    }

    fn require(&mut self, holds: bool, place: &str, text: &str) {
        if !holds {
            self.add(place, "invalid", text);
        }
    }

    fn series(&mut self, metric: &Metric, version: u32) -> Option<Series> {
        let id = chassis::name::is_authored_id(&metric.metric);
        self.require(
            id,
            "metric",
            "Start with a lower-case letter, then 1 to 62 of a-z, 0-9 and -.",
        );
        let short = metric.description.chars().count() <= 2_000;
        self.require(short, "description", "Use at most 2,000 characters.");
        self.require(metric.unit() != Unit::Unspecified, "unit", "Choose a unit.");
        self.suppression(metric);
        let period = match Bucket::try_from(metric.bucket) {
            Ok(Bucket::Unspecified | Bucket::Day) => Period::Day,
            Ok(Bucket::Week) => Period::Week,
            Ok(Bucket::Month) => Period::Month,
            Err(_) => {
                self.add("bucket", "invalid", "Choose DAY, WEEK or MONTH.");
                Period::Day
            }
        };
        let zone = self.zone(&metric.time_zone);
        let main = Selection {
            source: metric.source.clone(),
            event: metric.event.clone(),
            each: metric.each.clone(),
            filter: metric.filter.clone(),
            also: metric.also.clone(),
        };
        let (shape, picks) = self.measure(metric, &main)?;
        Some(Series {
            name: series_of(&metric.metric, version),
            shape,
            picks,
            zone: zone?,
            period,
            money: metric.unit() == Unit::Money,
            dimensions: metric.dimensions.keys().cloned().collect(),
        })
    }

    fn suppression(&mut self, metric: &Metric) {
        for (kind, below) in &metric.suppress_below {
            let known = PartyKind::from_str_name(&format!("PARTY_KIND_{kind}"))
                .is_some_and(|it| it != PartyKind::Unspecified);
            let place = format!("suppress_below.{kind}");
            self.require(known, &place, "Name a kind of party, for example PATIENT.");
            self.require((2..=1_000).contains(below), &place, "Use 2 to 1,000.");
        }
        let fits = metric.dimensions.len() <= MOST_DIMENSIONS;
        self.require(fits, "dimensions", "Use 8 dimensions at most.");
        for name in metric.dimensions.keys() {
            let place = format!("dimensions.{name}");
            let fits = (1..=63).contains(&name.len())
                && name.starts_with(|it: char| it.is_ascii_lowercase())
                && name.bytes().all(|it| {
                    it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_' || it == b'-'
                });
            self.require(fits, &place, "Name it with a-z, then a-z, 0-9, '_' and '-', 63 at most.");
            let own = name == PARTY_KIND || name == CURRENCY;
            self.require(!own, &place, "Every metric has this one: leave it out.");
        }
    }

    fn measure(&mut self, metric: &Metric, main: &Selection) -> Option<(Shape, Vec<Pick>)> {
        let unset = Vec::new();
        let money = metric.unit() == Unit::Money;
        let Some(measure) = metric.measure.as_ref().and_then(|it| it.measure.as_ref()) else {
            self.add(
                "measure",
                "missing",
                "Choose one of count, distinct, sum, mean, ratio, quantile, span.",
            );
            return None;
        };
        let summable = matches!(measure, Measure::Sum(_) | Measure::Mean(_) | Measure::Quantile(_));
        self.require(
            !money || summable,
            "unit",
            "Only a sum, a mean or a quantile is an amount of money.",
        );
        let all = &metric.dimensions;
        let none = BTreeMap::new();
        Some(match measure {
            Measure::Count(it) => {
                self.require(*it, "measure.count", "Write true.");
                (Shape::Count, self.picks("", main, Role::Main, None, &unset, all)?)
            }
            Measure::Distinct(of) => {
                let key = vec![of.clone()];
                let mut picks = self.picks("", main, Role::Main, None, &unset, all)?;
                for pick in &mut picks {
                    pick.key = self.key("measure.distinct", &key, &pick.event, pick.each.as_ref());
                }
                (Shape::Distinct, picks)
            }
            Measure::Sum(of) => (
                Shape::Sum,
                self.picks("", main, Role::Main, Some(("measure.sum", of)), &unset, all)?,
            ),
            Measure::Mean(of) => (
                Shape::Mean,
                self.picks("", main, Role::Main, Some(("measure.mean", of)), &unset, all)?,
            ),
            Measure::Quantile(it) => {
                self.share("measure.quantile.q", it.q);
                let value = Some(("measure.quantile.value", &it.value));
                (Shape::Quantile(it.q), self.picks("", main, Role::Main, value, &unset, all)?)
            }
            Measure::Ratio(it) => {
                let keyed = !it.key.is_empty();
                let both = it.key.len() == it.per_key.len();
                self.require(both, "measure.ratio.per_key", "Name as many parts as in `key`.");
                let per = it.per.clone().unwrap_or_default();
                let dims = if keyed { &none } else { all };
                let mut picks = self.picks("", main, Role::Main, None, &it.key, dims)?;
                let place = "measure.ratio.per";
                picks.extend(self.picks(place, &per, Role::Other, None, &it.per_key, all)?);
                (Shape::Ratio { keyed }, picks)
            }
            Measure::Span(it) => (Shape::Span(it.q), self.span(it, main, all)?),
        })
    }

    fn span<'a>(
        &mut self,
        it: &'a proto::Span,
        main: &Selection,
        all: &BTreeMap<String, String>,
    ) -> Option<Vec<Pick>> {
        let none = BTreeMap::new();
        self.share("measure.span.q", it.q);
        let named = !it.key.is_empty() && it.key.len() == it.until_key.len();
        self.require(named, "measure.span.key", "Name the thing in both events, in as many parts.");
        let until = it.until.clone().unwrap_or_default();
        let stated = |place, text: &'a String| (!text.is_empty()).then_some((place, text));
        let seconds = stated("measure.span.seconds", &it.seconds);
        let paused = stated("measure.span.paused_seconds", &it.paused_seconds);
        self.require(
            seconds.is_some() || (it.pause.is_none() && it.resume.is_none()),
            "measure.span.seconds",
            "State what the clock shows at the end, too, where it can stop and go on.",
        );
        self.require(
            paused.is_some() == it.pause.is_some(),
            "measure.span.paused_seconds",
            "State what the clock shows when it stops, and nothing where it does not.",
        );
        let key = &it.until_key;
        let mut picks = self.picks("", main, Role::Main, None, &it.key, all)?;
        picks.extend(self.picks("measure.span.until", &until, Role::Other, seconds, key, &none)?);
        if let Some(pause) = &it.pause {
            let place = "measure.span.pause";
            picks.extend(self.picks(place, pause, Role::Paused, paused, key, &none)?);
        }
        if let Some(resume) = &it.resume {
            let place = "measure.span.resume";
            picks.extend(self.picks(place, resume, Role::Resumed, None, key, &none)?);
        }
        Some(picks)
    }

    fn share(&mut self, place: &str, share: f64) {
        self.require(share > 0.0 && share <= 1.0, place, "Use a share above 0 and up to 1.");
    }

    /// A selection and what says the same.
    fn picks(
        &mut self,
        place: &str,
        from: &Selection,
        role: Role,
        value: Option<(&str, &String)>,
        key: &[String],
        dimensions: &BTreeMap<String, String>,
    ) -> Option<Vec<Pick>> {
        let before = if place.is_empty() { String::new() } else { format!("{place}.") };
        let few = from.also.len() <= MOST_ALSO;
        self.require(few, &format!("{before}also"), "Name 8 further events at most.");
        let mut picks = vec![self.pick(place, from, role, value, key, dimensions)?];
        for (index, also) in from.also.iter().take(MOST_ALSO).enumerate() {
            let place = format!("{before}also[{index}]");
            self.require(also.also.is_empty(), &format!("{place}.also"), "Leave it empty here.");
            picks.push(self.pick(&place, also, role, value, key, dimensions)?);
        }
        Some(picks)
    }

    fn pick(
        &mut self,
        place: &str,
        from: &Selection,
        role: Role,
        value: Option<(&str, &String)>,
        key: &[String],
        dimensions: &BTreeMap<String, String>,
    ) -> Option<Pick> {
        let at = |field: &str| {
            if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") }
        };
        let event = self.event(&at("source"), &at("event"), from)?;
        let each = match from.each.as_str() {
            "" => None,
            name => match event.get_field_by_name(name).filter(FieldDescriptor::is_list) {
                Some(field) => Some(field),
                None => {
                    self.add(&at("each"), "unknown", "Name a repeated field of the event.");
                    return None;
                }
            },
        };
        let filter = (!from.filter.is_empty())
            .then(|| self.rule(&at("filter"), &from.filter, &event, each.as_ref(), &Type::Bool))
            .flatten();
        let value = value.and_then(|(place, text)| {
            let rule = self.rule(place, text, &event, each.as_ref(), &Type::Any)?;
            let fits = matches!(rule.result(), Type::Number | Type::Duration | Type::Any);
            self.require(fits, place, "Give a number, an amount of money or a duration.");
            Some(rule)
        });
        let key_place = match role {
            Role::Main => "measure.key",
            Role::Other | Role::Instance | Role::Paused | Role::Resumed => "measure.per_key",
        };
        let key = self.key(key_place, key, &event, each.as_ref());
        let dims = dimensions
            .iter()
            .filter_map(|(name, text)| {
                let place = format!("dimensions.{name}");
                let rule = self.rule(&place, text, &event, each.as_ref(), &Type::Any)?;
                let fits =
                    matches!(rule.result(), Type::Text | Type::Bool | Type::Number | Type::Any);
                self.require(fits, &place, "Give a code, a flag or a number.");
                Some(rule)
            })
            .collect();
        let source = from.source.clone();
        Some(Pick { role, source, event, each, filter, value, key, dims, fact: None })
    }

    fn event(
        &mut self,
        source_at: &str,
        event_at: &str,
        from: &Selection,
    ) -> Option<MessageDescriptor> {
        if !SOURCES.contains(&from.source.as_str()) {
            self.add(source_at, "unknown", format!("Name one of {}.", SOURCES.join(", ")));
            return None;
        }
        let own = from.event.starts_with(&format!("rapport.{}.v1.", from.source));
        let found = own.then(|| descriptor(&from.event).ok()).flatten().filter(is_event);
        if found.is_none() {
            let text =
                format!("Name an event of {0} in full, for example rapport.{0}.v1.….", from.source);
            self.add(event_at, "unknown", text);
        }
        found
    }

    fn key(
        &mut self,
        place: &str,
        parts: &[String],
        event: &MessageDescriptor,
        each: Option<&FieldDescriptor>,
    ) -> Vec<Rule> {
        self.require(parts.len() <= MOST_DIMENSIONS, place, "Use 8 parts at most.");
        parts.iter().filter_map(|text| self.rule(place, text, event, each, &Type::Any)).collect()
    }

    fn rule(
        &mut self,
        place: &str,
        text: &str,
        event: &MessageDescriptor,
        each: Option<&FieldDescriptor>,
        result: &Type,
    ) -> Option<Rule> {
        match Rule::compile(text, &catalogue(event, each), result) {
            Ok(rule) => Some(rule),
            Err(Problem { column, text, remedy }) => {
                self.0.push(Finding {
                    place: place.to_owned(),
                    code: "rule_invalid".to_owned(),
                    text: format!("{text}; {remedy}"),
                    column: u32::try_from(column).unwrap_or_default(),
                    line: 0,
                });
                None
            }
        }
    }

    fn zone(&mut self, name: &str) -> Option<Zone> {
        match Zone::parse(if name.is_empty() { "UTC" } else { name }) {
            Ok(zone) => Some(zone),
            Err(invalid) => {
                self.add("time_zone", "invalid", invalid.to_string());
                None
            }
        }
    }
}

/// Whether a message is a fact of some aggregate, not a part of one.
fn is_event(message: &MessageDescriptor) -> bool {
    let is_this =
        |field: FieldDescriptor| matches!(field.kind(), Kind::Message(it) if it == *message);
    message
        .parent_file()
        .messages()
        .flat_map(|it| it.oneofs().collect::<Vec<_>>())
        .filter(|it| it.name() == "event")
        .any(|it| it.fields().any(is_this))
}
