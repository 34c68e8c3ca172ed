//! `rapport customer`: one place to know a customer.

use rapport_proto::decisioning::v1::ListDecisionsRequest;
use rapport_proto::delivery::v1::ListTouchesRequest;
use rapport_proto::journeys::v1::ListInstancesRequest;
use rapport_proto::profiles::v1::{
    GetFactsRequest, GetPartyRequest, ListConsentsRequest, LookupPartyRequest, Party,
};
use serde_json::json;

use super::Output;
use super::show::{list, pairs, short, time, value};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, fields};

/// Rows of each list that are shown.
const SHOWN: i32 = 20;

/// The party that an id, or `system:value`, names.
pub(super) async fn find(remote: &Remote, id: &str) -> anyhow::Result<Party> {
    let party = match id.split_once(':') {
        Some((system, value)) => {
            let request = LookupPartyRequest {
                parent: remote.parent.clone(),
                system: system.into(),
                value: value.into(),
                ..LookupPartyRequest::default()
            };
            told(remote.parties.clone().lookup_party(request).await)?.party
        }
        None => {
            let name = remote.name("parties", id);
            let request = GetPartyRequest { name, ..GetPartyRequest::default() };
            told(remote.parties.clone().get_party(request).await)?.party
        }
    };
    party.ok_or_else(|| anyhow::anyhow!("the answer holds no party"))
}

/// Who the customer is, what was allowed, decided and sent.
pub(super) async fn show(remote: &Remote, id: &str, output: Output) -> anyhow::Result<()> {
    let party = find(remote, id).await?;
    let parent = party.name.clone();
    let consents =
        ListConsentsRequest { parent: parent.clone(), page_size: SHOWN, ..Default::default() };
    let consents = told(remote.consents.clone().list_consents(consents).await)?;
    let facts = GetFactsRequest { name: parent.clone(), ..Default::default() };
    let facts = told(remote.facts.clone().get_facts(facts).await)?;
    let instances = ListInstancesRequest {
        parent: remote.parent.clone(),
        page_size: SHOWN,
        party_id: party.party_id.clone(),
        ..Default::default()
    };
    let instances = told(remote.journeys.clone().list_instances(instances).await)?;
    let decisions = ListDecisionsRequest { parent, page_size: SHOWN, ..Default::default() };
    let decisions = told(remote.decisions.clone().list_decisions(decisions).await)?;
    let touches = ListTouchesRequest {
        parent: remote.parent.clone(),
        page_size: SHOWN,
        party_id: party.party_id.clone(),
        ..Default::default()
    };
    let touches = told(remote.delivery.clone().list_touches(touches).await)?;
    if output == Output::Json {
        let all = json!({
            "party": value(&party)?,
            "consents": value(&consents)?,
            "facts": value(&facts)?,
            "instances": value(&instances)?,
            "decisions": value(&decisions)?,
            "touches": value(&touches)?,
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        return Ok(());
    }
    let mut header = header(&party);
    header.extend([("traits", pairs(&facts.traits)), ("segments", list(&facts.segments))]);
    print(&fields(&header));

    let mut table =
        Table::new(&["PURPOSE", "CHANNEL", "SENDER", "MARKET", "STATE", "SINCE", "CONSENT!"]);
    for it in &consents.consents {
        let key = it.key.clone().unwrap_or_default();
        table.row([
            short(key.purpose().as_str_name(), "PURPOSE_"),
            short(key.channel().as_str_name(), "CHANNEL_"),
            key.sender_id.clone(),
            key.market.clone(),
            short(it.state().as_str_name(), "STATE_"),
            time(it.effective_time.as_ref()),
            it.consent_id.clone(),
        ]);
    }
    print(&format!("\nCONSENT\n{}", table.print("no statement about consent")));

    let mut table = Table::new(&["JOURNEY", "V", "STATE", "NODE", "OUTCOME", "SINCE", "INSTANCE!"]);
    for it in &instances.instances {
        table.row([
            it.journey_id.clone(),
            it.version.to_string(),
            short(it.state().as_str_name(), "STATE_"),
            it.node.clone(),
            it.outcome.clone(),
            time(it.start_time.as_ref()),
            it.instance_id.clone(),
        ]);
    }
    print(&format!("\nJOURNEYS\n{}", table.print("in no journey")));

    let mut table =
        Table::new(&["DECIDED", "ACTION", "TREATMENT", "PROBABILITY", "ARM", "DECISION!"]);
    for it in &decisions.decisions {
        table.row([
            time(it.decide_time.as_ref()),
            it.action.clone(),
            it.treatment.clone(),
            format!("{:.4}", it.pi),
            short(it.arm().as_str_name(), "ARM_"),
            it.decision_id.clone(),
        ]);
    }
    print(&format!("\nDECISIONS\n{}", table.print("no decision")));

    let mut table = Table::new(&["ASKED FOR", "CHANNEL", "MODULE", "STATE", "REASON", "TOUCH!"]);
    for it in &touches.touches {
        let request = it.request.clone().unwrap_or_default();
        table.row([
            time(it.create_time.as_ref()),
            short(request.channel().as_str_name(), "CHANNEL_"),
            request.module.clone(),
            short(it.state().as_str_name(), "STATE_"),
            it.reason.clone(),
            request.touch_id.clone(),
        ]);
    }
    print(&format!("\nTOUCHES\n{}", table.print("no touch")));
    Ok(())
}

fn header(party: &Party) -> Vec<(&'static str, String)> {
    let identifiers: Vec<_> =
        party.identifiers.iter().map(|it| format!("{}:{}", it.system, it.value)).collect();
    let contacts: Vec<_> = party
        .contact_points
        .iter()
        .map(|it| {
            let channel = short(it.channel().as_str_name(), "CHANNEL_");
            let state = short(it.verification().as_str_name(), "VERIFICATION_");
            format!("{channel} {} ({state}, {})", it.value, it.contact_point_id)
        })
        .collect();
    let personal: Vec<_> =
        party.personal_attributes.iter().map(|(name, it)| format!("{name} = {it}")).collect();
    vec![
        ("party", party.party_id.clone()),
        ("kind", short(party.kind().as_str_name(), "PARTY_KIND_")),
        ("state", short(party.state().as_str_name(), "STATE_")),
        ("market", party.market.clone()),
        ("language", party.language.clone()),
        ("time zone", party.time_zone.clone()),
        ("identifiers", list(&identifiers)),
        ("contact", list(&contacts)),
        ("attributes", pairs(&party.attributes)),
        ("personal", list(&personal)),
    ]
}
