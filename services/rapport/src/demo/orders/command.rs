//! The command: starts the platform, tells the story, prints the report, and leaves the platform running.

use anyhow::bail;
use chassis::lifecycle::Shutdown;
use chassis::settings::Sources;
use rapport_proto::audit::v1::{IndexedEvent, SearchEventsRequest};

use super::progress::Bar;
use super::served::{Place, Served};
use super::{Part, Report, Stage, tell};
use crate::cli::{self, print};
use crate::people::Output;
use crate::remote::{Remote, told};

/// What `rapport demo orders` takes.
#[derive(clap::Args)]
pub(crate) struct Orders {
    #[command(flatten)]
    place: Place,
    /// Share of the customers that take part, above 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 1.0, value_parser = share)]
    share: f64,
    /// Days that are told, from the first order; all by default
    #[arg(long, value_name = "DAYS", default_value_t = u32::MAX, hide_default_value = true)]
    days: u32,
}

pub(crate) async fn run(args: &Orders, sources: Sources, output: Output) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let served = Served::start(&args.place, sources, shutdown).await?;
    let mut stage = served.stage()?;
    let mut bar = Bar::default();
    let part = Part { share: args.share, days: args.days };
    let story = Box::pin(tell(&mut stage, part, &mut bar));
    let Some(report) = served.process.shutdown.soft().run_until_cancelled(story).await else {
        served.process.stopped().await?;
        bail!("stopped before the story's end");
    };
    let report = report?;
    if output == Output::Json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
        served.process.stop().await?;
        return Ok(());
    }
    print(&farewell(&report, &served, &stage).await?);
    served.process.stopped().await?;
    Ok(())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("give a number above 0, at most 1".to_owned()),
    }
}

/// The report, and what to look at next.
async fn farewell(report: &Report, served: &Served, stage: &Stage) -> anyhow::Result<String> {
    let program = format!("{} --config {}", cli::program(), served.config.display());
    let author = &stage.cast.author;
    let mut text = format!("\n{}\n", report.text());
    text.push_str(&format!(
        "The platform goes on serving at {}, its clock at {}. Try, in another terminal:\n\n",
        served.process.grpc,
        stage.time.now(),
    ));
    let mut say = |what: &str, command: &str| {
        text.push_str(&format!("  # {what}\n  {program} {command}\n"));
    };
    if let Some(sent) = first(author, "rapport.delivery.v1.TouchSent").await? {
        say(
            "what happened to a customer, across services",
            &format!("audit timeline {}", sent.party_id),
        );
        say("why that customer got a letter", &format!("why {} win-back", sent.party_id));
    }
    if let Some(skipped) = first(author, "rapport.delivery.v1.TouchSkipped").await? {
        say("why this one did not", &format!("why {} win-back", skipped.party_id));
    }
    say("orders by week", "kpi orders");
    say(
        "the net promoter score of the generated answers, by market",
        "kpi nps --by market --total",
    );
    say("every source read again: no gap, chains, index", "audit verify");
    text.push_str("\nCtrl-C ends it.\n");
    Ok(text)
}

/// The first event of a type.
async fn first(author: &Remote, type_name: &str) -> anyhow::Result<Option<IndexedEvent>> {
    let request = SearchEventsRequest {
        parent: author.parent.clone(),
        page_size: 1,
        r#type: type_name.into(),
        ..Default::default()
    };
    let found = told(author.audit.clone().search_events(request).await)?.events;
    Ok(found.into_iter().next())
}
