//! The file of a copy: frames, and behind them the hash of all.

use std::io::{Read, Write};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::sql::Value;

/// Bytes a frame may have: a page of the largest rows there can be stays below.
const LARGEST: u64 = 1 << 30;

/// What a copy is one of.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Manifest {
    /// The service that owns the store.
    #[prost(string, tag = "1")]
    pub source: String,
    /// Its end.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    /// The chain there.
    #[prost(bytes = "vec", tag = "3")]
    pub chain: Vec<u8>,
    /// When it was copied.
    #[prost(string, tag = "4")]
    pub taken_at: String,
    /// Steps of its schema.
    #[prost(string, repeated, tag = "5")]
    pub steps: Vec<String>,
    /// Fingerprint of the key-encryption key; never the key.
    #[prost(string, tag = "6")]
    pub key: String,
}

/// Messages of a file.
pub(super) mod frame {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Table {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, repeated, tag = "2")]
        pub columns: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Rows {
        #[prost(message, repeated, tag = "1")]
        pub rows: Vec<Row>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Row {
        #[prost(message, repeated, tag = "1")]
        pub cells: Vec<Cell>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Cell {
        #[prost(oneof = "Kind", tags = "1, 2, 3, 4")]
        pub kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(sint64, tag = "1")]
        Int(i64),
        #[prost(string, tag = "2")]
        Text(String),
        #[prost(double, tag = "3")]
        Float(f64),
        #[prost(bytes, tag = "4")]
        Blob(Vec<u8>),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Any {
        #[prost(oneof = "Part", tags = "1, 2, 3, 4")]
        pub part: Option<Part>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Part {
        #[prost(message, tag = "1")]
        Manifest(super::Manifest),
        #[prost(message, tag = "2")]
        Table(Table),
        #[prost(message, tag = "3")]
        Rows(Rows),
        /// SHA-256 of all bytes before this frame.
        #[prost(bytes, tag = "4")]
        End(Vec<u8>),
    }
}

/// A frame but the last one.
pub(super) enum Frame {
    Manifest(Manifest),
    Table(frame::Table),
    Rows(frame::Rows),
}

/// Writes frames.
pub(super) struct Writer<'w, W> {
    out: &'w mut W,
    hash: Sha256,
}

impl<'w, W: Write> Writer<'w, W> {
    pub(super) fn new(out: &'w mut W) -> Self {
        Self { out, hash: Sha256::new() }
    }

    pub(super) fn write(&mut self, it: Frame) -> Result<(), Error> {
        self.put(match it {
            Frame::Manifest(it) => frame::Part::Manifest(it),
            Frame::Table(it) => frame::Part::Table(it),
            Frame::Rows(it) => frame::Part::Rows(it),
        })
    }

    pub(super) fn end(mut self) -> Result<(), Error> {
        let hash = self.hash.clone().finalize().to_vec();
        self.put(frame::Part::End(hash))
    }

    fn put(&mut self, part: frame::Part) -> Result<(), Error> {
        let bytes = frame::Any { part: Some(part) }.encode_to_vec();
        let length = (bytes.len() as u64).to_be_bytes();
        for bytes in [&length[..], &bytes] {
            self.hash.update(bytes);
            let written = self.out.write_all(bytes);
            written.map_err(|it| Error::unavailable_because("write the copy", it))?;
        }
        Ok(())
    }
}

/// Reads frames; the last one must tell the hash of all before it.
pub(super) struct Reader<'r, R> {
    from: &'r mut R,
    hash: Sha256,
}

impl<'r, R: Read> Reader<'r, R> {
    pub(super) fn new(from: &'r mut R) -> Self {
        Self { from, hash: Sha256::new() }
    }

    pub(super) fn manifest(&mut self) -> Result<Manifest, Error> {
        match self.next()? {
            Some(Frame::Manifest(it)) => Ok(it),
            _ => Err(Error::corrupt("this is no copy of a store")),
        }
    }

    /// The next frame; nothing behind the last one, whose hash is right.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Error> {
        let before: Vec<u8> = self.hash.clone().finalize().to_vec();
        let length = self.take(8)?;
        let length = length.try_into().map_or(u64::MAX, u64::from_be_bytes);
        if length > LARGEST {
            return Err(Error::corrupt("this is no copy of a store"));
        }
        let bytes = self.take(length)?;
        let any = frame::Any::decode(&bytes[..]);
        let any = any.map_err(|it| Error::corrupt(format!("a frame of the copy: {it}")))?;
        Ok(Some(match any.part {
            Some(frame::Part::Manifest(it)) => Frame::Manifest(it),
            Some(frame::Part::Table(it)) => Frame::Table(it),
            Some(frame::Part::Rows(it)) => Frame::Rows(it),
            Some(frame::Part::End(hash)) if hash == before => return Ok(None),
            _ => return Err(Error::corrupt("the copy is not what was written: its hash differs")),
        }))
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self.from.take(length).read_to_end(&mut bytes);
        let read = read.map_err(|it| Error::unavailable_because("read the copy", it))?;
        if (read as u64) < length {
            return Err(Error::corrupt("the copy ends too early"));
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }
}

/// Rows as they are written.
pub(super) fn rows(values: &[Vec<Value>]) -> Result<frame::Rows, Error> {
    let cell = |it: &Value| {
        Ok(frame::Cell {
            kind: Some(match it {
                Value::Null => return Err(Error::corrupt("a table holds NULL")),
                Value::Int(it) => frame::Kind::Int(*it),
                Value::Text(it) => frame::Kind::Text(it.clone()),
                Value::Float(it) => frame::Kind::Float(*it),
                Value::Blob(it) => frame::Kind::Blob(it.clone()),
            }),
        })
    };
    let row = |it: &Vec<Value>| {
        Ok(frame::Row { cells: it.iter().map(cell).collect::<Result<_, Error>>()? })
    };
    Ok(frame::Rows { rows: values.iter().map(row).collect::<Result<_, Error>>()? })
}

/// Rows as they were.
pub(super) fn values(rows: frame::Rows) -> Result<Vec<Vec<Value>>, Error> {
    let cell = |it: frame::Cell| {
        Ok(match it.kind {
            Some(frame::Kind::Int(it)) => Value::Int(it),
            Some(frame::Kind::Text(it)) => Value::Text(it),
            Some(frame::Kind::Float(it)) => Value::Float(it),
            Some(frame::Kind::Blob(it)) => Value::Blob(it),
            None => return Err(Error::corrupt("a cell of the copy is empty")),
        })
    };
    rows.rows.into_iter().map(|row| row.cells.into_iter().map(cell).collect()).collect()
}
