//! Text that people and other systems send: what is accepted, and a named violation for what is not.
//!
//! Names come from the whole world, so letters of every script, joiners included, are welcome. Refused is what only
//! serves to deceive or to break a reader: control characters, bidirectional marks, line separators, and lengths
//! beyond the field's own. A violation never repeats the value.

use std::ops::RangeInclusive;

use crate::status::{Problem, Violation};

/// Collects the violations of one request, so that a caller learns all of them at once.
///
/// ```
/// use chassis::text::Check;
/// let mut check = Check::default();
/// let name = check.text("display_name", "  Ada\u{202e}", 1..=200);
/// assert_eq!(name, "");
/// let problem = check.finish().unwrap_err();
/// assert_eq!(problem.violations[0].field, "display_name");
/// ```
#[derive(Debug, Default)]
pub struct Check {
    violations: Vec<Violation>,
}

impl Check {
    /// One line of text with a length in characters within `length`; empty when it is refused.
    pub fn text(&mut self, field: &str, value: &str, length: RangeInclusive<usize>) -> String {
        self.keep(line(field, value, length)).map(str::to_owned).unwrap_or_default()
    }

    /// Text that may have lines and tabs.
    pub fn prose(&mut self, field: &str, value: &str, length: RangeInclusive<usize>) -> String {
        self.keep(prose(field, value, length)).map(str::to_owned).unwrap_or_default()
    }

    /// Notes a violation unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, remedy: impl Into<String>) {
        if !holds {
            self.refuse(field, remedy);
        }
    }

    pub fn refuse(&mut self, field: &str, remedy: impl Into<String>) {
        self.violations.push(Violation::new(field, remedy));
    }

    /// The value of a parse, or its violation noted.
    pub fn keep<T>(&mut self, parsed: Result<T, Violation>) -> Option<T> {
        parsed.map_err(|violation| self.violations.push(violation)).ok()
    }

    /// The value, or a violation with what the parser said; for types that have their own parser.
    pub fn parse<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        parsed: Result<T, E>,
    ) -> Option<T> {
        self.keep(parsed.map_err(|error| Violation::new(field, error.to_string())))
    }

    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Every violation as one INVALID_ARGUMENT.
    pub fn finish(self) -> Result<(), Problem> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations.into()) }
    }
}

/// One line of text, its length counted in characters.
pub fn line<'a>(
    field: &str,
    value: &'a str,
    length: RangeInclusive<usize>,
) -> Result<&'a str, Violation> {
    accepted(field, value, length, is_harmful)
}

/// Text with lines and tabs, its length counted in characters.
pub fn prose<'a>(
    field: &str,
    value: &'a str,
    length: RangeInclusive<usize>,
) -> Result<&'a str, Violation> {
    accepted(field, value, length, |c| is_harmful(c) && c != '\n' && c != '\t')
}

fn accepted<'a>(
    field: &str,
    value: &'a str,
    length: RangeInclusive<usize>,
    refused: impl Fn(char) -> bool,
) -> Result<&'a str, Violation> {
    let (min, max) = (*length.start(), *length.end());
    // A character is at most four bytes: a megabyte is refused without being walked.
    if value.len() > max.saturating_mul(4) || value.chars().count() > max {
        return Err(Violation::new(field, format!("Use at most {max} characters.")));
    }
    if value.trim().chars().count() < min {
        let remedy = if min == 1 {
            "Must not be empty.".into()
        } else {
            format!("Use at least {min} characters.")
        };
        return Err(Violation::new(field, remedy));
    }
    if value.chars().any(refused) {
        let remedy = "Remove control characters, bidirectional marks and line separators.";
        return Err(Violation::new(field, remedy));
    }
    Ok(value)
}

/// Control characters, bidirectional marks (Unicode TR 36, section 2.5), line and paragraph separators, the byte
/// order mark, and the invisible tag characters.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
                | '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_world_are_welcome() {
        for name in [
            "Ada Lovelace",
            "Nguyễn Thị Minh Khai",
            "محمد",
            "क्षेत्रज्ञ",
            "می\u{200c}خواهم",
            "O’Brien-Łuk",
        ] {
            assert_eq!(line("name", name, 1..=200), Ok(name));
        }
    }

    #[test]
    fn hostile_text_is_refused_and_never_repeated() {
        let hostile = [
            "a\0b",
            "a\u{202e}b",
            "a\u{2066}b",
            "\u{200f}a",
            "a\nb",
            "a\u{7f}",
            "\u{feff}a",
            "a\u{2028}b",
        ];
        for text in hostile {
            let violation = line("id", text, 1..=200).expect_err("refused");
            assert_eq!(violation.field, "id");
            assert!(!violation.remedy.contains(text));
        }
        assert!(prose("note", "two\nlines\t.", 1..=200).is_ok());
        assert!(prose("note", "a\u{202e}b", 1..=200).is_err());
    }

    #[test]
    fn lengths_count_characters_and_a_megabyte_is_refused() {
        assert!(line("name", "äöü", 1..=3).is_ok());
        assert!(line("name", "äöüß", 1..=3).is_err());
        assert!(line("name", "   ", 1..=3).is_err());
        assert!(line("name", &"x".repeat(1 << 20), 1..=200).is_err());
        assert!(line("name", "", 0..=3).is_ok());
    }

    #[test]
    fn all_violations_are_told_at_once() {
        let mut check = Check::default();
        check.text("a", "", 1..=5);
        check.text("b", "fine", 1..=5);
        check.require(false, "c", "Must be true.");
        let problem = check.finish().expect_err("two violations");
        let fields: Vec<_> = problem.violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["a", "c"]);
    }

    proptest! {
        #[test]
        fn accepted_text_holds_nothing_harmful(value in any::<String>()) {
            if line("f", &value, 0..=64).is_ok() {
                prop_assert!(!value.chars().any(is_harmful));
                prop_assert!(value.chars().count() <= 64);
            }
        }
    }
}
