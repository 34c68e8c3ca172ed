//! What a rule asks of its facts, and why it does not hold.

use std::slice;

use super::text::{Text, column};
use super::tree::{Expr, Fault, Run};
use super::value::{Name, Value};
use super::{Clause, Op, Row, Rule};

/// A use of a name: `name op literal`. Without a literal the name is used in some other way than
/// compared directly with one.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The fact.
    pub name: Name,
    /// How it is used.
    pub op: Op,
    /// What it is compared with; a list for `In`.
    pub literal: Option<Value>,
    /// Where the name stands: characters from the start of the rule, from 1.
    pub column: usize,
}

/// Why a rule does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The clause as it is written.
    pub clause: String,
    /// What it looked at: `traits.orders = 1`.
    pub value: String,
    /// What would have been needed: `>= 2`.
    pub required: String,
    /// `unknown:<name>` when it is not false but unknown.
    pub unknown: Option<String>,
}

/// The conjuncts of a rule. The text is split where the tree is; were the two to disagree, the
/// whole rule would be one clause.
pub(super) fn clauses(text: &str, bounded: &Text<'_>, expr: &Expr) -> Vec<Clause> {
    let ranges = bounded.conjuncts();
    if ranges.len() == conjuncts(expr).len() {
        let clause = |range: std::ops::Range<usize>| Clause {
            column: column(text, range.start),
            text: text[range].to_owned(),
        };
        return ranges.into_iter().map(clause).collect();
    }
    vec![Clause { text: text.trim().to_owned(), column: 1 }]
}

fn conjuncts(expr: &Expr) -> &[Expr] {
    match expr {
        Expr::Every(parts) => parts,
        other => slice::from_ref(other),
    }
}

/// Every use of every name, in source order.
pub(super) fn comparisons(expr: &Expr, slots: &[Name]) -> Vec<Comparison> {
    let mut found = Vec::new();
    collect(expr, slots, &mut found);
    found
}

fn collect(expr: &Expr, slots: &[Name], found: &mut Vec<Comparison>) {
    let mut used = |slot: usize, op: Op, literal: Option<&Value>, column: usize| {
        let (name, literal) = (slots[slot].clone(), literal.cloned());
        found.push(Comparison { name, op, literal, column });
    };
    match expr {
        Expr::Slot { slot, column, .. } => used(*slot, Op::Other, None, *column),
        Expr::Has { slot, column } => used(*slot, Op::Has, None, *column),
        Expr::Compare(op, parts) => match &**parts {
            [Expr::Slot { slot, column, .. }, Expr::Constant(value)] => {
                used(*slot, *op, Some(value), *column);
            }
            [Expr::Constant(value), Expr::Slot { slot, column, .. }] => {
                used(*slot, op.flipped(), Some(value), *column);
            }
            parts => parts.iter().for_each(|part| collect(part, slots, found)),
        },
        Expr::In(parts) => match &**parts {
            [Expr::Slot { slot, column, .. }, Expr::Constant(value)] => {
                used(*slot, Op::In, Some(value), *column);
            }
            parts => parts.iter().for_each(|part| collect(part, slots, found)),
        },
        other => other.parts().iter().for_each(|part| collect(part, slots, found)),
    }
}

/// The first clause that is false, or else the first that is unknown. One evaluation, as [`Rule::check_row`] is one:
/// what takes too many steps there does here.
pub(super) fn first_failing(rule: &Rule, row: &Row) -> Option<Failing> {
    let parts = parts(rule.clauses(), &rule.0.expr);
    let mut run = Run::over(&row.0, joining(parts.len()));
    let mut unknown = None;
    for (clause, part) in rule.clauses().iter().zip(parts) {
        match run.truth(part) {
            Ok(true) => {}
            Ok(false) => return Some(failing(&rule.0.slots, row, &clause.text, part, None)),
            Err(fault) => unknown = unknown.or(Some((clause, part, fault))),
        }
    }
    unknown
        .map(|(clause, part, fault)| failing(&rule.0.slots, row, &clause.text, part, Some(fault)))
}

/// The steps that joining clauses takes.
pub(super) fn joining(clauses: usize) -> usize {
    usize::from(clauses > 1)
}

/// The condition of each clause.
pub(super) fn parts<'e>(clauses: &[Clause], expr: &'e Expr) -> &'e [Expr] {
    match clauses {
        [_] => slice::from_ref(expr),
        _ => conjuncts(expr),
    }
}

/// Why a clause does not hold over a row; `names` are those of its slots.
pub(super) fn failing(
    names: &[Name],
    row: &Row,
    clause: &str,
    part: &Expr,
    fault: Option<Fault>,
) -> Failing {
    let (value, required) = told(names, row, part).unwrap_or_else(|| {
        let mut slots = Vec::new();
        looked_at(part, &mut slots);
        let values: Vec<String> = slots.iter().map(|slot| fact(names, row, *slot)).collect();
        (values.join(", "), clause.to_owned())
    });
    let unknown = fault.map(|fault| format!("unknown:{}", blamed(names, fault)));
    Failing { clause: clause.to_owned(), value, required, unknown }
}

/// The fact to blame for a fault.
pub(super) fn blamed(names: &[Name], fault: Fault) -> Name {
    match fault {
        Fault::Slot(slot) => names[slot].clone(),
        Fault::Arithmetic => Name::new("arithmetic", ""),
        Fault::Cost => Name::new("cost", ""),
    }
}

/// Value and requirement of a clause that looks at one fact in a simple way.
fn told(names: &[Name], row: &Row, part: &Expr) -> Option<(String, String)> {
    let shown = |expr: &Expr| match expr.value(&row.0) {
        Ok(value) => value.to_string(),
        Err(fault) => format!("{} (unknown)", blamed(names, fault)),
    };
    let (slot, required) = match part {
        Expr::Slot { slot, .. } => (slot, "= true".to_owned()),
        Expr::Has { slot, .. } => (slot, "known".to_owned()),
        Expr::Not(part) => match &**part {
            Expr::Slot { slot, .. } => (slot, "= false".to_owned()),
            Expr::Has { slot, .. } => (slot, "unknown".to_owned()),
            _ => return None,
        },
        Expr::Compare(op, parts) => match &**parts {
            [Expr::Slot { slot, .. }, right] => (slot, format!("{op} {}", shown(right))),
            [left, Expr::Slot { slot, .. }] => (slot, format!("{} {}", op.flipped(), shown(left))),
            _ => return None,
        },
        Expr::In(parts) => match &**parts {
            [Expr::Slot { slot, .. }, list] => (slot, format!("in {}", shown(list))),
            [element, Expr::Slot { slot, .. }] => (slot, format!("contains {}", shown(element))),
            _ => return None,
        },
        _ => return None,
    };
    Some((fact(names, row, *slot), required))
}

fn looked_at(expr: &Expr, slots: &mut Vec<usize>) {
    if let Expr::Slot { slot, .. } | Expr::Has { slot, .. } = expr
        && !slots.contains(slot)
    {
        slots.push(*slot);
    }
    expr.parts().iter().for_each(|part| looked_at(part, slots));
}

fn fact(names: &[Name], row: &Row, slot: usize) -> String {
    let name = &names[slot];
    match row.0.get(slot) {
        Some(Some(value)) => format!("{name} = {value}"),
        _ => format!("{name} is unknown"),
    }
}
