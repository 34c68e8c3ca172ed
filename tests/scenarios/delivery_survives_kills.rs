//! The process is killed (SIGKILL) around the call of a provider, at each point where its attempt is committed and its
//! outcome is not. What reached the outside does so once, and the touch ends well.
//!
//! | adapter | before the call | inside it | after it |
//! |---|---|---|---|
//! | file | not there: written | | there: sent |
//! | webhook | repeated with the same id | repeated with the same id | repeated with the same id |
//! | SMTP | unknown, after a day sent | unknown, after a day sent | unknown, after a day sent |

use std::collections::BTreeSet;
use std::time::Duration;

use rapport_proto::delivery::v1::Touch;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::types::{Channel, PartyKind};
use support::{Receiver, Topology, eventually};

use crate::stage::{LETTER, Stage, assert_proven};

const BEFORE: &str = "provider_before_call";
const INSIDE: &str = "provider_inside_call";
const AFTER: &str = "provider_after_call";

macro_rules! killed_at {
    ($($name:ident: $story:ident($point:ident $(, $argument:expr)*);)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $story($point $(, $argument)*).await;
        }
    )*};
}

killed_at! {
    before_a_file_is_written: file(BEFORE, Topology::Embedded, 2);
    after_a_file_was_written: file(AFTER, Topology::Embedded, 1);
    after_a_file_was_written_distributed: file(AFTER, Topology::Distributed, 1);
    before_smtp: smtp(BEFORE, 0);
    before_smtp_has_the_message: smtp(INSIDE, 0);
    after_smtp_took_the_message: smtp(AFTER, 1);
    before_a_webhook: webhook(BEFORE, 1);
    after_a_webhook: webhook(AFTER, 2);
}

async fn file(point: &str, topology: Topology, attempts: u32) {
    let mut stage = Stage::open_with(topology, |_| (), Some(point)).await;
    let party = stage.physician("vogel", "DE").await;
    let parked = async |stage: &Stage| stage.platform.parked();
    let touch = killed(&mut stage, (Channel::Email, &party, "letter"), parked).await;
    assert_eq!(touch.state(), State::Sending, "the attempt was committed: {touch:#?}");
    stage.pass(Duration::from_secs(600)).await;
    let touch = stage.touches(&party).await.remove(0);
    assert_eq!((touch.state(), touch.attempts), (State::Sent, attempts), "{touch:#?}");
    assert_proven(&touch);
    assert_eq!(stage.outbox(), [format!("{}.eml", touch_id(&touch))]);
    stage.finish().await;
}

async fn smtp(point: &str, messages: usize) {
    let receiver = Receiver::smtp();
    let change = |it: &mut _| receiver.takes_mail_of(it);
    let mut stage = Stage::open_with(Topology::Embedded, change, Some(point)).await;
    let party = stage.physician("accept", "DE").await;
    let parked = async |stage: &Stage| stage.platform.parked();
    let touch = killed(&mut stage, (Channel::Email, &party, "letter"), parked).await;
    assert_eq!(touch.state(), State::Sending, "the attempt was committed: {touch:#?}");
    stage.pass(Duration::from_secs(600)).await;
    let touch = stage.touches(&party).await.remove(0);
    assert_eq!((touch.state(), touch.reason.as_str()), (State::Unknown, "restarted"));
    stage.pass(Duration::from_secs(24 * 3600)).await;
    let touch = stage.touches(&party).await.remove(0);
    assert_eq!((touch.state(), touch.attempts), (State::Sent, 1), "{touch:#?}");
    assert_proven(&touch);
    let line = format!("accept@example.org <{}@northwind.example>", touch_id(&touch));
    let lines = receiver.lines_at_least(messages).await;
    assert_eq!(lines, vec![line; messages], "never two with one Message-ID");
    assert_eq!(stage.outbox(), Vec::<String>::new());
    stage.finish().await;
}

async fn webhook(point: &str, calls: usize) {
    let (mut stage, receiver, party) = over_http(Some(point), "ok").await;
    let parked = async |stage: &Stage| stage.platform.parked();
    killed(&mut stage, (Channel::Webhook, &party, "notice"), parked).await;
    ends_with_one_id(stage, &receiver, &party, calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_receiver_takes_its_time() {
    let (mut stage, receiver, party) = over_http(None, "once").await;
    let taken = async |_: &Stage| receiver.lines().len() == 1;
    killed(&mut stage, (Channel::Webhook, &party, "notice"), taken).await;
    ends_with_one_id(stage, &receiver, &party, 2).await;
}

async fn ends_with_one_id(mut stage: Stage, receiver: &Receiver, party: &str, calls: usize) {
    let touch = stage.touches(party).await.remove(0);
    assert_eq!(touch.state(), State::Sending, "the attempt was committed: {touch:#?}");
    stage.pass(Duration::from_secs(600)).await;
    let touch = stage.touches(party).await.remove(0);
    assert_eq!((touch.state(), touch.attempts), (State::Sent, 2), "{touch:#?}");
    assert_proven(&touch);
    let lines = receiver.lines_at_least(calls).await;
    let ids: BTreeSet<_> = lines.iter().filter_map(|it| it.rsplit(' ').next()).collect();
    assert_eq!((lines.len(), ids), (calls, [touch_id(&touch).as_str()].into()), "{lines:?}");
    stage.finish().await;
}

/// A platform whose webhooks go to a receiver that it trusts, and a party whose webhook that is.
async fn over_http(failpoint: Option<&str>, path: &str) -> (Stage, Receiver, String) {
    let mut receiver = None;
    let change = |it: &mut _| receiver = Some(Receiver::of_webhooks(it));
    let mut stage = Stage::open_with(Topology::Embedded, change, failpoint).await;
    let receiver = receiver.expect("a receiver");
    let notice = LETTER.replace("channel: EMAIL", "channel: WEBHOOK");
    stage.cast.approve_module("notice", &notice).await.expect("approved");
    let url = format!("https://127.0.0.1:{}/{path}", receiver.port);
    let address = (Channel::Webhook, url);
    let party = stage.party_at("vogel", PartyKind::Hcp, "DE", "", address).await;
    stage.settle().await;
    (stage, receiver, party)
}

/// Asks for a touch, and kills the process that hands it over once it has come that far; starts it again. The touch as
/// the crash left it.
async fn killed(
    stage: &mut Stage,
    (channel, party, module): (Channel, &str, &str),
    reached: impl AsyncFn(&Stage) -> bool,
) -> Touch {
    {
        let asked = async {
            stage.ask_for_touch_by(channel, party, module).await;
            stage.time.clone().settle().await.expect("time goes on");
        };
        let reached = eventually("the hand-over comes that far", || reached(stage));
        tokio::pin!(asked, reached);
        // The process that stands still may not have answered.
        tokio::select! {
            () = &mut asked => reached.await,
            () = &mut reached => {}
        }
    }
    stage.restart("delivery").await;
    stage.touches(party).await.remove(0)
}

fn touch_id(touch: &Touch) -> String {
    touch.request.clone().unwrap_or_default().touch_id
}
