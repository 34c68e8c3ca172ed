//! Every setting once: key, default, unit or range, and a sentence. Defaults, types, environment names, the printed
//! reference and the hiding of secrets all follow from this table.

use std::fmt::Write as _;

use toml::Value;

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// A URL; credentials in it are hidden when printed.
    Url,
    Address,
    /// A path to a file.
    Path,
    Whole {
        min: i64,
        max: i64,
    },
    /// A number from 0 to 1.
    Share,
    Flag,
    Choice(&'static [&'static str]),
    List,
    /// A table from a name to a text.
    TextMap,
    /// A table from a name to a list of texts.
    ListMap,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Dotted name in the file and for `--set`; the environment variable is `RAPPORT_` and the key in upper case.
    pub key: &'static str,
    pub kind: Kind,
    /// The default, as TOML.
    pub default: &'static str,
    pub about: &'static str,
}

impl Setting {
    /// `grpc.address` → `RAPPORT_GRPC_ADDRESS`.
    pub fn variable(&self) -> String {
        format!("RAPPORT_{}", self.key.replace('.', "_").to_uppercase())
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::TextMap | Kind::ListMap)
    }

    pub(super) fn default_value(&self) -> Value {
        let document: toml::Table = format!("x = {}", self.default)
            .parse()
            .expect("every default in the table is TOML; a test parses them all");
        document["x"].clone()
    }
}

const fn whole(min: i64, max: i64) -> Kind {
    Kind::Whole { min, max }
}

macro_rules! table {
    ($($key:literal, $kind:expr, $default:literal, $about:literal;)*) => {
        &[$(Setting { key: $key, kind: $kind, default: $default, about: $about }),*]
    };
}

const MINUTE_MS: i64 = 60_000;
const MIB: i64 = 1 << 20;

/// All settings, in the order they are printed.
#[rustfmt::skip]
pub const TABLE: &[Setting] = table! {
    "targets", Kind::List, r#"["all"]"#, "Targets this process serves: all, or names from `rapport targets`.";
    "tenants", Kind::List, r#"["default"]"#, "Tenants served here; a token of any other tenant is refused.";
    "clock.mode", Kind::Choice(&["system", "simulated"]), r#""system""#, "Source of domain time. simulated: a driver sets it through SimulationService; loopback only.";
    "grpc.address", Kind::Address, r#""127.0.0.1:8080""#, "Where gRPC and gRPC-Web listen; port 0 takes a free one.";
    "grpc.max_message_bytes", whole(64 << 10, 64 * MIB), "4194304", "Bytes; the largest request and the largest reply.";
    "grpc.request_timeout_ms", whole(100, 10 * MINUTE_MS), "30000", "Milliseconds; the longest a unary call may take, whatever deadline it asks for.";
    "grpc.max_in_flight", whole(1, 1_000_000), "1024", "Unary calls worked on at once by the process; one more is answered RESOURCE_EXHAUSTED.";
    "grpc.max_streams", whole(1, 1_000_000), "256", "Streams held open at once by the process for callers, and as many for health and reflection, which need no token; one more is answered RESOURCE_EXHAUSTED.";
    "grpc.tenant_requests_per_second", whole(0, 1_000_000), "0", "Calls a second that people of one tenant may make to one process; one more is answered RESOURCE_EXHAUSTED. 0: as many as they like. Calls of other targets are not counted.";
    "grpc.max_connection_age_s", whole(1, 86_400), "300", "Seconds after which a connection is asked to reconnect, so that load spreads after a rollout; each process adds up to a tenth.";
    "grpc.shutdown_delay_ms", whole(0, 10 * MINUTE_MS), "0", "Milliseconds between turning not ready and refusing new connections, for balancers to notice.";
    "grpc.shutdown_drain_ms", whole(100, 10 * MINUTE_MS), "20000", "Milliseconds that calls and background work get to finish after that; then they are aborted.";
    "grpc.reflection", Kind::Choice(&["embedded", "always", "never"]), r#""embedded""#, "Where gRPC reflection (v1 and v1alpha) is served, without a token: in embedded mode only, always, or never.";
    "grpc.web_origins", Kind::List, r#"["*"]"#, "Origins whose browsers may call through gRPC-Web; * allows any.";
    "admin.address", Kind::Address, r#""127.0.0.1:9090""#, "Where health, /livez, /readyz, /metrics, /build-info and /log-level listen, in plaintext.";
    "tls.cert_file", Kind::Path, r#""""#, "File with the certificate chain of the gRPC port in PEM, the own certificate first; read again when it changes. Empty: plaintext.";
    "tls.key_file", Kind::Path, r#""""#, "File with the private key of that certificate in PEM.";
    "tls.client_ca_file", Kind::Path, r#""""#, "File with authorities in PEM, one of which must vouch for the certificate of whoever calls the gRPC port. Empty: none is asked for.";
    "tls.ca_file", Kind::Path, r#""""#, "File with authorities in PEM that vouch for other targets (https in peers), beside the public ones. The own certificate is shown to them.";
    "database.url", Kind::Url, r#""sqlite://./data/{service}.db""#, "Database of each service; {service} is replaced by its name. sqlite://path or postgres://user@host/{service}.";
    "database.max_connections", whole(1, 1000), "8", "Connections for reading and views per service; writing adds one.";
    "database.migrate", Kind::Flag, "true", "Apply pending migrations at start; with false a process that finds some does not start: run `rapport migrate` first.";
    "database.runtime_role", Kind::Text, r#""""#, "PostgreSQL role that `rapport migrate` grants what serving needs, and no more: no change of tables, and no change of events. {service} is replaced. Empty: the role that migrates serves too.";
    "commit.max_units", whole(1, 10_000), "256", "Commands gathered into one transaction at most.";
    "commit.max_bytes", whole(1 << 10, 256 * MIB), "8388608", "Bytes gathered into one transaction at most.";
    "commit.wait_us", whole(0, 1_000_000), "1000", "Microseconds to wait for more commands to share a transaction.";
    "log.url", Kind::Url, r#""""#, "NATS servers, nats://host:4222, comma separated; empty: the log is a view on the stores of this process.";
    "log.credentials_file", Kind::Path, r#""""#, "File with NATS credentials (.creds: JSON Web Token and seed). Empty: what the URL says.";
    "log.ca_file", Kind::Path, r#""""#, "File with authorities in PEM that vouch for the NATS servers, beside the public ones; with it TLS is required.";
    "log.accounts", Kind::Flag, "false", "Whether each target has an account of its own on the NATS servers, as `rapport reference nats` prints them; for processes of one target.";
    "log.prefix", Kind::Text, r#""rapport""#, "First token of every subject, and prefix of every stream's name.";
    "log.replicas", whole(1, 5), "1", "JetStream replicas of a stream; 3 in production.";
    "log.in_flight", whole(1, 4096), "512", "Published events awaiting their acknowledgement at most.";
    "auth.mode", Kind::Choice(&["development", "oidc"]), r#""development""#, "development: one token made at start and printed; embedded mode, or a simulated clock on this machine. oidc: JSON Web Tokens of an issuer.";
    "auth.issuer", Kind::Url, r#""""#, "The issuer (claim iss) whose tokens are accepted; its discovery document names the keys.";
    "auth.audience", Kind::Text, r#""rapport""#, "The audience (claim aud) tokens must be made for.";
    "auth.jwks_url", Kind::Url, r#""""#, "Where the issuer's keys are; empty: read from the discovery document.";
    "auth.algorithms", Kind::List, r#"["RS256", "ES256", "EdDSA"]"#, "Signature algorithms accepted; symmetric ones never are, nor RSA keys of fewer than 2,048 bits.";
    "auth.leeway_s", whole(0, 300), "30", "Seconds by which clocks may differ when exp and nbf are checked.";
    "auth.service_key_file", Kind::Path, r#""""#, "File with the key that signs tokens between targets and the personal links of surveys, 32 characters or more; with several lines the first signs and all verify. Empty in embedded mode: made beside the databases.";
    "auth.brands_required", Kind::Flag, "false", "Whether a token without the claim brands is confined to none. Otherwise it is for all; `*` always is.";
    "auth.markets_required", Kind::Flag, "false", "Whether a token without the claim markets is confined to none. Otherwise it is for all; `*` always is.";
    "auth.roles", Kind::ListMap, "{}", "Permissions of each role a token names (claim roles), in addition to its claim permissions; a permission may end in .* or be *.";
    "keys.kek_file", Kind::Path, r#""""#, "File with the key-encryption key that wraps the secret of each store, 32 bytes in base64. Empty in embedded mode: made beside the databases.";
    "keys.other_kek_files", Kind::List, "[]", "Files with further key-encryption keys, which open what they wrapped: while one key takes the place of another, every replica has both.";
    "delivery.outbox", Kind::Path, r#""./data/outbox""#, "Folder of the file outbox: one .eml or .json a touch, named after it.";
    "delivery.email", Kind::Choice(&["file", "smtp"]), r#""file""#, "What carries e-mail: the file outbox, or an SMTP server.";
    "delivery.webhook", Kind::Choice(&["file", "http"]), r#""file""#, "What carries webhooks: the file outbox, or HTTP.";
    "delivery.smtp_url", Kind::Url, r#""""#, "SMTP server that takes e-mail on, smtp://user:password@host:587; the password percent-encoded.";
    "delivery.smtp_tls", Kind::Choice(&["starttls", "none"]), r#""starttls""#, "starttls: nothing is said to a server that does not offer it. none: in clear, for a server on this machine.";
    "delivery.smtp_ca_file", Kind::Path, r#""""#, "File with certificates in PEM that vouch for the SMTP server, beside the public ones; empty: none.";
    "delivery.smtp_timeout_ms", whole(100, 50_000), "20000", "Milliseconds to wait for each answer of the SMTP server; all of them before the message itself take 50000 at most.";
    "delivery.webhook_timeout_ms", whole(100, MINUTE_MS), "10000", "Milliseconds a webhook may take in all.";
    "delivery.webhook_private", Kind::Flag, "false", "Take webhook addresses with http too, and let webhooks go over http and to private addresses; for tests and closed networks only.";
    "delivery.survey_url", Kind::Url, r#""""#, "Where people who are asked reach the gateway, https://host; a personal link is this, /f/ and a token. Empty: this process, while nothing leaves this machine; else nobody is invited.";
    "gateway.requests_per_second", whole(1, 1_000_000), "1000", "Requests a second that a write key may make to the tracking API of one process.";
    "gateway.provider_secret_files", Kind::TextMap, "{}", "Files with the secrets, whsec_ and base64, with which providers sign what they report: ses = \"/run/secrets/ses\".";
    "telemetry.otlp_endpoint", Kind::Url, r#""""#, "Where traces and metrics are sent by OTLP over gRPC, http://host:4317; empty: nowhere.";
    "telemetry.sample_ratio", Kind::Share, "1.0", "Share of new traces that are recorded; a caller's own decision is kept.";
    "telemetry.log_format", Kind::Choice(&["text", "json"]), r#""text""#, "How log lines are written to stderr.";
    "telemetry.log_level", Kind::Text, r#""info""#, "Level, or filter such as info,profiles=debug; can be changed while running on the admin port. A level is of Rapport's own lines; those of libraries stay at info unless named, since they may show what goes over the wire.";
    "peers", Kind::TextMap, "{}", "Where targets that this process does not serve are found: profiles = \"http://profiles:8080\".";
};

/// The setting with this key.
pub fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

/// The commented TOML of all defaults: the content of `deploy/rapport.toml`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Every setting of Rapport with its default. Precedence: defaults, this file, RAPPORT_* variables, --set.\n\
         # grpc.address is RAPPORT_GRPC_ADDRESS in the environment; RAPPORT_GRPC_ADDRESS_FILE names a file that holds\n\
         # the value. Check a file with `rapport config check`, print what is in force with `rapport config print`.\n",
    );
    let mut section = "";
    for setting in TABLE {
        let (of, name) = if setting.is_map() { (setting.key, "") } else { split(setting.key) };
        if of != section {
            section = of;
            let _ = write!(text, "\n[{of}]\n");
        } else if section.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "# {}{}", setting.about, range(setting.kind));
        if !setting.is_map() {
            let _ = writeln!(text, "{name} = {}", setting.default);
        }
    }
    text
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

fn range(kind: Kind) -> String {
    match kind {
        Kind::Whole { min, max } => format!(" ({min} to {max})"),
        Kind::Share => " (0 to 1)".into(),
        Kind::Choice(choices) => format!(" ({})", choices.join(" or ")),
        _ => String::new(),
    }
}
