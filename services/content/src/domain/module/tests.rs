use proptest::prelude::*;
use rapport_proto::content::v1::assembly_rule::Rule as Assembly;
use rapport_proto::content::v1::{
    AssemblyRule, ModuleContent, MustAccompany, Order, Slot, Variant,
};
use rapport_proto::types::{Audience, Channel, ContentClass};

use super::*;
use crate::domain::wrong::Rule;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn module() -> ModuleContent {
    ModuleContent {
        title: "Hello".into(),
        content_class: ContentClass::RxPromotional.into(),
        markets: vec!["DE".into()],
        audiences: vec![Audience::Hcp.into()],
        default_languages: [("DE".to_owned(), "de".to_owned())].into(),
        slots: vec![
            slot("name", SlotKind::PartyField, "last_name"),
            slot("claim", SlotKind::Claim, "onset"),
        ],
        variants: vec![Variant {
            channel: Channel::Email.into(),
            language: "de".into(),
            subject: "Hallo {{name}}".into(),
            text: "Hallo {{name}}: {{claim}}".into(),
            html: "<p>{{claim}}</p>".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn slot(name: &str, kind: SlotKind, of: &str) -> Slot {
    Slot { name: name.into(), kind: kind.into(), of: of.into(), ..Default::default() }
}

fn found(change: impl FnOnce(&mut ModuleContent)) -> Vec<(String, Rule)> {
    let mut content = module();
    change(&mut content);
    content::check(&content, NOW).0.into_iter().map(|it| (it.field, it.rule)).collect()
}

fn rule(rule: Assembly) -> AssemblyRule {
    AssemblyRule { rule: Some(rule) }
}

#[test]
fn what_is_malformed_is_named_by_its_field() {
    assert_eq!(found(|_| ()), []);
    type Change = fn(&mut ModuleContent);
    let table: [(Change, &str); 37] = [
        (|it| it.title = "a\nb".into(), "title"),
        (|it| it.content_class = 0, "content_class"),
        (|it| it.content_class = 99, "content_class"),
        (|it| it.product_id = "A".into(), "product_id"),
        (|it| it.topic = "a b".into(), "topic"),
        (|it| it.tags = vec!["x".into(), "x".into()], "tags[1]"),
        (|it| it.asset_ids = vec!["../x".into()], "asset_ids[0]"),
        (|it| (it.markets, it.default_languages) = Default::default(), "markets"),
        (|it| it.markets.push("XX".into()), "markets[1]"),
        (|it| it.audiences = vec![], "audiences"),
        (|it| it.audiences = vec![0], "audiences[0]"),
        (|it| drop(it.default_languages.insert("FR".into(), "de".into())), "default_languages[FR]"),
        (|it| drop(it.default_languages.insert("DE".into(), "fr".into())), "default_languages[DE]"),
        (|it| it.slots.push(slot("A", SlotKind::Text, "")), "slots[2].name"),
        (|it| it.slots.push(slot("name", SlotKind::Text, "")), "slots[2].name"),
        (|it| it.slots.push(slot("x", SlotKind::Unspecified, "")), "slots[2].kind"),
        (|it| it.slots.push(slot("x", SlotKind::Text, "y")), "slots[2].of"),
        (|it| it.slots.push(slot("x", SlotKind::Claim, "")), "slots[2].of"),
        (|it| it.slots.push(slot("x", SlotKind::PartyField, "a.b")), "slots[2].of"),
        (|it| it.slots[0].max_length = 10_001, "slots[0].max_length"),
        (|it| it.slots[1].fallback = "x".into(), "slots[1].fallback"),
        (
            |it| (it.slots[0].required, it.slots[0].fallback) = (true, "x".into()),
            "slots[0].fallback",
        ),
        (
            |it| {
                it.slots
                    .push(Slot { fallback: "http://x.org".into(), ..slot("x", SlotKind::Link, "") })
            },
            "slots[2].fallback",
        ),
        (|it| it.variants.push(it.variants[0].clone()), "variants[1]"),
        (|it| it.variants[0].tone = "a b".into(), "variants[0].tone"),
        (
            |it| it.variants[0].subject = "Hallo\r\nBcc: all@example.org".into(),
            "variants[0].subject",
        ),
        (|it| it.variants[0].subject = "{{claim}}".into(), "variants[0].subject"),
        (|it| it.variants[0].text = String::new(), "variants[0].text"),
        (|it| it.variants[0].text = "x".repeat(20_001), "variants[0].text"),
        (|it| it.variants[0].text = "{{ name }}".into(), "variants[0].text"),
        (|it| it.variants[0].html = "{{#each}}".into(), "variants[0].html"),
        (|it| it.variants[0].channel = Channel::Sms.into(), "variants[0].html"),
        (|it| it.rules.push(AssemblyRule::default()), "rules[0]"),
        (|it| it.rules.push(rule(Assembly::MaxLength(0))), "rules[0].max_length"),
        (
            |it| it.rules.push(rule(Assembly::Order(Order { ids: vec!["one".into()] }))),
            "rules[0].order.ids",
        ),
        (
            |it| it.rules.push(rule(Assembly::MustAccompany(MustAccompany::default()))),
            "rules[0].must_accompany",
        ),
        (
            |it| it.usable_from = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            "usable_from",
        ),
    ];
    for (change, field) in table {
        assert_eq!(found(change), [(format!("content.{field}"), Rule::Field)], "{field}");
    }
}

#[test]
fn a_template_names_declared_slots_only() {
    let unknown = |it: &mut ModuleContent| it.variants[0].html = "{{other}}".into();
    assert_eq!(found(unknown), [("content.variants[0].html".to_owned(), Rule::SlotUnknown)]);
}

#[test]
fn a_module_begins_before_it_ends_and_ends_later_than_now() {
    let at = |seconds: u64| Some(NOW.plus(std::time::Duration::from_secs(seconds)).to_proto());
    assert_eq!(found(|it| (it.usable_from, it.expires_at) = (at(1), at(2))), []);
    let field = || vec![("content.expires_at".to_owned(), Rule::Field)];
    assert_eq!(found(|it| (it.usable_from, it.expires_at) = (at(2), at(2))), field());
    assert_eq!(found(|it| it.expires_at = at(0)), field());
}

#[test]
fn an_oversize_module_is_refused_without_being_read() {
    let big = |it: &mut ModuleContent| it.tags = vec!["x".repeat(1000); 250];
    assert_eq!(found(big), [("content".to_owned(), Rule::Field)]);
    let many = |it: &mut ModuleContent| {
        it.slots = (0..101).map(|n| slot(&format!("s{n}"), SlotKind::Text, "")).collect()
    };
    assert!(found(many).contains(&("content.slots".to_owned(), Rule::Field)));
}

#[test]
fn a_slot_says_what_a_version_prints() {
    use eventstore::testing::given;
    use prost::Message as _;
    let save = Command::Save { content: module().encode_to_vec(), author: "author".into() };
    let state = given::<Module>(vec![]).when(save).state();
    let version = state.newest().expect("one");
    assert!(prints(version, "claim/onset"));
    assert!(!prints(version, "module/onset") && !prints(version, "claim/other"));
}

proptest! {
    #[test]
    fn checking_never_panics(text in any::<String>(), kind in any::<i32>(), template in "[a-z{}<>& ]{0,30}") {
        let _ = found(|it| {
            it.slots.push(Slot { name: text.clone(), kind, of: text.clone(), fallback: text.clone(), ..Default::default() });
            it.variants[0].subject.clone_from(&text);
            it.variants[0].text = template;
            it.default_languages.insert(text.clone(), text);
        });
    }
}
