//! Rules that are asked of the same facts, one after another: every name is looked up once, and a clause that stands in
//! several rules is judged once.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use super::explain::{self, Failing};
use super::tree::{BUDGET, Expr, Fault, Run};
use super::value::{Facts, Name, Type};
use super::{Catalogue, Problem, Row, Rule};

/// Conditions over one catalogue.
///
/// ```
/// use std::collections::BTreeMap;
/// use authored::rule::{Catalogue, Rules, Value};
///
/// let mut rules = Rules::new(Catalogue::new().party().open("attributes"));
/// let one = rules.add("party.market == 'DE' && attributes.visits >= 3")?;
/// let two = rules.add("party.market == 'DE' && has(attributes.licence)")?;
/// let facts = BTreeMap::from([("party.market".to_owned(), Value::from("FR"))]);
/// let judge = rules.over(&facts);
/// assert_eq!(judge.first_failing(one).unwrap().clause, "party.market == 'DE'");
/// assert!(!judge.holds(two));
/// # Ok::<(), authored::rule::Problem>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    catalogue: Catalogue,
    /// The name of each slot.
    names: Vec<Name>,
    clauses: Vec<Clause>,
    /// The clauses of each rule, in source order.
    rules: Vec<Vec<usize>>,
    by_text: HashMap<String, RuleId>,
    by_clause: HashMap<String, usize>,
}

/// A rule of [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(usize);

/// A condition that one rule or several have among their conjuncts. Over one catalogue a text has one meaning.
#[derive(Clone, Debug)]
struct Clause {
    text: String,
    expr: Expr,
}

impl Rules {
    /// None yet.
    pub fn new(catalogue: Catalogue) -> Self {
        Self {
            catalogue,
            names: Vec::new(),
            clauses: Vec::new(),
            rules: Vec::new(),
            by_text: HashMap::new(),
            by_clause: HashMap::new(),
        }
    }

    /// Adds a condition; one that is there already is not added again.
    pub fn add(&mut self, text: &str) -> Result<RuleId, Problem> {
        if let Some(known) = self.by_text.get(text) {
            return Ok(*known);
        }
        let rule = Rule::compile(text, &self.catalogue, &Type::Bool)?;
        let slots: Vec<usize> = rule.0.slots.iter().map(|name| self.slot(name)).collect();
        let parts = explain::parts(rule.clauses(), &rule.0.expr);
        let clauses = rule.clauses().iter().zip(parts);
        let clauses = clauses.map(|(clause, part)| self.clause(&clause.text, part, &slots));
        let clauses = clauses.collect();
        self.rules.push(clauses);
        let id = RuleId(self.rules.len() - 1);
        self.by_text.insert(text.to_owned(), id);
        Ok(id)
    }

    fn slot(&mut self, name: &Name) -> usize {
        self.names.iter().position(|it| it == name).unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        })
    }

    fn clause(&mut self, text: &str, part: &Expr, slots: &[usize]) -> usize {
        if let Some(known) = self.by_clause.get(text) {
            return *known;
        }
        let mut expr = part.clone();
        expr.renumber(slots);
        self.clauses.push(Clause { text: text.to_owned(), expr });
        self.by_clause.insert(text.to_owned(), self.clauses.len() - 1);
        self.clauses.len() - 1
    }

    /// The facts that they may look at, each once.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Looks all facts up.
    pub fn over(&self, facts: &dyn Facts) -> Judge<'_> {
        let row = Row(self.names.iter().map(|name| facts.get(name)).collect());
        let judged = vec![OnceCell::new(); self.clauses.len()];
        Judge { rules: self, row, judged }
    }
}

/// Rules over the facts of one case.
#[derive(Debug)]
pub struct Judge<'r> {
    rules: &'r Rules,
    row: Row,
    /// What was found of each clause that was asked.
    judged: Vec<OnceCell<Judged>>,
}

#[derive(Clone, Debug)]
struct Judged {
    truth: Result<bool, Fault>,
    steps: usize,
    told: OnceCell<Box<Failing>>,
}

impl Judge<'_> {
    /// Whether a rule holds: unknown counts as no.
    pub fn holds(&self, rule: RuleId) -> bool {
        self.failing(rule).is_none()
    }

    /// The same as [`Rule::first_failing`] of the rule alone, but that a rule with too many steps always says so.
    pub fn first_failing(&self, rule: RuleId) -> Option<Cow<'_, Failing>> {
        let (clause, fault) = self.failing(rule)?;
        let Clause { text, expr } = &self.rules.clauses[clause];
        let failing = || explain::failing(&self.rules.names, &self.row, text, expr, fault);
        let judged = self.judged(clause);
        // A clause may be unknown here only because the rule has taken too many steps before it.
        if judged.truth.err() == fault {
            return Some(Cow::Borrowed(judged.told.get_or_init(|| Box::new(failing()))));
        }
        Some(Cow::Owned(failing()))
    }

    /// The clause that is told, and the fault when it is unknown.
    fn failing(&self, rule: RuleId) -> Option<(usize, Option<Fault>)> {
        let clauses = &self.rules.rules[rule.0];
        let mut steps = explain::joining(clauses.len());
        let mut unknown = None;
        for clause in clauses {
            let judged = self.judged(*clause);
            steps += judged.steps;
            let truth = if steps > BUDGET { Err(Fault::Cost) } else { judged.truth };
            match truth {
                Ok(true) => {}
                Ok(false) => return Some((*clause, None)),
                Err(fault) => unknown = unknown.or(Some((*clause, Some(fault)))),
            }
        }
        unknown
    }

    fn judged(&self, clause: usize) -> &Judged {
        self.judged[clause].get_or_init(|| {
            let mut run = Run::over(&self.row.0, 0);
            let truth = run.truth(&self.rules.clauses[clause].expr);
            Judged { truth, steps: run.steps(), told: OnceCell::new() }
        })
    }
}
