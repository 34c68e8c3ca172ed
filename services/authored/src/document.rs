//! Authored documents: YAML 1.2 in the protobuf JSON mapping with the protos' field names, read with line and
//! column, so that whoever wrote one learns where to look and what to write instead.
//!
//! JSON is YAML too. What the mapping allows and a person would regret is refused: null, duplicate keys, anchors,
//! enum values by number. Two things are shorter than the mapping: an enum value may lose its enum's prefix (`EMAIL`
//! for `CHANNEL_EMAIL`), and a choice without details may be its bare name (`reentry: never`).

mod build;
mod problem;
mod show;
mod tree;
mod write;

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use sha2::{Digest, Sha256};

pub use problem::Problem;
pub use show::short;

/// A message cannot be shown: a mistake of the caller, not of an author.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No message of Rapport has this name.
    #[error("{0} is no message of Rapport")]
    Unknown(String),
    /// The bytes are not such a message.
    #[error("read a {name}")]
    Malformed {
        /// Full name of the message.
        name: String,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
    /// The message holds what JSON cannot say, for example an instant out of range.
    #[error("show a {name} as JSON")]
    Json {
        /// Full name of the message.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads a document. The shape is checked here; ids, rules and references are the owner's to check.
pub fn parse<M: prost::Message + prost::Name + Default>(text: &str) -> Result<M, Vec<Problem>> {
    let message = dynamic(&M::full_name(), text)?;
    message.transcode_to().map_err(|it| vec![Problem::of_document(it.to_string())])
}

/// Reads a document of a message known by its name; returns the message's bytes.
pub fn parse_named(full_name: &str, text: &str) -> Result<Vec<u8>, Vec<Problem>> {
    dynamic(full_name, text).map(|it| prost::Message::encode_to_vec(&it))
}

/// Writes a message as a document: short enum names, fields in the order of the proto, defaults left out.
pub fn print<M: prost::Message + prost::Name>(message: &M) -> Result<String, Error> {
    let decoded = decode(&M::full_name(), &message.encode_to_vec())?;
    Ok(write::document(&show::message(&decoded)))
}

/// SHA-256 of the message's bytes. Maps are encoded in the order of their keys, so equal messages hash alike.
pub fn hash<M: prost::Message>(message: &M) -> [u8; 32] {
    Sha256::digest(message.encode_to_vec()).into()
}

/// The protobuf JSON mapping of a message's bytes, with the protos' field names; defaults are left out.
pub fn to_json(full_name: &str, bytes: &[u8]) -> Result<serde_json::Value, Error> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let message = decode(full_name, bytes)?;
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    json.map_err(|source| Error::Json { name: full_name.to_owned(), source })
}

/// Reads the protobuf JSON mapping of a message; returns the message's bytes.
pub fn from_json(full_name: &str, json: &serde_json::Value) -> Result<Vec<u8>, Vec<Problem>> {
    let found = descriptor(full_name).map_err(|it| vec![Problem::of_document(it.to_string())])?;
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(found, json, &options)
        .map(|it| prost::Message::encode_to_vec(&it))
        .map_err(|it| vec![Problem::of_document(it.to_string())])
}

fn dynamic(full_name: &str, text: &str) -> Result<DynamicMessage, Vec<Problem>> {
    let found = descriptor(full_name).map_err(|it| vec![Problem::of_document(it.to_string())])?;
    build::message(&found, &tree::read(text).map_err(|it| vec![it])?)
}

fn decode(full_name: &str, bytes: &[u8]) -> Result<DynamicMessage, Error> {
    DynamicMessage::decode(descriptor(full_name)?, bytes)
        .map_err(|source| Error::Malformed { name: full_name.to_owned(), source })
}

/// The descriptor of a message of Rapport: for those who read any message by its name.
pub fn descriptor(full_name: &str) -> Result<MessageDescriptor, Error> {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(rapport_proto::FILE_DESCRIPTOR_SET)
            .expect("the descriptors this release was compiled from are whole")
    });
    POOL.get_message_by_name(full_name).ok_or_else(|| Error::Unknown(full_name.to_owned()))
}

#[cfg(test)]
mod tests;
