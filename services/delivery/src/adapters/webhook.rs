//! Webhooks as the Standard Webhooks specification has them: `webhook-id` is the touch's id, so that a receiver knows a
//! repeat; `webhook-signature` is `v1,` and the HMAC-SHA-256 of `id.timestamp.body` in base64.
//!
//! The name of a host is looked up once, every address it has must be public, and the connection goes to one of those:
//! a second look-up could give another answer. Redirects are not followed, and little of an answer is read.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::settings;
use eventstore::{Keyring, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use sha2::Sha256;

use super::address::is_public;
use super::{Message, Told};

/// Sends webhooks.
#[derive(Clone)]
pub(crate) struct Http {
    keys: Keyring,
    timeout: Duration,
    schemes: &'static [&'static str],
    /// Private addresses are let through.
    private: bool,
}

/// The bytes with which webhooks to a contact point are signed: from the deployment's key, so that nothing is stored.
fn secret(keys: &Keyring, tenant: &str, contact_point_id: &str) -> [u8; 32] {
    keys.blind_index(tenant, &["webhook secret", contact_point_id])
}

/// The secret as Standard Webhooks writes it.
pub(crate) fn secret_text(keys: &Keyring, tenant: &str, contact_point_id: &str) -> String {
    format!("whsec_{}", STANDARD.encode(secret(keys, tenant, contact_point_id)))
}

/// The value of `webhook-signature`.
fn sign(secret: &[u8; 32], id: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

impl Http {
    pub(super) fn new(settings: &settings::Delivery, keys: Keyring) -> Self {
        // An error says that a provider is installed already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (timeout, schemes) = (settings.webhook_timeout(), settings.webhook_schemes());
        Self { keys, timeout, schemes, private: settings.webhook_private }
    }

    pub(super) async fn send(&self, message: &Message) -> Told {
        let url = match self.url(&message.address) {
            Ok(url) => url,
            Err(code) => return Told::Refused { code: code.to_owned() },
        };
        let client = match self.client(&url).await {
            Ok(client) => client,
            Err(told) => return told,
        };
        let body = body_of(message);
        // Receivers refuse what is signed too long ago on the clock of the world.
        let timestamp = Timestamp::real().to_parts().0;
        let secret = secret(&self.keys, &message.tenant, &message.contact_point_id);
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &message.touch_id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", sign(&secret, &message.touch_id, timestamp, &body))
            .body(body);
        match request.send().await {
            // The answer's body is nobody's business here: it is dropped unread with the connection.
            Ok(response) => told(response.status().as_u16()),
            Err(error) if error.is_connect() => Told::Later { code: "connection".into() },
            Err(error) if error.is_timeout() => Told::Repeat { code: "timeout".into() },
            Err(_) => Told::Repeat { code: "connection_lost".into() },
        }
    }

    fn url(&self, text: &str) -> Result<Url, &'static str> {
        let url = Url::parse(text).map_err(|_| "url")?;
        let scheme = self.schemes.contains(&url.scheme());
        let plain = url.username().is_empty() && url.password().is_none();
        if scheme && plain && url.has_host() { Ok(url) } else { Err("url") }
    }

    /// A client that goes to the addresses the host has now, and nowhere else.
    async fn client(&self, url: &Url) -> Result<reqwest::Client, Told> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let looked_up = tokio::time::timeout(self.timeout, tokio::net::lookup_host((bare, port)));
        let addresses: Vec<SocketAddr> = match looked_up.await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(Told::Later { code: "name".into() }),
        };
        if !self.private && !addresses.iter().all(|it| is_public(it.ip())) {
            return Err(Told::Refused { code: "private_address".into() });
        }
        reqwest::Client::builder()
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .resolve_to_addrs(host, &addresses)
            .build()
            .map_err(|_| Told::Later { code: "client".into() })
    }
}

fn body_of(message: &Message) -> String {
    serde_json::json!({
        "type": "rapport.touch",
        "timestamp": message.at.to_string(),
        "data": {
            "touch_id": message.touch_id,
            "sender_id": message.sender.sender_id,
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
        },
    })
    .to_string()
}

/// What an answer means: 2xx took it, a busy or broken receiver is asked again, anything else is a no.
fn told(status: u16) -> Told {
    let code = status.to_string();
    match status {
        200..=299 => Told::Taken { provider_id: String::new() },
        408 | 425 | 429 => Told::Later { code },
        // A gateway's error may hide that the receiver took it.
        500..=599 => Told::Repeat { code },
        _ => Told::Refused { code },
    }
}

#[cfg(test)]
mod tests;
