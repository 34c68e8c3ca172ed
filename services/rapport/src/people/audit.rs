//! `rapport audit`: what happened, over all services, and whether the log still says so.

use std::collections::BTreeSet;

use anyhow::Context as _;
use audit::SOURCES;
use rapport_proto::audit::v1::{
    ExportEventsRequest, SearchEventsRequest, VerifiedSource, VerifyLogRequest,
};
use serde_json::{Value, json};

use super::show::{time, value};
use super::{Audit, Output, customer};
use crate::cli::print;
use crate::remote::{Refused, Remote, told};
use crate::table::Table;

/// Pages are this large.
const PAGE: i32 = 500;

/// Answers; `false` when the log is not in order.
pub(super) async fn run(remote: &Remote, ask: Audit, output: Output) -> anyhow::Result<bool> {
    match ask {
        Audit::Verify { sources } => verify(remote, sources, output).await,
        Audit::Timeline { customer } => timeline(remote, &customer, output).await.map(|()| true),
        Audit::Export { sources, party } => export(remote, sources, party).await.map(|()| true),
    }
}

async fn verify(remote: &Remote, sources: Vec<String>, output: Output) -> anyhow::Result<bool> {
    let sources = verified(remote, &mut all_or(sources)).await?;
    let intact = sources.iter().all(|it| it.fault.is_empty());
    if output == Output::Json {
        let all: Vec<_> = sources.iter().map(value).collect::<Result<_, _>>()?;
        let all = json!({"intact": intact, "sources": all});
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        return Ok(intact);
    }
    let mut table = Table::new(&["SOURCE", "EVENTS", "ROWS", "GAPS", "CHAIN", "INDEX", "FAULT"]);
    let word = |fine: bool, yes: &str, no: &str| if fine { yes.to_owned() } else { no.to_owned() };
    for it in &sources {
        table.row([
            it.source.clone(),
            it.events.to_string(),
            it.rows.to_string(),
            word(it.gap_free, "none", "YES"),
            word(it.chain_intact, "intact", "BROKEN"),
            word(it.index_complete, "complete", "DIFFERS"),
            it.fault.clone(),
        ]);
    }
    print(&table.print("there are no sources"));
    Ok(intact)
}

/// What was found in sources. A connection has its time: those that were not answered by then are asked for again.
async fn verified(
    remote: &Remote,
    left: &mut BTreeSet<String>,
) -> Result<Vec<VerifiedSource>, Refused> {
    let mut found = Vec::new();
    while !left.is_empty() {
        let before = left.len();
        let sources = left.iter().cloned().collect();
        let request = VerifyLogRequest { parent: remote.parent.clone(), sources };
        let mut answer = told(remote.audit.clone().verify_log(request).await)?;
        let ended = loop {
            match answer.message().await {
                Ok(Some(next)) => {
                    let source = next.source.unwrap_or_default();
                    left.remove(&source.source);
                    found.push(source);
                }
                Ok(None) => return Ok(found),
                Err(status) => break Refused::from(status),
            }
        };
        if !ended.may_pass() || left.len() == before {
            return Err(ended);
        }
    }
    Ok(found)
}

/// The sources that were named, by name; all when none is.
fn all_or(named: Vec<String>) -> BTreeSet<String> {
    match named.is_empty() {
        true => SOURCES.iter().map(|it| (*it).to_owned()).collect(),
        false => named.into_iter().collect(),
    }
}

async fn timeline(remote: &Remote, who: &str, output: Output) -> anyhow::Result<()> {
    let party = customer::find(remote, who).await?;
    let mut table = Table::new(&["RECORDED", "EVENT", "BY", "STREAM", "SOURCE", "POSITION"]);
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = SearchEventsRequest {
            parent: remote.parent.clone(),
            page_size: PAGE,
            page_token,
            party_id: party.party_id.clone(),
            ..Default::default()
        };
        let page = told(remote.audit.clone().search_events(request).await)?;
        for it in &page.events {
            all.push(value(it)?);
            let actor = it.actor.clone().unwrap_or_default();
            table.row([
                time(it.record_time.as_ref()),
                it.r#type.rsplit('.').next().unwrap_or_default().to_owned(),
                actor.subject,
                it.stream.clone(),
                it.source.clone(),
                it.position.to_string(),
            ]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    print(&match output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&json!({"events": all}))?),
        Output::Table => format!("{}\n\n{}", party.party_id, table.print("nothing is known")),
    });
    Ok(())
}

/// Prints lines. A connection has its time: where it was cut, another one goes on behind the last line.
async fn export(remote: &Remote, sources: Vec<String>, party_id: String) -> anyhow::Result<()> {
    let mut left = all_or(sources);
    let mut last: Option<(String, u64)> = None;
    loop {
        let (parent, before) = (remote.parent.clone(), last.clone());
        let request = ExportEventsRequest {
            parent,
            party_id: party_id.clone(),
            sources: left.iter().cloned().collect(),
            after: last.clone().into_iter().collect(),
            ..Default::default()
        };
        let mut answer = told(remote.audit.clone().export_events(request).await)?;
        let ended = loop {
            match answer.message().await {
                Ok(Some(page)) => {
                    print(&page.lines);
                    last = Some(place(&page.lines)?);
                }
                Ok(None) => return Ok(()),
                Err(status) => break Refused::from(status),
            }
        };
        if !ended.may_pass() || last == before {
            return Err(ended.into());
        }
        // They come by name.
        left.retain(|it| last.as_ref().is_none_or(|(source, _)| it >= source));
    }
}

/// Source and position of the last of some lines.
fn place(lines: &str) -> anyhow::Result<(String, u64)> {
    let line: Value = serde_json::from_str(lines.lines().last().unwrap_or_default())?;
    let place = line["source"].as_str().zip(line["position"].as_u64());
    let (source, position) = place.context("a line names neither source nor position")?;
    Ok((source.to_owned(), position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_goes_on_behind_its_last_line() {
        let lines =
            "{\"source\":\"content\",\"position\":7}\n{\"source\":\"kpis\",\"position\":2}\n";
        assert_eq!(place(lines).expect("a place"), ("kpis".to_owned(), 2));
        assert!(place("").is_err());
        assert_eq!(all_or(Vec::new()).len(), SOURCES.len());
        assert_eq!(all_or(vec!["kpis".into()]), ["kpis".to_owned()].into());
    }
}
