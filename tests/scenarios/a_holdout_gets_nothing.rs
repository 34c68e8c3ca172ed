//! A share of the parties is held out: the same ones for every touch, decided and recorded as the others, stopped at the
//! gate; service messages reach them all the same.

use rapport::remote::told;
use rapport_proto::decisioning::v1::{HoldoutStarted, StartHoldoutRequest};
use rapport_proto::delivery::v1::GateStep;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::types::ContentClass;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_proven, assert_stopped, verdict};

in_both_topologies!(half_of_them_hear_nothing);

async fn half_of_them_hear_nothing(stage: &mut Stage) {
    let holdout = HoldoutStarted {
        holdout_id: "universal".into(),
        salt: "a grain".into(),
        share: 0.5,
        content_classes: vec![ContentClass::RxPromotional.into()],
        period: "2027-Q1".into(),
    };
    let request = StartHoldoutRequest {
        parent: stage.remote.parent.clone(),
        holdout: Some(holdout),
        ..Default::default()
    };
    told(stage.remote.decisions.clone().start_holdout(request).await).expect("started");
    stage.settle().await;
    let mut arms = [0, 0];
    for number in 0..12 {
        let party = stage.physician(&format!("physician{number}"), "US").await;
        let mut reached = Vec::new();
        for _ in 0..2 {
            let touch = stage.ask_for_touch(&party, "letter").await;
            stage.settle().await;
            let touch = stage.touch(&touch).await;
            let gate = verdict(&touch, GateStep::Holdout);
            assert!(gate.proof_ids.iter().any(|it| it == "universal"), "{gate:#?}");
            match touch.state() {
                State::Sent => assert_proven(&touch),
                _ => assert_stopped(&touch, GateStep::Holdout, "holdout"),
            }
            reached.push(touch.state());
        }
        assert_eq!(reached[0], reached[1], "a party stays in its arm");
        arms[usize::from(reached[0] == State::Sent)] += 1;
    }
    assert!(arms[0] > 0 && arms[1] > 0, "{arms:?}");
    assert_eq!(stage.outbox().len(), 2 * arms[1]);
}
