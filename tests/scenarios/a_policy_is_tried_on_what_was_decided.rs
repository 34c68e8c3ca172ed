//! A policy is simulated on the decisions that were really made: the same policy makes them again, a stricter one says
//! how many would differ. The decisions of a party are read page by page.

use rapport::remote::told;
use rapport_proto::decisioning::v1::{
    DecideRequest, DraftPolicyRequest, ListDecisionsRequest, SimulatePolicyRequest,
    SimulationSummary, draft_policy_request,
};

use crate::in_both_topologies;
use crate::stage::{POLICY, Stage};

in_both_topologies!(the_same_policy_and_a_stricter_one);

/// Decisions of the first party; the second has one.
const DECISIONS: u64 = 7;

async fn the_same_policy_and_a_stricter_one(stage: &mut Stage) {
    let [vogel, muster] =
        [stage.physician("vogel", "DE").await, stage.physician("muster", "DE").await];
    let mut made = Vec::new();
    for number in 0..DECISIONS {
        made.push(decide(stage, &vogel, number).await);
    }
    decide(stage, &muster, 0).await;
    stage.settle().await;

    // Other bytes that decide the same.
    let same =
        simulate(stage, &POLICY.replace("Winning customers back", "Winning them back")).await;
    assert_eq!(
        (same.decisions, same.changed, same.now_nothing),
        (DECISIONS + 1, 0, 0),
        "{same:#?}"
    );
    assert_eq!(same.chosen_after, same.chosen_before);
    assert_eq!(same.stopped_after, same.stopped_before);
    let strict =
        simulate(stage, &POLICY.replace("party.kind == 'HCP'", "party.kind == 'HCO'")).await;
    assert_eq!((strict.decisions, strict.changed), (DECISIONS + 1, DECISIONS + 1), "{strict:#?}");
    assert_eq!(strict.chosen_after, [("DO_NOTHING".to_owned(), DECISIONS + 1)].into());
    assert_eq!(strict.stopped_after["eligibility"], DECISIONS + 1, "{strict:#?}");
    assert_eq!(strict.chosen_before, same.chosen_before);

    // Newest first; the pages are the whole.
    made.reverse();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    for expected in [3, 3, 1] {
        let request = ListDecisionsRequest {
            parent: stage.remote.name("parties", &vogel),
            page_size: 3,
            page_token,
            ..Default::default()
        };
        let page =
            told(stage.remote.decisions.clone().list_decisions(request).await).expect("a page");
        assert_eq!(page.decisions.len(), expected);
        listed.extend(page.decisions.into_iter().map(|it| it.decision_id));
        page_token = page.next_page_token;
    }
    assert_eq!((listed, page_token.as_str()), (made, ""));
}

async fn decide(stage: &Stage, party_id: &str, number: u64) -> String {
    let request = DecideRequest {
        parent: stage.remote.name("parties", party_id),
        sender_id: "northwind".into(),
        groups: vec!["win-back".into()],
        request_id: format!("decide-{party_id}-{number}"),
        ..Default::default()
    };
    let reply = told(stage.remote.decisions.clone().decide(request).await).expect("decided");
    reply.decision.and_then(|it| it.record).expect("a record").decision_id
}

async fn simulate(stage: &Stage, yaml: &str) -> SimulationSummary {
    let request = DraftPolicyRequest {
        parent: stage.remote.parent.clone(),
        definition: Some(draft_policy_request::Definition::Yaml(yaml.to_owned())),
        ..Default::default()
    };
    let drafted = told(stage.remote.policies.clone().draft_policy(request).await).expect("saved");
    let request = SimulatePolicyRequest {
        name: stage.remote.name("policies", "default"),
        version: drafted.version.expect("a version").version,
        ..Default::default()
    };
    let reply = told(stage.remote.policies.clone().simulate_policy(request).await);
    reply.expect("simulated").summary.expect("a summary")
}
