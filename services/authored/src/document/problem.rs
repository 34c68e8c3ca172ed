//! What is wrong with a document, where, and what to write instead.

use std::fmt;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 when the document has no lines.
    pub line: u32,
    /// Column in characters, from 1; 0 when the document has no lines.
    pub column: u32,
    /// Where in the document, for example `nodes.write.touch`; empty for the whole of it.
    pub path: String,
    /// What is wrong and the remedy.
    pub text: String,
}

impl Problem {
    /// A problem of the whole document.
    pub(super) fn of_document(text: impl Into<String>) -> Self {
        Self { line: 0, column: 0, path: String::new(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// The name nearest to the one that was written, when one is near, else the names there are, when they are few.
pub(super) fn suggestion<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> String {
    const FEW: usize = 16;
    let names: Vec<_> = names.collect();
    let near = |name: &&&str| distance(written, name) <= 1 + written.chars().count() / 4;
    match names.iter().filter(near).min_by_key(|it| distance(written, it)) {
        Some(name) => format!("Did you mean `{name}`?"),
        None if names.is_empty() => "Nothing can be given here.".to_owned(),
        None if names.len() <= FEW => format!("Use one of {}.", names.join(", ")),
        None => "See the reference for what can be given here.".to_owned(),
    }
}

/// Levenshtein's distance, ignoring case. A name that is much longer than any of ours is far from all of them.
fn distance(a: &str, b: &str) -> usize {
    const LONG: usize = 64;
    if a.len() > LONG || b.len() > LONG {
        return usize::MAX;
    }
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// What was written, short enough for a message.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    format!("`{shown}`")
}
