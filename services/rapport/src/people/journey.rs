//! `rapport journey`: check, draft, approve, publish, pause, show.

use std::path::Path;

use anyhow::Context as _;
use rapport_proto::journeys::v1::{
    ApproveJourneyRequest, CheckJourneyRequest, DraftJourneyRequest, GetJourneyRequest,
    PauseJourneyRequest, PublishJourneyRequest, ResumeJourneyRequest, TimerMode,
    draft_journey_request::Definition,
};
use rapport_proto::types::{Finding, VersionInfo};
use serde_json::json;

use super::show::{json, short, time, value};
use super::{Journey, Output, Timers};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, wrap};

/// Checks a definition without a server; `false` when something was found.
pub(super) fn check(file: &Path, output: Output) -> anyhow::Result<bool> {
    let findings = journeys::check(&read(file)?);
    report(&findings, output)?;
    Ok(findings.is_empty())
}

/// Runs a command about journeys; `false` when a check found something.
pub(super) async fn run(remote: &Remote, ask: Journey, output: Output) -> anyhow::Result<bool> {
    let mut client = remote.journeys.clone();
    let name = |id: &str| remote.name("journeys", id);
    let info = match ask {
        Journey::Check { file } => return check(&file, output),
        Journey::Draft { file } => return draft(remote, &read(&file)?, output).await,
        Journey::Show { id } => {
            show(remote, &id, output).await?;
            return Ok(true);
        }
        Journey::Approve { id, version, hash, comment } => {
            let version = newest(remote, &id, version).await?;
            let request = ApproveJourneyRequest {
                name: name(&id),
                version,
                hash,
                comment,
                ..Default::default()
            };
            told(client.approve_journey(request).await)?.version
        }
        Journey::Publish { id, version } => {
            let version = newest(remote, &id, version).await?;
            let request = PublishJourneyRequest { name: name(&id), version, ..Default::default() };
            let reply = told(client.publish_journey(request).await)?;
            if !reply.findings.is_empty() {
                report(&reply.findings, output)?;
                return Ok(false);
            }
            reply.version
        }
        Journey::Pause { id, timers, reason } => {
            let timers = match timers {
                Timers::Freeze => TimerMode::Freeze,
                Timers::Run => TimerMode::Run,
            };
            let request = PauseJourneyRequest {
                name: name(&id),
                timers: timers.into(),
                reason,
                ..Default::default()
            };
            told(client.pause_journey(request).await)?.version
        }
        Journey::Resume { id } => {
            let request = ResumeJourneyRequest { name: name(&id), ..Default::default() };
            told(client.resume_journey(request).await)?.version
        }
    };
    let info = info.unwrap_or_default();
    match output {
        Output::Json => json(&info)?,
        Output::Table => print(&versions(&[info])),
    }
    Ok(true)
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

async fn newest(remote: &Remote, id: &str, version: Option<u32>) -> anyhow::Result<u32> {
    if let Some(version) = version {
        return Ok(version);
    }
    let request = GetJourneyRequest { name: remote.name("journeys", id), ..Default::default() };
    let reply = told(remote.journeys.clone().get_journey(request).await)?;
    Ok(reply.versions.last().map(|it| it.version).unwrap_or_default())
}

/// Saves, then checks against content, country rules, traits and segments.
async fn draft(remote: &Remote, yaml: &str, output: Output) -> anyhow::Result<bool> {
    let request = DraftJourneyRequest {
        parent: remote.parent.clone(),
        definition: Some(Definition::Yaml(yaml.to_owned())),
        ..Default::default()
    };
    let saved = told(remote.journeys.clone().draft_journey(request).await)?;
    let version = saved.version.unwrap_or_default();
    let id = journey_id(yaml)?;
    let request = CheckJourneyRequest {
        name: remote.name("journeys", &id),
        version: version.version,
        ..Default::default()
    };
    let checked = told(remote.journeys.clone().check_journey(request).await)?;
    if output == Output::Json {
        json(&checked)?;
    } else {
        report(&checked.findings, output)?;
        print(&versions(&[checked.version.unwrap_or_default()]));
    }
    Ok(checked.findings.is_empty())
}

fn journey_id(yaml: &str) -> anyhow::Result<String> {
    use rapport_proto::journeys::v1::Journey as Definition;
    let parsed = authored::document::parse::<Definition>(yaml);
    let parsed = parsed.map_err(|it| anyhow::anyhow!("{} problems in the definition", it.len()))?;
    Ok(parsed.journey)
}

async fn show(remote: &Remote, id: &str, output: Output) -> anyhow::Result<()> {
    let request = GetJourneyRequest { name: remote.name("journeys", id), ..Default::default() };
    let reply = told(remote.journeys.clone().get_journey(request).await)?;
    if output == Output::Json {
        return json(&reply);
    }
    print(&versions(&reply.versions));
    let mut table = Table::new(&["NODE", "V", "INSTANCES"]);
    for it in &reply.nodes {
        table.row([it.node.clone(), it.version.to_string(), it.instances.to_string()]);
    }
    print(&format!("\n{}", table.print("no instance")));
    if let Some(journey) = &reply.journey {
        print(&format!("\n{}", authored::document::print(journey)?));
    }
    Ok(())
}

/// The versions, and the whole hash of the newest: who approves it names it.
fn versions(versions: &[VersionInfo]) -> String {
    let mut table = Table::new(&["V", "STATE", "AUTHOR", "APPROVER", "DRAFTED", "LIVE", "HASH"]);
    for it in versions {
        table.row([
            it.version.to_string(),
            short(it.state().as_str_name(), "VERSION_STATE_"),
            it.author.clone(),
            it.approver.clone(),
            time(it.draft_time.as_ref()),
            time(it.live_time.as_ref()),
            it.hash.chars().take(12).collect(),
        ]);
    }
    let newest = versions.last();
    let hash = newest.map(|it| format!("hash of version {}: {}\n", it.version, it.hash));
    format!("{}{}", table.print("no version"), hash.unwrap_or_default())
}

fn report(findings: &[Finding], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let findings: anyhow::Result<Vec<_>> = findings.iter().map(value).collect();
        let all = json!({"findings": findings?});
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        return Ok(());
    }
    if findings.is_empty() {
        print("nothing was found\n");
    }
    for it in findings {
        let line = if it.line == 0 { String::new() } else { format!("line {}, ", it.line) };
        let column = if it.column == 0 { String::new() } else { format!("column {}, ", it.column) };
        print(&wrap(&format!("{line}{column}{}: {}: {}", it.place, it.code, it.text), ""));
    }
    Ok(())
}
