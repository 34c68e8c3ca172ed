//! From the parsed text to the checked tree: every name exists, every type fits, every bound holds.

use std::thread;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr as Parsed, IdedExpr, ListExpr, LiteralValue, SourceInfo,
    operators,
};

use super::catalogue::{Absent, Catalogue, spelled};
use super::text::{MAX_NESTING, column};
use super::tree::{Expr, MAX_LOCALS, Search, Sign};
use super::value::{Name, Type, Value};
use super::{Op, Problem, literal};

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

    /// A fact or a variable.
    fn name(&mut self, parsed: &IdedExpr) -> Result<Node, Problem> {
        let (root, keys) = self.path(parsed)?;
        if let Some(depth) = self.locals.iter().position(|local| local.name == root) {
            if !keys.is_empty() {
                return Err(self.problem(
                    parsed,
                    format!("`{root}` has no fields"),
                    "use it alone",
                ));
            }
            let Local { type_, of, .. } = &self.locals[depth];
            let expr = Expr::Local { depth, of: *of, wants: type_.clone() };
            return Ok(Node { expr, type_: type_.clone() });
        }
        let (slot, type_) = self.slot(parsed, root, &keys)?;
        let expr = Expr::Slot { slot, wants: type_.clone(), column: self.start(parsed) };
        Ok(Node { expr, type_ })
    }

    /// `has(a.b)`.
    fn has(&mut self, parsed: &IdedExpr) -> Result<Node, Problem> {
        let (root, keys) = self.path(parsed)?;
        self.known(parsed, root, &keys)
    }

    fn known(&mut self, parsed: &IdedExpr, root: &str, keys: &[&str]) -> Result<Node, Problem> {
        let (slot, _) = self.slot(parsed, root, keys)?;
        let expr = Expr::Has { slot, column: self.start(parsed) };
        Ok(Node { expr, type_: Type::Bool })
    }

    /// The root and the keys that an expression spells.
    fn path<'p>(&self, parsed: &'p IdedExpr) -> Result<(&'p str, Vec<&'p str>), Problem> {
        let mut keys = Vec::new();
        let mut at = parsed;
        loop {
            match &at.expr {
                Parsed::Ident(root) => {
                    keys.reverse();
                    return Ok((root, keys));
                }
                Parsed::Select(select) => {
                    keys.push(select.field.as_str());
                    at = &select.operand;
                }
                Parsed::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => {
                    let [of, key] = args.as_slice() else {
                        return Err(self.problem(at, "this is no name", "write a name here"));
                    };
                    let Parsed::Literal(LiteralValue::String(key)) = &key.expr else {
                        let remedy = "write the key as a text in quotes, or ask a list with `in`";
                        return Err(self.problem(key, "a key is a text in quotes", remedy));
                    };
                    keys.push(key.inner());
                    at = of;
                }
                _ => {
                    return Err(self.problem(at, "only names have fields", "write a name here"));
                }
            }
        }
    }

    fn slot(
        &mut self,
        parsed: &IdedExpr,
        root: &str,
        keys: &[&str],
    ) -> Result<(usize, Type), Problem> {
        let written = || spelled(&Name::new(root, &keys.join(".")));
        let (name, type_) = self.catalogue.find(root, keys).map_err(|absent| match absent {
            Absent::Unknown { nearest } => {
                let remedy = nearest.map_or_else(
                    || format!("the names here begin with {}", self.catalogue.roots()),
                    |nearest| format!("did you mean `{nearest}`?"),
                );
                self.problem(parsed, format!("`{}` is not known here", written()), remedy)
            }
            Absent::Group => {
                let remedy = format!("name one of it: {root}.…");
                self.problem(parsed, format!("`{root}` is a group of names"), remedy)
            }
            Absent::NoFields(name) => {
                let name = spelled(&name);
                self.problem(parsed, format!("`{name}` has no fields"), format!("write `{name}`"))
            }
        })?;
        let known = self.slots.iter().position(|slot| *slot == name);
        let slot = known.unwrap_or_else(|| {
            self.slots.push(name);
            self.slots.len() - 1
        });
        Ok((slot, type_))
    }

    fn call(&mut self, parsed: &IdedExpr, call: &CallExpr) -> Result<Node, Problem> {
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_AND, None, _) => self.joined(parsed, operators::LOGICAL_AND),
            (operators::LOGICAL_OR, None, _) => self.joined(parsed, operators::LOGICAL_OR),
            (operators::LOGICAL_NOT, None, [part]) => {
                let part = self.lower_as(part, &Type::Bool)?;
                Ok(truth(Expr::Not(Box::new(part.expr))))
            }
            (operators::NEGATE, None, [part]) => self.negate(part),
            (operators::CONDITIONAL, None, [condition, yes, no]) => self.choose(condition, yes, no),
            (operators::IN, None, [element, list]) => self.is_in(element, list),
            (operators::MODULO, None, _) => {
                let remedy = "numbers have fractions here; compare instead";
                Err(self.problem(parsed, "a rule has no `%`", remedy))
            }
            ("size", None, [of]) | ("size", Some(of), []) => self.size(of),
            ("duration" | "timestamp", None, [of]) => self.instant(&call.func_name, of),
            (name, None, [left, right]) if comparison(name).is_some() => {
                self.compare(comparison(name).unwrap_or(Op::Other), left, right)
            }
            (name, None, [left, right]) if sign(name).is_some() => {
                self.calculate(parsed, sign(name).unwrap_or(Sign::Plus), left, right)
            }
            (name, Some(within), [what]) if search(name).is_some() => {
                let within = self.lower_as(within, &Type::Text)?;
                let what = self.lower_as(what, &Type::Text)?;
                let search = search(name).unwrap_or(Search::Contains);
                Ok(truth(Expr::Search(search, Box::new([within.expr, what.expr]))))
            }
            (name, ..) => {
                let text = format!("there is no function `{name}` of this form");
                Err(self.problem(parsed, text, format!("use {FUNCTIONS}")))
            }
        }
    }

    /// All that `&&`, or `||`, joins: the parser balances them in a tree of pairs.
    fn joined(&mut self, parsed: &IdedExpr, operator: &str) -> Result<Node, Problem> {
        let mut parts = Vec::new();
        self.collect(parsed, operator, &mut parts)?;
        let every = operator == operators::LOGICAL_AND;
        Ok(truth(if every { Expr::Every(parts) } else { Expr::Some(parts) }))
    }

    fn collect(
        &mut self,
        parsed: &IdedExpr,
        operator: &str,
        parts: &mut Vec<Expr>,
    ) -> Result<(), Problem> {
        match &parsed.expr {
            Parsed::Call(call) if call.func_name == operator => {
                call.args.iter().try_for_each(|part| self.collect(part, operator, parts))
            }
            _ => {
                parts.push(self.lower_as(parsed, &Type::Bool)?.expr);
                Ok(())
            }
        }
    }

    fn negate(&mut self, part: &IdedExpr) -> Result<Node, Problem> {
        let node = self.lower(part)?;
        let wants = if node.type_ == Type::Duration { Type::Duration } else { Type::Number };
        let node = self.narrow(node, &wants, part)?;
        Ok(Node { expr: Expr::Negate(Box::new(node.expr)), type_: wants })
    }

    fn choose(
        &mut self,
        condition: &IdedExpr,
        yes: &IdedExpr,
        no: &IdedExpr,
    ) -> Result<Node, Problem> {
        let condition = self.lower_as(condition, &Type::Bool)?;
        let (one, two) = (self.lower(yes)?, self.lower(no)?);
        if !one.type_.meets(&two.type_) {
            let text = format!("one branch is {}, the other {}", one.type_, two.type_);
            return Err(self.problem(no, text, "give both branches the same type"));
        }
        let type_ = if one.type_ == two.type_ { one.type_ } else { Type::Any };
        Ok(Node { expr: Expr::Choose(Box::new([condition.expr, one.expr, two.expr])), type_ })
    }

    fn compare(&mut self, op: Op, left: &IdedExpr, right: &IdedExpr) -> Result<Node, Problem> {
        let (one, two) = (self.lower(left)?, self.lower(right)?);
        let (one, two) = self.alike(one, left, two, right)?;
        let ordered = !matches!(op, Op::Equal | Op::NotEqual);
        match one.type_ {
            Type::List(_) => {
                let remedy = "use `in`, size(), exists() or all()";
                Err(self.problem(left, "lists are not compared", remedy))
            }
            Type::Bool if ordered => {
                let text = "true and false have no order";
                Err(self.problem(left, text, "compare them with == or !="))
            }
            _ => Ok(truth(Expr::Compare(op, Box::new([one.expr, two.expr])))),
        }
    }

    /// Two sides of one type, or of one that shows when the rule runs.
    fn alike(
        &self,
        one: Node,
        left: &IdedExpr,
        two: Node,
        right: &IdedExpr,
    ) -> Result<(Node, Node), Problem> {
        if !one.type_.meets(&two.type_) {
            let text = format!("{} is compared with {}", one.type_, two.type_);
            return Err(self.problem(right, text, "compare values of one type"));
        }
        let (one_type, two_type) = (one.type_.clone(), two.type_.clone());
        Ok((self.narrow(one, &two_type, left)?, self.narrow(two, &one_type, right)?))
    }

    fn is_in(&mut self, element: &IdedExpr, list: &IdedExpr) -> Result<Node, Problem> {
        if let Parsed::Ident(root) = &list.expr
            && self.catalogue.is_group(root)
        {
            let Parsed::Literal(LiteralValue::String(key)) = &element.expr else {
                let remedy = format!("write has({root}.…) or \"…\" in {root}");
                return Err(self.problem(element, "a key is a text in quotes", remedy));
            };
            return self.known(list, root, &[key.inner()]);
        }
        let node = self.lower(element)?;
        let of = self.lower_as(list, &Type::list(Type::Any))?;
        let Type::List(inner) = &of.type_ else {
            return Err(self.problem(list, "this is no list", "write a list here"));
        };
        if !node.type_.meets(inner) {
            let text = format!("{} is looked for in a list with {inner}", node.type_);
            return Err(self.problem(element, text, "compare values of one type"));
        }
        let node = self.narrow(node, inner, element)?;
        if matches!(node.type_, Type::List(_)) {
            return Err(self.problem(element, "a list holds no lists", "look for one value"));
        }
        Ok(truth(Expr::In(Box::new([node.expr, of.expr]))))
    }

    fn calculate(
        &mut self,
        parsed: &IdedExpr,
        sign: Sign,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Node, Problem> {
        let (one, two) = (self.lower(left)?, self.lower(right)?);
        let fits = |of: &&[Type; 3]| of[0].meets(&one.type_) && of[1].meets(&two.type_);
        let fitting: Vec<&[Type; 3]> = sign.signatures().iter().filter(fits).collect();
        let Some(first) = fitting.first() else {
            let text = format!("{} and {} do not go together here", one.type_, two.type_);
            let remedy = "calculate with numbers, or with times and durations";
            return Err(Problem::at(self.here(parsed), text, remedy));
        };
        let common = |index: usize| {
            let same = fitting.iter().all(|of| of[index] == first[index]);
            if same { first[index].clone() } else { Type::Any }
        };
        let one = self.narrow(one, &common(0), left)?;
        let two = self.narrow(two, &common(1), right)?;
        let expr = Expr::Calculate(sign, Box::new([one.expr, two.expr]));
        Ok(Node { expr, type_: common(2) })
    }

    fn size(&mut self, of: &IdedExpr) -> Result<Node, Problem> {
        let node = self.lower(of)?;
        if !matches!(node.type_, Type::Text | Type::List(_) | Type::Any) {
            let text = format!("{} has no size", node.type_);
            return Err(self.problem(of, text, "ask for the size of a text or a list"));
        }
        Ok(Node { expr: Expr::Size(Box::new(node.expr)), type_: Type::Number })
    }

    /// `duration("…")` and `timestamp("…")`.
    fn instant(&mut self, function: &str, of: &IdedExpr) -> Result<Node, Problem> {
        let Parsed::Literal(LiteralValue::String(text)) = &of.expr else {
            let text = format!("{function}() takes a text in quotes");
            return Err(self.problem(of, text, "facts that are times need no conversion"));
        };
        let (value, remedy) = if function == "duration" {
            (literal::duration(text.inner()).map(Value::Duration), "write for example \"14d\"")
        } else {
            let value = literal::timestamp(text.inner()).map(Value::Time);
            (value, "write for example \"2026-01-31T08:00:00Z\"")
        };
        let value = value.ok_or_else(|| {
            self.problem(of, format!("{:?} is no {function}", text.inner()), remedy)
        })?;
        Ok(constant(value))
    }

    /// `exists` and `all`, as the parser writes them out.
    fn each(&mut self, parsed: &IdedExpr, each: &ComprehensionExpr) -> Result<Node, Problem> {
        let all = match &each.accu_init.expr {
            Parsed::Literal(LiteralValue::Boolean(start)) => Some(*start.inner()),
            _ => None,
        };
        let condition = match &each.loop_step.expr {
            Parsed::Call(CallExpr { args, .. }) => args.get(1),
            _ => None,
        };
        let (Some(all), Some(condition)) = (all, condition) else {
            let text = "map, filter and exists_one are not for rules";
            return Err(self.problem(parsed, text, "use exists or all"));
        };
        let depth = self.locals.len();
        if depth == MAX_LOCALS {
            let text = format!("exists and all nest deeper than {MAX_LOCALS}");
            return Err(self.problem(parsed, text, "take one of them out"));
        }
        let name = each.iter_var.clone();
        if self.catalogue.has_root(&name) || self.locals.iter().any(|local| local.name == name) {
            let text = format!("`{name}` has a meaning already");
            return Err(self.problem(parsed, text, "give the variable another name"));
        }
        let list = self.lower_as(&each.iter_range, &Type::list(Type::Any))?;
        let Type::List(of) = list.type_ else {
            return Err(self.problem(&each.iter_range, "this is no list", "write a list here"));
        };
        self.locals.push(Local { name, type_: *of, of: list.expr.first_slot() });
        let condition = self.lower_as(condition, &Type::Bool);
        self.locals.pop();
        let of = Box::new([list.expr, condition?.expr]);
        Ok(truth(Expr::Each { all, depth, of }))
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

fn comparison(name: &str) -> Option<Op> {
    Some(match name {
        operators::EQUALS => Op::Equal,
        operators::NOT_EQUALS => Op::NotEqual,
        operators::LESS => Op::Less,
        operators::LESS_EQUALS => Op::LessOrEqual,
        operators::GREATER => Op::Greater,
        operators::GREATER_EQUALS => Op::GreaterOrEqual,
        _ => return None,
    })
}

fn sign(name: &str) -> Option<Sign> {
    Some(match name {
        operators::ADD => Sign::Plus,
        operators::SUBSTRACT => Sign::Minus,
        operators::MULTIPLY => Sign::Times,
        operators::DIVIDE => Sign::Over,
        _ => return None,
    })
}

fn search(name: &str) -> Option<Search> {
    Some(match name {
        "startsWith" => Search::StartsWith,
        "endsWith" => Search::EndsWith,
        "contains" => Search::Contains,
        _ => return None,
    })
}
