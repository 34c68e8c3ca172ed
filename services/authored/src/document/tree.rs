//! A document as a tree of values that know where they stand.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::problem::{Problem, quoted};

/// Bytes a document may have.
const LONGEST: usize = 256 * 1024;
/// Levels a document may have.
const DEEPEST: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Flag(bool),
    /// As it was written: how exact it has to be depends on the field.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: Node,
}

impl Node {
    /// A value that nobody wrote.
    pub(super) fn made(kind: Kind) -> Self {
        Self { place: Place::default(), kind }
    }
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    if text.len() > LONGEST {
        let text = format!("The document is longer than {} KiB. Split it.", LONGEST / 1024);
        return Err(Problem::of_document(text));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { parser: Parser::new_from_str(text), depth: 0 };
    let node = match reader.skip_to_content()? {
        Some((event, span)) => reader.node(event, span)?,
        None => return Err(Problem::of_document("The document is empty.")),
    };
    match reader.skip_to_content()? {
        None => Ok(node),
        Some((_, span)) => Err(problem(span.start, "Give one document at a time.")),
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Problem> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                Err(problem(*error.marker(), format!("This is not YAML: {}.", error.info())))
            }
        }
    }

    /// The next event that is part of a document.
    fn skip_to_content(&mut self) -> Result<Option<(Event<'t>, Span)>, Problem> {
        while let Some((event, span)) = self.next()? {
            match event {
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                _ => return Ok(Some((event, span))),
            }
        }
        Ok(None)
    }

    /// The next event inside a list or map.
    fn inner(&mut self) -> Result<(Event<'t>, Span), Problem> {
        self.next()?.ok_or_else(|| Problem::of_document("The document ends too early."))
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Problem> {
        let (Event::Scalar(_, _, anchor, ref tag)
        | Event::SequenceStart(anchor, ref tag)
        | Event::MappingStart(anchor, ref tag)) = event
        else {
            return Err(problem(span.start, "Aliases are not read. Write the value again."));
        };
        if anchor > 0 {
            return Err(problem(span.start, "Anchors are not read. Leave it out."));
        }
        if tag.is_some() {
            return Err(problem(span.start, "Tags are not read. Leave it out."));
        }
        let kind = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Kind::Text(text.into_owned()),
            Event::SequenceStart(..) => self.nested(span, Self::list)?,
            _ => self.nested(span, Self::map)?,
        };
        Ok(Node { place: place(span.start), kind })
    }

    fn nested(
        &mut self,
        span: Span,
        read: impl FnOnce(&mut Self) -> Result<Kind, Problem>,
    ) -> Result<Kind, Problem> {
        if self.depth == DEEPEST {
            let text = format!("The document has more than {DEEPEST} levels. Make it flatter.");
            return Err(problem(span.start, text));
        }
        self.depth += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn list(&mut self) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.inner()?;
            if event == Event::SequenceEnd {
                return Ok(Kind::List(items));
            }
            items.push(self.node(event, span)?);
        }
    }

    fn map(&mut self) -> Result<Kind, Problem> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        loop {
            let (event, span) = self.inner()?;
            if event == Event::MappingEnd {
                return Ok(Kind::Map(entries));
            }
            let key = match event {
                // A key is a text whatever it looks like, as in JSON.
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                _ => return Err(problem(span.start, "A key is a plain text.")),
            };
            if !keys.insert(key.clone()) {
                let text = format!("{} is given twice. Leave one out.", quoted(&key));
                return Err(problem(span.start, text));
            }
            let (event, value_span) = self.inner()?;
            let value = self.node(event, value_span)?;
            entries.push(Entry { place: place(span.start), key, value });
        }
    }
}

/// What an unquoted text is in YAML 1.2's core schema. `NO` is a text.
pub(super) fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Flag(true),
        "false" | "False" | "FALSE" => Kind::Flag(false),
        _ if is_number(text) => Kind::Number(text.to_owned()),
        _ => Kind::Text(text.to_owned()),
    }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`; not numbers are texts, bases other than ten too.
fn is_number(text: &str) -> bool {
    let unsigned = |it: &'_ str| -> String { it.strip_prefix(['-', '+']).unwrap_or(it).to_owned() };
    let digits = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
    let text = unsigned(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(unsigned(exponent))),
        None => (text.as_str(), None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    has_digits
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|it| !it.is_empty() && digits(&it))
}

fn place(marker: Marker) -> Place {
    let count = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    Place { line: count(marker.line()), column: count(marker.col()).saturating_add(1) }
}

fn problem(marker: Marker, text: impl Into<String>) -> Problem {
    let Place { line, column } = place(marker);
    Problem { line, column, path: String::new(), text: text.into() }
}
