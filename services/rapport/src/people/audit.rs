//! `rapport audit`: what happened, over all services, and whether the log still says so.

use rapport_proto::audit::v1::{
    ExportEventsRequest, SearchEventsRequest, VerifyLogRequest, VerifyLogResponse,
};
use serde_json::json;

use super::show::{time, value};
use super::{Audit, Output, customer};
use crate::cli::print;
use crate::remote::{Remote, told};
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
    let request = VerifyLogRequest { parent: remote.parent.clone(), sources };
    let mut answer = told(remote.audit.clone().verify_log(request).await)?;
    let mut found: Vec<VerifyLogResponse> = Vec::new();
    while let Some(source) = told_next(&mut answer).await? {
        found.push(source);
    }
    let sources: Vec<_> = found.into_iter().filter_map(|it| it.source).collect();
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

async fn export(remote: &Remote, sources: Vec<String>, party_id: String) -> anyhow::Result<()> {
    let parent = remote.parent.clone();
    let request = ExportEventsRequest { parent, party_id, sources, ..Default::default() };
    let mut answer = told(remote.audit.clone().export_events(request).await)?;
    while let Some(page) = told_next(&mut answer).await? {
        print(&page.lines);
    }
    Ok(())
}

/// The next message of a stream, or its refusal.
async fn told_next<T>(
    answer: &mut tonic::Streaming<T>,
) -> Result<Option<T>, crate::remote::Refused> {
    answer.message().await.map_err(crate::remote::Refused::from)
}
