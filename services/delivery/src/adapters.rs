//! What carries a message away. Every adapter is given the touch's id as its key, and tells apart what was taken, what
//! was refused, what may be tried again, and what nobody knows.
//!
//! | channel | adapter | after a crash |
//! |---|---|---|
//! | EMAIL | `file` (default), `smtp` | the file is looked up; SMTP cannot be asked: UNKNOWN |
//! | WEBHOOK | `file` (default), `webhook` | repeated with the same `webhook-id` |
//! | SMS | `file` | the file is looked up |
//! | FIELD_TASK, PORTAL, PHONE | `task` | placed by the commit itself |

pub(crate) mod address;
pub(crate) mod email;
pub(crate) mod file;
pub(crate) mod smtp;
pub(crate) mod webhook;

use std::time::Duration;

use eventstore::{Keyring, Timestamp};
use rapport_proto::delivery::v1::Sender;
use rapport_proto::types::Channel;

use chassis::settings::{self, EmailBy, WebhookBy};

/// Names of adapters, as events have them.
pub(crate) const FILE: &str = "file";
pub(crate) const SMTP: &str = "smtp";
pub(crate) const WEBHOOK: &str = "webhook";
pub(crate) const TASK: &str = "task";

/// No adapter takes longer; then nobody knows. One that can tell that nothing has left yet says so sooner. It is less
/// than the time after which an attempt is given up.
const LONGEST: Duration = Duration::from_secs(100);

/// A message on its way out. Personal, and never written down.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) tenant: String,
    pub(crate) touch_id: String,
    pub(crate) channel: Channel,
    pub(crate) sender: Sender,
    pub(crate) contact_point_id: String,
    pub(crate) address: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) render_hash: String,
    /// When it is handed over.
    pub(crate) at: Timestamp,
    /// Proves to us which touch an unsubscription means.
    pub(crate) unsubscribe_token: String,
}

/// It holds an address and what is said: neither is printed.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({} by {})", self.touch_id, self.channel.as_str_name())
    }
}

/// What an adapter tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was taken.
    Taken { provider_id: String },
    /// It was refused for good.
    Refused { code: String },
    /// It was certainly not taken, and may be later.
    Later { code: String },
    /// It may have been taken, and a repeat with the same key is harmless.
    Repeat { code: String },
    /// It may have been taken, and a repeat would be a second message.
    Unknown { code: String },
}

/// The adapters the settings ask for.
#[derive(Clone)]
pub(crate) struct Adapters {
    email: EmailBy,
    webhook: WebhookBy,
    outbox: file::Outbox,
    smtp: Option<smtp::Smtp>,
    http: webhook::Http,
}

impl Adapters {
    pub(crate) fn new(settings: &settings::Delivery, keys: &Keyring) -> Self {
        Self {
            email: settings.email,
            webhook: settings.webhook,
            outbox: file::Outbox::new(settings.outbox.clone()),
            smtp: smtp::Smtp::new(settings),
            http: webhook::Http::new(settings, keys.clone()),
        }
    }

    /// What carries a channel.
    pub(crate) fn of(&self, channel: Channel) -> &'static str {
        match channel {
            Channel::Email if self.email == EmailBy::Smtp => SMTP,
            Channel::Webhook if self.webhook == WebhookBy::Http => WEBHOOK,
            Channel::FieldTask | Channel::Portal | Channel::Phone => TASK,
            Channel::Unspecified | Channel::Email | Channel::Webhook | Channel::Sms => FILE,
        }
    }

    /// Hands a message over. It always ends, and always tells something.
    pub(crate) async fn send(&self, adapter: &str, message: &Message) -> Told {
        let sent = async {
            match adapter {
                SMTP => match &self.smtp {
                    Some(smtp) => smtp.send(message).await,
                    None => Told::Later { code: "no_smtp_url".into() },
                },
                WEBHOOK => self.http.send(message).await,
                _ => self.outbox.send(message).await,
            }
        };
        match tokio::time::timeout(LONGEST, sent).await {
            Ok(told) => told,
            Err(_) => self.look_up(adapter, message.channel, &message.touch_id, "timeout").await,
        }
    }

    /// What became of an attempt nobody waits for any more.
    pub(crate) async fn look_up(
        &self,
        adapter: &str,
        channel: Channel,
        touch_id: &str,
        code: &str,
    ) -> Told {
        let code = code.to_owned();
        match adapter {
            SMTP => Told::Unknown { code },
            WEBHOOK => Told::Repeat { code },
            _ => match self.outbox.holds(channel, touch_id).await {
                Ok(Some(name)) => Told::Taken { provider_id: name },
                Ok(None) => Told::Later { code },
                Err(_) => Told::Repeat { code },
            },
        }
    }
}
