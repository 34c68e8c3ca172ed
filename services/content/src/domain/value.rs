//! Values of slots: what fits, and how it is escaped.

use rapport_proto::content::v1::{Slot, SlotKind};

/// Characters a value may have unless the slot says otherwise.
const MOST: usize = 500;

/// Why a value does not fit its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("longer than {0} characters")]
    Long(usize),
    #[error("not a number")]
    Number,
    #[error("not a date of the form YYYY-MM-DD")]
    Date,
    #[error("not an absolute https link")]
    Link,
}

/// A value as it is printed, if it fits: without control characters and bidirectional marks.
pub(crate) fn fit(slot: &Slot, value: &str) -> Result<String, Misfit> {
    let value = clean(value);
    let most = most(slot);
    if value.chars().count() > most {
        return Err(Misfit::Long(most));
    }
    match slot.kind() {
        SlotKind::Number if !is_number(&value) => Err(Misfit::Number),
        SlotKind::Date if !is_date(&value) => Err(Misfit::Date),
        SlotKind::Link if !is_link(&value) => Err(Misfit::Link),
        _ => Ok(value),
    }
}

fn most(slot: &Slot) -> usize {
    match slot.max_length {
        0 => MOST,
        most => usize::try_from(most).unwrap_or(usize::MAX),
    }
}

/// Text without what only serves to deceive or to break a reader. Line breaks and tabs stay.
fn clean(text: &str) -> String {
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(
                c,
                '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
                    | '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}'
            )
    };
    text.chars().filter(|c| !harmful(*c)).collect()
}

/// One line of a subject: it becomes a header, so nothing in it may end it.
pub(crate) fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean(&spaced)
}

/// Text that means itself in HTML, in content and in attributes.
pub(crate) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn is_number(text: &str) -> bool {
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match unsigned.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part),
        None => digits(unsigned),
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && authored::calendar::date(text).is_ok()
}

fn is_link(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = host.split_once(':').map_or(host, |it| it.0);
    let host_fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b));
    let harmless = |b: u8| b.is_ascii_graphic() && !b"<>\"'`\\{}|^".contains(&b);
    host_fits && rest.bytes().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(kind: SlotKind, max_length: u32) -> Slot {
        Slot { name: "x".into(), kind: kind.into(), max_length, ..Default::default() }
    }

    #[test]
    fn values_fit_their_kind() {
        let table = [
            (SlotKind::Number, "12", None),
            (SlotKind::Number, "-1.50", None),
            (SlotKind::Number, "1,5", Some(Misfit::Number)),
            (SlotKind::Number, "1e9", Some(Misfit::Number)),
            (SlotKind::Number, ".5", Some(Misfit::Number)),
            (SlotKind::Date, "2026-02-28", None),
            (SlotKind::Date, "2026-02-30", Some(Misfit::Date)),
            (SlotKind::Date, "28.2.2026", Some(Misfit::Date)),
            (SlotKind::Link, "https://example.org/a?b=c&d=e#f", None),
            (SlotKind::Link, "https://example.org:8443", None),
            (SlotKind::Link, "http://example.org", Some(Misfit::Link)),
            (SlotKind::Link, "javascript:alert(1)", Some(Misfit::Link)),
            (SlotKind::Link, "https://", Some(Misfit::Link)),
            (SlotKind::Link, "https:///path", Some(Misfit::Link)),
            (SlotKind::Link, "https://good.org@evil.org/", Some(Misfit::Link)),
            (SlotKind::Link, "https://example.org/\"onclick=", Some(Misfit::Link)),
            (SlotKind::Link, "https://example.org/a b", Some(Misfit::Link)),
            (SlotKind::Link, "//example.org", Some(Misfit::Link)),
        ];
        for (kind, text, misfit) in table {
            assert_eq!(fit(&slot(kind, 0), text).err(), misfit, "{text}");
        }
    }

    #[test]
    fn lengths_count_characters_and_default_to_500() {
        let text = |n: usize| "ä".repeat(n);
        assert!(fit(&slot(SlotKind::Text, 0), &text(500)).is_ok());
        assert_eq!(fit(&slot(SlotKind::Text, 0), &text(501)), Err(Misfit::Long(500)));
        assert_eq!(fit(&slot(SlotKind::Text, 3), &text(4)), Err(Misfit::Long(3)));
    }

    #[test]
    fn what_deceives_or_breaks_is_removed() {
        assert_eq!(clean("a\0b\r\nc\u{202e}d\te\u{feff}"), "ab\ncd\te");
        assert_eq!(one_line("a\r\nBcc: x"), "a  Bcc: x");
        assert_eq!(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
