//! Operators and functions.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr as Parsed, IdedExpr, LiteralValue, operators,
};

use super::super::tree::{Expr, MAX_LOCALS, Search, Sign};
use super::super::value::{Type, Value};
use super::super::{Op, Problem, literal};
use super::{Checker, FUNCTIONS, Local, Node, constant, truth};

impl Checker<'_> {
    pub(super) fn call(&mut self, parsed: &IdedExpr, call: &CallExpr) -> Result<Node, Problem> {
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
    pub(super) fn each(
        &mut self,
        parsed: &IdedExpr,
        each: &ComprehensionExpr,
    ) -> Result<Node, Problem> {
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
