//! Where a party is: market, language, time zone.

use super::Invalid;

/// A market: an ISO 3166-1 alpha-2 country or territory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Market(&'static str);

impl Market {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        rapport_proto::market(text).map(Self).ok_or(Invalid::Market)
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }
}

/// A language tag of the shape BCP 47 (RFC 5646, section 2.1) gives it, in its recommended letter case. Whether the
/// subtags are registered is not checked: the registry grows faster than releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Language(String);

impl Language {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        const REMEDY: Invalid =
            Invalid::value("Use a BCP 47 language tag, for example de or pt-BR.");
        let fits = (2..=35).contains(&text.len()) && text.is_ascii();
        if !fits {
            return Err(REMEDY);
        }
        canonical(text).map(Self).ok_or(REMEDY)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads `language [extlang] [script] [region] variants extensions`, each at most as often as the grammar allows.
fn canonical(text: &str) -> Option<String> {
    let mut subtags = text.split('-').peekable();
    let alpha = |it: &str| it.bytes().all(|b| b.is_ascii_alphabetic());
    let alnum = |it: &str| it.bytes().all(|b| b.is_ascii_alphanumeric());
    let digit_first = |it: &str| it.starts_with(|c: char| c.is_ascii_digit());

    let language = subtags.next().filter(|it| alpha(it) && (2..=8).contains(&it.len()))?;
    let mut tag = vec![language.to_ascii_lowercase()];
    if language.len() <= 3 {
        tag.extend(subtags.next_if(|it| alpha(it) && it.len() == 3).map(str::to_ascii_lowercase));
    }
    if let Some(script) = subtags.next_if(|it| alpha(it) && it.len() == 4) {
        let (first, rest) = script.split_at(1);
        tag.push(first.to_ascii_uppercase() + &rest.to_ascii_lowercase());
    }
    let is_region = |it: &&str| {
        (alpha(it) && it.len() == 2) || (it.len() == 3 && it.bytes().all(|b| b.is_ascii_digit()))
    };
    tag.extend(subtags.next_if(is_region).map(str::to_ascii_uppercase));
    let is_variant = |it: &&str| {
        alnum(it) && ((5..=8).contains(&it.len()) || (it.len() == 4 && digit_first(it)))
    };
    while let Some(variant) = subtags.next_if(is_variant) {
        tag.push(variant.to_ascii_lowercase());
    }
    while let Some(singleton) = subtags.next_if(|it| it.len() == 1 && alnum(it)) {
        tag.push(singleton.to_ascii_lowercase());
        let shortest = if singleton.eq_ignore_ascii_case("x") { 1 } else { 2 };
        let before = tag.len();
        while let Some(part) = subtags.next_if(|it| alnum(it) && (shortest..=8).contains(&it.len()))
        {
            tag.push(part.to_ascii_lowercase());
        }
        if tag.len() == before {
            return None;
        }
    }
    subtags.next().is_none().then(|| tag.join("-"))
}

/// An IANA time zone of the database this release is built with, in its canonical letter case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeZone(String);

impl TimeZone {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        const REMEDY: Invalid = Invalid::value("Use an IANA time zone, for example Europe/Berlin.");
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            return Err(REMEDY);
        }
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| REMEDY)?;
        zone.iana_name().map(|name| Self(name.to_owned())).ok_or(REMEDY)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a party is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) market: Market,
    pub(crate) language: Option<Language>,
    pub(crate) time_zone: Option<TimeZone>,
}

impl Place {
    /// Language as events have it: empty when unknown.
    pub(crate) fn language_text(&self) -> String {
        self.language.as_ref().map(|it| it.as_str().to_owned()).unwrap_or_default()
    }

    /// Time zone as events have it: empty when unknown.
    pub(crate) fn time_zone_text(&self) -> String {
        self.time_zone.as_ref().map(|it| it.as_str().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markets_are_the_assigned_codes() {
        for code in ["DE", "US", "NO", "ZW", "AD"] {
            assert_eq!(Market::parse(code).expect("assigned").as_str(), code);
        }
        for code in ["", "de", "UK", "EU", "XX", "ZZ", "DEU", "D\0", "\u{202e}DE"] {
            assert_eq!(Market::parse(code), Err(Invalid::Market), "{code:?}");
        }
    }

    #[test]
    fn languages_get_their_recommended_case() {
        let cases = [
            ("DE", "de"),
            ("pt-br", "pt-BR"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("de-1996", "de-1996"),
            ("sl-rozaj-biske", "sl-rozaj-biske"),
            ("es-419", "es-419"),
            ("zh-YUE", "zh-yue"),
            ("de-CH-x-Phonebk", "de-CH-x-phonebk"),
            ("en-a-bbb-x-a", "en-a-bbb-x-a"),
        ];
        for (text, tag) in cases {
            assert_eq!(Language::parse(text).expect(text).as_str(), tag);
        }
        let long = "en-".repeat(1 << 18);
        for text in [
            "",
            "d",
            "deutschland",
            "de_DE",
            "de-",
            "-de",
            "de--DE",
            "en-x",
            "en-DE-DE-DE",
            "dé",
            &long,
        ] {
            assert!(Language::parse(text).is_err(), "{text:.20}");
        }
    }

    #[test]
    fn time_zones_come_from_the_database() {
        assert_eq!(TimeZone::parse("Europe/Berlin").expect("known").as_str(), "Europe/Berlin");
        assert_eq!(TimeZone::parse("europe/berlin").expect("known").as_str(), "Europe/Berlin");
        assert_eq!(TimeZone::parse("UTC").expect("known").as_str(), "UTC");
        for text in
            ["", "Mars/Olympus", "Europe/Berlin\0", "../../etc/passwd", "CEST+2", "/etc/localtime"]
        {
            assert!(TimeZone::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_a_place_never_panics_and_is_stable(text in any::<String>()) {
            let _ = Market::parse(&text);
            let _ = TimeZone::parse(&text);
            if let Ok(language) = Language::parse(&text) {
                prop_assert_eq!(Language::parse(language.as_str()), Ok(language.clone()));
            }
        }
    }
}
