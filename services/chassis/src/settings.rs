//! Settings: one name in file, environment and flag; validated whole; printable with secrets hidden.
//!
//! ```
//! use chassis::settings::{Settings, Sources};
//! let sources = Sources { flags: vec!["grpc.address=127.0.0.1:0".into()], ..Sources::default() };
//! let settings = Settings::load(&sources).unwrap();
//! assert_eq!(settings.grpc.address.port(), 0);
//! assert!(settings.is_embedded());
//! ```

mod load;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use load::Sources;
pub use table::{Kind, Setting, TABLE, find, reference};

/// All settings of a process.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub targets: Vec<String>,
    pub tenants: Vec<String>,
    pub clock: Clock,
    pub grpc: Grpc,
    pub admin: Admin,
    pub tls: Tls,
    pub database: Database,
    pub commit: Commit,
    pub log: Log,
    pub auth: Auth,
    pub keys: Keys,
    pub delivery: Delivery,
    pub gateway: Gateway,
    pub telemetry: Telemetry,
    pub peers: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    pub mode: ClockMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockMode {
    System,
    Simulated,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    pub address: SocketAddr,
    pub max_message_bytes: usize,
    pub request_timeout_ms: u64,
    pub max_in_flight: usize,
    pub max_streams: usize,
    pub tenant_requests_per_second: u32,
    pub max_connection_age_s: u64,
    pub shutdown_delay_ms: u64,
    pub shutdown_drain_ms: u64,
    pub reflection: Reflection,
    pub web_origins: Vec<String>,
}

/// Where gRPC reflection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reflection {
    Embedded,
    Always,
    Never,
}

impl Grpc {
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub fn shutdown_delay(&self) -> Duration {
        Duration::from_millis(self.shutdown_delay_ms)
    }

    pub fn shutdown_drain(&self) -> Duration {
        Duration::from_millis(self.shutdown_drain_ms)
    }
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub address: SocketAddr,
}

/// Files of the gRPC port and of calls to other targets; those that are not named are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_ca_file: PathBuf,
    pub ca_file: PathBuf,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    pub max_connections: u32,
    pub migrate: bool,
    pub runtime_role: String,
}

impl Database {
    /// The URL of a service's own database.
    pub fn url_for(&self, service: &str) -> String {
        self.url.replace("{service}", service)
    }

    /// The role that serves from it, if it is another one than the role that migrates.
    pub fn runtime_role_for(&self, service: &str) -> Option<String> {
        let role = self.runtime_role.replace("{service}", service);
        (!role.is_empty()).then_some(role)
    }

    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    pub max_units: usize,
    pub max_bytes: usize,
    pub wait_us: u64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub url: String,
    pub credentials_file: PathBuf,
    pub ca_file: PathBuf,
    pub accounts: bool,
    pub prefix: String,
    pub replicas: usize,
    pub in_flight: usize,
}

impl Log {
    /// True when the log is a view on the stores of this process.
    pub fn is_local(&self) -> bool {
        self.url.is_empty()
    }
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    pub issuer: String,
    pub audience: String,
    pub jwks_url: String,
    pub algorithms: Vec<String>,
    pub leeway_s: u64,
    pub service_key_file: PathBuf,
    pub roles: BTreeMap<String, Vec<String>>,
    pub markets_required: bool,
    pub brands_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    Development,
    Oidc,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub kek_file: PathBuf,
    pub other_kek_files: Vec<String>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub outbox: PathBuf,
    pub email: EmailBy,
    pub webhook: WebhookBy,
    pub smtp_url: String,
    pub smtp_tls: SmtpTls,
    pub smtp_ca_file: PathBuf,
    pub smtp_timeout_ms: u64,
    pub webhook_timeout_ms: u64,
    pub webhook_private: bool,
    pub survey_url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailBy {
    File,
    Smtp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookBy {
    File,
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    Starttls,
    None,
}

impl Delivery {
    pub fn smtp_timeout(&self) -> Duration {
        Duration::from_millis(self.smtp_timeout_ms)
    }

    pub fn webhook_timeout(&self) -> Duration {
        Duration::from_millis(self.webhook_timeout_ms)
    }

    /// Schemes that the address of a webhook may have: one rule for `profiles`, which takes the address on, and for
    /// `delivery`, which goes there.
    pub fn webhook_schemes(&self) -> &'static [&'static str] {
        if self.webhook_private { &["https", "http"] } else { &["https"] }
    }

    /// Whether something can leave this machine.
    fn reaches_out(&self) -> bool {
        let local = |url: &str| {
            let host = url.rsplit('@').next().unwrap_or_default();
            ["127.0.0.1", "localhost", "[::1]"].iter().any(|it| {
                let host = host.trim_start_matches("smtp://");
                host.strip_prefix(it).is_some_and(|port| port.is_empty() || port.starts_with(':'))
            })
        };
        self.webhook == WebhookBy::Http || (self.email == EmailBy::Smtp && !local(&self.smtp_url))
    }
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub requests_per_second: u32,
    pub provider_secret_files: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub otlp_endpoint: String,
    pub sample_ratio: f64,
    pub log_format: LogFormat,
    pub log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, variable or flag as it was written.
    pub key: String,
    pub problem: String,
    pub remedy: String,
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings have {} problem(s)", self.0.len())?;
        for fault in &self.0 {
            write!(f, "\n  {}: {}. {}", fault.key, fault.problem, fault.remedy)?;
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::load(&Sources::default()).expect("the defaults are valid; a test loads them")
    }
}

impl Settings {
    /// Merges the sources, checks types, ranges and how the settings go together, and tells every problem at once.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        load::load(sources)
    }

    /// Where people who are asked reach the form. While nothing leaves this machine that is this process, unless said
    /// otherwise; empty: nowhere.
    pub fn survey_url(&self) -> String {
        match self.delivery.survey_url.as_str() {
            "" if !self.delivery.reaches_out() => format!("http://{}", self.grpc.address),
            stated => stated.to_owned(),
        }
    }

    /// Checks settings that were built in code, as [`load`](Self::load) checks what it read.
    pub fn check(&self) -> Result<(), Faults> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }

    /// SQLite, a local log and a loopback listener: nothing outside this machine is needed or can call. Only here
    /// may a process make up its keys and accept a development token.
    pub fn is_embedded(&self) -> bool {
        self.database.is_sqlite() && self.log.is_local() && self.grpc.address.ip().is_loopback()
    }

    /// Whether gRPC reflection is served.
    pub fn reflects(&self) -> bool {
        match self.grpc.reflection {
            Reflection::Always => true,
            Reflection::Never => false,
            Reflection::Embedded => self.is_embedded(),
        }
    }

    /// Whether a development token may be made: in embedded mode, or while time is simulated on this machine, when
    /// nothing that is recorded or sent concerns anybody.
    pub fn accepts_development(&self) -> bool {
        let simulated = self.clock.mode == ClockMode::Simulated;
        self.is_embedded() || (simulated && self.grpc.address.ip().is_loopback())
    }

    /// TOML of all settings in force, secrets hidden.
    pub fn print(&self) -> String {
        let table = Table::try_from(self).expect("settings are tables of plain values");
        let hidden = hide("", Value::Table(table));
        toml::to_string(&hidden).expect("settings are tables of plain values")
    }

    fn from_table(table: Table) -> Result<Self, toml::de::Error> {
        table.try_into()
    }

    /// How the settings fail to go together.
    fn faults(&self) -> Vec<Fault> {
        let mut check = Check::default();
        self.check_names(&mut check);
        self.check_state(&mut check);
        self.check_auth(&mut check);
        self.check_surroundings(&mut check);
        check.0
    }

    /// The target of a process that serves one alone.
    pub(crate) fn one_target(&self) -> Option<&str> {
        match self.targets.as_slice() {
            [target] if target != "all" => Some(target),
            _ => None,
        }
    }

    fn check_names(&self, check: &mut Check) {
        check.require(!self.targets.is_empty(), "targets", "is empty", "Name targets, or all.");
        check.require(!self.tenants.is_empty(), "tenants", "is empty", "List at least one tenant.");
        check.require(
            self.tenants.iter().all(|tenant| crate::name::is_tenant(tenant)),
            "tenants",
            "holds a name that is no tenant",
            "Use a lower-case letter, then 1 to 30 of a-z, 0-9 and -.",
        );
    }

    fn check_state(&self, check: &mut Check) {
        check.require(
            starts_with_any(&self.database.url, &["sqlite:", "postgres:", "postgresql:"]),
            "database.url",
            "is neither SQLite nor PostgreSQL",
            "Write sqlite://path/{service}.db or postgres://user@host/{service}.",
        );
        check.require(
            !self.database.is_sqlite() || !self.database.url.contains('?'),
            "database.url",
            "gives SQLite parameters",
            "Write the path alone: sqlite://path/{service}.db.",
        );
        check.require(
            self.database.url.contains("{service}"),
            "database.url",
            "gives every service the same database",
            "Write {service} where the service's name belongs; each service has a database of its own.",
        );
        let is_nats = |url: &str| starts_with_any(url.trim(), &["nats://", "tls://"]);
        check.require(
            self.log.is_local() || self.log.url.split(',').all(is_nats),
            "log.url",
            "is no NATS URL",
            "Write nats://host:4222, or leave it empty for the local log.",
        );
        check.require(
            !self.log.accounts || self.log.is_local() || self.one_target().is_some(),
            "log.accounts",
            "is true, but this process serves several targets",
            "Serve one target a process (targets), or let all share one account.",
        );
        let prefix = &self.log.prefix;
        check.require(
            !prefix.is_empty()
                && prefix
                    .bytes()
                    .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-'),
            "log.prefix",
            "is no single subject token",
            "Use a-z, 0-9 and - only.",
        );
        check.require(
            self.database.runtime_role.is_empty() || !self.database.is_sqlite(),
            "database.runtime_role",
            "names a role where there are none",
            "Leave it empty: SQLite has no roles.",
        );
        let named = |path: &PathBuf| !path.as_os_str().is_empty();
        check.require(
            !self.log.is_local()
                || !(named(&self.log.credentials_file) || named(&self.log.ca_file)),
            "log",
            "names files of a server, and no server",
            "Set log.url too.",
        );
        check.require(
            named(&self.tls.cert_file) == named(&self.tls.key_file),
            "tls.key_file",
            "and tls.cert_file do not go together",
            "Name both, or neither.",
        );
        check.require(
            !named(&self.tls.client_ca_file) || named(&self.tls.cert_file),
            "tls.client_ca_file",
            "asks callers for certificates where there is no TLS",
            "Name tls.cert_file and tls.key_file too.",
        );
        check.require(
            self.is_embedded() || !self.keys.kek_file.as_os_str().is_empty(),
            "keys.kek_file",
            "is missing outside embedded mode",
            "Name the file with the key-encryption key; all replicas need the same one.",
        );
    }

    fn check_auth(&self, check: &mut Check) {
        let auth = &self.auth;
        match auth.mode {
            AuthMode::Development => check.require(
                self.accepts_development(),
                "auth.mode",
                "development is accepted in embedded mode only: SQLite, local log, loopback listener; or on a simulated clock",
                "Set auth.mode = \"oidc\" with auth.issuer and auth.audience.",
            ),
            AuthMode::Oidc => self.check_oidc(check),
        }
        let algorithms = &auth.algorithms;
        check.require(
            !algorithms.is_empty() && algorithms.iter().all(|name| crate::auth::is_algorithm(name)),
            "auth.algorithms",
            "is empty or holds an algorithm that is not accepted",
            "Choose from RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.",
        );
        check.require(
            self.is_embedded() || !auth.service_key_file.as_os_str().is_empty(),
            "auth.service_key_file",
            "is missing outside embedded mode",
            "Name the file with the key that signs tokens between targets; all targets need the same one.",
        );
    }

    fn check_oidc(&self, check: &mut Check) {
        let auth = &self.auth;
        check.require(
            is_http(&auth.issuer),
            "auth.issuer",
            "is no http URL",
            "Name the issuer, https://login.example.com.",
        );
        check.require(
            !auth.audience.is_empty(),
            "auth.audience",
            "is empty",
            "Name the audience your issuer puts in tokens.",
        );
        check.require(
            auth.jwks_url.is_empty() || is_http(&auth.jwks_url),
            "auth.jwks_url",
            "is no http URL",
            "Leave it empty to use the issuer's discovery document.",
        );
    }

    fn check_surroundings(&self, check: &mut Check) {
        let is_private =
            self.grpc.address.ip().is_loopback() && self.admin.address.ip().is_loopback();
        check.require(
            self.clock.mode == ClockMode::System || is_private,
            "clock.mode",
            "simulated time is refused when a listener reaches beyond loopback",
            "Listen on 127.0.0.1, or use the system clock.",
        );
        check.require(
            self.clock.mode == ClockMode::System || !self.delivery.reaches_out(),
            "delivery",
            "lets something leave this machine while time is simulated",
            "Use the file outbox, or an SMTP server on 127.0.0.1, or the system clock.",
        );
        let survey_url = &self.delivery.survey_url;
        check.require(
            survey_url.is_empty()
                || starts_with_any(survey_url, &["https://"])
                || (starts_with_any(survey_url, &["http://"]) && !self.delivery.reaches_out()),
            "delivery.survey_url",
            "is no address that people who are asked can open",
            "Write https:// and the host at which the gateway is reached, or leave it empty.",
        );
        check.require(
            self.delivery.email == EmailBy::File
                || starts_with_any(&self.delivery.smtp_url, &["smtp://"]),
            "delivery.smtp_url",
            "is no SMTP URL",
            "Write smtp://user:password@host:587, or send by the file outbox.",
        );
        let endpoint = &self.telemetry.otlp_endpoint;
        check.require(
            endpoint.is_empty() || is_http(endpoint),
            "telemetry.otlp_endpoint",
            "is no http URL",
            "Write http://host:4317 or https://host:4317.",
        );
        check.require(
            crate::telemetry::is_filter(&self.telemetry.log_level),
            "telemetry.log_level",
            "is no level or filter",
            "Write error, warn, info, debug, trace, or a filter such as info,profiles=debug.",
        );
        check.require(
            self.peers.values().all(|url| is_http(url)),
            "peers",
            "holds a URL that is not http",
            "Write http://host:8080 or https://host:8443.",
        );
    }
}

#[derive(Default)]
struct Check(Vec<Fault>);

impl Check {
    fn require(&mut self, holds: bool, key: &str, problem: &str, remedy: &str) {
        if !holds {
            self.0.push(Fault { key: key.into(), problem: problem.into(), remedy: remedy.into() });
        }
    }
}

/// Prints what [`Settings::print`] prints: a log line can never leak a secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print())
    }
}

fn is_http(url: &str) -> bool {
    starts_with_any(url, &["http://", "https://"])
}

fn starts_with_any(text: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| text.starts_with(prefix) && text.len() > prefix.len())
}

fn hide(key: &str, value: Value) -> Value {
    let kind = table::find(key).map(|setting| setting.kind);
    match (kind, value) {
        (Some(Kind::Url), Value::String(urls)) => {
            Value::String(urls.split(',').map(hide_credentials).collect::<Vec<_>>().join(","))
        }
        (Some(Kind::TextMap), Value::Table(map)) => Value::Table(
            map.into_iter()
                .map(|(name, value)| {
                    let shown = value.as_str().map(hide_credentials).unwrap_or_default();
                    (name, Value::String(shown))
                })
                .collect(),
        ),
        (None, Value::Table(section)) => Value::Table(
            section
                .into_iter()
                .map(|(name, value)| {
                    let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    (name, hide(&inner, value))
                })
                .collect(),
        ),
        (_, value) => value,
    }
}

/// `postgres://user:secret@host/db?password=x` → `postgres://user:***@host/db?password=***`.
fn hide_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // The last @ ends the credentials: a password that was not percent-encoded may hold one, and even a slash.
    let (authority, path) = match rest.rfind('@') {
        Some(at) if at >= authority.len() => {
            rest.split_at(at + rest[at..].find(['/', '?']).unwrap_or(rest.len() - at))
        }
        _ => (authority, path),
    };
    let authority = match authority.rsplit_once('@') {
        Some((credentials, host)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None if scheme.starts_with("nats") || scheme == "tls" => format!("***@{host}"),
            None => format!("{credentials}@{host}"),
        },
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let pairs: Vec<String> = query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    Some((name, _)) if is_secret_name(name) => format!("{name}=***"),
                    _ => pair.to_owned(),
                })
                .collect();
            format!("{path}?{}", pairs.join("&"))
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ["pass", "token", "secret", "key"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests;
