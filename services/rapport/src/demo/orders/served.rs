//! The platform of the demo: every target in this process, on a simulated clock, with stores of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::lifecycle::Shutdown;
use chassis::run::Process;
use chassis::settings::{Settings, Sources};
use eventstore::Ids;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::Stage;
use crate::demo::{Cast, Time};
use crate::remote::{Addresses, Remote};
use crate::targets::TARGETS;
use crate::{cli, token_file};

/// Where the demo keeps what it makes.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Folder for the stores; every run makes one of its own in it
    #[arg(long, value_name = "DIR", default_value = "./data/orders")]
    data: PathBuf,
    /// PostgreSQL server instead of SQLite, `postgres://user@host:port`; every run makes databases of its own on it.
    /// With `{service}` in it: databases that are there, and empty
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// NATS servers instead of the local log, `nats://host:port`; every run makes streams of its own
    #[arg(long, value_name = "URL")]
    log: Option<String>,
}

/// The platform, serving.
pub(crate) struct Served {
    pub(crate) process: Process,
    /// Settings with which other commands find it.
    pub(crate) config: PathBuf,
    token: String,
    tenant: String,
}

impl Served {
    pub(crate) async fn start(
        place: &Place,
        mut sources: Sources,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let folder = fresh_folder(&place.data)?;
        let run: String =
            Ids::system().bytes::<6>().iter().map(|it| char::from(b'a' + it % 26)).collect();
        // What the caller sets wins.
        let flags = place.settings(&folder, &run).await?;
        sources.flags.splice(..0, flags);
        let settings = Settings::load(&sources)?;
        let (token_file, tenant) =
            (token_file(&settings), settings.tenants.first().cloned().unwrap_or_default());
        let process = crate::start(settings.clone(), shutdown).await?;
        let token = process.token.as_ref().context("a development token was made")?;
        let token = token.reveal().to_owned();
        cli::leave_token(&token_file, &token)
            .with_context(|| format!("write {}", token_file.display()))?;
        let config = folder.join("rapport.toml");
        let served = [
            ("grpc.address", process.grpc.to_string()),
            ("admin.address", process.admin.to_string()),
            ("clock.mode", "simulated".to_owned()),
            ("database.url", settings.database.url.clone()),
            ("log.url", settings.log.url.clone()),
            ("log.prefix", settings.log.prefix.clone()),
            ("keys.kek_file", settings.keys.kek_file.display().to_string()),
            ("auth.service_key_file", settings.auth.service_key_file.display().to_string()),
            ("delivery.outbox", settings.delivery.outbox.display().to_string()),
        ];
        let lines: String =
            served.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        fs::write(&config, lines).with_context(|| format!("write {}", config.display()))?;
        Ok(Self { process, config, token, tenant })
    }

    /// The people and the clock of it.
    pub(crate) fn stage(&self) -> anyhow::Result<Stage> {
        let gateway = format!("http://{}", self.process.grpc);
        let addresses = Addresses { all: gateway.clone(), ..Addresses::default() };
        // A development token has every role.
        let person = |name: &str, _: &[&str]| {
            Remote::new(&addresses, &self.tenant, &format!("{}+{name}", self.token))
        };
        let admin = self.process.admin.to_string();
        let time = Time::new([admin.as_str()], &format!("{}+clock", self.token))?;
        Ok(Stage { cast: Cast::new(person)?, time, gateway })
    }
}

impl Place {
    async fn settings(&self, folder: &Path, run: &str) -> anyhow::Result<Vec<String>> {
        let file = |name: &str| folder.join(name).display().to_string();
        let database = match &self.store {
            None => format!("sqlite://{}", file("{service}.db")),
            Some(url) if url.contains("{service}") => url.clone(),
            Some(url) => databases(url, run).await.context("make the databases")?,
        };
        let key = || Ids::system().bytes::<32>();
        secret(&folder.join("root.key"), &STANDARD.encode(key()))?;
        secret(&folder.join("service.key"), &eventstore::hex(&key()))?;
        let mut settings = vec![
            "targets=all".to_owned(),
            "clock.mode=simulated".to_owned(),
            "grpc.address=127.0.0.1:0".to_owned(),
            "admin.address=127.0.0.1:0".to_owned(),
            // To verify a whole log takes a while; nothing balances load here.
            "grpc.max_connection_age_s=86400".to_owned(),
            // What takes long on a busy machine is nobody's business here.
            "telemetry.log_level=warn,sqlx::query=error".to_owned(),
            format!("database.url={database}"),
            format!("keys.kek_file={}", file("root.key")),
            format!("auth.service_key_file={}", file("service.key")),
            format!("delivery.outbox={}", file("outbox")),
        ];
        if let Some(url) = &self.log {
            settings.push(format!("log.url={url}"));
            settings.push(format!("log.prefix=orders-{run}"));
        }
        Ok(settings)
    }
}

/// A folder that nobody had before: 1, 2, 3 … Nothing of an earlier run is touched, for its server may still be there.
fn fresh_folder(data: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(data).with_context(|| format!("make {}", data.display()))?;
    for run in 1_u32.. {
        let folder = data.join(run.to_string());
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => {
                made.with_context(|| format!("make {}", folder.display()))?;
                return Ok(folder);
            }
        }
    }
    anyhow::bail!("{} is full of runs", data.display())
}

/// For its owner's eyes only.
fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("write {}", path.display()))
}

/// Makes a database for each target on a server; returns the URL with the service left open.
async fn databases(url: &str, run: &str) -> anyhow::Result<String> {
    let options = PgConnectOptions::from_str(url)?;
    let options = match options.get_database() {
        None => options.database("postgres"),
        Some(_) => options,
    };
    let mut connection = options.connect().await?;
    for target in TARGETS {
        let sql = format!("CREATE DATABASE orders_{run}_{}", target.name);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    }
    connection.close().await?;
    of_each_service(url, run)
}

/// The URL of a server as that of the databases of a run.
fn of_each_service(url: &str, run: &str) -> anyhow::Result<String> {
    let (address, query) = url.split_once('?').map_or((url, None), |it| (it.0, Some(it.1)));
    let (scheme, rest) = address.split_once("://").context("write postgres://user@host:port")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let query = query.map(|it| format!("?{it}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/orders_{run}_{{service}}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_databases_of_its_own_on_the_server_it_is_given() {
        for (url, expected) in [
            ("postgres://me@localhost", "postgres://me@localhost/orders_abc_{service}"),
            ("postgres://me:x@h:5433/any", "postgres://me:x@h:5433/orders_abc_{service}"),
            (
                "postgresql://me@h/any?sslmode=require",
                "postgresql://me@h/orders_abc_{service}?sslmode=require",
            ),
        ] {
            assert_eq!(of_each_service(url, "abc").expect("a URL"), expected);
        }
        assert!(of_each_service("localhost", "abc").is_err());
    }

    #[test]
    fn every_run_has_a_folder_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let made = [(); 3].map(|()| fresh_folder(&data).expect("made"));
        assert_eq!(made, ["1", "2", "3"].map(|it| data.join(it)));
    }
}
