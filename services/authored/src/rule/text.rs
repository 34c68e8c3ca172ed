//! The text of a rule before it is parsed: its bounds, its brackets, its conjuncts. The parser is
//! recursive, so that nothing reaches it that nests too deep.

use std::ops::Range;

use super::Problem;

const MAX_CHARACTERS: usize = 2_000;
const MAX_WORDS: usize = 200;
pub(super) const MAX_NESTING: usize = 32;

/// A word, a literal, an operator or a bracket, by its place in the text.
type Token = Range<usize>;

/// A text within bounds, with its tokens.
pub(super) struct Text<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Text<'a> {
    /// Checks length, count, nesting and balance.
    pub(super) fn read(text: &'a str) -> Result<Self, Problem> {
        if text.trim().is_empty() {
            return Err(Problem::at(1, "the rule is empty", "write a condition such as `true`"));
        }
        if text.len() > MAX_CHARACTERS && text.chars().count() > MAX_CHARACTERS {
            let remedy = "split it, or move a part into a segment";
            let longer = format!("the rule is longer than {MAX_CHARACTERS} characters");
            return Err(Problem::at(MAX_CHARACTERS + 1, longer, remedy));
        }
        let tokens = tokens(text)?;
        balance(text, &tokens)?;
        Ok(Self { text, tokens })
    }

    /// The conjuncts that `&&` joins at the top, in order, looking through brackets around them.
    pub(super) fn conjuncts(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.split(&self.tokens, &mut found);
        found
    }

    fn split(&self, tokens: &[Token], found: &mut Vec<Range<usize>>) {
        let mut tokens = tokens;
        while let Some(inner) = self.inside(tokens) {
            tokens = inner;
        }
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return };
        let mut depth = 0_usize;
        let mut cuts = Vec::new();
        let mut other = false;
        for (index, token) in tokens.iter().enumerate() {
            match &self.text[token.clone()] {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "&&" if depth == 0 => cuts.push(index),
                "||" | "?" if depth == 0 => other = true,
                _ => {}
            }
        }
        if cuts.is_empty() || other {
            found.push(first.start..last.end);
            return;
        }
        let mut from = 0;
        for cut in cuts.into_iter().chain([tokens.len()]) {
            self.split(&tokens[from..cut], found);
            from = cut + 1;
        }
    }

    /// What stands in the pair of brackets that is around everything.
    fn inside<'t>(&self, tokens: &'t [Token]) -> Option<&'t [Token]> {
        let [first, inner @ .., last] = tokens else { return None };
        if &self.text[first.clone()] != "(" || &self.text[last.clone()] != ")" {
            return None;
        }
        let mut depth = 0_usize;
        for token in inner {
            match &self.text[token.clone()] {
                "(" => depth += 1,
                ")" => depth = depth.checked_sub(1)?,
                _ => {}
            }
        }
        Some(inner)
    }
}

/// The column of a byte: characters from the start, from 1.
pub(super) fn column(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < byte).count() + 1
}

fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut found = Vec::new();
    let mut words = 0;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let length = token(rest).ok_or_else(|| {
            let remedy = "close it with the quote that opens it";
            Problem::at(column(text, at), "this text in quotes does not end", remedy)
        })?;
        if !matches!(next, '(' | ')' | '[' | ']' | '{' | '}' | ',' | '.') {
            words += 1;
        }
        if words > MAX_WORDS {
            let more = format!("the rule has more than {MAX_WORDS} words and operators");
            let remedy = "split it, or move a part into a segment";
            return Err(Problem::at(column(text, at), more, remedy));
        }
        found.push(at..at + length);
        at += length;
    }
    Ok(found)
}

/// The length of the token at the start; `None` for a quote without end.
fn token(rest: &str) -> Option<usize> {
    let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let behind = &rest[word..];
    if behind.starts_with(['"', '\'']) && word <= 2 {
        let raw = rest[..word].contains(['r', 'R']);
        return quoted(behind, raw).map(|length| word + length);
    }
    if word > 0 {
        return Some(word);
    }
    let pair = ["&&", "||", "==", "!=", "<=", ">="].iter().any(|pair| rest.starts_with(pair));
    if pair { Some(2) } else { rest.chars().next().map(char::len_utf8) }
}

/// The length of a text in quotes, quotes included.
fn quoted(rest: &str, raw: bool) -> Option<usize> {
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    let quote = if rest.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = quote.len();
    loop {
        let inner = rest.get(at..)?;
        if inner.starts_with(quote) {
            return Some(at + quote.len());
        }
        let mut characters = inner.chars();
        let next = characters.next()?;
        at += next.len_utf8();
        if next == '\\' && !raw {
            at += characters.next()?.len_utf8();
        }
    }
}

fn balance(text: &str, tokens: &[Token]) -> Result<(), Problem> {
    let mut open: Vec<(&str, usize)> = Vec::new();
    for token in tokens {
        let close = match &text[token.clone()] {
            "(" => ")",
            "[" => "]",
            "{" => "}",
            bracket @ (")" | "]" | "}") => {
                if open.pop().is_none_or(|(awaited, _)| awaited != bracket) {
                    let here = column(text, token.start);
                    let closes = format!("`{bracket}` closes nothing");
                    return Err(Problem::at(here, closes, "take it out, or open a bracket before"));
                }
                continue;
            }
            _ => continue,
        };
        open.push((close, token.start));
        if open.len() > MAX_NESTING {
            return Err(Problem::too_deep(column(text, token.start)));
        }
    }
    match open.pop() {
        None => Ok(()),
        Some((awaited, start)) => {
            let remedy = format!("close it with `{awaited}`");
            Err(Problem::at(column(text, start), "this bracket is not closed", remedy))
        }
    }
}
