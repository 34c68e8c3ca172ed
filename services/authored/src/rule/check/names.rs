//! Names: of facts, and of the variables of `exists` and `all`.

use cel::common::ast::{CallExpr, Expr as Parsed, IdedExpr, LiteralValue, operators};

use super::super::Problem;
use super::super::catalogue::{Absent, spelled};
use super::super::tree::Expr;
use super::super::value::{Name, Type};
use super::{Checker, Local, Node};

impl Checker<'_> {
    /// A fact or a variable.
    pub(super) fn name(&mut self, parsed: &IdedExpr) -> Result<Node, Problem> {
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
    pub(super) fn has(&mut self, parsed: &IdedExpr) -> Result<Node, Problem> {
        let (root, keys) = self.path(parsed)?;
        self.known(parsed, root, &keys)
    }

    pub(super) fn known(
        &mut self,
        parsed: &IdedExpr,
        root: &str,
        keys: &[&str],
    ) -> Result<Node, Problem> {
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
}
