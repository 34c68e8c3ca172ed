//! Resource names: `tenants/{tenant}/parties/{party}` (AIP-122), parsed, printed, and bound to the caller's tenant.

use std::fmt::Write as _;

use crate::auth::Caller;
use crate::status::{NOT_FOUND, Problem, Violation};

/// A parsed resource name: the tenant, and one id for each collection asked for.
///
/// ```
/// let name = chassis::name::parse("name", "tenants/acme/parties/pty_7", &["parties"]).unwrap();
/// assert_eq!((name.tenant, name.id()), ("acme", "pty_7"));
/// assert_eq!(chassis::name::print("acme", &[("parties", "pty_7")]), "tenants/acme/parties/pty_7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    pub tenant: &'a str,
    pub ids: Vec<&'a str>,
}

impl<'a> Name<'a> {
    /// The innermost id; empty for a bare tenant.
    pub fn id(&self) -> &'a str {
        self.ids.last().copied().unwrap_or_default()
    }
}

/// Parses `tenants/{tenant}` followed by one `{collection}/{id}` for each of `collections`; with none it parses the
/// parent of a top-level collection.
pub fn parse<'a>(field: &str, text: &'a str, collections: &[&str]) -> Result<Name<'a>, Violation> {
    parse_parts(text, collections).ok_or_else(|| {
        let ids: Vec<_> = collections.iter().map(|c| (*c, "{id}")).collect();
        Violation::new(field, format!("Use the form {}.", print("{tenant}", &ids)))
    })
}

fn parse_parts<'a>(text: &'a str, collections: &[&str]) -> Option<Name<'a>> {
    let mut parts = text.split('/');
    if parts.next()? != "tenants" {
        return None;
    }
    let tenant = parts.next().filter(|tenant| is_tenant(tenant))?;
    let mut ids = Vec::with_capacity(collections.len());
    for collection in collections {
        if parts.next()? != *collection {
            return None;
        }
        ids.push(parts.next().filter(|id| is_id(id))?);
    }
    parts.next().is_none().then_some(Name { tenant, ids })
}

/// Prints a resource name.
pub fn print(tenant: &str, path: &[(&str, &str)]) -> String {
    let mut name = format!("tenants/{tenant}");
    for (collection, id) in path {
        // Writing to a String cannot fail.
        let _ = write!(name, "/{collection}/{id}");
    }
    name
}

/// The id in the name of one of the caller's own things. A name of another tenant names nothing.
pub fn own<'a>(
    caller: &Caller,
    field: &str,
    text: &'a str,
    collection: &str,
) -> Result<&'a str, Problem> {
    let parsed = parse(field, text, &[collection])?;
    if parsed.tenant == caller.tenant { Ok(parsed.id()) } else { Err(unknown(field)) }
}

/// Checks that a parent is the caller's own tenant.
pub fn own_tenant(caller: &Caller, parent: &str) -> Result<(), Problem> {
    let parsed = parse("parent", parent, &[])?;
    if parsed.tenant == caller.tenant { Ok(()) } else { Err(unknown("parent")) }
}

/// A field names nothing that the caller can see.
pub fn unknown(field: &str) -> Problem {
    Problem::of(NOT_FOUND).violation(field, "Name something that exists in your tenant.")
}

/// `[a-z][a-z0-9-]{1,30}`.
pub fn is_tenant(text: &str) -> bool {
    is_slug(text, 31)
}

/// `[a-z][a-z0-9-]{1,62}`: an id that a person chose.
pub fn is_authored_id(text: &str) -> bool {
    is_slug(text, 63)
}

/// Any id, chosen or derived: `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`.
pub fn is_id(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// An authored id, or the violation that says its form.
pub fn authored_id<'a>(field: &str, text: &'a str) -> Result<&'a str, Violation> {
    is_authored_id(text).then_some(text).ok_or_else(|| {
        Violation::new(field, "Start with a lower-case letter, then 1 to 62 of a-z, 0-9 and -.")
    })
}

fn is_slug(text: &str, max: usize) -> bool {
    (2..=max).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_printed_is_parsed_again() {
        let text = print("acme", &[("parties", "pty_7"), ("consents", "con_1")]);
        let name = parse("name", &text, &["parties", "consents"]).expect("well formed");
        assert_eq!((name.tenant, name.ids.as_slice()), ("acme", &["pty_7", "con_1"][..]));
        assert_eq!(parse("parent", "tenants/acme", &[]).expect("parent").id(), "");
    }

    #[test]
    fn hostile_names_are_refused_with_the_form_to_use() {
        let long = format!("tenants/acme/parties/{}", "x".repeat(1 << 20));
        let hostile = [
            "",
            "tenants",
            "tenants/",
            "tenants/acme/parties",
            "tenants/acme/parties/",
            "tenants/acme/parties/a/b",
            "tenants/acme/items/a",
            "tenants/ACME/parties/a",
            "tenants/acme/parties/..",
            "tenants/acme/parties/a b",
            "tenants/acme/parties/a\u{202e}",
            "tenants/acme/parties/a\0",
            "/tenants/acme/parties/a",
            "tenants//parties/a",
            &long,
        ];
        for text in hostile {
            let violation = parse("name", text, &["parties"]).expect_err("refused");
            assert_eq!(violation.remedy, "Use the form tenants/{tenant}/parties/{id}.");
        }
    }

    #[test]
    fn tenants_and_authored_ids_are_slugs() {
        assert!(is_tenant("default") && is_tenant("a1") && is_tenant("north-wind"));
        assert!(
            !is_tenant("a") && !is_tenant("1a") && !is_tenant("A1") && !is_tenant(&"a".repeat(32))
        );
        assert!(is_authored_id(&"a".repeat(63)) && !is_authored_id(&"a".repeat(64)));
        assert!(is_id("DE") && is_id("pty_7") && !is_id("_x") && !is_id(""));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = parse("name", &text, &["parties"]);
        }
    }
}
