//! An e-mail as bytes. Headers are built, never pasted: what holds a control character is refused.

use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use rapport_proto::delivery::v1::Sender;

use super::Message;

/// Builds the e-mail of a touch. The same touch handed over at the same instant gives the same bytes.
pub(super) fn build(message: &Message) -> Result<lettre::Message, &'static str> {
    let from = address(&message.sender.from_address).ok_or("from_address")?;
    let to = address(&message.address).ok_or("address")?;
    let name = &message.sender.from_name;
    if name.chars().any(char::is_control) || message.subject.chars().any(char::is_control) {
        return Err("header");
    }
    let id = format!("<{}@{}>", message.touch_id, from.domain());
    let name = (!name.is_empty()).then(|| name.clone());
    let mut builder = lettre::Message::builder()
        .from(Mailbox::new(name, from))
        .to(Mailbox::new(None, to))
        .subject(message.subject.clone())
        .date(date_of(message))
        .message_id(Some(id));
    if let Some(url) = unsubscribe_url(&message.sender, &message.unsubscribe_token)? {
        // RFC 8058: one click, by POST, without a question.
        builder = builder
            .raw_header(raw("List-Unsubscribe", format!("<{url}>"))?)
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into())?);
    }
    let text = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(message.text.clone());
    let built = if message.html.is_empty() {
        builder.singlepart(text)
    } else {
        let html = SinglePart::builder().header(ContentType::TEXT_HTML).body(message.html.clone());
        let both = MultiPart::alternative().boundary(format!("={}", message.touch_id));
        builder.multipart(both.singlepart(text).singlepart(html))
    };
    built.map_err(|_| "message")
}

/// Whether a text is the address of one mailbox.
pub(crate) fn is_address(text: &str) -> bool {
    address(text).is_some()
}

/// Whether a text can stand in List-Unsubscribe: mail systems call it without asking anybody.
pub(crate) fn is_unsubscribe_url(text: &str) -> bool {
    let harmful = |c: char| !c.is_ascii_graphic() || matches!(c, '<' | '>' | '"');
    text.starts_with("https://") && text.contains("{token}") && !text.chars().any(harmful)
}

/// An address of one mailbox, without a display name or a comment.
fn address(text: &str) -> Option<Address> {
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    plain.then(|| text.parse().ok()).flatten()
}

fn date_of(message: &Message) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(message.at.0).unwrap_or_default())
}

/// The link that ends e-mail of this kind with one click; none when the sender has none.
fn unsubscribe_url(sender: &Sender, token: &str) -> Result<Option<String>, &'static str> {
    let template = &sender.unsubscribe_url;
    if template.is_empty() {
        return Ok(None);
    }
    if !is_unsubscribe_url(template) {
        return Err("unsubscribe_url");
    }
    Ok(Some(template.replace("{token}", token)))
}

fn raw(name: &'static str, value: String) -> Result<HeaderValue, &'static str> {
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| "header")?;
    Ok(HeaderValue::new(name, value))
}

#[cfg(test)]
mod tests;
