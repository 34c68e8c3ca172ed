//! What a country's rules say about a contact: a pack in force with the archetypes it carries, compiled.
//!
//! Layers are read nearest first. In a layer DENY beats ALLOW. An ALLOW line whose condition does not hold answers
//! too, with DENY: what is nearer may narrow what is farther. A DENY line whose condition does not hold says nothing.
//! No line in any layer is DENY, `unmapped`. An unknown condition counts as false for ALLOW and as true for DENY.
//! Without a party an answer that depends on a condition is CONDITIONAL.

use std::collections::BTreeSet;

use ::authored::rule::{Catalogue, Facts, Name, Rule, Truth, Type};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::{Effect, OutboundEffect};
use rapport_proto::types::{Audience, Channel, ContentClass, PartyKind};

use super::names;

pub(crate) mod check;
pub(crate) mod coverage;

/// Detail of a question that no line answers.
pub(crate) const UNMAPPED: &str = "unmapped";
/// Detail of a market without a pack in force.
pub(crate) const NO_PACK: &str = "no_pack";
/// The name that stands for every channel.
pub(crate) const ANY: &str = "ANY";

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) class: ContentClass,
    pub(crate) audience: Audience,
    pub(crate) channel: Channel,
}

/// The answer, with what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) effect: OutboundEffect,
    /// Pack whose line answers; the market's when none does.
    pub(crate) pack: String,
    pub(crate) version: u32,
    /// Line; empty when none answers.
    pub(crate) rule: String,
    /// `unmapped`, `no_pack`, `unknown:<name>`, or empty.
    pub(crate) detail: String,
}

impl Answer {
    /// The answer of a market without a pack.
    pub(crate) fn no_pack() -> Self {
        Self {
            effect: OutboundEffect::Deny,
            pack: String::new(),
            version: 0,
            rule: String::new(),
            detail: NO_PACK.to_owned(),
        }
    }

    pub(crate) fn allows(&self) -> bool {
        self.effect == OutboundEffect::Allow
    }
}

/// A pack with what it inherits, nearest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pack {
    pub(crate) version: u32,
    layers: Vec<Layer>,
    /// Kinds that may be contacted at all; none stated: every one.
    enabled_kinds: Option<Vec<PartyKind>>,
    /// Names that conditions look at.
    pub(crate) reads: BTreeSet<Name>,
}

#[derive(Clone, Debug)]
struct Layer {
    pack: String,
    version: u32,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    id: String,
    classes: Vec<ContentClass>,
    audiences: Vec<Audience>,
    channels: Channels,
    effect: Effect,
    when: When,
}

/// Which channels a line is for.
#[derive(Clone, Debug)]
enum Channels {
    Every,
    /// Those that this release knows: none may be left.
    Of(Vec<Channel>),
}

#[derive(Clone, Debug)]
enum When {
    Always,
    Rule(Rule),
    /// A stored condition that this release cannot read: unknown.
    Unreadable,
}

/// What a rule of a pack may look at.
pub(crate) fn catalogue() -> Catalogue {
    Catalogue::new().party().open("attributes").value("now", Type::Time)
}

impl Pack {
    /// Compiles a document and its archetypes, nearest first.
    pub(crate) fn compile<'a>(
        layers: impl IntoIterator<Item = (u32, &'a proto::RulePack)>,
    ) -> Self {
        let mut pack = Self::default();
        for (index, (version, document)) in layers.into_iter().enumerate() {
            if index == 0 {
                pack.version = version;
            }
            // A layer that enables only kinds of a newer release has stated them: it enables none that is known here.
            if pack.enabled_kinds.is_none() && !document.enabled_kinds.is_empty() {
                pack.enabled_kinds = Some(document.enabled_kinds().collect());
            }
            let lines: Vec<_> = document.outbound.iter().map(Line::compile).collect();
            pack.reads.extend(lines.iter().flat_map(Line::names).cloned());
            pack.layers.push(Layer { pack: document.rule_pack.clone(), version, lines });
        }
        pack
    }

    /// Whether parties of a kind may be contacted at all.
    pub(crate) fn enables(&self, kind: PartyKind) -> bool {
        self.enabled_kinds.as_ref().is_none_or(|it| it.contains(&kind))
    }

    /// Names that the conditions of these lines look at.
    pub(crate) fn names(&self, question: Question) -> BTreeSet<Name> {
        let lines = self.layers.iter().flat_map(|it| &it.lines).filter(|it| it.fits(question));
        lines.flat_map(Line::names).cloned().collect()
    }

    /// Answers for a party, or for parties in general.
    pub(crate) fn answer(&self, question: Question, party: Option<&dyn Facts>) -> Answer {
        self.answer_from(&self.layers, question, party)
    }

    /// What these layers answer, nearest first.
    fn answer_from(
        &self,
        layers: &[Layer],
        question: Question,
        party: Option<&dyn Facts>,
    ) -> Answer {
        if let [nearest, farther @ ..] = layers {
            let answer = self.answer_in(nearest, farther, question, party);
            return answer.unwrap_or_else(|| self.answer_from(farther, question, party));
        }
        let (pack, version) =
            self.layers.first().map_or(("", 0), |it| (it.pack.as_str(), it.version));
        Answer {
            effect: OutboundEffect::Deny,
            pack: pack.to_owned(),
            version,
            rule: String::new(),
            detail: UNMAPPED.to_owned(),
        }
    }

    /// What a layer answers; `None` when it says nothing.
    fn answer_in(
        &self,
        layer: &Layer,
        farther: &[Layer],
        question: Question,
        party: Option<&dyn Facts>,
    ) -> Option<Answer> {
        let fitting = || layer.lines.iter().filter(|it| it.fits(question));
        let told = |effect, line: &Line, truth: Truth| Answer {
            effect,
            pack: layer.pack.clone(),
            version: layer.version,
            rule: line.id.clone(),
            detail: truth.unknown().unwrap_or_default(),
        };
        let mut maybe_denied = None;
        for line in fitting().filter(|it| it.effect != Effect::Allow) {
            match line.holds(party) {
                Holds::Told(Truth::False) => {}
                Holds::Told(truth) => return Some(told(OutboundEffect::Deny, line, truth)),
                Holds::Depends => maybe_denied = maybe_denied.or(Some(line)),
            }
        }
        let mut narrowed = None;
        let mut maybe_allowed = None;
        let mut allowed = None;
        for line in fitting().filter(|it| it.effect == Effect::Allow) {
            match line.holds(party) {
                Holds::Told(Truth::True) => allowed = allowed.or(Some(line)),
                Holds::Told(truth) => narrowed = narrowed.or(Some((line, truth))),
                Holds::Depends => maybe_allowed = maybe_allowed.or(Some(line)),
            }
        }
        let conditional = |line| told(OutboundEffect::Conditional, line, Truth::True);
        match (allowed, maybe_denied, maybe_allowed, narrowed) {
            (Some(_), Some(line), _, _) | (None, _, Some(line), _) => Some(conditional(line)),
            (Some(line), None, _, _) => Some(told(OutboundEffect::Allow, line, Truth::True)),
            (None, _, None, Some((line, truth))) => Some(told(OutboundEffect::Deny, line, truth)),
            (None, Some(line), None, None) => {
                // Without this line the farther layers answer: only if they allow does it matter.
                let answer = self.answer_from(farther, question, party);
                let matters = answer.effect != OutboundEffect::Deny;
                Some(if matters { conditional(line) } else { answer })
            }
            (None, None, None, None) => None,
        }
    }
}

/// Whether a condition holds, or that this depends on the party.
enum Holds {
    Told(Truth),
    Depends,
}

impl Channels {
    fn of(names: &[String]) -> Self {
        if names.iter().any(|it| it == ANY) {
            return Self::Every;
        }
        Self::Of(names.iter().filter_map(|it| names::channel_of(it)).collect())
    }

    fn contains(&self, channel: Channel) -> bool {
        match self {
            Self::Every => true,
            Self::Of(channels) => channels.contains(&channel),
        }
    }
}

impl Line {
    fn compile(line: &proto::OutboundLine) -> Self {
        let when = match Rule::compile(&line.when, &catalogue(), &Type::Bool) {
            _ if line.when.is_empty() => When::Always,
            Ok(rule) => When::Rule(rule),
            Err(_) => When::Unreadable,
        };
        Self {
            id: line.id.clone(),
            classes: line.content_classes().collect(),
            audiences: line.audiences().collect(),
            channels: Channels::of(&line.channels),
            effect: line.effect(),
            when,
        }
    }

    fn fits(&self, question: Question) -> bool {
        self.classes.contains(&question.class)
            && self.audiences.contains(&question.audience)
            && self.channels.contains(question.channel)
    }

    fn holds(&self, party: Option<&dyn Facts>) -> Holds {
        match (&self.when, party) {
            (When::Always, _) => Holds::Told(Truth::True),
            (_, None) => Holds::Depends,
            (When::Rule(rule), Some(facts)) => Holds::Told(rule.check(facts)),
            (When::Unreadable, Some(_)) => Holds::Told(Truth::Unknown(Name::new("rule", ""))),
        }
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        match &self.when {
            When::Rule(rule) => Some(rule.names()),
            When::Always | When::Unreadable => None,
        }
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests;
