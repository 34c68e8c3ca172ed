//! Content expires at the moment of sending: from that instant on it does not leave.

use rapport_proto::delivery::v1::GateStep;
use rapport_proto::delivery::v1::touch::State;

use crate::in_both_topologies;
use crate::stage::{LETTER, Stage, assert_stopped, at};

in_both_topologies!(expiry_at_eight_in_the_morning);

async fn expiry_at_eight_in_the_morning(stage: &mut Stage) {
    // Quiet hours end at eight in Berlin; one letter expires at that very instant, one a second later.
    for (id, expires_at) in
        [("on-time", "2027-01-05T07:00:00Z"), ("a-second-later", "2027-01-05T07:00:01Z")]
    {
        let yaml = format!("{LETTER}expires_at: {expires_at}\n");
        stage.cast.approve_module(id, &yaml).await.expect("approved");
    }
    let party = stage.physician("vogel", "DE").await;
    stage.reach(at("2027-01-04T22:00:00Z")).await;
    let expired = stage.ask_for_touch(&party, "on-time").await;
    let usable = stage.ask_for_touch(&party, "a-second-later").await;
    stage.settle().await;
    for touch in [&expired, &usable] {
        assert_eq!(stage.touch(touch).await.state(), State::Deferred);
    }
    stage.reach(at("2027-01-05T07:00:00Z")).await;
    assert_stopped(&stage.touch(&expired).await, GateStep::Content, "content_expired");
    assert_eq!(stage.touch(&usable).await.state(), State::Sent);
    assert_eq!(stage.outbox().len(), 1);
}
