//! Field masks (AIP-134, 161): which fields an update may and shall touch.

use std::collections::BTreeSet;

use crate::status::Problem;

/// The fields an update touches.
///
/// ```
/// use chassis::mask::Mask;
/// let mask = Mask::parse(&["language".into()], &["language", "time_zone"]).unwrap();
/// assert!(mask.has("language") && !mask.has("time_zone"));
/// assert!(Mask::parse(&["kind".into()], &["language", "time_zone"]).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    paths: BTreeSet<&'static str>,
}

impl Mask {
    /// Reads `update_mask.paths` against the fields that may be updated. `*` means all of them; so does an absent
    /// mask, which suits methods whose request holds only fields to replace.
    pub fn parse(paths: &[String], updatable: &[&'static str]) -> Result<Self, Problem> {
        if paths.is_empty() || paths.iter().any(|path| path == "*") {
            return Ok(Self { paths: updatable.iter().copied().collect() });
        }
        let mut chosen = BTreeSet::new();
        for path in paths {
            match updatable.iter().find(|field| *field == path) {
                Some(field) => chosen.insert(*field),
                None => return Err(refused(updatable)),
            };
        }
        Ok(Self { paths: chosen })
    }

    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The value when the mask has the path; `None` leaves the field as it is.
    pub fn pick<T>(&self, path: &str, value: T) -> Option<T> {
        self.has(path).then_some(value)
    }
}

fn refused(updatable: &[&str]) -> Problem {
    Problem::field("update_mask", format!("Choose from: *, {}.", updatable.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&str] = &["language", "time_zone"];

    #[test]
    fn an_absent_mask_and_a_star_mean_all() {
        for paths in [vec![], vec!["*".to_owned()]] {
            let mask = Mask::parse(&paths, FIELDS).expect("mask");
            assert!(FIELDS.iter().all(|field| mask.has(field)));
        }
    }

    #[test]
    fn a_field_outside_the_list_is_a_violation_naming_the_list() {
        let problem =
            Mask::parse(&["language".into(), "kind\u{202e}".into()], FIELDS).expect_err("refused");
        assert_eq!(problem.violations[0].field, "update_mask");
        assert_eq!(problem.violations[0].remedy, "Choose from: *, language, time_zone.");
    }

    #[test]
    fn pick_keeps_only_what_the_mask_names() {
        let mask = Mask::parse(&["language".into()], FIELDS).expect("mask");
        assert_eq!(mask.pick("language", "de"), Some("de"));
        assert_eq!(mask.pick("time_zone", "UTC"), None);
    }
}
