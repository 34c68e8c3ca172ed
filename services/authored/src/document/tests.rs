use proptest::prelude::*;
use prost::{Message as _, Name as _};
use rapport_proto::decisioning::v1::{Effect, RulePack};
use rapport_proto::journeys::v1::{Journey, Split, SplitArm, entry, node, reentry};
use rapport_proto::profiles::v1::Segment;
use rapport_proto::types::{Channel, Clear, Money, Validity, clear};

use super::*;

const JOURNEY: &str = r#"
journey: win-back
sender: northwind-pharma
markets: [US, DE, NO]
audiences: [HCP]
entry: {segment: {segment: lapsing, crossing: ENTERED}}
reentry: {after_exit: {gap: 90d}}
exit_when: ["party.state != 'ACTIVE'"]     # not "left lapsing"
goals: [{name: ordered, event: Order Completed, within: 30d}]
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL], k: 1}, groups: [win-back], valid_for: 3d, chosen: morning, nothing: watch, unavailable: watch}}
  morning: {wait_until: {local_time: "09:00", weekdays: [MON, TUE, WED, THU, FRI], next: write}}
  write: {touch: {decision: choose, expires_after: 3d, sent: watch, skipped: watch, failed: watch}}
  watch: {wait_event: {any: [{event: Order Completed, next: listen}], timeout: 14d, timed_out: lapsed}}
  listen: {ask: {survey: order-nps, channel: EMAIL, expires_after: 3d, issued: done, declined: done}}
  done: {exit: {outcome: ordered}}
  lapsed: {exit: {outcome: no_order}}
"#;

const PACK: &str = r#"
rule_pack: DE                      # example, not legal advice
inherits: eu-strict
consent:
  - {purpose: PROMOTIONAL, channels: [EMAIL, SMS], regime: OPT_IN, double_opt_in: true, expires_after: 730d}
  - {purpose: PROMOTIONAL, channels: [FIELD_TASK], regime: NOT_REQUIRED}
outbound:
  - {id: de-rx-hcp, content_classes: [RX_PROMOTIONAL], audiences: [HCP], channels: [EMAIL, FIELD_TASK, PORTAL], effect: ALLOW, when: "attributes.licence_valid"}
  - {id: de-rx-public, content_classes: [RX_PROMOTIONAL], audiences: [PATIENT, PUBLIC], channels: [ANY], effect: DENY}
review:
  - {content_classes: [RX_PROMOTIONAL], roles: [MEDICAL, LEGAL, REGULATORY]}
quiet_hours: {channels: [EMAIL, SMS, PHONE], from: "20:00", to: "08:00", also: [SUN, HOLIDAY]}
calendar: {time_zones: [Europe/Berlin], weekend: [SAT, SUN], holidays: ["2026-12-25", 2026-12-26]}
enabled_kinds: [HCP, HCO, PHARMACIST, EMPLOYEE]
tests:
  - {content_class: RX_PROMOTIONAL, audience: PATIENT, channel: EMAIL, expect: DENY, rule: de-rx-public}
"#;

fn problems<M: prost::Message + prost::Name + Default + std::fmt::Debug>(
    text: &str,
) -> Vec<String> {
    let problems = parse::<M>(text).expect_err("it is wrong");
    problems.iter().map(ToString::to_string).collect()
}

fn only_problem<M: prost::Message + prost::Name + Default + std::fmt::Debug>(text: &str) -> String {
    let problems = problems::<M>(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap_or_default()
}

#[test]
fn a_journey_is_read_as_it_is_written_in_the_handbook() {
    let journey: Journey = parse(JOURNEY).expect("it is right");
    assert_eq!(journey.journey, "win-back");
    assert_eq!(journey.markets, ["US", "DE", "NO"], "Norway is no truth value");
    assert_eq!(journey.nodes.len(), 7);
    let by = journey.entry.and_then(|it| it.by);
    assert!(matches!(by, Some(entry::By::Segment(it)) if it.segment == "lapsing"));
    let step = journey.nodes["choose"].step.clone();
    let Some(node::Step::Decide(decide)) = step else { panic!("{step:?}") };
    assert_eq!(decide.slot.expect("given").channels, [i32::from(Channel::Email)]);
}

#[test]
fn a_rule_pack_is_read_as_it_is_written_in_the_handbook() {
    let pack: RulePack = parse(PACK).expect("it is right");
    assert_eq!(pack.outbound[1].effect(), Effect::Deny);
    assert_eq!(pack.calendar.expect("given").holidays, ["2026-12-25", "2026-12-26"]);
    assert!(pack.consent[0].double_opt_in);
}

#[test]
fn what_is_printed_reads_as_the_same_document() {
    let journey: Journey = parse(JOURNEY).expect("it is right");
    let text = print(&journey).expect("it is ours");
    assert_eq!(parse::<Journey>(&text).expect(&text), journey, "{text}");
    assert!(text.starts_with("journey: win-back\nsender: northwind-pharma\n"), "{text}");
    assert!(text.contains("audiences: [HCP]\n"), "{text}");
    assert_eq!(text, print(&journey).expect("it is ours"));
    let pack: RulePack = parse(PACK).expect("it is right");
    let text = print(&pack).expect("it is ours");
    assert_eq!(parse::<RulePack>(&text).expect(&text), pack, "{text}");
    assert_eq!(print(&Journey::default()).expect("it is ours"), "{}\n");
}

#[test]
fn json_is_yaml_too() {
    let journey: Journey = parse(JOURNEY).expect("it is right");
    let json = to_json(&Journey::full_name(), &journey.encode_to_vec()).expect("it is ours");
    assert_eq!(json["entry"]["segment"]["crossing"], "CROSSING_ENTERED");
    assert_eq!(json["nodes"]["morning"]["wait_until"]["local_time"], "09:00");
    assert_eq!(parse::<Journey>(&json.to_string()).expect("it is right"), journey);
    let bytes = from_json(&Journey::full_name(), &json).expect("it is right");
    assert_eq!(Journey::decode(bytes.as_slice()).expect("it is one"), journey);
    assert!(from_json(&Journey::full_name(), &serde_json::json!({"jurney": 1})).is_err());
}

#[test]
fn a_choice_without_details_may_be_its_bare_name() {
    for text in ["reentry: never", "reentry: {never: {}}"] {
        let journey: Journey = parse(text).expect(text);
        let rule = journey.reentry.clone().and_then(|it| it.rule);
        assert!(matches!(rule, Some(reentry::Rule::Never(_))), "{text}");
        assert_eq!(print(&journey).expect("it is ours"), "reentry: never\n");
    }
    assert_eq!(
        only_problem::<Journey>("reentry: nevr"),
        "line 1, column 10: reentry: `nevr` cannot be read. Did you mean `never`?"
    );
    assert_eq!(
        only_problem::<Journey>("reentry: after_exit"),
        "line 1, column 10: reentry: `after_exit` cannot be read. Use one of never, per_key, unlimited."
    );
}

#[test]
fn every_problem_says_where_it_is_and_what_to_write_instead() {
    let cases = [
        ("jurney: a", "line 1, column 1: There is no field `jurney`. Did you mean `journey`?"),
        (
            "exitWhen: []",
            "line 1, column 1: There is no field `exitWhen`. Did you mean `exit_when`?",
        ),
        (
            "journey: 12",
            "line 1, column 10: journey: A text belongs here, not a number. Put it in quotes.",
        ),
        (
            "journey: yes\nmarkets: true",
            "line 2, column 10: markets: Give a list, not a truth value.",
        ),
        (
            "start:",
            "line 1, column 6: start: Nothing is given. Give a text, or leave the field out.",
        ),
        (
            "audiences: [HCP, PATENT]",
            "line 1, column 18: audiences[1]: There is no `PATENT`. Did you mean `PATIENT`?",
        ),
        (
            "audiences: [UNSPECIFIED]",
            "line 1, column 13: audiences[0]: There is no `UNSPECIFIED`. Use one of HCP, PATIENT, PUBLIC, PAYER, INSTITUTION, AUTHORITY, INTERNAL.",
        ),
        (
            "journey: a\nstart: b\njourney: c",
            "line 3, column 1: `journey` is given twice. Leave one out.",
        ),
        (
            "nodes:\n  a:\n    wait: {for: 1d}\n    exit: {outcome: x}",
            "line 4, column 5: nodes.a: Give either `wait` or `exit`, not both.",
        ),
        (
            "nodes: {a: {split: {arms: [{weight: 1.5}]}}}",
            "line 1, column 37: nodes.a.split.arms[0].weight: Give a whole number, not a number.",
        ),
        (
            "nodes: {a: {split: {arms: [{weight: -1}]}}}",
            "line 1, column 37: nodes.a.split.arms[0].weight: The number is out of the field's range.",
        ),
        (
            "nodes: {a: 3}",
            "line 1, column 12: nodes.a: A map of fields belongs here, not a number.",
        ),
        ("[a, b]", "line 1, column 1: A map of fields belongs here, not a list."),
        ("", "The document is empty."),
        ("# nothing", "The document is empty."),
        ("journey: a\n---\njourney: b", "line 3, column 1: Give one document at a time."),
        ("journey: &a x", "line 1, column 10: Anchors are not read. Leave it out."),
        ("journey: !!str x", "line 1, column 10: Tags are not read. Leave it out."),
        ("journey: {", "line 2, column 1: This is not YAML: "),
        ("? [a]\n: b", "line 1, column 3: A key is a plain text."),
    ];
    let cases = cases.map(|(text, wanted)| (text, wanted, only_problem::<Journey>(text)));
    let wrong: Vec<_> =
        cases.iter().filter(|(_, wanted, told)| !told.starts_with(wanted)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_problems_are_told_at_once_but_not_too_many() {
    let found = problems::<Journey>("jurney: a\nstart: 1\naudiences: [X, HCP, Y]");
    assert_eq!(found.len(), 4, "{found:?}");
    let many: String = (0..200).map(|it| format!("x{it}: 1\n")).collect();
    assert_eq!(problems::<Journey>(&many).len(), 50);
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let long = format!("journey: {}", "x".repeat(256 * 1024));
    assert_eq!(only_problem::<Journey>(&long), "The document is longer than 256 KiB. Split it.");
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = format!("journey: {}x{}", open.repeat(100), close.repeat(100));
        let problem = only_problem::<Journey>(&deep);
        assert!(problem.contains("more than 64 levels"), "{problem}");
    }
    let dashes = format!("journey:\n{}x", "- ".repeat(50_000));
    assert!(only_problem::<Journey>(&dashes).contains("more than 64 levels"));
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]";
    assert!(only_problem::<Journey>(bomb).contains("Anchors are not read"));
    assert!(only_problem::<Journey>("journey: *a").contains("line 1"));
}

#[test]
fn scalars_of_every_kind_are_read() {
    let money: Money =
        parse("{currency_code: EUR, units: 9007199254740993, nanos: -1}").expect("it is right");
    assert_eq!((money.units, money.nanos), (9_007_199_254_740_993, -1));
    let money: Money = parse(r#"units: "-9007199254740993""#).expect("64 bits may be a text");
    assert_eq!(money.units, -9_007_199_254_740_993);
    let number = |text: &str| parse::<Clear>(text).ok().and_then(|it| it.value);
    assert_eq!(number("number: 1e3"), Some(clear::Value::Number(1000.0)));
    assert_eq!(number("number: +5"), Some(clear::Value::Number(5.0)));
    assert_eq!(number("number: .5"), Some(clear::Value::Number(0.5)));
    for wrong in ["number: .nan", "number: .inf", "number: 1e999", "number: 0x10", "number: '1'"] {
        assert_eq!(number(wrong), None, "{wrong}");
    }
    assert_eq!(number("flag: true"), Some(clear::Value::Flag(true)));
    for wrong in ["flag: yes", "flag: 1", "flag: 'true'"] {
        assert_eq!(number(wrong), None, "{wrong}");
    }
}

#[test]
fn instants_are_rfc_3339() {
    let read = |text: &str| {
        let validity = parse::<Validity>(&format!("from: {text}")).ok()?;
        validity.from.map(|it| (it.seconds, it.nanos))
    };
    assert_eq!(read("2026-01-31T08:00:00Z"), Some((1_769_846_400, 0)));
    assert_eq!(read("\"2026-01-31T09:00:00.25+01:00\""), Some((1_769_846_400, 250_000_000)));
    assert_eq!(read("1969-12-31T23:59:59.9Z"), Some((-1, 900_000_000)));
    assert_eq!(read("2026-01-31"), None);
    assert_eq!(read("2026-01-31T08:00:00"), None);
    assert_eq!(read("yesterday"), None);
    let validity: Validity = parse("from: 1969-12-31T23:59:59.9Z").expect("it is right");
    let text = print(&validity).expect("it is ours");
    assert_eq!(text, "from: \"1969-12-31T23:59:59.9Z\"\n");
}

#[test]
fn equal_documents_hash_alike_however_they_are_written() {
    let journey: Journey = parse(JOURNEY).expect("it is right");
    let again: Journey = parse(&print(&journey).expect("it is ours")).expect("it is right");
    assert_eq!(hash(&journey), hash(&again));
    assert_ne!(hash(&journey), hash(&Journey { start: "write".to_owned(), ..journey }));
}

#[test]
fn a_message_that_is_not_ours_is_a_problem_and_no_panic() {
    assert_eq!(
        parse_named("rapport.none.v1.None", "a: b").expect_err("unknown")[0].to_string(),
        "rapport.none.v1.None is no message of Rapport"
    );
    assert!(to_json("rapport.none.v1.None", &[]).is_err());
    assert!(to_json(&Journey::full_name(), &[0xff]).is_err());
}

#[test]
fn free_form_properties_and_masks_are_read_by_name() {
    let name = "rapport.profiles.v1.Segment";
    let bytes = parse_named(name, "segment: a").expect("it is right");
    assert_eq!(Segment::decode(bytes.as_slice()).expect("it is one").segment, "a");
    let text = "interactions: [{properties: {a: [1, x, null, {b: true}]}}]";
    let name = "rapport.profiles.v1.RecordInteractionsRequest";
    let bytes = parse_named(name, text).expect("it is right");
    let json = to_json(name, &bytes).expect("it is ours");
    let wanted = serde_json::json!([1.0, "x", null, {"b": true}]);
    assert_eq!(json["interactions"][0]["properties"]["a"], wanted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives_printing(id in any::<String>(), rule in "\\PC{0,40}", text in "[ -~\\n\\t]{0,60}") {
        let segment = Segment { segment: id, description: text, rule };
        let printed = print(&segment).expect("it is ours");
        prop_assert_eq!(parse::<Segment>(&printed), Ok(segment), "{}", printed);
    }

    #[test]
    fn any_map_survives_printing(nodes in prop::collection::btree_map("\\PC{0,12}", (any::<u32>(), "\\PC{0,100}"), 0..6)) {
        let nodes = nodes.into_iter().map(|(id, (weight, next))| {
            let arms = vec![SplitArm { name: id.clone(), weight, next: next.clone() }, SplitArm::default()];
            let step = node::Step::Split(Split { salt: next, arms });
            (id, rapport_proto::journeys::v1::Node { step: Some(step) })
        });
        let journey = Journey { nodes: nodes.collect(), ..Journey::default() };
        let printed = print(&journey).expect("it is ours");
        prop_assert_eq!(parse::<Journey>(&printed), Ok(journey), "{}", printed);
    }

    #[test]
    fn any_number_survives_printing(number in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
        let clear = Clear { value: Some(clear::Value::Number(number)) };
        prop_assert_eq!(parse::<Clear>(&print(&clear).expect("it is ours")), Ok(clear));
    }

    #[test]
    fn no_text_makes_reading_panic(text in any::<String>(), yaml in "[ \\n:{}\\[\\],a*&!|>'\"#%@?-]{0,60}") {
        let _ = parse::<Journey>(&text);
        let _ = parse::<Journey>(&yaml);
        let _ = parse::<Journey>(&format!("nodes:\n  a: {yaml}"));
    }
}
