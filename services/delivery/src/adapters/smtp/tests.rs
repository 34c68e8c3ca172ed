use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;

fn message() -> Message {
    Message {
        tenant: "acme".into(),
        touch_id: "tch_1".into(),
        channel: rapport_proto::types::Channel::Email,
        sender: rapport_proto::delivery::v1::Sender {
            sender_id: "northwind".into(),
            from_address: "news@northwind.example".into(),
            ..Default::default()
        },
        contact_point_id: "cpt_1".into(),
        address: "ada@example.org".into(),
        subject: "Hello".into(),
        text: "Hello".into(),
        html: String::new(),
        render_hash: String::new(),
        at: eventstore::Timestamp(1_767_268_800_000_000),
        unsubscribe_token: "tch_1.abc".into(),
    }
}

/// A server that says yes to everything and falls silent at a command.
#[expect(clippy::disallowed_methods, reason = "it ends with the runtime of the test")]
async fn silent_at(command: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a caller");
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 receiver\r\n").await.expect("written");
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with(command) {
                std::future::pending::<()>().await;
            }
            write.write_all(b"250 ok\r\n").await.expect("written");
        }
    });
    port
}

#[tokio::test]
async fn nothing_was_sent_by_a_conversation_that_never_came_to_the_message() {
    for command in ["EHLO", "MAIL", "RCPT", "DATA"] {
        let settings = settings::Delivery {
            smtp_url: format!("smtp://127.0.0.1:{}", silent_at(command).await),
            smtp_tls: SmtpTls::None,
            // Each answer may take as long as all of them.
            smtp_timeout_ms: 50_000,
            ..settings::Settings::default().delivery
        };
        let smtp = Smtp::new(&settings).expect("a server is named");
        let smtp = Smtp { begins_within: Duration::from_millis(500), ..smtp };
        let told = smtp.send(&message()).await;
        assert_eq!(told, Told::Later { code: "timeout".into() }, "{command}");
    }
}

#[test]
fn the_setting_allows_each_answer_as_long_as_a_hand_over_can_wait_for_one() {
    let load = |milliseconds: u128| {
        let flags = vec![format!("delivery.smtp_timeout_ms={milliseconds}")];
        settings::Settings::load(&settings::Sources { flags, ..Default::default() })
    };
    for wait in [BEGINS_WITHIN, LONGEST - BEGINS_WITHIN] {
        assert!(load(wait.as_millis()).is_ok());
        assert!(load(wait.as_millis() + 1).is_err());
    }
}
