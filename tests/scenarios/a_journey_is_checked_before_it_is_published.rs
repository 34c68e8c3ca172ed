//! A journey names content that may not be used there, content that a country forbids, and names that nobody defined:
//! the check says so with the node, and nothing of it goes live.

use rapport::remote::told;
use rapport_proto::journeys::v1::{
    CheckJourneyRequest, DraftJourneyRequest, PublishJourneyRequest, draft_journey_request,
};
use rapport_proto::types::VersionState;

use crate::in_both_topologies;
use crate::stage::Stage;

in_both_topologies!(an_author_is_told_what_cannot_be_said);

const JOURNEY: &str = r#"
journey: hasty
sender: northwind
markets: [DE]
audiences: [PATIENT]
entry: {api: {}}
reentry: unlimited
start: orders
nodes:
  orders: {branch: {cases: [{when: "traits.orders_nobody_counts >= 1.0", next: forbidden}], else: members}}
  members: {branch: {cases: [{when: "'nowhere' in segments", next: unusable}], else: unheard}}
  forbidden: {touch: {module: letter, channel: EMAIL, sent: done, skipped: done, failed: done}}
  unusable: {touch: {module: letter, channel: SMS, sent: done, skipped: done, failed: done}}
  unheard: {touch: {module: brochure, channel: EMAIL, sent: done, skipped: done, failed: done}}
  done: {exit: {outcome: done}}
"#;

/// Place and code of what a check finds.
async fn findings(stage: &Stage, yaml: &str) -> Vec<(String, String)> {
    let request = DraftJourneyRequest {
        parent: stage.remote.parent.clone(),
        definition: Some(draft_journey_request::Definition::Yaml(yaml.to_owned())),
        ..Default::default()
    };
    let drafted = told(stage.remote.journeys.clone().draft_journey(request).await).expect("saved");
    assert_eq!(drafted.findings, []);
    let version = drafted.version.expect("a version").version;
    let name = stage.remote.name("journeys", "hasty");
    let request = CheckJourneyRequest { name: name.clone(), version, ..Default::default() };
    let checked =
        told(stage.remote.journeys.clone().check_journey(request).await).expect("an answer");
    let state = checked.version.expect("a version").state();
    let sound = checked.findings.is_empty();
    assert_eq!(state == VersionState::Checked, sound, "{state:?} with {:?}", checked.findings);
    if !sound {
        let request = PublishJourneyRequest { name, version, ..Default::default() };
        let refused = told(stage.remote.journeys.clone().publish_journey(request).await);
        assert_eq!(refused.expect_err("not approved").reason.as_deref(), Some("NOT_APPROVED"));
    }
    let mut found: Vec<_> = checked.findings.into_iter().map(|it| (it.place, it.code)).collect();
    found.sort();
    found
}

fn found(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(place, code)| ((*place).to_owned(), (*code).to_owned())).collect()
}

async fn an_author_is_told_what_cannot_be_said(stage: &mut Stage) {
    let all = findings(stage, JOURNEY).await;
    let expected = found(&[
        ("nodes.forbidden.touch.module", "country_rule"),
        ("nodes.members", "unknown_segment"),
        ("nodes.orders", "unknown_trait"),
        ("nodes.unheard.touch.module", "content_not_usable"),
        ("nodes.unusable.touch.module", "content_not_usable"),
    ]);
    assert_eq!(all, expected);

    // The same for physicians, with what was missing: only the channel is wrong, then nothing is.
    stage
        .cast
        .save_trait("trait: orders\nkind: COUNT\nevent: Order Completed\n")
        .await
        .expect("saved");
    stage
        .cast
        .save_segment("segment: regulars\nrule: traits.orders >= 3.0\n")
        .await
        .expect("saved");
    stage.settle().await;
    let better = JOURNEY
        .replace("[PATIENT]", "[HCP]")
        .replace("orders_nobody_counts", "orders")
        .replace("nowhere", "regulars")
        .replace("brochure", "letter");
    let rest = findings(stage, &better).await;
    assert_eq!(rest, found(&[("nodes.unusable.touch.module", "content_not_usable")]));
    assert_eq!(findings(stage, &better.replace("SMS", "EMAIL")).await, []);
}
