//! Commands for people: what they ask a running platform, as tables or as JSON.

mod audit;
mod content;
mod customer;
mod decision;
mod journey;
mod kpi;
mod show;
mod touch;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chassis::settings::Settings;
use chassis::tls::Tls;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::remote::{Addresses, Refused, Remote};
use crate::token_file;

pub(crate) use touch::text as show_touch;

/// How to reach the platform, as whom, and how to print.
#[derive(Args, Clone)]
pub(crate) struct RemoteArgs {
    /// Where the platform is; `target=URL` for a target that is elsewhere. May be repeated
    #[arg(long, global = true, value_name = "URL")]
    url: Vec<String>,
    /// Token; `RAPPORT_TOKEN` holds one too, and a server in embedded mode leaves one beside its databases
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Tenant; the first of the settings by default
    #[arg(long, global = true)]
    tenant: Option<String>,
    /// Act as this person; with a development token only
    #[arg(long = "as", global = true, value_name = "PERSON")]
    person: Option<String>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables, within 100 columns
    Table,
    /// The API's messages in protobuf JSON
    Json,
}

/// What people ask.
#[derive(Subcommand)]
pub(crate) enum People {
    /// Customers
    #[command(subcommand)]
    Customer(Customer),
    /// Why a customer got, or did not get, something of a journey
    Why {
        /// Party id, or `system:value` of an identifier
        customer: String,
        /// Journey
        journey: String,
    },
    /// Decisions
    #[command(subcommand)]
    Decision(Decision),
    /// Content and its review
    #[command(subcommand)]
    Content(Content),
    /// Journeys
    #[command(subcommand)]
    Journey(Journey),
    /// Touches and what the send gate found
    #[command(subcommand)]
    Touch(Touch),
    /// Figures of a metric, by bucket: `rapport kpi orders`
    Kpi(kpi::Kpi),
    /// What happened, over all services
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Read every source again: no gap, chains intact, one row of the index for each event. Exit code 1 if not
    Verify {
        /// Sources; all by default
        sources: Vec<String>,
    },
    /// What happened to a customer, across services, oldest first
    Timeline {
        /// Party id, or `system:value` of an identifier
        customer: String,
    },
    /// Print events with their envelopes, one JSON object a line
    Export {
        /// Sources; all by default
        sources: Vec<String>,
        /// Only those about this party
        #[arg(long, default_value = "")]
        party: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Customer {
    /// Who the customer is, what was allowed, decided and sent
    Show {
        /// Party id, or `system:value` of an identifier
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Decision {
    /// Why this, and why not the others
    Explain {
        /// Decision id
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Touch {
    /// What was asked for, every verdict of the gate, and what proves it
    Show {
        /// Touch id
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Content {
    /// Show what is to be reviewed, or record a rejection
    Review {
        /// Module id
        id: String,
        /// Version; the newest by default
        #[arg(long)]
        version: Option<u32>,
        /// Send it back to the author, in this role
        #[arg(long, requires = "comment")]
        reject: Option<Role>,
        /// What must change
        #[arg(long, requires = "reject")]
        comment: Option<String>,
        /// Your name as it is printed
        #[arg(long, requires = "reject")]
        name: Option<String>,
    },
    /// Approve a version and sign it
    Approve {
        /// Module id
        id: String,
        /// Version; the newest by default
        #[arg(long)]
        version: Option<u32>,
        /// Role in which you speak
        #[arg(long)]
        role: Role,
        /// Your name as it is printed
        #[arg(long)]
        name: String,
        /// What your signature means
        #[arg(long, default_value = "I have reviewed this content and approve its use.")]
        meaning: String,
        /// Comment
        #[arg(long, default_value = "")]
        comment: String,
        /// Hash of what you have read, as `content review` printed it
        #[arg(long)]
        hash: String,
    },
    /// Withdraw a version, or all: nothing of it leaves from then on
    Withdraw {
        /// Module id
        id: String,
        /// Version; all by default
        #[arg(long)]
        version: Option<u32>,
        /// Reason code
        #[arg(long)]
        reason: String,
    },
}

/// A role in a review.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    Medical,
    Legal,
    Regulatory,
}

#[derive(Subcommand)]
pub(crate) enum Journey {
    /// Check a definition without a server: graph, rules, times
    Check {
        /// YAML file
        file: PathBuf,
    },
    /// Save and check a definition
    Draft {
        /// YAML file
        file: PathBuf,
    },
    /// Approve a checked version; its author may not
    Approve {
        /// Journey
        id: String,
        /// Version; the newest by default
        #[arg(long)]
        version: Option<u32>,
        /// Hash of what you have read, as `journey show` printed it
        #[arg(long)]
        hash: String,
        /// Comment
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Publish an approved version
    Publish {
        /// Journey
        id: String,
        /// Version; the newest by default
        #[arg(long)]
        version: Option<u32>,
    },
    /// Pause the live version
    Pause {
        /// Journey
        id: String,
        /// What timers do
        #[arg(long, value_enum, default_value_t = Timers::Freeze)]
        timers: Timers,
        /// Reason code
        #[arg(long)]
        reason: String,
    },
    /// End a pause
    Resume {
        /// Journey
        id: String,
    },
    /// Show a journey: versions, definition, where its instances stand
    Show {
        /// Journey
        id: String,
    },
}

/// What timers do in a pause.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Timers {
    /// They stand still
    Freeze,
    /// They run; what fell due fires when the pause ends
    Run,
}

/// Answers; `false` when what was checked is not in order.
pub(crate) async fn answer(
    ask: People,
    args: &RemoteArgs,
    settings: &Settings,
) -> anyhow::Result<bool> {
    if let People::Journey(Journey::Check { file }) = &ask {
        return journey::check(file, args.output);
    }
    let remote = args.connect(settings)?;
    let output = args.output;
    match ask {
        People::Customer(Customer::Show { id }) => customer::show(&remote, &id, output).await?,
        People::Why { customer, journey } => {
            why::show(&remote, &customer, &journey, output).await?;
        }
        People::Decision(Decision::Explain { id }) => {
            decision::explain(&remote, &id, output).await?;
        }
        People::Touch(Touch::Show { id }) => touch::show(&remote, &id, output).await?,
        People::Kpi(it) => kpi::show(&remote, it, output).await?,
        People::Audit(it) => return audit::run(&remote, it, output).await,
        People::Content(it) => content::run(&remote, it, output).await?,
        People::Journey(it) => return journey::run(&remote, it, output).await,
    }
    Ok(true)
}

/// Ends a command that failed: for programs with a JSON object on standard error.
pub(crate) fn failed(error: anyhow::Error, output: Output) -> anyhow::Result<ExitCode> {
    if output == Output::Table {
        return Err(error);
    }
    let told = error.downcast_ref::<Refused>().map(Refused::json);
    let told = told.unwrap_or_else(|| json!({"message": format!("{error:#}")}));
    eprintln!("{:#}", json!({"error": told}));
    Ok(ExitCode::FAILURE)
}

impl RemoteArgs {
    /// Clients of the platform as the person these arguments name.
    pub(crate) fn connect(&self, settings: &Settings) -> anyhow::Result<Remote> {
        let person = self.person.as_deref().unwrap_or_default();
        self.connect_as(settings, person)
    }

    /// The same as another person.
    pub(crate) fn connect_as(&self, settings: &Settings, person: &str) -> anyhow::Result<Remote> {
        let mut addresses =
            Addresses::parse(&self.url, &format!("http://{}", settings.grpc.address));
        addresses.named.splice(0..0, settings.peers.clone());
        addresses.tls = Some(Tls::read(&settings.tls)?.client());
        let first = settings.tenants.first().cloned().unwrap_or_default();
        let tenant = self.tenant.clone().unwrap_or(first);
        let mut token = self.token(settings)?;
        if !person.is_empty() {
            let development = token.starts_with("dev-");
            anyhow::ensure!(
                development,
                "--as: use a development token; another one names its person itself"
            );
            token.push('+');
            token.push_str(person);
        }
        Remote::new(&addresses, &tenant, &token)
    }

    fn token(&self, settings: &Settings) -> anyhow::Result<String> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        let file = token_file(settings);
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| {
            format!("no --token, no RAPPORT_TOKEN, and no server left one in {}", file.display())
        })?;
        Ok(text.trim().to_owned())
    }
}
