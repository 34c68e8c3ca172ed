//! Somebody with the database changes what was approved: it is not what was signed, and does not leave.

use eventstore::values;
use rapport_proto::delivery::v1::GateStep;
use rapport_proto::delivery::v1::touch::State;
use support::Topology;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_stopped, verdict};

in_both_topologies!(after_its_approval);

async fn after_its_approval(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    let genuine = stage.ask_for_touch(&party, "letter").await;
    stage.settle().await;
    assert_eq!(stage.touch(&genuine).await.state(), State::Sent);
    let left = stage.outbox();
    assert_eq!(left.len(), 1);

    forge(stage, "News about your patients", "Lies about your patients").await;
    let forged = stage.ask_for_touch(&party, "letter").await;
    stage.settle().await;
    let touch = stage.touch(&forged).await;
    assert_stopped(&touch, GateStep::Content, "content_not_approved");
    let detail = &verdict(&touch, GateStep::Content).detail;
    assert!(detail.contains("tampered"), "{detail}");
    assert_eq!(stage.outbox(), left, "nothing more left");

    // With the bytes that were signed, what left before is proven again.
    forge(stage, "Lies about your patients", "News about your patients").await;
}

/// Changes a text in the stored draft of the letter, while nobody serves.
async fn forge(stage: &mut Stage, text: &str, forged: &str) {
    assert_eq!(text.len(), forged.len());
    stage.platform.stop();
    let store = stage.platform.store("content").await;
    let mut tx = store.database().begin().await.expect("begun");
    let drafted =
        "SELECT position, envelope FROM event WHERE stream = 'module/letter' AND version = 1";
    let rows = tx.query(drafted, vec![]).await.expect("read");
    let position = rows[0].count(0).expect("a position");
    let mut bytes = rows[0].blob(1).expect("bytes").to_vec();
    let found = bytes.windows(text.len()).position(|it| it == text.as_bytes());
    let place = found.expect("the text is there");
    bytes[place..place + text.len()].copy_from_slice(forged.as_bytes());
    // The store refuses to change a fact; whoever forges one has the database.
    let guard = match stage.platform.topology {
        Topology::Embedded => "DROP TRIGGER IF EXISTS event_is_not_updated",
        Topology::Distributed => "ALTER TABLE event DISABLE TRIGGER event_is_a_fact",
    };
    tx.exec(guard, vec![]).await.expect("out of the way");
    let update = "UPDATE event SET envelope = $1 WHERE position = $2";
    tx.exec(update, values![bytes, position]).await.expect("forged");
    tx.commit().await.expect("committed");
    store.close().await;
    stage.platform.start(None);
    stage.meet();
    let now = stage.now;
    stage.time.set(now).await.expect("time goes on");
}
