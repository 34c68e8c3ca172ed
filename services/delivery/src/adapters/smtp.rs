//! E-mail over SMTP. The conversation is held step by step, because what an error means depends on when it comes:
//!
//! | until | answer 4xx, silence, connection lost | answer 5xx |
//! |---|---|---|
//! | the server let us in: connection, STARTTLS, AUTH | tried again | tried again: the message is not at fault |
//! | the message itself is begun | tried again: nothing was sent | refused |
//! | the server has answered the message | 4xx: tried again; else nobody knows | refused |
//!
//! A server that answers each step, but slowly, must not use up the time of the hand-over before the message is begun:
//! nobody could tell then that nothing was sent. Until then the conversation has a time of its own.
//!
//! Where STARTTLS is asked for, nothing but that is said in clear: a server that does not offer it, or shows a
//! certificate that nobody vouches for, gets neither the password nor the message.

use std::path::Path;
use std::time::Duration;

use chassis::settings::{self, SmtpTls};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;

use super::{LONGEST, Message, Told, email};

/// The message is begun within this time, or not at all. The rest is for the answer to it: no answer may take longer than
/// either, which is the bound of `delivery.smtp_timeout_ms`.
const BEGINS_WITHIN: Duration = Duration::from_secs(LONGEST.as_secs() / 2);

/// An SMTP server.
#[derive(Clone)]
pub(crate) struct Smtp {
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    security: Security,
    /// For each answer.
    timeout: Duration,
    /// For all answers until the message is begun.
    begins_within: Duration,
}

/// How the conversation is kept from others.
#[derive(Clone)]
enum Security {
    Clear,
    Starttls(TlsParameters),
    /// Whom to trust cannot be read: nothing is said to anybody.
    Untold,
}

/// Where the conversation ended, and why.
enum Stopped {
    /// Before the server let us in, at this step.
    Outside(&'static str, Failure),
    /// Before the message was begun: nothing was sent.
    Before(Failure),
    /// After it was begun.
    After(Failure),
}

/// What went wrong.
enum Failure {
    Timeout,
    /// Whom to trust cannot be read.
    Untold,
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
        let security = match settings.smtp_tls {
            SmtpTls::None => Security::Clear,
            SmtpTls::Starttls => starttls(&host, &settings.smtp_ca_file),
        };
        let timeout = settings.smtp_timeout();
        Some(Self { host, port, credentials, security, timeout, begins_within: BEGINS_WITHIN })
    }

    pub(super) async fn send(&self, message: &Message) -> Told {
        let built = match email::build(message) {
            Ok(built) => built,
            Err(code) => return Told::Refused { code: code.to_owned() },
        };
        match self.converse(&built).await {
            Ok(response) => Told::Taken { provider_id: taken_as(&response) },
            Err(Stopped::Outside(step, failure)) => told_outside(step, &failure),
            Err(Stopped::Before(failure)) => told_before(&failure),
            Err(Stopped::After(failure)) => told_after(&failure),
        }
    }

    async fn converse(&self, message: &lettre::Message) -> Result<Response, Stopped> {
        let bytes = message.formatted();
        let begun = tokio::time::timeout(self.begins_within, self.begin(message, &bytes)).await;
        let mut connection = begun.map_err(|_| {
            tracing::warn!("the SMTP server is too slow to begin a message");
            Stopped::Before(Failure::Timeout)
        })??;
        eventstore::failpoint::reach("provider_inside_call").await;
        let answered = self.wait(connection.message(&bytes)).await.map_err(Stopped::After);
        // It is taken or not; saying goodbye is a courtesy that nobody waits for long.
        if answered.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.quit()).await;
        }
        answered
    }

    /// Everything before the message itself.
    async fn begin(
        &self,
        message: &lettre::Message,
        bytes: &[u8],
    ) -> Result<AsyncSmtpConnection, Stopped> {
        let mut connection = self.enter(message).await?;
        self.prepare(&mut connection, message, bytes).await.map_err(Stopped::Before)?;
        Ok(connection)
    }

    /// Everything until the server lets us in: a secret connection, and a password where there is one.
    async fn enter(&self, message: &lettre::Message) -> Result<AsyncSmtpConnection, Stopped> {
        let outside = |step: &'static str| move |failure| Stopped::Outside(step, failure);
        let domain = message.envelope().from().map_or("localhost", lettre::Address::domain);
        let hello = ClientId::Domain(domain.to_owned());
        let server = (self.host.as_str(), self.port);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &hello, None, None);
        let tls = match &self.security {
            Security::Clear => None,
            Security::Starttls(parameters) => Some(parameters.clone()),
            Security::Untold => return Err(Stopped::Outside("ca_file", Failure::Untold)),
        };
        let mut connection = self.wait(connecting).await.map_err(outside("connection"))?;
        if let Some(parameters) = tls {
            let secured = self.wait(connection.starttls(parameters, &hello)).await;
            secured.map_err(outside("starttls"))?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let answered = self.wait(connection.auth(&mechanisms, credentials)).await;
            answered.map_err(outside("auth"))?;
        }
        Ok(connection)
    }

    /// Everything up to the server's "go ahead".
    async fn prepare(
        &self,
        connection: &mut AsyncSmtpConnection,
        message: &lettre::Message,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let envelope = message.envelope();
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
        self.wait(connection.command(Data)).await.map(drop)
    }

    async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Failure> {
        let answered = tokio::time::timeout(self.timeout, answer).await;
        answered.map_err(|_| Failure::Timeout)?.map_err(Failure::Smtp)
    }
}

/// Whom to trust: who vouches for the public, and whoever stands in the file.
fn starttls(host: &str, ca_file: &Path) -> Security {
    let mut builder = TlsParameters::builder(host.to_owned());
    if !ca_file.as_os_str().is_empty() {
        let read = std::fs::read(ca_file).ok().and_then(|it| Certificate::from_pem(&it).ok());
        let Some(certificates) = read else {
            tracing::error!(file = %ca_file.display(), "delivery.smtp_ca_file cannot be read");
            return Security::Untold;
        };
        builder = builder.add_root_certificate(certificates);
    }
    builder.build().map_or(Security::Untold, Security::Starttls)
}

/// The server did not let us in. That is between it and us: no message is at fault, whatever it answers.
fn told_outside(step: &str, failure: &Failure) -> Told {
    let code = match failure {
        Failure::Smtp(error) => match error.status() {
            Some(status) => format!("{step}_{status}"),
            None => step.to_owned(),
        },
        Failure::Timeout if step == "connection" => "timeout".to_owned(),
        Failure::Timeout | Failure::Untold => step.to_owned(),
    };
    tracing::warn!(code, "the SMTP server does not let us in");
    Told::Later { code }
}

/// It wants a password, a better one, or none in clear (RFC 4954, section 6; RFC 3207, section 4).
const OUTSIDE: [&str; 4] = ["530", "534", "535", "538"];

/// Nothing was sent: only a clear no to this very message is one.
fn told_before(failure: &Failure) -> Told {
    match failure {
        Failure::Smtp(error) if OUTSIDE.contains(&code_of(error).as_str()) => {
            told_outside("auth", failure)
        }
        Failure::Smtp(error) if error.is_permanent() => Told::Refused { code: code_of(error) },
        Failure::Smtp(error) => Told::Later { code: code_of(error) },
        Failure::Timeout | Failure::Untold => Told::Later { code: "timeout".into() },
    }
}

/// The message was begun: only an answer tells what became of it.
fn told_after(failure: &Failure) -> Told {
    match failure {
        Failure::Smtp(error) if error.is_permanent() => Told::Refused { code: code_of(error) },
        Failure::Smtp(error) if error.is_transient() => Told::Later { code: code_of(error) },
        Failure::Smtp(_) => Told::Unknown { code: "connection_lost".into() },
        Failure::Timeout | Failure::Untold => Told::Unknown { code: "timeout".into() },
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

#[cfg(test)]
mod tests;
