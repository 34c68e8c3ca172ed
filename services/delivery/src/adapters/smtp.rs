//! E-mail over SMTP. The conversation is held step by step, because what an error means depends on when it comes:
//!
//! | until | answer 4xx, silence, connection lost | answer 5xx |
//! |---|---|---|
//! | the message itself is begun | tried again: nothing was sent | refused |
//! | the server has answered the message | 4xx: tried again; else nobody knows | refused |

use std::time::Duration;

use chassis::settings::{self, SmtpTls};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;

use super::{Message, Told, email};

/// An SMTP server.
#[derive(Clone)]
pub(crate) struct Smtp {
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    tls: SmtpTls,
    timeout: Duration,
}

/// Where the conversation ended, and why.
enum Stopped {
    /// Before the message was begun: nothing was sent.
    Before(Failure),
    /// After it was begun.
    After(Failure),
}

/// What went wrong.
enum Failure {
    Timeout,
    Smtp(lettre::transport::smtp::Error),
}

impl Smtp {
    /// The server the settings name; `None` when they name none.
    pub(super) fn new(settings: &settings::Delivery) -> Option<Self> {
        let url = settings.smtp_url.strip_prefix("smtp://")?.trim_end_matches('/');
        let (credentials, host) = match url.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, url),
        };
        let credentials = credentials.map(|it| {
            let (user, password) = it.split_once(':').unwrap_or((it, ""));
            Credentials::new(decode(user), decode(password))
        });
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (host, 587),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (tls, timeout) = (settings.smtp_tls, settings.smtp_timeout());
        Some(Self { host, port, credentials, tls, timeout })
    }

    pub(super) async fn send(&self, message: &Message) -> Told {
        let built = match email::build(message) {
            Ok(built) => built,
            Err(code) => return Told::Refused { code: code.to_owned() },
        };
        match self.converse(&built).await {
            Ok(response) => Told::Taken { provider_id: taken_as(&response) },
            Err(Stopped::Before(failure)) => told_before(&failure),
            Err(Stopped::After(failure)) => told_after(&failure),
        }
    }

    async fn converse(&self, message: &lettre::Message) -> Result<Response, Stopped> {
        let bytes = message.formatted();
        let mut connection = self.prepare(message, &bytes).await.map_err(Stopped::Before)?;
        eventstore::failpoint::reach("provider_inside_call").await;
        let answered = self.wait(connection.message(&bytes)).await.map_err(Stopped::After);
        // It is taken or not; saying goodbye is a courtesy that nobody waits for long.
        if answered.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.quit()).await;
        }
        answered
    }

    /// Everything up to the server's "go ahead".
    async fn prepare(
        &self,
        message: &lettre::Message,
        bytes: &[u8],
    ) -> Result<AsyncSmtpConnection, Failure> {
        let envelope = message.envelope();
        let domain = envelope.from().map_or("localhost", lettre::Address::domain);
        let hello = ClientId::Domain(domain.to_owned());
        let server = (self.host.as_str(), self.port);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &hello, None, None);
        let mut connection = self.wait(connecting).await?;
        if self.tls == SmtpTls::Starttls {
            let parameters = TlsParameters::new(self.host.clone()).map_err(Failure::Smtp)?;
            self.wait(connection.starttls(parameters, &hello)).await?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            self.wait(connection.auth(&mechanisms, credentials)).await?;
        }
        let mut options = Vec::new();
        let mut addresses = envelope.to().iter().chain(envelope.from());
        if !addresses.all(|it| AsRef::<str>::as_ref(it).is_ascii()) {
            options.push(MailParameter::SmtpUtfEight);
        }
        if !bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        self.wait(connection.command(Mail::new(envelope.from().cloned(), options))).await?;
        for to in envelope.to() {
            self.wait(connection.command(Rcpt::new(to.clone(), Vec::new()))).await?;
        }
        self.wait(connection.command(Data)).await?;
        Ok(connection)
    }

    async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Failure> {
        let answered = tokio::time::timeout(self.timeout, answer).await;
        answered.map_err(|_| Failure::Timeout)?.map_err(Failure::Smtp)
    }
}

/// Nothing was sent: only a clear no is one.
fn told_before(failure: &Failure) -> Told {
    match failure {
        Failure::Smtp(error) if error.is_permanent() => Told::Refused { code: code_of(error) },
        Failure::Smtp(error) => Told::Later { code: code_of(error) },
        Failure::Timeout => Told::Later { code: "timeout".into() },
    }
}

/// The message was begun: only an answer tells what became of it.
fn told_after(failure: &Failure) -> Told {
    match failure {
        Failure::Smtp(error) if error.is_permanent() => Told::Refused { code: code_of(error) },
        Failure::Smtp(error) if error.is_transient() => Told::Later { code: code_of(error) },
        Failure::Smtp(_) => Told::Unknown { code: "connection_lost".into() },
        Failure::Timeout => Told::Unknown { code: "timeout".into() },
    }
}

fn code_of(error: &lettre::transport::smtp::Error) -> String {
    error.status().map_or_else(|| "connection".to_owned(), |code| code.to_string())
}

/// What the server says it took the message as: one line without what could harm a reader.
fn taken_as(response: &Response) -> String {
    let line = response.first_line().unwrap_or_default();
    line.chars().filter(|it| it.is_ascii_graphic() || *it == ' ').take(120).collect()
}

/// Percent-decoding of the parts of a URL.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = || u8::from_str_radix(std::str::from_utf8(after.get(..2)?).ok()?, 16).ok();
        match (*first == b'%').then(hex).flatten() {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
