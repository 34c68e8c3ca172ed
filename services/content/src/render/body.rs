//! Printing: subject, text and HTML of a selection.

use rapport_proto::content::v1::{Slot, SlotKind};

use super::select::{Part, Piece, Selection};
use super::{DEEPEST, Unprintable, Values, rules};
use crate::domain::template::{Segment, parse};
use crate::domain::value;

/// Bytes that a rendered body may have: modules in modules could grow without end.
const MOST_BYTES: usize = 256 * 1024;
/// Modules that may be printed in one body, repetitions counted.
const MOST_MODULES: u32 = 200;

/// A message, and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    /// SHA-256 over the subject, text and HTML, each after its length in bytes (u32, big endian).
    pub(crate) hash: String,
    /// The root first, then what stands in its slots, in order of appearance.
    pub(crate) parts: Vec<Part>,
}

/// Prints a selection.
pub(crate) fn message(selection: &Selection, values: &Values) -> Result<Rendered, Unprintable> {
    let root = (selection.modules.get(&selection.root))
        .ok_or_else(|| Unprintable::error("the root is not selected"))?;
    let subject =
        Printer::new(selection, values, Form::Subject).module(&selection.root, root, 0)?;
    let mut text = Printer::new(selection, values, Form::Text);
    let printed_text = text.module(&selection.root, root, 0)?;
    let mut bodies = vec![text.printed];
    let mut printed_html = String::new();
    if !root.variant.html.is_empty() {
        let mut html = Printer::new(selection, values, Form::Html);
        printed_html = html.module(&selection.root, root, 0)?;
        bodies.push(html.printed);
    }
    rules::check(selection, &bodies)?;
    let hash = hash(&[&subject, &printed_text, &printed_html]);
    let mut parts: Vec<Part> = Vec::new();
    for (part, _) in bodies.iter().flat_map(|it| &it.0) {
        if !parts.contains(part) {
            parts.push(part.clone());
        }
    }
    Ok(Rendered { subject, text: printed_text, html: printed_html, hash, parts })
}

fn hash(texts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    crate::domain::hash_of(&bytes)
}

/// Where a template stands: each has its own way of escaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Subject,
    Text,
    Html,
}

impl Form {
    fn escape(self, value: &str) -> String {
        match self {
            Self::Subject => value::one_line(value),
            Self::Text => value.to_owned(),
            Self::Html => value::escape_html(value),
        }
    }
}

/// The parts of a body in order of appearance, each with the characters it printed.
#[derive(Debug, Default)]
pub(super) struct Printed(pub(super) Vec<(Part, usize)>);

impl Printed {
    /// Where a part first appears.
    pub(super) fn place(&self, is: impl Fn(&Part) -> bool) -> Option<usize> {
        self.0.iter().position(|(part, _)| is(part))
    }
}

struct Printer<'a> {
    selection: &'a Selection,
    values: &'a Values,
    form: Form,
    printed: Printed,
    modules: u32,
    /// Bytes printed so far, those of modules in modules counted again.
    bytes: usize,
}

impl<'a> Printer<'a> {
    fn new(selection: &'a Selection, values: &'a Values, form: Form) -> Self {
        Self { selection, values, form, printed: Printed::default(), modules: 0, bytes: 0 }
    }

    fn module(&mut self, id: &str, piece: &Piece, depth: u32) -> Result<String, Unprintable> {
        self.modules += 1;
        if depth > DEEPEST || self.modules > MOST_MODULES {
            return Err(Unprintable::error(format!("module/{id}: nested too deep or too often")));
        }
        let place = self.printed.0.len();
        self.printed.0.push((Part::module(id), 0));
        let variant = &piece.variant;
        let text = match self.form {
            Form::Subject => self.template(id, piece, &variant.subject, depth)?,
            Form::Html if !variant.html.is_empty() => {
                self.template(id, piece, &variant.html, depth)?
            }
            // A part without HTML stands there as text; what is in it is escaped where it is printed.
            Form::Html | Form::Text => self.template(id, piece, &variant.text, depth)?,
        };
        self.printed.0[place].1 = text.chars().count();
        Ok(text)
    }

    fn template(
        &mut self,
        id: &str,
        piece: &Piece,
        template: &str,
        depth: u32,
    ) -> Result<String, Unprintable> {
        let segments = parse(template)
            .map_err(|_| Unprintable::error(format!("module/{id}: a template is malformed")))?;
        let as_text = self.form == Form::Html && piece.variant.html.is_empty();
        let mut text = String::new();
        for segment in segments {
            let printed = match segment {
                Segment::Text(fixed) if as_text => value::escape_html(fixed),
                Segment::Text(fixed) => fixed.to_owned(),
                Segment::Slot(name) => {
                    let slot = piece.content.slots.iter().find(|it| it.name == name);
                    let slot = slot.ok_or_else(|| error(name, "not declared"))?;
                    self.slot(slot, depth)?
                }
            };
            self.bytes = self.bytes.saturating_add(printed.len());
            if self.bytes > MOST_BYTES {
                return Err(Unprintable::error(format!("longer than {MOST_BYTES} bytes")));
            }
            text.push_str(&printed);
        }
        Ok(text)
    }

    fn slot(&mut self, slot: &Slot, depth: u32) -> Result<String, Unprintable> {
        match slot.kind() {
            // Approved content is checked in the bodies; nothing of it may stand outside them.
            SlotKind::Claim | SlotKind::Module if self.form == Form::Subject => {
                Err(error(&slot.name, "approved content in a subject"))
            }
            SlotKind::Claim => {
                let (_, claim) = (self.selection.claims.get(&slot.of))
                    .ok_or_else(|| error(&slot.name, "no approved claim"))?;
                let length = claim.text.chars().count();
                within(slot, length)?;
                self.printed.0.push((Part::claim(&slot.of), length));
                Ok(self.form.escape(&claim.text))
            }
            SlotKind::Module => {
                let piece = (self.selection.modules.get(&slot.of))
                    .ok_or_else(|| error(&slot.name, "no approved module"))?;
                let text = self.module(&slot.of, piece, depth + 1)?;
                within(slot, text.chars().count())?;
                Ok(text)
            }
            SlotKind::PartyField => self.value(slot, self.values.party_fields.get(&slot.of)),
            SlotKind::Text | SlotKind::Number | SlotKind::Date | SlotKind::Link => {
                self.value(slot, self.values.slots.get(&slot.name))
            }
            SlotKind::Unspecified => Err(error(&slot.name, "of no kind")),
        }
    }

    fn value(&self, slot: &Slot, given: Option<&String>) -> Result<String, Unprintable> {
        let given = given.filter(|it| !it.trim().is_empty());
        let value = match given {
            Some(value) => value,
            None if slot.required => return Err(error(&slot.name, "no value")),
            None if slot.fallback.is_empty() => return Ok(String::new()),
            None => &slot.fallback,
        };
        let value = value::fit(slot, value).map_err(|it| error(&slot.name, &it.to_string()))?;
        Ok(self.form.escape(&value))
    }
}

/// Approved content has no length of its own unless the slot states one.
fn within(slot: &Slot, length: usize) -> Result<(), Unprintable> {
    let most = usize::try_from(slot.max_length).unwrap_or(usize::MAX);
    if most > 0 && length > most {
        return Err(error(&slot.name, &format!("longer than {most} characters")));
    }
    Ok(())
}

fn error(slot: &str, what: &str) -> Unprintable {
    Unprintable::error(format!("slot {slot}: {what}"))
}
