//! YAML as Kubernetes reads it, into JSON. A key that is given twice is an error: applying would refuse it.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Every document of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut all = Vec::new();
    while let Some(event) = reader.next()? {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            event => all.push(reader.value(event)?),
        }
    }
    all.retain(|it| !it.is_null());
    Ok(all)
}

/// The only document of a text.
pub(crate) fn document(text: &str) -> Value {
    let all = documents(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let [one] = <[Value; 1]>::try_from(all).expect("one document");
    one
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<Event<'t>>, String> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, _))) => Ok(Some(event)),
            Some(Err(error)) => Err(error.to_string()),
        }
    }

    fn inner(&mut self) -> Result<Event<'t>, String> {
        self.next()?.ok_or_else(|| "the text ends too early".to_owned())
    }

    fn value(&mut self, event: Event<'t>) -> Result<Value, String> {
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(&text)),
            Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.inner()? {
                        Event::SequenceEnd => return Ok(Value::Array(items)),
                        event => items.push(self.value(event)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut map = Map::new();
                loop {
                    let key = match self.inner()? {
                        Event::MappingEnd => return Ok(Value::Object(map)),
                        Event::Scalar(key, ..) => key.into_owned(),
                        other => return Err(format!("{other:?} is a key")),
                    };
                    let event = self.inner()?;
                    let value = self.value(event)?;
                    if map.insert(key.clone(), value).is_some() {
                        return Err(format!("{key} is given twice"));
                    }
                }
            }
            other => Err(format!("{other:?} is not read")),
        }
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        // Modes of files.
        _ if text.len() == 4 && text.starts_with('0') => {
            i64::from_str_radix(text, 8).map_or_else(|_| text.into(), Value::from)
        }
        _ => text
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| text.parse::<f64>().map(Value::from))
            .unwrap_or_else(|_| text.into()),
    }
}

#[test]
fn a_key_given_twice_is_found() {
    assert_eq!(documents("a: {b: 1, b: 2}"), Err("b is given twice".to_owned()));
}
