//! The checked rule: a small tree over slots, evaluated three-valued and without allocation.

use std::cmp::Ordering;

use eventstore::Timestamp;

use super::Op;
use super::value::{Type, Value};

/// Evaluation steps before a rule gives up.
pub(super) const BUDGET: usize = 10_000;
/// How deep `exists` and `all` may stand in one another.
pub(super) const MAX_LOCALS: usize = 2;

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Constant(Value),
    /// A fact, by its place in the row.
    Slot {
        slot: usize,
        wants: Type,
        column: usize,
    },
    /// The element that the `depth`th macro around looks at; `of` is the slot of its list.
    Local {
        depth: usize,
        of: Option<usize>,
        wants: Type,
    },
    /// Whether a fact is known.
    Has {
        slot: usize,
        column: usize,
    },
    /// A value whose type shows only now.
    Expect(Type, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// `&&` of all.
    Every(Vec<Expr>),
    /// `||` of all.
    Some(Vec<Expr>),
    Choose(Box<[Expr; 3]>),
    Compare(Op, Box<[Expr; 2]>),
    /// An element, a list.
    In(Box<[Expr; 2]>),
    Calculate(Sign, Box<[Expr; 2]>),
    Search(Search, Box<[Expr; 2]>),
    Size(Box<Expr>),
    /// `all` or `exists`: a list, a condition on its elements.
    Each {
        all: bool,
        depth: usize,
        of: Box<[Expr; 2]>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Times,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This fact is not known, or not what the rule needs.
    Slot(usize),
    /// Constants that cannot be computed with.
    Arithmetic,
    /// The budget is spent.
    Cost,
}

/// A value that is only looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'a> {
    Bool(bool),
    Number(f64),
    Text(&'a str),
    Time(i64),
    Duration(i64),
    List(&'a [Value]),
}

impl Expr {
    /// What it is made of, in source order.
    pub(super) fn parts(&self) -> &[Self] {
        match self {
            Self::Constant(_) | Self::Slot { .. } | Self::Local { .. } | Self::Has { .. } => &[],
            Self::Expect(_, part) | Self::Not(part) | Self::Negate(part) | Self::Size(part) => {
                std::slice::from_ref(part)
            }
            Self::Every(parts) | Self::Some(parts) => parts,
            Self::Choose(parts) => &parts[..],
            Self::Compare(_, parts)
            | Self::In(parts)
            | Self::Calculate(_, parts)
            | Self::Search(_, parts)
            | Self::Each { of: parts, .. } => &parts[..],
        }
    }

    /// The first fact in it, in source order: the one to blame when its value does not fit.
    pub(super) fn first_slot(&self) -> Option<usize> {
        match self {
            Self::Slot { slot, .. } | Self::Has { slot, .. } => Some(*slot),
            Self::Local { of, .. } => *of,
            _ => self.parts().iter().find_map(Self::first_slot),
        }
    }

    /// Makes it one over another row: what was slot `n` is `slots[n]` there.
    pub(super) fn renumber(&mut self, slots: &[usize]) {
        match self {
            Self::Slot { slot, .. }
            | Self::Has { slot, .. }
            | Self::Local { of: Some(slot), .. } => {
                *slot = slots[*slot];
            }
            Self::Constant(_) | Self::Local { of: None, .. } => {}
            Self::Expect(_, part) | Self::Not(part) | Self::Negate(part) | Self::Size(part) => {
                part.renumber(slots);
            }
            Self::Every(parts) | Self::Some(parts) => {
                parts.iter_mut().for_each(|part| part.renumber(slots));
            }
            Self::Choose(parts) => parts.iter_mut().for_each(|part| part.renumber(slots)),
            Self::Compare(_, parts)
            | Self::In(parts)
            | Self::Calculate(_, parts)
            | Self::Search(_, parts)
            | Self::Each { of: parts, .. } => {
                parts.iter_mut().for_each(|part| part.renumber(slots));
            }
        }
    }

    /// Its value over a row.
    pub(super) fn value(&self, row: &[Option<Value>]) -> Result<Value, Fault> {
        Run::over(row, 0).see(self).map(Seen::to_value)
    }

    /// Its truth over a row.
    pub(super) fn truth(&self, row: &[Option<Value>]) -> Result<bool, Fault> {
        Run::over(row, 0).truth(self)
    }
}

/// One evaluation.
pub(super) struct Run<'a> {
    row: &'a [Option<Value>],
    locals: [Seen<'a>; MAX_LOCALS],
    steps: usize,
}

impl<'a> Run<'a> {
    /// Over a row, after so many steps.
    pub(super) fn over(row: &'a [Option<Value>], steps: usize) -> Self {
        Self { row, locals: [Seen::Bool(false); MAX_LOCALS], steps }
    }

    /// Steps taken so far.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Whether a condition holds.
    pub(super) fn truth(&mut self, expr: &'a Expr) -> Result<bool, Fault> {
        self.spend(1)?;
        match expr {
            Expr::Every(parts) => self.kleene(parts, false),
            Expr::Some(parts) => self.kleene(parts, true),
            Expr::Not(part) => self.truth(part).map(|truth| !truth),
            Expr::Compare(op, parts) => self.compare(*op, parts),
            Expr::In(parts) => self.is_in(parts),
            Expr::Search(search, parts) => {
                let [within, what] = &**parts;
                match (self.see(within)?, self.see(what)?) {
                    (Seen::Text(within), Seen::Text(what)) => Ok(search.finds(within, what)),
                    _ => Err(blame(&[within, what])),
                }
            }
            Expr::Has { slot, .. } => Ok(self.row.get(*slot).is_some_and(Option::is_some)),
            Expr::Each { all, depth, of } => self.each(*all, *depth, of),
            Expr::Constant(_)
            | Expr::Slot { .. }
            | Expr::Local { .. }
            | Expr::Expect(..)
            | Expr::Negate(_)
            | Expr::Choose(_)
            | Expr::Calculate(..)
            | Expr::Size(_) => match self.see(expr)? {
                Seen::Bool(truth) => Ok(truth),
                _ => Err(blame(&[expr])),
            },
        }
    }

    /// The value of an expression. Facts and literals, which most are, take no call.
    #[inline(always)]
    fn see(&mut self, expr: &'a Expr) -> Result<Seen<'a>, Fault> {
        match expr {
            Expr::Constant(value) => Ok(Seen::of(value)),
            Expr::Slot { slot, wants, .. } => match self.row.get(*slot) {
                Some(Some(value)) if wants.admits(value) => Ok(Seen::of(value)),
                _ => Err(Fault::Slot(*slot)),
            },
            _ => self.compute(expr),
        }
    }

    fn compute(&mut self, expr: &'a Expr) -> Result<Seen<'a>, Fault> {
        self.spend(1)?;
        match expr {
            Expr::Constant(_) | Expr::Slot { .. } => self.see(expr),
            Expr::Local { depth, wants, .. } => {
                let seen = self.locals[*depth];
                if seen.is(wants) { Ok(seen) } else { Err(blame(&[expr])) }
            }
            Expr::Expect(wants, part) => {
                let seen = self.see(part)?;
                if seen.is(wants) { Ok(seen) } else { Err(blame(&[part])) }
            }
            Expr::Negate(part) => match self.see(part)? {
                Seen::Number(number) => Ok(Seen::Number(-number)),
                Seen::Duration(micros) => {
                    micros.checked_neg().map(Seen::Duration).ok_or_else(|| blame(&[part]))
                }
                _ => Err(blame(&[part])),
            },
            Expr::Choose(parts) => {
                let [condition, yes, no] = &**parts;
                if self.truth(condition)? { self.see(yes) } else { self.see(no) }
            }
            Expr::Calculate(sign, parts) => {
                let [left, right] = &**parts;
                let (one, two) = (self.see(left)?, self.see(right)?);
                one.calculate(*sign, two).ok_or_else(|| blame(&[right, left]))
            }
            Expr::Size(part) => match self.see(part)? {
                Seen::Text(text) => Ok(size(text.chars().count())),
                Seen::List(values) => Ok(size(values.len())),
                _ => Err(blame(&[part])),
            },
            Expr::Every(_)
            | Expr::Some(_)
            | Expr::Not(_)
            | Expr::Compare(..)
            | Expr::In(_)
            | Expr::Search(..)
            | Expr::Has { .. }
            | Expr::Each { .. } => self.truth(expr).map(Seen::Bool),
        }
    }

    /// `&&` or `||` of all, in whatever order: `decides` settles it, else the first unknown counts.
    fn kleene(&mut self, parts: &'a [Expr], decides: bool) -> Result<bool, Fault> {
        let mut fault = None;
        for part in parts {
            match self.truth(part) {
                Ok(truth) if truth == decides => return Ok(decides),
                Ok(_) => {}
                Err(unknown) => fault = fault.or(Some(unknown)),
            }
        }
        fault.map_or(Ok(!decides), Err)
    }

    #[inline]
    fn compare(&mut self, op: Op, parts: &'a [Expr; 2]) -> Result<bool, Fault> {
        match parts {
            // Most comparisons: the literal settles the type, so nothing else is asked.
            [Expr::Slot { slot, .. }, Expr::Constant(with)] => match self.row.get(*slot) {
                Some(Some(value)) => match Seen::of(value).against(Seen::of(with)) {
                    Some(ordering) => Ok(op.holds(ordering)),
                    None => Err(Fault::Slot(*slot)),
                },
                _ => Err(Fault::Slot(*slot)),
            },
            [left, right] => {
                let ordering = self.see(left)?.against(self.see(right)?);
                ordering.map(|ordering| op.holds(ordering)).ok_or_else(|| blame(&[left, right]))
            }
        }
    }

    fn is_in(&mut self, parts: &'a [Expr; 2]) -> Result<bool, Fault> {
        let [element, list] = parts;
        let element = self.see(element)?;
        let Seen::List(values) = self.see(list)? else { return Err(blame(&[list])) };
        self.spend(values.len())?;
        Ok(values.iter().any(|value| element.against(Seen::of(value)) == Some(Ordering::Equal)))
    }

    fn each(&mut self, all: bool, depth: usize, of: &'a [Expr; 2]) -> Result<bool, Fault> {
        let [list, condition] = of;
        let Seen::List(values) = self.see(list)? else { return Err(blame(&[list])) };
        let mut fault = None;
        for value in values {
            self.locals[depth] = Seen::of(value);
            match self.truth(condition) {
                Ok(truth) if truth != all => return Ok(truth),
                Ok(_) => {}
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(unknown) => fault = fault.or(Some(unknown)),
            }
        }
        fault.map_or(Ok(all), Err)
    }

    #[inline]
    fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > BUDGET { Err(Fault::Cost) } else { Ok(()) }
    }
}

/// The fault of values that do not fit: the first fact in the first of these that has one.
#[cold]
fn blame(parts: &[&Expr]) -> Fault {
    parts.iter().find_map(|part| part.first_slot()).map_or(Fault::Arithmetic, Fault::Slot)
}

#[expect(clippy::cast_precision_loss, reason = "all numbers of a rule are f64")]
fn size(count: usize) -> Seen<'static> {
    Seen::Number(count as f64)
}

impl<'a> Seen<'a> {
    #[inline]
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => Self::Number(*value),
            Value::Text(value) => Self::Text(value),
            Value::Time(value) => Self::Time(value.0),
            Value::Duration(value) => Self::Duration(*value),
            Value::List(values) => Self::List(values),
        }
    }

    fn to_value(self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(value) => Value::from(value),
            Self::Time(value) => Value::Time(Timestamp(value)),
            Self::Duration(value) => Value::Duration(value),
            Self::List(values) => Value::List(values.into()),
        }
    }

    fn is(self, type_: &Type) -> bool {
        match (type_, self) {
            (_, Self::Number(number)) if !number.is_finite() => false,
            (Type::Any, _)
            | (Type::Bool, Self::Bool(_))
            | (Type::Number, Self::Number(_))
            | (Type::Text, Self::Text(_))
            | (Type::Time, Self::Time(_))
            | (Type::Duration, Self::Duration(_))
            | (Type::List(_), Self::List(_)) => true,
            _ => false,
        }
    }

    /// How it stands to a value of the same type; `None` for another type, and for lists.
    #[inline]
    fn against(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(&two)),
            (Self::Number(one), Self::Number(two)) if one.is_finite() => one.partial_cmp(&two),
            (Self::Text(one), Self::Text(two)) => Some(one.cmp(two)),
            (Self::Time(one), Self::Time(two)) | (Self::Duration(one), Self::Duration(two)) => {
                Some(one.cmp(&two))
            }
            _ => None,
        }
    }

    /// `None` when the types do not go together or the result is out of range.
    fn calculate(self, sign: Sign, other: Self) -> Option<Self> {
        match (self, sign, other) {
            (Self::Number(one), _, Self::Number(two)) => {
                let number = match sign {
                    Sign::Plus => one + two,
                    Sign::Minus => one - two,
                    Sign::Times => one * two,
                    Sign::Over => one / two,
                };
                number.is_finite().then_some(Self::Number(number))
            }
            (Self::Time(time), Sign::Plus, Self::Duration(span))
            | (Self::Duration(span), Sign::Plus, Self::Time(time)) => {
                time.checked_add(span).map(Self::Time)
            }
            (Self::Time(time), Sign::Minus, Self::Duration(span)) => {
                time.checked_sub(span).map(Self::Time)
            }
            (Self::Time(one), Sign::Minus, Self::Time(two))
            | (Self::Duration(one), Sign::Minus, Self::Duration(two)) => {
                one.checked_sub(two).map(Self::Duration)
            }
            (Self::Duration(one), Sign::Plus, Self::Duration(two)) => {
                one.checked_add(two).map(Self::Duration)
            }
            _ => None,
        }
    }
}

impl Sign {
    /// What it may stand between, and what it then gives.
    pub(super) fn signatures(self) -> &'static [[Type; 3]] {
        use Type::{Duration, Number, Time};
        match self {
            Self::Plus => &[
                [Number, Number, Number],
                [Time, Duration, Time],
                [Duration, Time, Time],
                [Duration, Duration, Duration],
            ],
            Self::Minus => &[
                [Number, Number, Number],
                [Time, Duration, Time],
                [Time, Time, Duration],
                [Duration, Duration, Duration],
            ],
            Self::Times | Self::Over => &[[Number, Number, Number]],
        }
    }
}

impl Search {
    fn finds(self, within: &str, what: &str) -> bool {
        match self {
            Self::StartsWith => within.starts_with(what),
            Self::EndsWith => within.ends_with(what),
            Self::Contains => within.contains(what),
        }
    }
}
