//! Which metrics a PromQL expression names, and which labels.

use std::collections::BTreeSet;

/// What an expression names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Names {
    pub metrics: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

/// Words that are no metric though no parenthesis follows.
const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
/// Words whose parentheses hold labels.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

pub(crate) fn names(expr: &str) -> Names {
    let mut names = Names::default();
    let mut rest = expr;
    let mut labels_until = None;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = rest[1..].find('"').expect("a quote is closed");
            rest = &rest[end + 2..];
        } else if first == '[' {
            rest = &rest[rest.find(']').expect("a bracket is closed")..];
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|it: char| it.is_alphanumeric() || it == '.');
        } else if first.is_ascii_alphabetic() || first == '_' {
            let part = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
            let (word, after) = rest.split_at(rest.find(|it| !part(it)).unwrap_or(rest.len()));
            rest = after;
            if labels_until.is_some() {
                names.labels.insert(word.to_owned());
            } else if LISTS.contains(&word) {
                labels_until = Some(')');
            } else if !["(", "by ", "without "].iter().any(|it| after.trim_start().starts_with(it))
                && !WORDS.contains(&word)
            {
                names.metrics.insert(word.to_owned());
            }
        } else {
            if first == '{' {
                labels_until = Some('}');
            } else if labels_until == Some(first) {
                labels_until = None;
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    names
}

#[test]
fn names_are_found() {
    let found = names(
        "sum by (job) (rate(a_total{x=\"b{c\",y!~\"d\"}[5m])) / on (z) count(e:f) > 1e3 and g offset 2h",
    );
    let set = |it: &[&str]| it.iter().map(|&it| it.to_owned()).collect::<BTreeSet<_>>();
    let wanted =
        Names { metrics: set(&["a_total", "e:f", "g"]), labels: set(&["job", "x", "y", "z"]) };
    assert_eq!(found, wanted);
}
