//! Reading last year's facts is a test: each event type has at least one sample of its released bytes, and today's code
//! must read all of them as it did when they were written. `examples/golden.rs` writes samples that are missing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use rapport_proto::journeys::v1::{entry_event, instance_event, journey_event};
use rapport_proto::types::Envelope;
use rapport_proto::{EventSet, schema_of};

struct Sample {
    path: PathBuf,
    type_name: String,
    schema: String,
    payload: Vec<u8>,
    decoded: String,
}

fn samples() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files = std::fs::read_dir(folder).expect("the corpus is there");
    let mut samples: Vec<_> = files.map(|file| read(file.expect("a file").path())).collect();
    samples.sort_by(|a, b| a.path.cmp(&b.path));
    samples
}

fn read(path: PathBuf) -> Sample {
    let text = std::fs::read_to_string(&path).expect("a sample");
    let (head, decoded) =
        text.split_once("\n\n").expect("a head, an empty line, what it decodes to");
    let lines: Vec<_> = head.lines().collect();
    let [type_name, schema, payload] = lines[..] else { panic!("{}: three lines", path.display()) };
    let byte = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).expect("hexadecimal");
    Sample {
        type_name: type_name.to_owned(),
        schema: schema.to_owned(),
        payload: (0..payload.len()).step_by(2).map(byte).collect(),
        decoded: decoded.trim_end().to_owned(),
        path,
    }
}

/// Decodes with any event set that has the fact; returns how it reads and how it would be written today.
fn decode(type_name: &str, payload: &[u8]) -> Option<(String, Vec<u8>)> {
    fn with<E: EventSet + Debug>(type_name: &str, payload: &[u8]) -> Option<(String, Vec<u8>)> {
        let event = E::decode(type_name, payload).expect("well-formed")?;
        Some((format!("{event:#?}"), event.encode()))
    }
    with::<journey_event::Event>(type_name, payload)
        .or_else(|| with::<entry_event::Event>(type_name, payload))
        .or_else(|| with::<instance_event::Event>(type_name, payload))
}

#[test]
fn released_bytes_read_as_they_did() {
    for sample in samples() {
        let mut envelope = Envelope {
            r#type: sample.type_name.clone(),
            schema: sample.schema.clone(),
            payload: sample.payload.clone(),
            ..Envelope::default()
        };
        eventstore::lift(&mut envelope).expect("lifted");
        let (decoded, encoded) =
            decode(&sample.type_name, &envelope.payload).expect("a known event");
        assert_eq!(decoded, sample.decoded, "{}", sample.path.display());
        if sample.schema == schema_of(&sample.type_name) {
            assert_eq!(encoded, sample.payload, "{}", sample.path.display());
        }
    }
}

#[test]
fn every_event_has_a_sample() {
    let sampled: BTreeSet<_> = samples().into_iter().map(|it| it.type_name).collect();
    let sets =
        [journey_event::Event::TYPES, entry_event::Event::TYPES, instance_event::Event::TYPES];
    for type_name in sets.into_iter().flatten() {
        assert!(
            sampled.contains(*type_name),
            "{type_name}: run `cargo run -p journeys --example golden`"
        );
    }
}
