//! The golden corpus of a service: its released events as bytes, and how they read. Reading last year's facts is a test.
//!
//! A sample is a text file: the event's name, the schema hash of its shape, the payload in hexadecimal, and below them
//! what it must decode to for ever. A sample that exists is never overwritten, because it is what was released.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use rapport_proto::types::Envelope;
use rapport_proto::{EventSet, schema_of};

/// One event as it was released.
pub struct Sample {
    /// File in the corpus, `<Event>.<number>.txt`.
    pub file: PathBuf,
    /// Full name of the event.
    pub type_name: String,
    /// Hash of its shape.
    pub schema: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// How it reads.
    pub decoded: String,
}

impl Sample {
    /// An event in today's shape, the `number`th sample of its kind.
    pub fn of<E: EventSet + Debug>(number: u32, event: &E) -> Self {
        let type_name = event.type_name();
        let name = type_name.rsplit('.').next().unwrap_or_default();
        Self {
            file: format!("{name}.{number}.txt").into(),
            type_name: type_name.to_owned(),
            schema: schema_of(type_name).to_owned(),
            payload: event.encode(),
            decoded: format!("{event:#?}"),
        }
    }

    fn text(&self) -> String {
        let Self { type_name, schema, payload, decoded, .. } = self;
        format!("{type_name}\n{schema}\n{}\n\n{decoded}\n", crate::hex(payload))
    }

    fn parse(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).expect("a sample");
        let (head, decoded) =
            text.split_once("\n\n").expect("a head, an empty line, what it decodes to");
        let lines: Vec<_> = head.lines().collect();
        let [type_name, schema, payload] = lines[..] else {
            panic!("{}: three lines", file.display())
        };
        let byte = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).expect("hexadecimal");
        Self {
            type_name: type_name.to_owned(),
            schema: schema.to_owned(),
            payload: (0..payload.len()).step_by(2).map(byte).collect(),
            decoded: decoded.trim_end().to_owned(),
            file,
        }
    }
}

/// Reads a payload by its event's name: how it is shown, and what it is written as again.
type Read = fn(&str, &[u8]) -> Option<(String, Vec<u8>)>;

/// An event set whose facts the corpus holds.
pub struct Set {
    types: &'static [&'static str],
    read: Read,
}

impl Set {
    /// The facts of one aggregate.
    pub fn of<E: EventSet + Debug>() -> Self {
        Self {
            types: E::TYPES,
            read: |type_name, payload| {
                let event = E::decode(type_name, payload).expect("well-formed")?;
                Some((format!("{event:#?}"), event.encode()))
            },
        }
    }
}

/// Writes the samples that are missing in the corpus of a crate, given by its manifest folder.
pub fn write_missing(
    crate_folder: &str,
    samples: impl IntoIterator<Item = Sample>,
) -> std::io::Result<()> {
    let folder = folder(crate_folder);
    std::fs::create_dir_all(&folder)?;
    for sample in samples {
        let path = folder.join(&sample.file);
        if !path.exists() {
            std::fs::write(path, sample.text())?;
        }
    }
    Ok(())
}

/// The corpus of a crate, in the order of its files.
pub fn corpus(crate_folder: &str) -> Vec<Sample> {
    let files = std::fs::read_dir(folder(crate_folder)).expect("the corpus is there");
    let mut samples: Vec<_> =
        files.map(|file| Sample::parse(file.expect("a file").path())).collect();
    samples.sort_by(|a, b| a.file.cmp(&b.file));
    samples
}

/// Today's code reads every sample as it read when it was released, and writes those of today's shape as they are.
pub fn reads_as_released(crate_folder: &str, sets: &[Set]) {
    for sample in corpus(crate_folder) {
        let mut envelope = Envelope {
            r#type: sample.type_name.clone(),
            schema: sample.schema.clone(),
            payload: sample.payload.clone(),
            ..Envelope::default()
        };
        crate::lift(&mut envelope).expect("lifted");
        let (decoded, encoded) = sets
            .iter()
            .find_map(|set| (set.read)(&sample.type_name, &envelope.payload))
            .expect("a known event");
        let same = reads_as(&decoded, &sample.decoded);
        assert!(same, "{}: {decoded}\n{}", sample.file.display(), sample.decoded);
        if sample.schema == schema_of(&sample.type_name) {
            assert_eq!(encoded, sample.payload, "{}", sample.file.display());
        }
    }
}

/// What a field reads as that was not there yet.
const ABSENT: [&str; 8] = ["\"\",", "0,", "0.0,", "false,", "None,", "[],", "{},", "Unspecified,"];

/// Whether every line that was released is there in its order, and nothing more than fields that came since.
fn reads_as(now: &str, released: &str) -> bool {
    let mut released = released.lines().peekable();
    let known = now.lines().all(|line| {
        released.next_if_eq(&line).is_some()
            || line.split_once(": ").is_some_and(|(_, value)| ABSENT.contains(&value))
    });
    known && released.next().is_none()
}

/// Every event of the sets has a sample.
pub fn is_complete(crate_folder: &str, sets: &[Set]) {
    let sampled: BTreeSet<_> = corpus(crate_folder).into_iter().map(|it| it.type_name).collect();
    for type_name in sets.iter().flat_map(|it| it.types) {
        assert!(sampled.contains(*type_name), "{type_name}: run the crate's example `golden`");
    }
}

fn folder(crate_folder: &str) -> PathBuf {
    Path::new(crate_folder).join("golden")
}
