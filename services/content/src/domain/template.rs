//! Templates: text with `{{name}}` in it, and nothing else that means anything.

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    Text(&'a str),
    Slot(&'a str),
}

/// Braces that are no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Write slots as {{{{name}}}}, without spaces, and no other double braces.")]
pub(crate) struct Malformed;

/// Reads a template. What is put into a slot later is never read again.
pub(crate) fn parse(template: &str) -> Result<Vec<Segment<'_>>, Malformed> {
    let mut segments = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        let (text, slot) = rest.split_at(open);
        let close = slot.find("}}").ok_or(Malformed)?;
        let name = &slot[2..close];
        if text.contains("}}") || !is_slot_name(name) {
            return Err(Malformed);
        }
        if !text.is_empty() {
            segments.push(Segment::Text(text));
        }
        segments.push(Segment::Slot(name));
        rest = &slot[close + 2..];
    }
    if rest.contains("}}") {
        return Err(Malformed);
    }
    if !rest.is_empty() {
        segments.push(Segment::Text(rest));
    }
    Ok(segments)
}

/// `[a-z][a-z0-9_]{0,62}`.
pub(crate) fn is_slot_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_are_found_and_everything_else_is_text() {
        use Segment::{Slot, Text};
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("a {b} c"), Ok(vec![Text("a {b} c")]));
        assert_eq!(parse("Dear {{name}},"), Ok(vec![Text("Dear "), Slot("name"), Text(",")]));
        assert_eq!(parse("{{a}}{{b_1}}"), Ok(vec![Slot("a"), Slot("b_1")]));
    }

    #[test]
    fn other_double_braces_are_refused() {
        for bad in [
            "{{",
            "}}",
            "{{ a }}",
            "{{A}}",
            "{{}}",
            "{{a}",
            "{{{a}}}",
            "a}} {{a}}",
            "{{#if a}}",
            "{{a.b}}",
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_what_was_written(template in "[a-z{} é]{0,40}") {
            if let Ok(segments) = parse(&template) {
                let written: String = segments.iter().map(|it| match it {
                    Segment::Text(text) => (*text).to_owned(),
                    Segment::Slot(name) => format!("{{{{{name}}}}}"),
                }).collect();
                prop_assert_eq!(written, template);
            }
        }
    }
}
