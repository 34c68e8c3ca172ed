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

/// What a selector asks of a label.
#[derive(Debug, PartialEq)]
pub(super) struct Matcher {
    pub metric: String,
    pub label: String,
    value: String,
    regex: bool,
}

impl Matcher {
    /// The values that it names, each of which may have `.*` at its begin or end.
    pub(super) fn values(&self) -> Vec<String> {
        match self.regex {
            true => named(&self.value),
            false => vec![self.value.clone()],
        }
    }
}

/// Every matcher of an expression, those included that ask for something else.
pub(super) fn matchers(expr: &str) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    let part = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
    let mut rest = expr;
    while let Some(open) = rest.find('{') {
        let metric = rest[..open].rsplit(|it| !part(it)).next().unwrap_or_default();
        rest = &rest[open + 1..];
        while !rest.starts_with('}') {
            let end = rest.find(|it| !part(it)).expect("an operator");
            let (label, after) = rest.split_at(end);
            let (operator, after) = after.split_once('"').expect("a value");
            let (value, after) = after.split_once('"').expect("a quote is closed");
            let (regex, value) = (operator.contains('~'), value.to_owned());
            matchers.push(Matcher { metric: metric.into(), label: label.into(), value, regex });
            rest = after.trim_start_matches([',', ' ']);
        }
    }
    matchers
}

/// The values that a regular expression names: `a|b`, or `x(a|b)y`.
fn named(regex: &str) -> Vec<String> {
    let (before, inside, after) = match regex.split_once('(') {
        Some((before, rest)) => {
            let (inside, after) = rest.split_once(')').expect("a parenthesis is closed");
            (before, inside, after)
        }
        None => ("", regex, ""),
    };
    let values = inside.split('|').map(|it| format!("{before}{it}{after}"));
    let values: Vec<_> = values.collect();
    let plain = |it: &String| !it.trim_matches(['.', '*']).contains(['(', ')', '*', '+', '[', '?']);
    assert!(values.iter().all(plain), "{regex} is more than can be read here");
    values
}

#[test]
fn matchers_are_found() {
    let found = matchers("rate(a_total{x=\"b{c\",y!~\"p.(d|e)\"}[5m]) / g + h{z=~\".*k|l\"}");
    let found: Vec<_> =
        found.iter().map(|it| (it.metric.as_str(), it.label.as_str(), it.values())).collect();
    let values = |it: &[&str]| it.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let wanted = [
        ("a_total", "x", values(&["b{c"])),
        ("a_total", "y", values(&["p.d", "p.e"])),
        ("h", "z", values(&[".*k", "l"])),
    ];
    assert_eq!(found, wanted);
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
