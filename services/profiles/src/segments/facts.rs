//! What rules know of a party, read once and asked at any instant from then on.

use std::collections::{BTreeMap, BTreeSet};

use authored::rule::{Name, Rule, Truth, Value};
use eventstore::{Error, Store, Timestamp};
use rapport_proto::types::{Clear, PartyKind};

use super::definitions::Live;
use crate::domain::consent::{self, Consent, Key, Statement, Terms, Verdict};
use crate::domain::party::{Party, State, Status};
use crate::domain::place::Market;
use crate::domain::segment::{Question, literals};
use crate::domain::trait_definition::series::Series;
use crate::view;
use crate::view::pack::Dated;

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

    /// What several need.
    pub(crate) fn of<'n>(all: impl Iterator<Item = &'n Self>) -> Self {
        all.fold(Self::default(), |mut sum, it| {
            sum.party |= it.party;
            sum.traits.extend(it.traits.iter().cloned());
            sum.questions.extend(it.questions.iter().map(|(key, it)| (key.clone(), it.clone())));
            sum
        })
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

/// What was said about one question, and by what it is judged.
#[derive(Debug)]
struct Said {
    statements: Vec<Statement>,
    /// What counts from when on, in that order; before that nothing is known.
    terms: Vec<(Timestamp, Terms)>,
    verified: bool,
}

/// Reads what is needed of these parties, each thing in one statement for all of them: facts for every instant from
/// `from` on, in the order of `party_ids`.
pub(crate) async fn load<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
    party_ids: &[String],
    needs: &Needs,
    from: Timestamp,
) -> Result<Vec<Facts<'l>>, Error> {
    load_until(store, live, tenant, party_ids, needs, (from, u64::MAX)).await
}

/// Like [`load`], with what was recorded up to a position and nothing of what is newer.
pub(super) async fn load_until<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
    party_ids: &[String],
    needs: &Needs,
    (from, until): (Timestamp, u64),
) -> Result<Vec<Facts<'l>>, Error> {
    let traits = || needs.traits.iter().filter_map(|id| live.traits.get_key_value(id));
    let mut names: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (_, it) in traits() {
        let start = it.definition.start(from).unwrap_or(from);
        let known = names.entry(&it.definition.event).or_insert(start);
        *known = start.min(*known);
    }
    let activities = view::activity::of_parties(store.database(), tenant, party_ids, &names, until);
    let (parties, mut activities) =
        futures::try_join!(parties(store, tenant, party_ids, needs, until), activities)?;
    let mut consents = consents(store, tenant, &parties, needs, (from, until)).await?;
    let facts = party_ids.iter().zip(parties).map(|(id, (_, party))| {
        let did = activities.remove(id).unwrap_or_default();
        let series =
            traits().map(|(id, it)| (id.as_str(), Series::new(&it.definition, &did))).collect();
        let consents = consents.remove(id).unwrap_or_default();
        Facts { party_id: id.clone(), party, series, consents }
    });
    Ok(facts.collect())
}

async fn parties(
    store: &Store,
    tenant: &str,
    party_ids: &[String],
    needs: &Needs,
    until: u64,
) -> Result<Vec<(String, Option<State>)>, Error> {
    if !needs.party {
        return Ok(party_ids.iter().map(|id| (id.clone(), None)).collect());
    }
    let loaded = store.load_many_until::<Party>(tenant, party_ids, until).await?;
    Ok(party_ids.iter().cloned().zip(loaded.into_iter().map(|it| Some(it.state))).collect())
}

/// What parties said about the questions, by party and question.
async fn consents(
    store: &Store,
    tenant: &str,
    parties: &[(String, Option<State>)],
    needs: &Needs,
    (at, until): (Timestamp, u64),
) -> Result<BTreeMap<String, BTreeMap<String, Said>>, Error> {
    let mut found: BTreeMap<String, BTreeMap<String, Said>> = BTreeMap::new();
    if needs.questions.is_empty() {
        return Ok(found);
    }
    let mut packs = BTreeMap::new();
    let (mut ids, mut asked) = (Vec::new(), Vec::new());
    for (party_id, party) in parties {
        let Some(party) = party else { continue };
        let Ok(market) = Market::parse(&party.market) else { continue };
        if !packs.contains_key(&party.market) {
            let dated = view::pack::from(store.database(), tenant, &party.market, at).await?;
            packs.insert(party.market.clone(), dated);
        }
        for (key, question) in &needs.questions {
            let Question { purpose, channel, sender_id } = question.clone();
            let consent = Key { party_id: party_id.clone(), purpose, channel, sender_id, market };
            ids.push(consent.consent_id(tenant));
            asked.push((party_id, party, key, question));
        }
    }
    let loaded = store.load_many_until::<Consent>(tenant, &ids, until).await?;
    for ((party_id, party, key, question), consent) in asked.into_iter().zip(loaded) {
        let dated = packs.get(&party.market).map(Vec::as_slice).unwrap_or_default();
        let said = Said {
            statements: consent.state.statements,
            terms: terms(dated, question),
            verified: party.contact_point(question.channel).is_some_and(|(_, it)| it.verified),
        };
        found.entry(party_id.clone()).or_default().insert(key.clone(), said);
    }
    Ok(found)
}

/// The terms of a question as packs take effect and are retired. An earlier pack does not come back.
fn terms(dated: &[Dated], question: &Question) -> Vec<(Timestamp, Terms)> {
    let mut terms = Vec::new();
    for (index, it) in dated.iter().enumerate() {
        let of = |pack| Terms::of(pack, question.purpose, question.channel);
        terms.push((it.effective_at, of(Some(&it.pack))));
        let replaced_at = dated.get(index + 1).map_or(Timestamp::MAX, |it| it.effective_at);
        if it.retired_at < replaced_at {
            terms.push((it.retired_at.max(it.effective_at), of(None)));
        }
    }
    terms
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

    /// Values of all traits that were read, at an instant.
    pub(crate) fn traits(&self, at: Timestamp) -> BTreeMap<String, Clear> {
        let value =
            |(id, series): (&&str, &Series<'_>)| Some(((*id).to_owned(), series.value(at)?));
        self.series.iter().filter_map(value).collect()
    }

    /// The verdict on a question at an instant.
    pub(crate) fn verdict(&self, key: &str, at: Timestamp) -> Option<Verdict> {
        let said = self.consents.get(key)?;
        let known = said.terms.iter().rfind(|(from, _)| *from <= at).map(|(_, it)| it.clone());
        let terms = known.unwrap_or_default();
        Some(consent::verdict(&said.statements, at, &terms, said.verified))
    }

    fn value(&self, name: &Name, at: Timestamp) -> Option<Value> {
        match name.root() {
            "now" => Some(Value::Time(at)),
            "party" => self.party.as_ref().and_then(|it| field(it, name.key())),
            "attributes" => {
                self.party.as_ref()?.attributes.get(name.key()).and_then(Value::from_clear)
            }
            "traits" => self.series.get(name.key())?.value(at).as_ref().and_then(Value::from_clear),
            "consent" => self.verdict(name.key(), at).map(|it| Value::Bool(it.allows())),
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
}

impl Said {
    /// Every instant at which a statement or a pack begins or ceases to count.
    fn turns(&self) -> impl Iterator<Item = Timestamp> {
        let spans = self.terms.iter().filter_map(|(_, it)| it.expires_after);
        let stated = self.statements.iter().flat_map(move |it| {
            let lasts = |after: i64| Timestamp(it.effective_at.0.saturating_add(after));
            let ends = spans.clone().map(lasts);
            [Some(it.effective_at), it.expires_at].into_iter().flatten().chain(ends)
        });
        stated.chain(self.terms.iter().map(|(from, _)| *from))
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
