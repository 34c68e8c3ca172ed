//! Spelling: what is written differently and means the same is made the same.

use std::str::Chars;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Words of a text, folded.
pub(super) type Words = Vec<String>;

/// Unicode NFKD without combining marks, case folded: `Übelkeit`, `ÜBELKEIT` and `übelkeit` are `ubelkeit`, `ß` is `ss`.
///
/// Upper case and lower case again is the full case folding of the Unicode standard for the scripts in use here.
pub(super) fn fold(text: &str) -> String {
    text.nfkd()
        .filter(|it| !is_combining_mark(*it) && !is_invisible(*it))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect::<String>()
        .replace('œ', "oe")
        .replace('æ', "ae")
}

/// The words of a text: runs of letters and digits.
pub(super) fn words(text: &str) -> Words {
    let folded = fold(text);
    let words = folded.split(|it: char| !it.is_alphanumeric());
    words.filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// The spellings of an entry: in German an umlaut may be written with an e.
pub(super) fn spellings(language: &str, text: &str) -> Vec<String> {
    let mut spellings = vec![text.to_owned()];
    if language == "de" && text.contains(['ä', 'ö', 'ü']) {
        spellings.push(text.replace('ä', "ae").replace('ö', "oe").replace('ü', "ue"));
    }
    spellings
}

/// What separates nothing a reader sees: soft hyphens, zero-width characters.
fn is_invisible(it: char) -> bool {
    matches!(it, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Whether two words differ by one letter at most: changed, left out, added, or two neighbours swapped.
pub(super) fn close(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.chars(), other.chars());
    trim(&mut one, &mut other, Chars::next);
    trim(&mut one, &mut other, Chars::next_back);
    match (one.next(), one.next(), other.next(), other.next()) {
        // What is left of each is a letter or nothing.
        (_, None, _, None) => true,
        (Some(a), Some(b), Some(c), Some(d)) => {
            (a, b) == (d, c) && one.next().is_none() && other.next().is_none()
        }
        _ => false,
    }
}

/// Takes off what both have at an end.
fn trim<'t>(one: &mut Chars<'t>, other: &mut Chars<'t>, take: fn(&mut Chars<'t>) -> Option<char>) {
    loop {
        let (mut left, mut right) = (one.clone(), other.clone());
        match (take(&mut left), take(&mut right)) {
            (Some(a), Some(b)) if a == b => (*one, *other) = (left, right),
            _ => return,
        }
    }
}
