//! Rules that people write: CEL, checked against the names that exist where the rule stands, bounded
//! in cost, three-valued.
//!
//! ```text
//! text ─ bounds, brackets ─▶ tokens ─ cel's parser ─▶ syntax tree ─ names, types ─▶ Rule
//! Rule + Facts ─ look every name up once ─▶ Row ─ evaluate ─▶ True │ False │ Unknown(name)
//! Rules + Facts ─ look every name of all rules up once ─▶ Judge ─ each clause that is asked, once ─▶ why a rule fails
//! ```
//!
//! A fact that is missing, or is of another type than the rule needs, is unknown. `&&`, `||`,
//! `exists` and `all` follow Kleene in whatever order: false && unknown is false, true || unknown is
//! true. Everything else that looks at an unknown is unknown, but `has(…)`, which never is. A rule
//! that cannot be computed (a division by zero, an overflow) is unknown by the fact to blame; one
//! that takes more than 10,000 steps is unknown by `cost`. The unknown that is told is the first in
//! source order that matters.
//!
//! Where this departs from CEL: all numbers are f64, so `7 / 2` is 3.5 and there is no `%`; values
//! of different types are refused when the rule is written, and unknown when the rule runs, instead
//! of unequal; there are no maps, bytes, nulls, regular expressions, conversions and joined texts;
//! lists are written with literals only; a duration knows `d`, which is 24 hours.
//!
//! A rule has at most 2,000 characters and 200 words and operators, nests at most 32 deep, has lists
//! of at most 100 elements, and `exists` and `all` at most 2 deep.
//!
//! ```
//! use std::collections::BTreeMap;
//! use authored::rule::{Catalogue, Rule, Truth, Type, Value};
//!
//! let names = Catalogue::new().party().record("traits", [("orders", Type::Number)]);
//! let rule = Rule::compile("party.market == 'DE' && traits.orders >= 2", &names, &Type::Bool)?;
//! let mut facts = BTreeMap::from([("party.market".to_owned(), Value::from("DE"))]);
//! assert_eq!(rule.check(&facts).unknown().as_deref(), Some("unknown:traits.orders"));
//! facts.insert("traits.orders".to_owned(), Value::from(3.0));
//! assert_eq!(rule.check(&facts), Truth::True);
//!
//! let problem = Rule::compile("traits.order > 1", &names, &Type::Bool).unwrap_err();
//! assert_eq!(problem.to_string(), "column 1: `traits.order` is not known here; did you mean `traits.orders`?");
//! # Ok::<(), authored::rule::Problem>(())
//! ```

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

mod catalogue;
mod check;
mod explain;
mod literal;
mod rules;
mod text;
mod tree;
mod value;

pub use catalogue::Catalogue;
pub use explain::{Comparison, Failing};
pub use rules::{Judge, RuleId, Rules};
pub use value::{Facts, Name, Type, Value};

use tree::{Expr, Fault};

/// A compiled rule. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rule(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    text: String,
    result: Type,
    expr: Expr,
    /// The name of each slot.
    slots: Vec<Name>,
    names: BTreeSet<Name>,
    clauses: Vec<Clause>,
    comparisons: Vec<Comparison>,
}

/// A conjunct of a rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The text.
    pub text: String,
    /// Where it begins: characters from the start of the rule, from 1.
    pub column: usize,
}

/// How a rule uses a name. The name stands left: `2 <= traits.orders` is `GreaterOrEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `in` a list.
    In,
    /// Whether it is known, whatever its value.
    Has,
    /// In some other way.
    Other,
}

/// What a condition comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It would take this fact to tell.
    Unknown(Name),
}

/// A value that would take this fact to tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown:{0}")]
pub struct Unknown(pub Name);

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {text}; {remedy}")]
pub struct Problem {
    /// Where: characters from the start of the text, from 1.
    pub column: usize,
    /// What is wrong.
    pub text: String,
    /// What to write instead.
    pub remedy: String,
}

/// The facts of one rule, looked up. Belongs to the rule that bound it.
#[derive(Clone, Debug, Default)]
pub struct Row(Vec<Option<Value>>);

impl Rule {
    /// Reads a rule that is to give a value of this type.
    pub fn compile(text: &str, catalogue: &Catalogue, result: &Type) -> Result<Self, Problem> {
        let bounded = text::Text::read(text)?;
        let check::Checked { expr, slots, type_ } = check::check(text, catalogue, result)?;
        let clauses = explain::clauses(text, &bounded, &expr);
        let comparisons = explain::comparisons(&expr, &slots);
        Ok(Self(Arc::new(Compiled {
            text: text.to_owned(),
            result: type_,
            names: slots.iter().cloned().collect(),
            expr,
            slots,
            clauses,
            comparisons,
        })))
    }

    /// The rule as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The type of its value; `Any` when that shows only when the rule runs.
    pub fn result(&self) -> &Type {
        &self.0.result
    }

    /// The facts that it may look at.
    pub fn names(&self) -> &BTreeSet<Name> {
        &self.0.names
    }

    /// Whether it holds.
    pub fn check(&self, facts: &dyn Facts) -> Truth {
        self.check_row(&self.bind(facts))
    }

    /// Its value.
    pub fn value(&self, facts: &dyn Facts) -> Result<Value, Unknown> {
        self.value_row(&self.bind(facts))
    }

    /// Looks up all facts once, for evaluations that then look nothing up and allocate nothing.
    pub fn bind(&self, facts: &dyn Facts) -> Row {
        Row(self.0.slots.iter().map(|name| facts.get(name)).collect())
    }

    /// Whether it holds over a row that it bound.
    pub fn check_row(&self, row: &Row) -> Truth {
        match self.0.expr.truth(&row.0) {
            Ok(true) => Truth::True,
            Ok(false) => Truth::False,
            Err(fault) => Truth::Unknown(self.blamed(fault)),
        }
    }

    /// Its value over a row that it bound.
    pub fn value_row(&self, row: &Row) -> Result<Value, Unknown> {
        self.0.expr.value(&row.0).map_err(|fault| Unknown(self.blamed(fault)))
    }

    /// What `&&` joins at the top, in source order; the whole rule when that is nothing.
    pub fn clauses(&self) -> &[Clause] {
        &self.0.clauses
    }

    /// The first clause that does not hold, or else the first that is unknown; `None` when the rule
    /// holds.
    pub fn first_failing(&self, facts: &dyn Facts) -> Option<Failing> {
        explain::first_failing(self, &self.bind(facts))
    }

    /// Every use of every name, in source order.
    pub fn comparisons(&self) -> &[Comparison] {
        &self.0.comparisons
    }

    fn blamed(&self, fault: Fault) -> Name {
        explain::blamed(&self.0.slots, fault)
    }
}

/// Rules are the same when their text is.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Rule {}

impl Truth {
    /// Whether it holds: unknown counts as no.
    pub fn is_true(&self) -> bool {
        *self == Self::True
    }

    /// The reason `unknown:<name>`.
    pub fn unknown(&self) -> Option<String> {
        match self {
            Self::True | Self::False => None,
            Self::Unknown(name) => Some(format!("unknown:{name}")),
        }
    }
}

impl Problem {
    fn at(column: usize, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { column, text: text.into(), remedy: remedy.into() }
    }

    fn too_deep(column: usize) -> Self {
        let text = format!("the rule nests deeper than {}", text::MAX_NESTING);
        Self::at(column, text, "split it, or take brackets out")
    }
}

impl Op {
    /// Whether a comparison with this outcome holds.
    #[inline]
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::In | Self::Has | Self::Other => false,
        }
    }

    /// The same comparison with its sides changed.
    fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// As a rule writes it.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Has => "has",
            Self::Other => "use",
        })
    }
}

#[cfg(test)]
mod tests;
