//! Sixteen touches at once to one party never exceed a cap; what was held back says when it may come.

use futures::future::join_all;
use rapport_proto::delivery::v1::GateStep;
use rapport_proto::delivery::v1::touch::State;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven, assert_stopped, verdict};

in_both_topologies!(sixteen_letters_at_once);

/// Of the policy of the stage, line `three-a-week`.
const CAP: usize = 3;

async fn sixteen_letters_at_once(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    join_all((0..16).map(|_| stage.ask_for_touch(&party, "letter"))).await;
    stage.settle().await;
    let touches = stage.touches(&party).await;
    let (sent, skipped): (Vec<_>, Vec<_>) =
        touches.iter().partition(|it| it.state() == State::Sent);
    assert_eq!((sent.len(), skipped.len()), (CAP, 16 - CAP));
    for touch in &sent {
        assert_proven(touch);
        assert_eq!(touch.reserved.len(), 1);
    }
    for touch in &skipped {
        assert_stopped(touch, GateStep::Cap, "cap");
        assert!(verdict(touch, GateStep::Cap).next_allowed_at.is_some());
    }
    assert_eq!(stage.outbox().len(), CAP);
}
