//! `rapport decision`: why this, and why not the others.

use rapport_proto::decisioning::v1::{ExplainDecisionRequest, GetDecisionRequest};

use super::Output;
use super::show::{json, short, time};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, fields, wrap};

/// The explanation in sentences, then every candidate.
pub(super) async fn explain(remote: &Remote, id: &str, output: Output) -> anyhow::Result<()> {
    let name = remote.name("decisions", id);
    let request = ExplainDecisionRequest { name: name.clone() };
    let told_why = told(remote.decisions.clone().explain_decision(request).await)?;
    if output == Output::Json {
        return json(&told_why);
    }
    let request = GetDecisionRequest { name, ..GetDecisionRequest::default() };
    let decision = told(remote.decisions.clone().get_decision(request).await)?.decision;
    let record = decision.and_then(|it| it.record).unwrap_or_default();
    let mut header = vec![
        ("decision", record.decision_id.clone()),
        ("party", record.party_id.clone()),
        ("at", time(record.decided_at.as_ref())),
        ("policy", format!("version {}", record.policy_version)),
    ];
    if !record.holdout_id.is_empty() {
        let arm = short(record.arm().as_str_name(), "ARM_");
        header.push(("holdout", format!("{} ({arm})", record.holdout_id)));
    }
    print(&fields(&header));
    print("\n");
    for sentence in &told_why.sentences {
        print(&wrap(sentence, ""));
    }
    let mut table =
        Table::new(&["ACTION", "TREATMENT", "WHY", "PROBABILITY", "CLAUSE", "VALUE", "NEEDED"]);
    for it in &told_why.candidates {
        table.row([
            it.action.clone(),
            it.treatment.clone(),
            it.code.clone(),
            format!("{:.4}", it.pi),
            it.clause.clone(),
            it.value.clone(),
            it.required.clone(),
        ]);
    }
    print(&format!("\n{}", table.print("no candidate")));
    if !told_why.shares.is_empty() {
        let shares: Vec<_> = told_why
            .shares
            .iter()
            .map(|it| format!("{} {:.0} %", it.factor, it.share * 100.0))
            .collect();
        print("\n");
        print(&wrap(&format!("against {}: {}", told_why.runner_up, shares.join(", ")), ""));
    }
    Ok(())
}
