//! What rules know of a party, read once and asked at any instant from then on.

use std::collections::{BTreeMap, BTreeSet};

use authored::rule::{Name, Rule, Truth, Value};
use eventstore::{Decider as _, Error, Store, Timestamp};
use rapport_proto::types::{Clear, PartyKind, Regime};

use super::change::Fact;
use super::definitions::Live;
use crate::domain::party::{Party, State, Status};
use crate::domain::segment::{Question, literals};
use crate::domain::trait_definition::series::{Activity, Series};
use crate::verdict::{Consents, Judgement, Said};
use crate::view::activity::{self, Wanted};

/// Instants looked at for the next turn. A party with more of them is looked at again at the last.
const MOST_LOOKS: usize = 1_000;

/// What must be read to evaluate rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Needs {
    /// Whether the party itself is read.
    pub(crate) party: bool,
    pub(crate) traits: BTreeSet<String>,
    /// Questions by the key under which rules ask them.
    pub(crate) questions: BTreeMap<String, Question>,
}

impl Needs {
    pub(crate) fn of_rule(rule: &Rule) -> Self {
        let mut needs = Self::default();
        for name in rule.names() {
            match name.root() {
                "traits" => {
                    needs.traits.insert(name.key().to_owned());
                }
                "consent" => {
                    needs.party = true;
                    let question = Question::parse(name.key());
                    needs.questions.extend(question.map(|it| (name.key().to_owned(), it)));
                }
                "party" | "attributes" => needs.party = true,
                _ => {}
            }
        }
        needs
    }

    /// Needs what another one needs, too.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.party |= other.party;
        self.traits.extend(other.traits.iter().cloned());
        let questions = other.questions.iter();
        self.questions.extend(questions.map(|(key, it)| (key.clone(), it.clone())));
    }

    /// The party, and what several need.
    pub(crate) fn of_party<'n>(all: impl Iterator<Item = &'n Self>) -> Self {
        all.fold(Self { party: true, ..Self::default() }, |mut sum, it| {
            sum.extend(it);
            sum
        })
    }
}

/// A party of which something is to be known.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) party_id: &'a str,
    pub(crate) needs: &'a Needs,
    /// Markets to which it will have moved by the time it is asked about.
    pub(crate) markets: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(party_id: &'a str, needs: &'a Needs) -> Self {
        Self { party_id, needs, markets: Vec::new() }
    }
}

/// A party as rules see it.
#[derive(Debug)]
pub(crate) struct Facts<'l> {
    pub(crate) party_id: String,
    /// Absent when it was not needed.
    pub(crate) party: Option<State>,
    series: BTreeMap<&'l str, Series<'l>>,
    consents: BTreeMap<String, Said>,
}

/// Reads what is needed of these parties, each thing in one statement for all of them: facts for every instant from
/// `from` on, in the order asked.
pub(crate) async fn load<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
    asked: &[Asked<'_>],
    from: Timestamp,
) -> Result<Vec<Facts<'l>>, Error> {
    load_until(store, live, tenant, asked, (from, u64::MAX)).await.map(|(facts, _)| facts)
}

/// Like [`load`], with what was recorded up to a position and nothing of what is newer. What was said about consent
/// comes beside, for what follows.
pub(super) async fn load_until<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
    asked: &[Asked<'_>],
    (from, until): (Timestamp, u64),
) -> Result<(Vec<Facts<'l>>, Consents), Error> {
    let (parties, mut activities) = futures::try_join!(
        parties(store, tenant, asked, until),
        activities(live, tenant, asked, (from, until))
    )?;
    let mut questions = Vec::new();
    for (it, party) in asked.iter().zip(&parties) {
        let now = party.as_ref().map(|it| it.market.as_str());
        for market in now.iter().chain(&it.markets) {
            let asked = it.needs.questions.values();
            questions.extend(asked.map(|question| (it.party_id, *market, question)));
        }
    }
    let consents = Consents::read(store, live, tenant, &questions, (from, until)).await?;
    let facts = asked.iter().zip(parties).map(|(it, party)| {
        let did = activities.remove(it.party_id).unwrap_or_default();
        let traits = it.needs.traits.iter().filter_map(|id| live.traits.get_key_value(id));
        let series = traits.map(|(id, it)| (id.as_str(), Series::new(&it.definition, &did)));
        let mut facts = Facts {
            party_id: it.party_id.to_owned(),
            party,
            series: series.collect(),
            consents: BTreeMap::new(),
        };
        facts.hear(it.needs, &consents);
        facts
    });
    Ok((facts.collect(), consents))
}

async fn parties(
    store: &Store,
    tenant: &str,
    asked: &[Asked<'_>],
    until: u64,
) -> Result<Vec<Option<State>>, Error> {
    let needed = asked.iter().filter(|it| it.needs.party);
    let ids: Vec<_> = needed.map(|it| it.party_id.to_owned()).collect();
    let mut loaded = store.load_many_until::<Party>(tenant, &ids, until).await?.into_iter();
    let state =
        |it: &Asked<'_>| if it.needs.party { loaded.next().map(|it| it.state) } else { None };
    Ok(asked.iter().map(state).collect())
}

/// What parties did that can count at an instant or later.
async fn activities(
    live: &Live,
    tenant: &str,
    asked: &[Asked<'_>],
    (from, until): (Timestamp, u64),
) -> Result<BTreeMap<String, Vec<Activity>>, Error> {
    let mut wanted = Vec::new();
    for it in asked {
        let mut names: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for definition in it.needs.traits.iter().filter_map(|id| live.traits.get(id)) {
            let definition = &definition.definition;
            let start = definition.start(from).unwrap_or(from);
            let known = names.entry(&definition.event).or_insert(start);
            *known = start.min(*known);
        }
        wanted.extend(names.into_iter().map(|(name, since)| Wanted {
            party_id: it.party_id.to_owned(),
            name: name.to_owned(),
            since,
        }));
    }
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    live.activities.read(activity::Asked { tenant: tenant.to_owned(), wanted, until }).await
}

impl Facts<'_> {
    /// Whether a rule holds at an instant. Unknown counts as false, and nobody who is erased is anywhere.
    pub(crate) fn hold(&self, rule: &Rule, at: Timestamp) -> bool {
        self.check(rule, at).is_true()
    }

    /// What a rule comes to at an instant.
    pub(crate) fn check(&self, rule: &Rule, at: Timestamp) -> Truth {
        let gone = |it: &State| matches!(it.status, Status::Unknown | Status::Erased);
        if self.party.as_ref().is_some_and(gone) {
            return Truth::False;
        }
        rule.check(&|name: &Name| self.value(name, at))
    }

    /// The value of a trait that was read, at an instant.
    pub(crate) fn of_trait(&self, id: &str, at: Timestamp) -> Option<Clear> {
        self.series.get(id)?.value(at)
    }

    /// The answer to a question at an instant.
    pub(crate) fn judge(&self, key: &str, at: Timestamp) -> Option<Judgement> {
        self.consents.get(key).map(|it| it.judge(Regime::Unspecified, at))
    }

    fn value(&self, name: &Name, at: Timestamp) -> Option<Value> {
        match name.root() {
            "now" => Some(Value::Time(at)),
            "party" => self.party.as_ref().and_then(|it| field(it, name.key())),
            "attributes" => {
                self.party.as_ref()?.attributes.get(name.key()).and_then(Value::from_clear)
            }
            "traits" => self.of_trait(name.key(), at).as_ref().and_then(Value::from_clear),
            "consent" => self.judge(name.key(), at).map(|it| Value::Bool(it.verdict.allows())),
            _ => None,
        }
    }

    /// The first instant after `at` and before `until` at which time alone turns the rule, if nothing else happens.
    pub(crate) fn next(&self, rule: &Rule, at: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut turns = BTreeSet::new();
        for name in rule.names() {
            self.turns(rule, name, (at, until), &mut turns);
        }
        turns.retain(|turn| at < *turn && *turn < until);
        if turns.is_empty() {
            return None;
        }
        let inside = self.hold(rule, at);
        let mut looks = turns.iter().take(MOST_LOOKS);
        let found = looks.find(|turn| self.hold(rule, **turn) != inside);
        found.or_else(|| turns.iter().nth(MOST_LOOKS)).copied()
    }

    /// Instants between two at which a name may turn a comparison of the rule.
    fn turns(
        &self,
        rule: &Rule,
        name: &Name,
        (at, until): (Timestamp, Timestamp),
        turns: &mut BTreeSet<Timestamp>,
    ) {
        match name.root() {
            "now" => {
                for literal in literals(rule, name) {
                    if let Value::Time(time) = literal {
                        turns.extend([*time, Timestamp(time.0.saturating_add(1))]);
                    }
                }
            }
            "traits" => {
                let Some(series) = self.series.get(name.key()) else { return };
                let numbers: Vec<f64> = literals(rule, name)
                    .filter_map(|it| if let Value::Number(it) = it { Some(*it) } else { None })
                    .collect();
                turns.extend(series.turns(at, until, &numbers));
            }
            "consent" => {
                if let Some(said) = self.consents.get(name.key()) {
                    turns.extend(said.turns());
                }
            }
            _ => {}
        }
    }

    /// Takes one more fact. One about consent is noted in `consents` before.
    pub(super) fn note(&mut self, fact: &Fact, needs: &Needs, consents: &Consents) {
        match fact {
            Fact::Party(event) => {
                self.party = self.party.take().map(|it| Party::evolve(it, event));
                self.hear(needs, consents);
            }
            Fact::Consent(_) => self.hear(needs, consents),
            Fact::Activity(activity) => {
                self.series.values_mut().for_each(|series| series.add(activity));
            }
        }
    }

    /// Takes what the party said about consent, in the market where it is.
    fn hear(&mut self, needs: &Needs, consents: &Consents) {
        let Some(party) = &self.party else { return };
        let said = |(key, question): (&String, &Question)| {
            Some((key.clone(), consents.said(&self.party_id, party, question)?))
        };
        self.consents = needs.questions.iter().filter_map(said).collect();
    }
}

fn field(party: &State, key: &str) -> Option<Value> {
    let text = match key {
        "kind" => kind(party.kind),
        "market" => &party.market,
        "language" => &party.language,
        "time_zone" => &party.time_zone,
        "state" => crate::convert::facts::state(party.status),
        _ => "",
    };
    (!text.is_empty()).then(|| Value::from(text))
}

fn kind(kind: PartyKind) -> &'static str {
    match kind {
        PartyKind::Unspecified => "",
        other => other.as_str_name().trim_start_matches("PARTY_KIND_"),
    }
}
