//! From a tree to YAML: blocks for what is nested, one line for what is not.

use super::tree::{Entry, Kind, Node, plain};

/// Writes a document.
pub(super) fn document(root: &Node) -> String {
    let mut text = String::new();
    match &root.kind {
        Kind::Map(entries) if !entries.is_empty() => map(&mut text, entries, 0),
        _ => {
            line(&mut text, root);
            text.push('\n');
        }
    }
    text
}

fn map(text: &mut String, entries: &[Entry], indent: usize) {
    for (index, entry) in entries.iter().enumerate() {
        // The first stands behind the dash or at the beginning of the line that is already there.
        if index > 0 || indent == 0 {
            spaces(text, indent);
        }
        text.push_str(&scalar(&entry.key));
        text.push(':');
        value(text, &entry.value, indent);
    }
}

fn value(text: &mut String, node: &Node, indent: usize) {
    if fits_on_a_line(node) {
        text.push(' ');
        line(text, node);
        text.push('\n');
        return;
    }
    text.push('\n');
    match &node.kind {
        Kind::Map(entries) => {
            spaces(text, indent + 2);
            map(text, entries, indent + 2);
        }
        Kind::List(items) => {
            for item in items {
                spaces(text, indent + 2);
                text.push_str("- ");
                match &item.kind {
                    Kind::Map(entries) if !fits_on_a_line(item) => map(text, entries, indent + 4),
                    _ => {
                        line(text, item);
                        text.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn spaces(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

/// Plain values, and lists and maps of few of them.
fn fits_on_a_line(node: &Node) -> bool {
    const WIDTH: usize = 80;
    let plain = |it: &Node| match &it.kind {
        Kind::List(items) => items.is_empty(),
        Kind::Map(entries) => entries.is_empty(),
        _ => true,
    };
    let width = || {
        let mut text = String::new();
        line(&mut text, node);
        text.len()
    };
    match &node.kind {
        Kind::List(items) => items.is_empty() || (items.iter().all(plain) && width() <= WIDTH),
        Kind::Map(entries) => {
            entries.is_empty() || (entries.iter().all(|it| plain(&it.value)) && width() <= WIDTH)
        }
        _ => true,
    }
}

/// In YAML's flow style.
fn line(text: &mut String, node: &Node) {
    match &node.kind {
        Kind::Null => text.push_str("null"),
        Kind::Flag(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Kind::Number(number) => text.push_str(number),
        Kind::Text(it) => text.push_str(&scalar(it)),
        Kind::List(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                line(text, item);
            }
            text.push(']');
        }
        Kind::Map(entries) => {
            text.push('{');
            for (index, entry) in entries.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                text.push_str(&scalar(&entry.key));
                text.push_str(": ");
                line(text, &entry.value);
            }
            text.push('}');
        }
    }
}

/// Unquoted where nobody can misread it, else quoted as in JSON.
fn scalar(text: &str) -> String {
    let safe = |it: char| it.is_ascii_alphanumeric() || "_-./ ".contains(it);
    let unquoted = text.starts_with(|it: char| it.is_ascii_alphanumeric())
        && text.ends_with(|it: char| it.is_ascii_alphanumeric())
        && text.chars().all(safe)
        && matches!(plain(text), Kind::Text(_));
    if unquoted { text.to_owned() } else { quote(text) }
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // What YAML cannot print or could fold.
            _ if letter.is_control()
                || "\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}".contains(letter) =>
            {
                quoted.push_str(&format!("\\u{:04X}", u32::from(letter)));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
