//! What is wrong with a content that somebody wants to save: the field, the remedy, and which rule it breaks.

/// The rules that have a reason of their own on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A field is malformed.
    Field,
    /// A template names a slot that is not declared.
    SlotUnknown,
    /// A claim cites nothing that counts.
    NoReference,
    /// A module would contain itself.
    Cycle,
}

/// One thing that is wrong. The remedy never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) field: String,
    pub(crate) remedy: String,
    pub(crate) rule: Rule,
}

/// Collects what is wrong, so that its sender learns all of it at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Wrong>);

impl Findings {
    pub(crate) fn add(&mut self, rule: Rule, field: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Wrong { field: field.into(), remedy: remedy.into(), rule });
    }

    /// Notes a malformed field unless `holds`.
    pub(crate) fn require(
        &mut self,
        holds: bool,
        field: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !holds {
            self.add(Rule::Field, field, remedy);
        }
    }

    /// Notes what a check of text found.
    pub(crate) fn keep<T>(&mut self, checked: Result<T, chassis::Violation>) {
        if let Err(violation) = checked {
            self.add(Rule::Field, violation.field, violation.remedy);
        }
    }

    /// Notes values that are malformed or stand there twice, and lists that are too long.
    pub(crate) fn list<T: PartialEq>(
        &mut self,
        field: &str,
        values: &[T],
        most: usize,
        fits: impl Fn(&T) -> bool,
        remedy: &str,
    ) {
        self.require(values.len() <= most, field, format!("Give at most {most}."));
        for (n, value) in values.iter().enumerate().take(most) {
            self.require(fits(value), format!("{field}[{n}]"), remedy);
            let first = !values[..n].contains(value);
            self.require(first, format!("{field}[{n}]"), "Name it once.");
        }
    }
}

/// Notes an end that is no instant, or that is over before anything begins.
pub(crate) fn ends_later(
    found: &mut Findings,
    field: &str,
    end: Option<&prost_types::Timestamp>,
    at: eventstore::Timestamp,
) {
    if end.is_some() {
        let later = super::instant(end).is_some_and(|it| it > at);
        found.require(
            later,
            field,
            "Use a later time than now, before the year 10000, or leave it empty.",
        );
    }
}
