use eventstore::Timestamp;
use rapport_proto::types::Channel;

use super::*;

fn message() -> Message {
    Message {
        tenant: "acme".into(),
        touch_id: "tch_1".into(),
        channel: Channel::Email,
        sender: Sender {
            sender_id: "northwind".into(),
            from_address: "news@northwind.example".into(),
            from_name: "Northwind Ärzte-Service".into(),
            unsubscribe_url: "https://northwind.example/u/{token}".into(),
            ..Default::default()
        },
        contact_point_id: "cpt_1".into(),
        address: "ada@example.org".into(),
        subject: "Grüße".into(),
        text: "Hello\n".into(),
        html: "<p>Hello</p>".into(),
        render_hash: String::new(),
        at: Timestamp(1_767_268_800_000_000),
        unsubscribe_token: "tch_1.abc".into(),
    }
}

fn text(message: &Message) -> String {
    String::from_utf8(build(message).expect("built").formatted()).expect("text")
}

#[test]
fn an_email_names_its_touch_and_can_be_ended_with_one_click() {
    let text = text(&message());
    assert!(text.contains("Message-ID: <tch_1@northwind.example>\r\n"), "{text}");
    assert!(
        text.contains("List-Unsubscribe: <https://northwind.example/u/tch_1.abc>\r\n"),
        "{text}"
    );
    assert!(text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{text}");
    assert!(text.contains("Date: Thu, 01 Jan 2026 12:00:00 +0000\r\n"), "{text}");
    assert!(text.is_ascii(), "headers and body are encoded: {text}");
    assert_eq!(text, self::text(&message()), "the same bytes each time");
}

#[test]
fn a_sender_without_a_link_has_no_such_header() {
    let mut message = message();
    message.sender.unsubscribe_url.clear();
    assert!(!text(&message).contains("List-Unsubscribe"));
}

#[test]
fn no_header_can_be_smuggled_in() {
    type Put = fn(&mut Message, String);
    let places: [(&str, Put); 4] = [
        ("address", |it, text| it.address = text),
        ("from_address", |it, text| it.sender.from_address = text),
        ("header", |it, text| it.subject = text),
        ("header", |it, text| it.sender.from_name = text),
    ];
    for (code, put) in places {
        for hostile in ["a@b.example\r\nBcc: x@y.z", "a@b.example\nX: 1", "a\0b", "a\rb"] {
            let mut message = message();
            put(&mut message, hostile.into());
            assert_eq!(build(&message).err(), Some(code), "{hostile:?}");
        }
    }
    for hostile in
        ["https://x/{token}>\r\nX: 1", "https://x/{token} y", "javascript:{token}", "https://x/"]
    {
        let mut message = message();
        message.sender.unsubscribe_url = hostile.into();
        assert_eq!(build(&message).err(), Some("unsubscribe_url"), "{hostile:?}");
    }
}

#[test]
fn an_address_is_one_mailbox() {
    for good in ["a@b.example", "ada.lovelace+x@sub.example.org"] {
        assert!(is_address(good), "{good}");
    }
    for bad in
        ["", "a", "a@", "@b", "a b@c.example", "Ada <a@b.example>", "a@b.example,c@d.example"]
    {
        assert!(!is_address(bad), "{bad}");
    }
}
