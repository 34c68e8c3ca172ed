//! A mail server says "later": the message waits, and the gate starts again before it is handed over a second time.

use std::time::Duration;

use eventstore::Timestamp;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::delivery::v1::{GateStep, Touch};
use rapport_proto::types::PartyKind;
use support::{Receiver, Topology};

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven, assert_stopped, verdict};

in_both_topologies!(through over_smtp: one_stays_willing_and_one_withdraws);

async fn over_smtp(topology: Topology, story: impl AsyncFnOnce(&mut Stage, &Receiver)) {
    let receiver = Receiver::smtp();
    let mut stage = Stage::open_with(topology, |it| receiver.takes_mail_of(it), None).await;
    story(&mut stage, &receiver).await;
    stage.finish().await;
}

async fn one_stays_willing_and_one_withdraws(stage: &mut Stage, receiver: &Receiver) {
    let willing = stage.physician("once", "DE").await;
    let unwilling = stage.party("defer", PartyKind::Hcp, "DE", "").await;
    stage.grant(&unwilling, "DE").await;
    stage.settle().await;
    let mut ids = Vec::new();
    for party in [&willing, &unwilling] {
        ids.push(stage.ask_for_touch(party, "letter").await);
    }
    stage.settle().await;
    for id in &ids {
        let touch = stage.touch(id).await;
        assert_eq!((touch.state(), touch.attempts), (State::Requested, 1), "{touch:#?}");
        assert_eq!(due(&touch), Some(stage.now.plus(Duration::from_secs(60))));
    }
    let first = said(receiver, 2).await;
    assert_eq!(first, ["defer@example.org", "once@example.org"], "each was tried once");

    let between = stage.now;
    stage.withdraw_consent(&unwilling, "DE").await;
    stage.pass(Duration::from_secs(60)).await;
    let sent = stage.touch(&ids[0]).await;
    assert_eq!((sent.state(), sent.attempts), (State::Sent, 2), "{sent:#?}");
    assert_proven(&sent);
    for it in &sent.verdicts {
        let checked_at = it.checked_at.as_ref().and_then(Timestamp::from_proto);
        assert!(checked_at > Some(between), "every step was judged again: {it:#?}");
    }
    let stopped = stage.touch(&ids[1]).await;
    assert_stopped(&stopped, GateStep::Consent, "consent");
    assert_eq!(
        (stopped.attempts, verdict(&stopped, GateStep::Consent).detail.as_str()),
        (1, "withdrawn")
    );

    stage.pass(Duration::from_secs(24 * 3600)).await;
    let all = said(receiver, 3).await;
    let expected = ["defer@example.org", "once@example.org", "once@example.org"];
    assert_eq!(all, expected, "one message, and nothing more to who withdrew");
}

fn due(touch: &Touch) -> Option<Timestamp> {
    touch.next_time.as_ref().and_then(Timestamp::from_proto)
}

/// The recipients of what the server was given, sorted.
async fn said(receiver: &Receiver, messages: usize) -> Vec<String> {
    let recipient = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let mut all: Vec<_> = receiver.lines_at_least(messages).await.iter().map(recipient).collect();
    all.sort();
    all
}
