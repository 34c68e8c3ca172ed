//! Request ids: the caller's proof that two requests are one wish.

use crate::status::Violation;

/// 8 to 128 printable ASCII characters, spaces excluded; absent is `None`, and the caller of this function makes one.
pub fn parse<'a>(field: &str, text: &'a str) -> Result<Option<&'a str>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    let fits = (8..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(Some(text)).ok_or_else(|| {
        Violation::new(
            field,
            "Use 8 to 128 printable ASCII characters, a UUID for example, or leave it empty.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_people_and_of_workers_pass() {
        for id in ["01890000-0000-7000-8000-000000000000", "traits/profiles/12345/0", "12345678"] {
            assert_eq!(parse("request_id", id), Ok(Some(id)));
        }
        assert_eq!(parse("request_id", ""), Ok(None));
    }

    #[test]
    fn short_long_and_hostile_ids_are_refused() {
        let long = "x".repeat(129);
        for id in [
            "1234567",
            long.as_str(),
            "has a space",
            "caf\u{e9}-0000",
            "nul\0-0000",
            "rtl\u{202e}-0000",
        ] {
            assert_eq!(parse("request_id", id).expect_err("refused").field, "request_id");
        }
    }
}
