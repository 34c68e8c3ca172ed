use eventstore::testing::given;

use super::*;

const UNTIL: Timestamp = Timestamp(1_000_000_000);

fn requested() -> proto::InvitationRequested {
    proto::InvitationRequested {
        invitation_id: "inv_1".into(),
        survey: "order-nps".into(),
        party_id: "pty_1".into(),
        instance_id: "ins_1".into(),
        ..Default::default()
    }
}

fn issued() -> Event {
    Event::Issued(proto::InvitationIssued {
        invitation_id: "inv_1".into(),
        touch_id: "tch_1".into(),
        answer_until: Some(UNTIL.to_proto()),
        ..Default::default()
    })
}

fn open() -> Vec<Event> {
    vec![Event::Requested(requested()), issued()]
}

fn answer() -> Command {
    Command::Answer { response_id: "rsp_1".into() }
}

fn answered() -> Event {
    Event::Answered(proto::InvitationAnswered {
        invitation_id: "inv_1".into(),
        response_id: "rsp_1".into(),
        instance_id: "ins_1".into(),
    })
}

fn sent() -> Event {
    Event::Sent(proto::InvitationSent {
        invitation_id: "inv_1".into(),
        touch_id: "tch_1".into(),
        instance_id: "ins_1".into(),
    })
}

fn expired() -> Event {
    Event::Expired(proto::InvitationExpired {
        invitation_id: "inv_1".into(),
        instance_id: "ins_1".into(),
    })
}

#[test]
fn an_invitation_has_one_answer() {
    given::<Invitation>(open()).when(answer()).then([answered()]);
    given::<Invitation>([open(), vec![sent()]].concat()).when(answer()).then([answered()]);
    given::<Invitation>([open(), vec![answered()]].concat())
        .when(answer())
        .refused(|it| *it == Refusal::Used);
}

#[test]
fn the_last_instant_counts_and_no_later_one() {
    given::<Invitation>(open()).at(UNTIL).when(answer()).then([answered()]);
    given::<Invitation>(open())
        .at(Timestamp(UNTIL.0 + 1))
        .when(answer())
        .refused(|it| *it == Refusal::Expired);
    given::<Invitation>(open()).at(Timestamp(UNTIL.0 - 1)).when(Command::Expire).then([]);
    given::<Invitation>(open()).at(UNTIL).when(Command::Expire).then([expired()]);
    given::<Invitation>([open(), vec![expired()]].concat())
        .when(answer())
        .refused(|it| *it == Refusal::Expired);
}

#[test]
fn what_was_never_issued_cannot_be_answered() {
    given::<Invitation>([]).when(answer()).refused(|it| *it == Refusal::NotIssued);
    given::<Invitation>([Event::Requested(requested())])
        .when(answer())
        .refused(|it| *it == Refusal::NotIssued);
}

#[test]
fn a_touch_that_was_not_sent_declines_it() {
    let settle = |sent| Command::Settle { sent, detail: "consent".into() };
    let declined = Event::Declined(proto::InvitationDeclined {
        invitation_id: "inv_1".into(),
        reason: NOT_SENT.into(),
        detail: "consent".into(),
        next_allowed_at: None,
        instance_id: "ins_1".into(),
    });
    given::<Invitation>(open()).when(settle(false)).then([declined.clone()]);
    given::<Invitation>(open()).when(settle(true)).then([sent()]);
    given::<Invitation>([open(), vec![declined]].concat())
        .when(answer())
        .refused(|it| *it == Refusal::NotIssued);
}

#[test]
fn news_of_the_touch_after_the_end_is_noted_and_moves_nothing() {
    let news = |sent| Command::Settle { sent, detail: String::new() };
    for end in [answered(), expired()] {
        let late = [open(), vec![end.clone()]].concat();
        given::<Invitation>(late.clone()).when(news(true)).then([sent()]);
        given::<Invitation>(late.clone()).when(news(false)).then([]);
        given::<Invitation>(late.clone()).at(UNTIL).when(Command::Expire).then([]);
        let told = [late.clone(), vec![sent()]].concat();
        given::<Invitation>(told.clone()).when(news(true)).then([]);
        let status =
            |events: &[Event]| events.iter().fold(State::default(), Invitation::evolve).status;
        assert_eq!(status(&told), status(&late));
        // What was told in time is not told again.
        let in_time = [open(), vec![sent(), end]].concat();
        given::<Invitation>(in_time).when(news(true)).then([]);
    }
}

#[test]
fn it_is_decided_once() {
    let decline = Command::Decline { reason: QUOTA, next_allowed_at: None };
    given::<Invitation>(open()).when(decline).then([]);
    let again = Command::Request(Box::new(requested()));
    given::<Invitation>(open()).when(again).then([]);
    let other = proto::InvitationRequested { survey: "other".into(), ..requested() };
    given::<Invitation>(open())
        .when(Command::Request(Box::new(other)))
        .refused(|it| *it == Refusal::Exists);
}
