use std::time::Duration;

use eventstore::Timestamp;
use rapport_proto::delivery::v1::Sender;

use super::*;

const NOW: Timestamp = Timestamp(1_767_268_800_000_000);

fn message(channel: Channel, text: &str, at: Timestamp) -> Message {
    Message {
        tenant: "acme".into(),
        touch_id: "tch_1".into(),
        channel,
        sender: Sender { from_address: "news@northwind.example".into(), ..Sender::default() },
        contact_point_id: "cpt_1".into(),
        address: "ada@example.org".into(),
        subject: "Hello".into(),
        text: text.into(),
        html: String::new(),
        render_hash: "ab".repeat(32),
        at,
        unsubscribe_token: "tch_1.0".into(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        files.map(|it| it.expect("a file").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn replicas_on_one_folder_make_one_file_of_a_touch() {
    for channel in [Channel::Email, Channel::Sms] {
        let folder = tempfile::tempdir().expect("a folder");
        // Each hands it over at an instant of its own.
        let replicas = (0..16_u64).map(|number| {
            let outbox = Outbox::new(folder.path().to_owned());
            let message = message(channel, "Hello", NOW.plus(Duration::from_secs(number)));
            async move { outbox.send(&message).await }
        });
        // Each writes on a thread of its own.
        let told = futures::future::join_all(replicas).await;
        let name = name_of(channel, "tch_1");
        assert_eq!(told, vec![Told::Taken { provider_id: name.clone() }; 16]);
        assert_eq!(names(folder.path()), [name], "nothing is left beside it");
    }
}

#[tokio::test]
async fn a_message_that_is_there_is_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let outbox = Outbox::new(folder.path().to_owned());
    let first = message(Channel::Email, "Hello", NOW);
    assert!(matches!(outbox.send(&first).await, Told::Taken { .. }));
    let place = folder.path().join("tch_1.eml");
    let written = fs::read(&place).expect("a file");
    let other = message(Channel::Email, "Goodbye", NOW);
    assert_eq!(outbox.send(&other).await, Told::Unknown { code: "differs".into() });
    let repeated = message(Channel::Email, "Hello", NOW.plus(Duration::from_secs(60)));
    assert!(matches!(outbox.send(&repeated).await, Told::Taken { .. }));
    assert_eq!(fs::read(&place).expect("a file"), written);
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_no_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let left = folder.path().join(".tch_1.eml.0.part");
    fs::write(&left, "From: no").expect("written");
    let outbox = Outbox::new(folder.path().to_owned());
    assert_eq!(outbox.holds(Channel::Email, "tch_1").await.expect("read"), None);
    let told = outbox.send(&message(Channel::Email, "Hello", NOW)).await;
    assert_eq!(told, Told::Taken { provider_id: "tch_1.eml".into() });
    assert_eq!(fs::read_to_string(left).expect("a file"), "From: no");
}
