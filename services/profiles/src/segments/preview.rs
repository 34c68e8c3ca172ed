//! Who a rule would select now, without saving it.

use std::collections::BTreeMap;

use authored::rule::{Rule, Truth};
use eventstore::{Error, Timestamp};

use super::definitions::Definitions;
use super::facts::{self, Asked, Facts, Needs};
use crate::domain::segment::Question;
use crate::view;
use crate::view::party::Filter;

/// Parties in a page.
const PAGE: u32 = 500;
/// Parties looked at. The answer tells how many were.
const MOST: u64 = 50_000;
/// Members named.
const SAMPLE: usize = 10;
/// The key of the question members are counted by. No rule can name it.
const ASKED: &str = "";

/// A market and a verdict; the verdict is empty when nothing was asked.
pub(crate) type Group = (String, &'static str);

/// Counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Preview {
    pub(crate) parties: u64,
    pub(crate) members: u64,
    pub(crate) unknown: u64,
    pub(crate) groups: BTreeMap<Group, u64>,
    pub(crate) sample: Vec<String>,
}

/// Evaluates a rule for every party, oldest first.
pub(crate) async fn preview(
    definitions: &Definitions,
    tenant: &str,
    rule: &Rule,
    asked: Option<Question>,
    at: Timestamp,
) -> Result<Preview, Error> {
    let (store, live) = (definitions.store(), definitions.live(tenant).await?);
    let mut needs = Needs::of_party(std::iter::once(&Needs::of_rule(rule)));
    needs.questions.extend(asked.map(|it| (ASKED.to_owned(), it)));
    let (mut counted, mut after) = (Preview::default(), 0);
    while counted.parties < MOST {
        let page =
            view::party::list(store.database(), tenant, &Filter::EVERYBODY, after, PAGE).await?;
        let Some((_, last)) = page.last() else { break };
        after = *last;
        let asked: Vec<_> = page.iter().map(|(id, _)| Asked::new(id, &needs)).collect();
        for facts in facts::load(store, &live, tenant, &asked, at).await? {
            counted.add(&facts, rule, at);
        }
    }
    Ok(counted)
}

impl Preview {
    fn add(&mut self, facts: &Facts<'_>, rule: &Rule, at: Timestamp) {
        self.parties += 1;
        match facts.check(rule, at) {
            Truth::False => {}
            Truth::Unknown(_) => self.unknown += 1,
            Truth::True => {
                self.members += 1;
                let market = facts.party.as_ref().map(|it| it.market.clone()).unwrap_or_default();
                let verdict = match facts.judge(ASKED, at).map(|it| it.verdict) {
                    None => "",
                    Some(it) if it.allows() => "allowed",
                    Some(it) => it.detail(),
                };
                *self.groups.entry((market, verdict)).or_default() += 1;
                if self.sample.len() < SAMPLE {
                    self.sample.push(facts.party_id.clone());
                }
            }
        }
    }
}
