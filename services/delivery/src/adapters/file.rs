//! The file outbox: one file a touch, named after it. It is written beside its place, synced, and renamed, so that a
//! file that is there is whole, and one that is there already was sent already.

use std::io;
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
            Ok(Ok(())) => Told::Taken { provider_id: name },
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

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    std::fs::create_dir_all(folder)?;
    let place = folder.join(name);
    if place.try_exists()? {
        return Ok(());
    }
    let beside = folder.join(format!(".{name}.part"));
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, &place)?;
    std::fs::File::open(folder)?.sync_all()
}
