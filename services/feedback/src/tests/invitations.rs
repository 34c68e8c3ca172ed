//! Whether a question is asked, and what becomes of the touch that carries it.

use futures::future::join_all;
use rapport_proto::types::ContentClass;

use super::neighbours::{failed, sent, skipped};
use super::*;

#[tokio::test]
async fn what_a_journey_asks_is_issued_and_sent() {
    let world = World::asking().await;
    let name = world.journey_asks(PARTY).await;
    let issued = world.reaches(&name, Invited::Issued).await;
    assert!(issued.touch_id.starts_with("tch_"));
    assert_eq!((issued.about_touch_id.as_str(), issued.version), ("tch_about", 1));
    assert_eq!(issued.answer_until, Some(world.now().plus(DAY * 14).to_proto()));
    world.touch_ends(&issued.touch_id, sent()).await;
    assert_eq!(world.reaches(&name, Invited::Sent).await.touch_id, issued.touch_id);
}

#[tokio::test]
async fn a_touch_that_was_not_sent_declines_it_and_no_longer_counts() {
    let world = World::asking().await;
    for (party_id, how, detail) in
        [("pty_a", skipped("consent"), "consent"), ("pty_b", failed("bounced"), "bounced")]
    {
        let name = world.journey_asks(party_id).await;
        let touch_id = world.reaches(&name, Invited::Issued).await.touch_id;
        world.touch_ends(&touch_id, how).await;
        let declined = world.reaches(&name, Invited::Declined).await;
        assert_eq!((declined.reason.as_str(), declined.detail.as_str()), ("not_sent", detail));
        // So the party may be asked again at once.
        world.invited(party_id).await;
    }
}

#[tokio::test]
async fn a_survey_that_is_not_live_asks_nobody() {
    let world = World::start().await;
    let name = world.journey_asks(PARTY).await;
    assert_eq!(world.reaches(&name, Invited::Declined).await.reason, "not_live");
    world.surveys().draft_survey(draft(NPS)).await.expect("saved");
    let name = world.ask(request(PARTY)).await;
    assert_eq!(world.reaches(&name, Invited::Declined).await.reason, "not_live");
}

#[tokio::test]
async fn only_a_module_of_a_survey_carries_a_question() {
    let world = World::asking().await;
    world.approved("ask-nps", ContentClass::RxPromotional).await;
    let status = world.feedback().request_invitation(request(PARTY)).await.expect_err("refused");
    assert_eq!(told(&status), (Code::FailedPrecondition, "MODULE_NOT_SURVEY".into()));
    assert_eq!(fields(&status), ["survey"]);
    // A journey has nobody to be told; its question is declined.
    let name = world.journey_asks(PARTY).await;
    assert_eq!(world.reaches(&name, Invited::Declined).await.reason, "not_survey");
    world.approved("ask-nps", ContentClass::Survey).await;
    world.invited(PARTY).await;
}

#[tokio::test]
async fn cooldowns_hold_until_their_last_instant() {
    let world = World::asking().await;
    world.live(&NPS.replace("order-nps", "effort").replace("family: nps", "family: ces")).await;
    world.invited(PARTY).await;
    let effort = || proto::RequestInvitationRequest { survey: "effort".into(), ..request(PARTY) };
    world.advance(DAY * 14 - Duration::from_micros(1));
    let name = world.ask(effort()).await;
    assert_eq!(world.reaches(&name, Invited::Declined).await.reason, "cooldown_global");
    world.advance(Duration::from_micros(1));
    let name = world.ask(effort()).await;
    world.reaches(&name, Invited::Issued).await;
    world.advance(DAY * 30);
    let name = world.ask(request(PARTY)).await;
    assert_eq!(world.reaches(&name, Invited::Declined).await.reason, "cooldown_family");
    world.advance(DAY * 46);
    let name = world.ask(request(PARTY)).await;
    world.reaches(&name, Invited::Issued).await;
}

#[tokio::test]
async fn of_many_at_once_one_is_issued() {
    let world = World::asking().await;
    let asked = join_all((0..24).map(|_| world.ask(request(PARTY)))).await;
    let mut issued = 0;
    for name in &asked {
        let state = until(async || {
            let state = world.invitation(name).await.invitation.expect("it").state();
            (state != Invited::Requested).then_some(state)
        });
        match state.await.expect("decided") {
            Invited::Issued => issued += 1,
            state => assert_eq!(state, Invited::Declined),
        }
    }
    assert_eq!(issued, 1);
}

#[tokio::test]
async fn a_quota_is_exact_under_concurrency_and_a_place_is_given_back() {
    let world = World::start().await;
    world.live(&format!("{NPS}quota: 5\n")).await;
    let parties: Vec<_> = (0..20).map(|it| format!("pty_{it}")).collect();
    let asked = join_all(parties.iter().map(|it| world.ask(request(it)))).await;
    let (mut issued, mut declined) = (Vec::new(), 0);
    for name in &asked {
        let found = until(async || {
            let it = world.invitation(name).await.invitation.expect("it");
            (it.state() != Invited::Requested).then_some(it)
        });
        let it = found.await.expect("decided");
        match it.state() {
            Invited::Issued => issued.push(it),
            _ => {
                assert_eq!(it.reason, "quota");
                declined += 1;
            }
        }
    }
    assert_eq!((issued.len(), declined), (5, 15));
    world.touch_ends(&issued[0].touch_id, skipped("cap")).await;
    world.reaches(&issued[0].name, Invited::Declined).await;
    world.invited("pty_late").await;
    let name = world.ask(request("pty_later")).await;
    assert_eq!(world.reaches(&name, Invited::Declined).await.reason, "quota");
}

#[tokio::test]
async fn nobody_answers_for_ever() {
    let world = World::asking().await;
    let (name, token) = world.invited(PARTY).await;
    world.advance(DAY * 14);
    world.reaches(&name, Invited::Expired).await;
    let status = world.feedback().submit_response(submit(&token, 9, "")).await;
    let status = status.expect_err("too late");
    assert_eq!(told(&status), (Code::FailedPrecondition, "LINK_EXPIRED".into()));
}

#[tokio::test]
async fn asking_twice_with_one_request_id_asks_once() {
    let world = World::asking().await;
    let once =
        || proto::RequestInvitationRequest { request_id: "request-1".into(), ..request(PARTY) };
    let first = world.ask(once()).await;
    world.reaches(&first, Invited::Issued).await;
    assert_eq!(world.ask(once()).await, first);
    let other = proto::RequestInvitationRequest { party_id: "pty_2".into(), ..once() };
    let status = world.feedback().request_invitation(other).await.expect_err("another body");
    assert_eq!(told(&status), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
}

#[tokio::test]
async fn invitations_are_listed_newest_first() {
    let world = World::asking().await;
    for party_id in ["pty_a", "pty_b", "pty_c"] {
        world.invited(party_id).await;
    }
    let list = |party_id: &str, page_token| proto::ListInvitationsRequest {
        parent: parent(),
        page_size: 2,
        page_token,
        survey: "order-nps".into(),
        party_id: party_id.into(),
        ..Default::default()
    };
    let page = async |request| {
        world.feedback().list_invitations(request).await.expect("listed").into_inner()
    };
    let first = page(list("", String::new())).await;
    let second = page(list("", first.next_page_token)).await;
    let all = first.invitations.iter().chain(&second.invitations);
    assert_eq!(all.map(|it| it.party_id.as_str()).collect::<Vec<_>>(), ["pty_c", "pty_b", "pty_a"]);
    assert_eq!(page(list("pty_b", String::new())).await.invitations.len(), 1);
}
