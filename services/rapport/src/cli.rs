//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chassis::lifecycle::Shutdown;
use chassis::run::Process;
use chassis::settings::{self, Settings, Sources};
use clap::{Args, Parser, Subcommand};

use crate::people::{self, People, RemoteArgs};
use crate::{backup, demo, events, health, reference, smoke, status, stores, targets};

/// The customer-experience platform for life sciences.
#[derive(Parser)]
#[command(name = "rapport", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct SettingsArgs {
    /// Settings file (TOML); `RAPPORT_CONFIG` names one too
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// A setting, `key=value`; may be repeated and wins over file and environment
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Targets, separated by commas; short for `--set targets=…`
    #[arg(long, global = true)]
    target: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the targets until SIGTERM
    Serve,
    /// Look at the settings
    #[command(subcommand)]
    Config(Config),
    /// Create or migrate the stores of the targets, then exit
    Migrate,
    /// List the targets of this binary
    Targets,
    /// Ask a running process whether it is ready; exit code 0 or 1
    Health {
        /// Its admin address; the settings' by default
        #[arg(long)]
        address: Option<SocketAddr>,
    },
    /// How the stores of the targets stand; exit code 1 when something needs attention
    Status,
    /// Check a running deployment from outside: every target, and a write that is read back everywhere
    Smoke(smoke::Smoke),
    /// Copy the stores of the targets into files of a folder, `<target>.backup`
    Backup {
        /// Folder; made when it is not there
        folder: PathBuf,
    },
    /// Fill empty stores of the targets from such files; what happened since comes from the log when they start
    Restore(backup::Restore),
    /// Read the events of a store, one JSON object a line
    #[command(subcommand)]
    Events(Events),
    /// Empty a view and replay every event into it; a consumer's is filled again when its service runs
    Rebuild {
        /// Its name, for example `profiles` or `delivery.rules`
        view: String,
    },
    /// Check stores
    #[command(subcommand)]
    Store(StoreCommand),
    /// List or retry events that consumers could not handle, and timers that could not fire
    #[command(subcommand)]
    Parked(Parked),
    /// Print reference documents generated from the code
    #[command(subcommand)]
    Reference(Reference),
    /// Run a story, step by step
    #[command(subcommand)]
    Demo(Demo),
    #[command(flatten)]
    People(People),
}

#[derive(Subcommand)]
enum Demo {
    /// From nothing to a delivered message
    Chain,
    /// Eighteen months of real orders through a platform of its own, on a simulated clock
    Orders(demo::orders::Orders),
}

#[derive(Subcommand)]
enum Config {
    /// Validate the whole; prints every problem
    Check,
    /// Print what is in force, secrets hidden
    Print,
}

#[derive(Subcommand)]
enum Events {
    /// Follow a source
    Tail(Range),
    /// Print what there is and exit
    Export(Range),
}

#[derive(Args)]
struct Range {
    /// Source, for example `profiles`
    source: String,
    /// Events after this position
    #[arg(long, default_value_t = 0)]
    after: u64,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Re-read every event; check gaps, versions and the chain. Exit code 1 and the position of the
    /// first fault if there is one
    Verify,
    /// Let a fenced store write again, after a person chose a branch and put the other side right
    Unfence,
}

#[derive(Subcommand)]
enum Parked {
    /// List parked events and timers, each line beginning with what `retry` takes
    List,
    /// Apply the parked events of a stream again, in order, or let its parked timers fire again
    Retry {
        /// Consumer, or `timers`
        consumer: String,
        /// Source; of timers the service they belong to
        source: String,
        /// Tenant
        tenant: String,
        /// Stream, for example `party/pty_…`
        stream: String,
    },
}

#[derive(Subcommand)]
enum Reference {
    /// Every setting with its default, unit and meaning, as TOML
    Settings,
    /// Every error reason: code, when, remedy, as Markdown
    Errors,
    /// Every metric: names, type, unit, labels, meaning, as YAML
    Metrics,
    /// Who calls whom, and who reads whose events, as YAML
    Graph,
    /// Users and permissions for the configuration of a NATS server
    Nats,
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let sources = cli.settings.sources()?;
    if let Command::Config(Config::Check) = cli.command {
        return check(&sources);
    }
    if let Command::Reference(it) = cli.command {
        print(&match it {
            Reference::Settings => settings::reference(),
            Reference::Errors => chassis::status::catalogue(&stores::reasons()),
            Reference::Metrics => reference::metrics_yaml(),
            Reference::Graph => reference::graph_yaml().await?,
            Reference::Nats => {
                let prefix = &Settings::load(&sources)?.log.prefix;
                reference::nats_accounts(prefix, &reference::reads(targets::TARGETS).await?)
            }
        });
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::load(&sources)?;
    let mut remote = cli.remote;
    if remote.token.is_none() {
        let named = sources.environment.iter().find(|it| it.0 == "RAPPORT_TOKEN");
        remote.token = named.map(|it| it.1.clone());
    }
    match cli.command {
        Command::Serve => serve(settings).await?,
        Command::Config(_) => print(&settings.print()),
        Command::Reference(_) => {}
        Command::Migrate => stores::migrate(&settings).await?,
        Command::Targets => {
            targets::TARGETS.iter().for_each(|it| print(&format!("{}\n", it.name)));
        }
        Command::Health { address } => {
            return health::ask(address.unwrap_or(settings.admin.address)).await;
        }
        Command::Status => return Box::pin(status::show(&settings, remote.output)).await,
        Command::Smoke(it) => return Box::pin(smoke::run(&it, &remote, &settings)).await,
        Command::Backup { folder } => backup::write(&settings, &folder).await?,
        Command::Restore(it) => backup::restore(&settings, &it).await?,
        Command::Events(Events::Tail(it)) => {
            events::print(&settings, &it.source, it.after, true).await?;
        }
        Command::Events(Events::Export(it)) => {
            events::print(&settings, &it.source, it.after, false).await?;
        }
        Command::Rebuild { view } => stores::rebuild(&settings, &view).await?,
        Command::Store(StoreCommand::Verify) => return stores::verify(&settings).await,
        Command::Store(StoreCommand::Unfence) => stores::unfence(&settings).await?,
        Command::Parked(Parked::List) => stores::list_parked(&settings).await?,
        Command::Parked(Parked::Retry { consumer, source, tenant, stream }) => {
            stores::retry_parked(&settings, &consumer, &source, &tenant, &stream).await?;
        }
        Command::Demo(Demo::Orders(it)) => demo::orders::run(&it, sources, remote.output).await?,
        Command::Demo(Demo::Chain) => demo::chain(&remote, &settings).await?,
        Command::People(ask) => {
            return match people::answer(ask, &remote, &settings).await {
                Ok(true) => Ok(ExitCode::SUCCESS),
                Ok(false) => Ok(ExitCode::FAILURE),
                Err(error) => people::failed(error, remote.output),
            };
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl SettingsArgs {
    fn sources(&self) -> anyhow::Result<Sources> {
        let mut sources = Sources::from_environment();
        let named = sources.environment.iter().find(|it| it.0 == "RAPPORT_CONFIG");
        let file = self.config.clone().or_else(|| named.map(|it| PathBuf::from(&it.1)));
        if let Some(file) = file {
            let text = std::fs::read_to_string(&file);
            sources.file = Some(text.with_context(|| format!("read {}", file.display()))?);
        }
        sources.flags.clone_from(&self.set);
        sources.flags.extend(self.target.iter().map(|it| format!("targets={it}")));
        Ok(sources)
    }
}

fn check(sources: &Sources) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(sources)?;
    targets::select(&settings.targets)?;
    print("the settings are valid\n");
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let tenant = settings.tenants.first().cloned().unwrap_or_default();
    let token_file = crate::token_file(&settings);
    let process = crate::start(settings, shutdown).await?;
    if let Some(token) = &process.token {
        leave_token(&token_file, token.reveal())
            .with_context(|| format!("write {}", token_file.display()))?;
    }
    print(&greeting(&process, &tenant));
    process.stopped().await?;
    Ok(())
}

/// Leaves the development token where commands on this machine find it, for its owner's eyes only.
pub(crate) fn leave_token(path: &std::path::Path, token: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A file that is there may have another mode; a new one has this one from the start.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(token.as_bytes())
}

/// Where it listens and, with a development token, a call that works as printed.
fn greeting(process: &Process, tenant: &str) -> String {
    let mut text = format!("grpc: {}\nadmin: {}\n", process.grpc, process.admin);
    if let Some(token) = &process.token {
        let token = token.reveal();
        text.push_str(&format!(
            "development token: {token}\n\n\
             Register a party:\n\n  \
             buf curl --protocol grpc --http2-prior-knowledge \\\n    \
             -H 'authorization: Bearer {token}' \\\n    \
             -d '{{\"parent\": \"tenants/{tenant}\", \"kind\": \"PARTY_KIND_HCP\", \"market\": \"US\", \
             \"identifiers\": [{{\"system\": \"npi\", \"value\": \"1234567893\"}}]}}' \\\n    \
             http://{}/rapport.profiles.v1.PartyService/RegisterParty\n\n",
            process.grpc
        ));
    }
    text
}

/// How this program was called, so that the printed commands work as they are.
pub(crate) fn program() -> String {
    let words: Vec<_> = std::env::args().take_while(|it| it != "demo").collect();
    words.join(" ")
}

/// Prints to standard output; a reader that went away is no failure of ours.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
