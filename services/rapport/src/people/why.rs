//! `rapport why`: why a customer got, or did not get, something of a journey.

use rapport_proto::delivery::v1::GetTouchRequest;
use rapport_proto::journeys::v1::{
    Instance, ListEntryRefusalsRequest, ListInstanceStepsRequest, ListInstancesRequest,
};
use serde_json::json;

use super::show::{short, time, value};
use super::{Output, customer, touch};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, wrap};

/// Pages are this large.
const PAGE: i32 = 500;

/// The newest instance with its steps and its touches, and every entry that was refused.
pub(super) async fn show(
    remote: &Remote,
    who: &str,
    journey: &str,
    output: Output,
) -> anyhow::Result<()> {
    let party = customer::find(remote, who).await?;
    let request = ListInstancesRequest {
        parent: remote.parent.clone(),
        page_size: PAGE,
        journey_id: journey.into(),
        party_id: party.party_id.clone(),
        ..Default::default()
    };
    let instances = told(remote.journeys.clone().list_instances(request).await)?;
    let request = ListEntryRefusalsRequest {
        parent: remote.parent.clone(),
        page_size: PAGE,
        journey_id: journey.into(),
        party_id: party.party_id.clone(),
        ..Default::default()
    };
    let refusals = told(remote.journeys.clone().list_entry_refusals(request).await)?;
    if output == Output::Table {
        print(&format!("{} in {journey}\n", party.party_id));
        if instances.instances.is_empty() {
            print("\nIt never entered.\n");
        }
    }
    let mut all = Vec::new();
    for instance in &instances.instances {
        all.push(one(remote, instance, output).await?);
    }
    if output == Output::Json {
        let all = json!({"instances": all, "refusals": value(&refusals)?});
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        return Ok(());
    }
    let mut table = Table::new(&["REFUSED", "RULE", "KEY", "CAUSE"]);
    for it in &refusals.refusals {
        let refusal = it.refusal.clone().unwrap_or_default();
        let cause = refusal.cause.unwrap_or_default();
        table.row([
            time(it.record_time.as_ref()),
            refusal.rule,
            refusal.entry_key,
            format!("{} at {}", cause.r#type, cause.position),
        ]);
    }
    print(&format!("\nENTRIES REFUSED\n{}", table.print("none")));
    Ok(())
}

/// One instance: its steps, and the gate's verdicts on each touch.
async fn one(
    remote: &Remote,
    instance: &Instance,
    output: Output,
) -> anyhow::Result<serde_json::Value> {
    let request = ListInstanceStepsRequest {
        parent: instance.name.clone(),
        page_size: PAGE,
        ..Default::default()
    };
    let steps = told(remote.journeys.clone().list_instance_steps(request).await)?;
    let mut touches = Vec::new();
    for step in &steps.steps {
        let asked = step.r#type.ends_with(".InstanceTouchRequested");
        if asked && step.about.starts_with("tch_") {
            let name = remote.name("touches", &step.about);
            let request = GetTouchRequest { name, ..Default::default() };
            // Delivery may not have heard of it yet.
            if let Ok(it) = told(remote.delivery.clone().get_touch(request).await) {
                touches.extend(it.touch);
            }
        }
    }
    if output == Output::Json {
        let touches: anyhow::Result<Vec<_>> = touches.iter().map(value).collect();
        return Ok(json!({
            "instance": value(instance)?, "steps": value(&steps)?, "touches": touches?,
        }));
    }
    let state = short(instance.state().as_str_name(), "STATE_");
    let stands = format!(
        "{} version {}: {state} at {} {}",
        instance.instance_id, instance.version, instance.node, instance.outcome
    );
    print(&format!("\n{}\n", wrap(&stands, "")));
    for it in &steps.steps {
        let reason = if it.reason.is_empty() { "" } else { "because of " };
        let at = format!("{} {} {}", time(it.record_time.as_ref()), it.node, it.about);
        print(&wrap(&at, ""));
        print(&wrap(&format!("{} {reason}{}", it.text, it.reason), "  "));
    }
    for it in &touches {
        print(&format!("\n{}", touch::text(it)));
    }
    Ok(serde_json::Value::Null)
}
