//! The file outbox: one file a touch, named after it. It is written beside its place, synced, and linked to its name,
//! which fails where the name is taken: a file that is there is whole, was made by one replica, and never changes.
//!
//! Whoever finds it there did not send it, and compares: it says what was to be said, so the touch is sent; or it says
//! something else, and a person has to look. Only the instant of the hand-over may differ.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rapport_proto::types::Channel;

use super::{Message, Told, email};
use crate::domain::channel_name;

/// A folder of messages.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(super) async fn send(&self, message: &Message) -> Told {
        let bytes = match bytes_of(message) {
            Ok(bytes) => bytes,
            Err(code) => return Told::Refused { code: code.to_owned() },
        };
        let name = name_of(message.channel, &message.touch_id);
        let (folder, file) = (self.folder.clone(), name.clone());
        let written = tokio::task::spawn_blocking(move || write(&folder, &file, &bytes)).await;
        match written {
            Ok(Ok(true)) => Told::Taken { provider_id: name },
            Ok(Ok(false)) => {
                tracing::warn!(touch = message.touch_id, "the outbox holds another message of it");
                Told::Unknown { code: "differs".into() }
            }
            Ok(Err(error)) => {
                tracing::warn!(touch = message.touch_id, %error, "the outbox cannot be written");
                // It may have failed after the file had got its name.
                match self.holds(message.channel, &message.touch_id).await {
                    Ok(None) => Told::Later { code: "outbox".into() },
                    Ok(Some(_)) | Err(_) => Told::Repeat { code: "outbox".into() },
                }
            }
            Err(_) => Told::Repeat { code: "outbox".into() },
        }
    }

    /// The file of a touch, if it was sent.
    pub(super) async fn holds(
        &self,
        channel: Channel,
        touch_id: &str,
    ) -> io::Result<Option<String>> {
        let name = name_of(channel, touch_id);
        let there = tokio::fs::try_exists(self.folder.join(&name)).await?;
        Ok(there.then_some(name))
    }
}

fn name_of(channel: Channel, touch_id: &str) -> String {
    let ending = if channel == Channel::Email { "eml" } else { "json" };
    format!("{touch_id}.{ending}")
}

fn bytes_of(message: &Message) -> Result<Vec<u8>, &'static str> {
    if message.channel == Channel::Email {
        return email::build(message).map(|it| it.formatted());
    }
    let document = serde_json::json!({
        "touch_id": message.touch_id,
        "tenant": message.tenant,
        "channel": channel_name(message.channel),
        "sender_id": message.sender.sender_id,
        "to": message.address,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "render_hash": message.render_hash,
        "handed_over_at": message.at.to_string(),
    });
    Ok(format!("{document:#}\n").into_bytes())
}

/// Writes a file unless it is there. Tells whether it says what these bytes say.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<bool> {
    fs::create_dir_all(folder)?;
    let place = folder.join(name);
    if !place.try_exists()? {
        let (beside, file) = beside(folder, name)?;
        let linked = fill(file, bytes).and_then(|()| fs::hard_link(&beside, &place));
        fs::remove_file(&beside)?;
        match linked {
            // Another replica was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked?,
        }
    }
    // Also what another replica linked is only then known to stay.
    File::open(folder)?.sync_all()?;
    Ok(said(&fs::read(&place)?) == said(bytes))
}

/// A file of our own beside a place: replicas on other machines may have our process id, so the name is whatever nobody
/// has. What a crash leaves behind keeps its name and is no message.
fn beside(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    for number in 0_u32.. {
        let path = folder.join(format!(".{name}.{number}.part"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// A message without the line that says when it was handed over, the first of its kind: in an e-mail a header.
fn said(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    for line in bytes.split_inclusive(|it| *it == b'\n') {
        if line.starts_with(b"Date: ") || line.starts_with(b"  \"handed_over_at\": ") {
            return (&bytes[..start], &bytes[start + line.len()..]);
        }
        start += line.len();
    }
    (bytes, &[])
}

#[cfg(test)]
mod tests;
