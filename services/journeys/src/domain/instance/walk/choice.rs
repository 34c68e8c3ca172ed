//! Where a way forks: by rules, by chance, by a decision.

use std::collections::BTreeMap;

use authored::rule::Rule;
use eventstore::Timestamp;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Cause;
use rapport_proto::journeys::v1::instance_event::Event;

use super::super::{Answer, For};
use super::{DO_NOTHING, Entered, Walk};
use crate::graph::{Arm, Node};

impl Walk<'_> {
    pub(super) fn branch(
        &mut self,
        node: String,
        visit: u32,
        cases: &[(Rule, String)],
        otherwise: &str,
    ) -> Entered {
        let scope = self.scope();
        let mut values = BTreeMap::new();
        let mut taken = (-1, otherwise.to_owned());
        for (index, (rule, next)) in (0..).zip(cases) {
            values.extend(scope.values(rule));
            if rule.check(&scope).is_true() {
                taken = (index, next.clone());
                break;
            }
        }
        let (case, next) = taken;
        self.emit(Event::Branched(proto::InstanceBranched {
            node,
            visit,
            case,
            next: next.clone(),
            values: values.into_iter().collect(),
            positions: self.reading.positions.clone().into_iter().collect(),
        }));
        Entered::Next(next)
    }

    /// The arm of the party: what was drawn once stays.
    pub(super) fn arm(&self, id: &str, salt: &str, arms: &[Arm]) -> Option<(String, String)> {
        let chosen = |name: &str| arms.iter().find(|arm| arm.name == name);
        let arm = match self.state.arms.get(id).and_then(|name| chosen(name)) {
            Some(arm) => Some(arm),
            None => draw(salt, &self.state.start().party_id, arms),
        };
        arm.map(|arm| (arm.name.clone(), arm.next.clone()))
    }

    /// The answer of decisioning, if it is still waited for.
    pub(super) fn answered(&mut self, answer: &Answer) {
        let Some(wait) =
            self.state.wait.clone().filter(|it| matches!(it.for_what, For::Decision { .. }))
        else {
            return;
        };
        let cause = Cause {
            r#type: "decision".to_owned(),
            occurred_at: Some(self.at.to_proto()),
            ..Cause::default()
        };
        if self.exits(Some(cause)) {
            return;
        }
        let Some(Node::Decide { chosen, nothing, unavailable, .. }) =
            self.graph.nodes.get(&wait.node)
        else {
            return;
        };
        let mut decided =
            proto::InstanceDecided { node: wait.node, visit: wait.visit, ..Default::default() };
        match answer {
            Answer::Unavailable(why) => {
                decided.unavailable.clone_from(why);
                decided.next.clone_from(unavailable);
            }
            Answer::Decided(it, positions) => {
                decided.next =
                    if it.action == DO_NOTHING { nothing.clone() } else { chosen.clone() };
                decided.decision_id.clone_from(&it.decision_id);
                decided.action.clone_from(&it.action);
                decided.treatment.clone_from(&it.treatment);
                decided.module.clone_from(&it.module);
                decided.channel = it.channel.into();
                decided.expires_at = it.expires_at.map(Timestamp::to_proto);
                decided.positions = positions.clone().into_iter().collect();
            }
        }
        let next = decided.next.clone();
        self.emit(Event::Decided(decided));
        self.run(&next);
    }
}

/// The arm that a party draws, by weight. The same salt and party draw the same number for ever.
pub(crate) fn draw<'g>(salt: &str, party_id: &str, arms: &'g [Arm]) -> Option<&'g Arm> {
    let total: f64 = arms.iter().map(|arm| f64::from(arm.weight)).sum();
    let mut left = eventstore::draw(salt, party_id) * total;
    for arm in arms {
        left -= f64::from(arm.weight);
        if left < 0.0 {
            return Some(arm);
        }
    }
    arms.last()
}
