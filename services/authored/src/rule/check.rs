//! From the parsed text to the checked tree: every name exists, every type fits, every bound holds.

mod calls;
mod names;

use std::thread;

use cel::common::ast::{Expr as Parsed, IdedExpr, ListExpr, LiteralValue, SourceInfo, operators};

use super::Problem;
use super::catalogue::Catalogue;
use super::text::{MAX_NESTING, column};
use super::tree::Expr;
use super::value::{Name, Type, Value};

const PARSER_STACK: usize = 32 << 20;
const MAX_LIST: usize = 100;
/// From here on a whole number has no exact neighbour among f64.
const MAX_EXACT: u64 = 1 << 53;
const FUNCTIONS: &str =
    "size, startsWith, endsWith, contains, has, exists, all, duration or timestamp";

/// A checked part with its type.
struct Node {
    expr: Expr,
    type_: Type,
}

/// A checked rule: its tree, the names by slot, its type.
pub(super) struct Checked {
    pub(super) expr: Expr,
    pub(super) slots: Vec<Name>,
    pub(super) type_: Type,
}

/// Parses and checks a text that is within bounds.
pub(super) fn check(text: &str, catalogue: &Catalogue, result: &Type) -> Result<Checked, Problem> {
    let (parsed, source) = parse(text)?;
    let mut checker = Checker {
        text,
        source: &source,
        catalogue,
        slots: Vec::new(),
        locals: Vec::new(),
        depth: 0,
    };
    let node = checker.lower_as(&parsed, result)?;
    Ok(Checked { expr: node.expr, slots: checker.slots, type_: node.type_ })
}

/// The parser takes up to 200 KiB of stack for one pair of brackets, so it gets a stack of its own,
/// on which the deepest text that is within bounds fits many times.
fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), Problem> {
    let parse = || cel::parser::Parser::new().parse_with_source_info(text);
    let parsed = thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, parse);
        parser.ok().and_then(|parser| parser.join().ok())
    });
    match parsed {
        Some(parsed) => parsed.map_err(|errors| syntax(text, &errors)),
        None => Err(Problem::at(1, "the rule could not be read", "write it in another way")),
    }
}

/// The first of the parser's errors, in our words.
fn syntax(text: &str, errors: &cel::ParseErrors) -> Problem {
    let remedy =
        "write a CEL expression, for example `traits.orders >= 2 && party.market == \"DE\"`";
    let Some(first) = errors.errors.first() else {
        return Problem::at(1, "this is not CEL", remedy);
    };
    let (line, column) = first.pos;
    let line = usize::try_from(line - 1).unwrap_or(0);
    let before: usize = text.split_inclusive('\n').take(line).map(|l| l.chars().count()).sum();
    let message = first.msg.trim_start_matches("Syntax error: ");
    let message = message.split(" expecting ").next().unwrap_or(message);
    let message = message.replace("mismatched input '<EOF>'", "something is missing at the end");
    Problem::at(before + usize::try_from(column).unwrap_or(1).max(1), message, remedy)
}

/// A variable of `exists` or `all`.
struct Local {
    name: String,
    type_: Type,
    of: Option<usize>,
}

struct Checker<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    catalogue: &'a Catalogue,
    slots: Vec<Name>,
    locals: Vec<Local>,
    depth: usize,
}

impl Checker<'_> {
    /// A part that must have a type.
    fn lower_as(&mut self, parsed: &IdedExpr, wants: &Type) -> Result<Node, Problem> {
        let node = self.lower(parsed)?;
        self.narrow(node, wants, parsed)
    }

    /// Settles a part of any type on the one that is needed.
    fn narrow(&self, node: Node, wants: &Type, parsed: &IdedExpr) -> Result<Node, Problem> {
        if !node.type_.meets(wants) {
            let text = format!("this is {}, where {wants} is needed", node.type_);
            return Err(self.problem(parsed, text, format!("write {wants} here")));
        }
        if node.type_ != Type::Any || *wants == Type::Any {
            return Ok(node);
        }
        let to = wants.clone();
        let expr = match node.expr {
            Expr::Slot { slot, column, .. } => Expr::Slot { slot, wants: to, column },
            Expr::Local { depth, of, .. } => Expr::Local { depth, of, wants: to },
            other => Expr::Expect(to, Box::new(other)),
        };
        Ok(Node { expr, type_: wants.clone() })
    }

    fn lower(&mut self, parsed: &IdedExpr) -> Result<Node, Problem> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(Problem::too_deep(self.start(parsed)));
        }
        let node = match &parsed.expr {
            Parsed::Literal(value) => self.literal(parsed, value),
            Parsed::List(list) => self.list(parsed, list),
            Parsed::Ident(_) => self.name(parsed),
            Parsed::Select(select) if select.test => self.has(parsed),
            Parsed::Select(_) => self.name(parsed),
            Parsed::Call(call) if call.func_name == operators::INDEX => self.name(parsed),
            Parsed::Call(call) => self.call(parsed, call),
            Parsed::Comprehension(each) => self.each(parsed, each),
            Parsed::Map(_) | Parsed::Struct(_) => {
                Err(self.problem(parsed, "a rule makes no maps", "use names, literals and lists"))
            }
            Parsed::Unspecified => {
                Err(self.problem(parsed, "this is empty", "write an expression here"))
            }
        }?;
        self.depth -= 1;
        self.folded(node, parsed)
    }

    /// Constants are computed once.
    fn folded(&self, node: Node, parsed: &IdedExpr) -> Result<Node, Problem> {
        let parts = node.expr.parts();
        let constant = parts.iter().all(|part| matches!(part, Expr::Constant(_)));
        if parts.is_empty() || !constant || matches!(node.expr, Expr::Every(_)) {
            return Ok(node);
        }
        match node.expr.value(&[]) {
            Ok(value) => Ok(Node { expr: Expr::Constant(value), type_: node.type_ }),
            Err(_) => {
                let remedy = "avoid a division by zero and values out of range";
                Err(self.problem(parsed, "this has no value", remedy))
            }
        }
    }

    fn literal(&self, parsed: &IdedExpr, value: &LiteralValue) -> Result<Node, Problem> {
        let whole = |magnitude: u64, number: f64| {
            if magnitude > MAX_EXACT {
                let remedy = "numbers are exact up to 9007199254740992";
                return Err(self.problem(parsed, "this number is too large", remedy));
            }
            Ok(Value::Number(number))
        };
        #[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
        let value = match value {
            LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
            LiteralValue::Int(value) => whole(value.unsigned_abs(), *value.inner() as f64)?,
            LiteralValue::UInt(value) => whole(*value.inner(), *value.inner() as f64)?,
            LiteralValue::Double(value) if value.is_finite() => Value::Number(*value.inner()),
            LiteralValue::Double(_) => {
                return Err(self.problem(
                    parsed,
                    "this number is too large",
                    "write a smaller one",
                ));
            }
            LiteralValue::String(value) => Value::from(value.inner()),
            LiteralValue::Null => {
                let remedy = "ask with has(…) whether a fact is known";
                return Err(self.problem(parsed, "a rule has no null", remedy));
            }
            LiteralValue::Bytes(_) => {
                return Err(self.problem(parsed, "a rule has no bytes", "write a text"));
            }
        };
        Ok(constant(value))
    }

    fn list(&mut self, parsed: &IdedExpr, list: &ListExpr) -> Result<Node, Problem> {
        if list.elements.len() > MAX_LIST {
            let text = format!("the list has more than {MAX_LIST} elements");
            return Err(self.problem(parsed, text, "split it, or use a segment"));
        }
        let mut values = Vec::with_capacity(list.elements.len());
        let mut of = Type::Any;
        for element in &list.elements {
            let node = self.lower_as(element, &of)?;
            let Expr::Constant(value) = node.expr else {
                let remedy = "compare with names one by one: x == a || x == b";
                return Err(self.problem(element, "a list is made of literals", remedy));
            };
            if matches!(value, Value::List(_)) {
                return Err(self.problem(element, "a list holds no lists", "write one list"));
            }
            of = node.type_;
            values.push(value);
        }
        Ok(Node { expr: Expr::Constant(Value::List(values.into())), type_: Type::list(of) })
    }

    fn problem(
        &self,
        parsed: &IdedExpr,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem::at(self.start(parsed), text, remedy)
    }

    /// The column where an expression begins. The parser gives operators and calls the place of
    /// their sign, so this looks for what stands left of it.
    fn start(&self, parsed: &IdedExpr) -> usize {
        match &parsed.expr {
            Parsed::Select(select) => self.start(&select.operand),
            Parsed::Comprehension(each) => self.start(&each.iter_range),
            Parsed::Call(call) => match (&call.target, call.args.first()) {
                (Some(target), _) => self.start(target),
                (None, Some(first)) if call.func_name.starts_with(['_', '@']) => self.start(first),
                (None, _) if call.func_name.ends_with('_') => self.here(parsed),
                (None, _) => {
                    let bracket = self.byte(parsed);
                    let name = self.text.get(..bracket).unwrap_or_default().trim_end();
                    column(self.text, name.len().saturating_sub(call.func_name.len()))
                }
            },
            _ => self.here(parsed),
        }
    }

    /// The column of the parser's mark for an expression.
    fn here(&self, parsed: &IdedExpr) -> usize {
        column(self.text, self.byte(parsed))
    }

    fn byte(&self, parsed: &IdedExpr) -> usize {
        self.source.offset_for(parsed.id).map_or(0, |(start, _)| start as usize)
    }
}

fn constant(value: Value) -> Node {
    let type_ = value.type_of();
    Node { expr: Expr::Constant(value), type_ }
}

fn truth(expr: Expr) -> Node {
    Node { expr, type_: Type::Bool }
}
