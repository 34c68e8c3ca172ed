//! A rejected review goes back to its author and nothing of it leaves; a module whose stored bytes are not the signed
//! ones is not rendered.

use rapport::remote::told;
use rapport_proto::content::v1::{
    GetModuleRequest, ReviewModuleRequest, ReviewRole, SaveModuleRequest, State,
    SubmitModuleRequest, Verdict, save_module_request,
};
use rapport_proto::delivery::v1::GateStep;

use crate::in_both_topologies;
use crate::stage::{LETTER, Stage, assert_proven, assert_stopped, verdict};

in_both_topologies!(a_rejected_review);

async fn a_rejected_review(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    let request = SaveModuleRequest {
        parent: stage.remote.parent.clone(),
        module_id: "draft".into(),
        definition: Some(save_module_request::Definition::Yaml(LETTER.to_owned())),
        ..Default::default()
    };
    told(stage.remote.modules.clone().save_module(request).await).expect("saved");
    let name = stage.remote.name("modules", "draft");
    submit(stage, &name).await;
    review(stage, &name, ReviewRole::Medical, Verdict::Approve, "").await.expect("approved");
    // The author fills no role, and nobody fills two.
    let again = review(stage, &name, ReviewRole::Medical, Verdict::Approve, "").await;
    assert!(again.is_err(), "a role is filled once");
    let silent = review(stage, &name, ReviewRole::Legal, Verdict::Reject, "").await;
    assert!(silent.expect_err("no comment").to_string().contains("comment"));
    let reason = "The claim needs its time frame.";
    review(stage, &name, ReviewRole::Legal, Verdict::Reject, reason).await.expect("rejected");
    assert_eq!(newest(stage, &name).await.0, State::ChangesRequested);

    let blocked = stage.ask_for_touch(&party, "draft").await;
    stage.settle().await;
    assert_stopped(&stage.touch(&blocked).await, GateStep::Content, "content_not_approved");

    // The same bytes again, and this time all approve.
    submit(stage, &name).await;
    for role in [ReviewRole::Medical, ReviewRole::Legal, ReviewRole::Regulatory] {
        review(stage, &name, role, Verdict::Approve, "").await.expect("approved");
    }
    let (state, signed_hash) = newest(stage, &name).await;
    assert_eq!(state, State::Approved);
    let sent = stage.ask_for_touch(&party, "draft").await;
    stage.settle().await;
    let sent = stage.touch(&sent).await;
    assert_proven(&sent);
    assert_eq!(sent.content[0].content_hash, signed_hash, "what was signed is what is sent");
    assert!(verdict(&sent, GateStep::Content).proof_ids.len() >= 3);
}

async fn submit(stage: &Stage, name: &str) {
    let request = SubmitModuleRequest { name: name.into(), ..Default::default() };
    told(stage.remote.modules.clone().submit_module(request).await).expect("submitted");
}

async fn review(
    stage: &Stage,
    name: &str,
    role: ReviewRole,
    verdict: Verdict,
    comment: &str,
) -> Result<(), rapport::remote::Refused> {
    let (_, content_hash) = newest(stage, name).await;
    let (_, printed_name, reviewer) =
        stage.cast.reviewers.iter().find(|it| it.0 == role).expect("a reviewer of each role");
    let request = ReviewModuleRequest {
        name: name.into(),
        version: 1,
        role: role.into(),
        verdict: verdict.into(),
        comment: comment.into(),
        content_hash,
        printed_name: (*printed_name).into(),
        meaning: "My verdict.".into(),
        ..Default::default()
    };
    told(reviewer.modules.clone().review_module(request).await).map(drop)
}

/// State and hash of the newest version.
async fn newest(stage: &Stage, name: &str) -> (State, String) {
    let request = GetModuleRequest { name: name.into(), ..Default::default() };
    let reply = told(stage.remote.modules.clone().get_module(request).await).expect("a module");
    let module = reply.module.expect("a module");
    let version = module.versions.last().expect("a version");
    (version.state(), version.content_hash.clone())
}
