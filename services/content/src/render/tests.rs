use std::time::Duration;

use eventstore::Decider as _;
use proptest::prelude::*;
use prost::Message as _;
use rapport_proto::content::v1::assembly_rule::Rule;
use rapport_proto::content::v1::{
    self as proto, AssemblyRule, ClaimContent, ModuleContent, MustAccompany, Order, ReviewRole,
    Signature, Slot, SlotKind, Variant, Verdict,
};
use rapport_proto::types::ContentClass;

use super::*;
use crate::domain::claim::Claim;
use crate::domain::hash_of;
use crate::domain::module::Module;
use crate::domain::reference::Reference;
use crate::domain::review::{Command, Opinion, Versions};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// Saves, submits and approves a version of what `versions` are of.
fn approve<D>(versions: Versions, content: Vec<u8>) -> Versions
where
    D: eventstore::Decider<Command = Command, State = Versions>,
{
    let next = versions.newest().map_or(1, |it| it.number + 1);
    let signature = Signature {
        signature_id: format!("sig_{next}"),
        signer: "mia".into(),
        content_hash: hash_of(&content),
        ..Default::default()
    };
    let opinion = Opinion {
        version: next,
        role: ReviewRole::Medical,
        verdict: Verdict::Approve,
        comment: String::new(),
        signature,
    };
    let commands = [
        Command::Save { content, author: "author".into() },
        Command::Submit {
            version: next,
            markets: vec![],
            roles: vec![ReviewRole::Medical],
            packs: vec![],
        },
        Command::Review(Box::new(opinion)),
    ];
    commands.into_iter().fold(versions, |state, command| {
        let events = D::decide(&state, command, NOW).expect("granted");
        events.iter().fold(state, D::evolve)
    })
}

fn then(versions: &Versions, command: Command) -> Versions {
    let events = Module::decide(versions, command, NOW).expect("granted");
    events.iter().fold(versions.clone(), Module::evolve)
}

fn claim(text: &str) -> ClaimContent {
    ClaimContent {
        text: text.into(),
        markets: vec!["DE".into()],
        reference_ids: vec!["study".into()],
        language: "de".into(),
        ..Default::default()
    }
}

fn variant(language: &str, tone: &str, text: &str) -> Variant {
    Variant {
        channel: Channel::Email.into(),
        language: language.into(),
        tone: tone.into(),
        subject: "Hallo".into(),
        text: text.into(),
        html: String::new(),
    }
}

fn module(text: &str, slots: &[(&str, SlotKind, &str)]) -> ModuleContent {
    let slot = |(name, kind, of): &(&str, SlotKind, &str)| Slot {
        name: (*name).into(),
        kind: (*kind).into(),
        of: (*of).into(),
        ..Default::default()
    };
    ModuleContent {
        content_class: ContentClass::RxPromotional.into(),
        markets: vec!["DE".into()],
        audiences: vec![Audience::Hcp.into()],
        default_languages: [("DE".to_owned(), "de".to_owned())].into(),
        slots: slots.iter().map(slot).collect(),
        variants: vec![variant("de", "", text)],
        ..Default::default()
    }
}

/// A library with one valid reference and the claims and modules given, all approved.
fn library(claims: &[(&str, ClaimContent)], modules: &[(&str, ModuleContent)]) -> Library {
    let mut library = Library::default();
    let study = proto::Reference { reference_id: "study".into(), ..Default::default() };
    let added = proto::ReferenceAdded { reference: Some(study) };
    let state = eventstore::fold::<Reference>(&[proto::reference_event::Event::Added(added)]);
    library.references.insert("study".into(), state);
    for (id, content) in claims {
        let versions = approve::<Claim>(Versions::default(), content.encode_to_vec());
        library.claims.insert((*id).into(), versions.into());
    }
    for (id, content) in modules {
        let versions = approve::<Module>(Versions::default(), content.encode_to_vec());
        library.modules.insert((*id).into(), versions.into());
    }
    library
}

fn ask() -> Ask {
    Ask {
        market: "DE".into(),
        audience: Audience::Hcp,
        channel: Channel::Email,
        language: String::new(),
        tone: String::new(),
        at: NOW,
    }
}

fn selected(library: &Library, ask: &Ask) -> Result<Selection, (String, String)> {
    let answer = select(library, "root", ask).expect("everything is read");
    answer.map_err(|it| (it.reason.to_owned(), it.detail))
}

fn printed(library: &Library, values: &[(&str, &str)]) -> Result<Rendered, (String, String)> {
    let values: BTreeMap<_, _> =
        values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let values = Values { slots: values.clone(), party_fields: values };
    message(&selected(library, &ask())?, &values).map_err(|it| (it.reason.to_owned(), it.detail))
}

fn because(reason: &str, detail: &str) -> (String, String) {
    (reason.to_owned(), detail.to_owned())
}

fn rules(content: ModuleContent, rules: Vec<Rule>) -> ModuleContent {
    let rules = rules.into_iter().map(|it| AssemblyRule { rule: Some(it) }).collect();
    ModuleContent { rules, ..content }
}

#[test]
fn values_are_printed_once_and_never_read_as_templates() {
    let mut content =
        module("{{a}}|{{b}}", &[("a", SlotKind::Text, ""), ("b", SlotKind::Text, "")]);
    content.variants[0].html = "<i title=\"{{a}}\">{{b}}</i>".into();
    content.variants[0].subject = "{{a}}!".into();
    let library = library(&[], &[("root", content)]);
    let it = printed(&library, &[("a", "{{b}}"), ("b", "x")]).expect("printed");
    assert_eq!((it.subject.as_str(), it.text.as_str()), ("{{b}}!", "{{b}}|x"));
    let it = printed(&library, &[("a", "\"><script>alert('1')</script>"), ("b", "<b>&amp;")])
        .expect("printed");
    assert_eq!(
        it.html,
        "<i title=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\">&lt;b&gt;&amp;amp;</i>"
    );
    assert_eq!(it.text, "\"><script>alert('1')</script>|<b>&amp;");
    let it =
        printed(&library, &[("a", "Hi\r\nBcc: all@example.org\0"), ("b", "")]).expect("printed");
    assert_eq!(it.subject, "Hi Bcc: all@example.org!");
    assert_eq!(it.text, "Hi\nBcc: all@example.org|");
    assert!(!it.subject.chars().any(char::is_control));
}

#[test]
fn a_value_must_be_there_and_fit() {
    let one = |kind: SlotKind, required: bool, fallback: &str, max_length: u32| {
        let mut content = module("{{x}}", &[("x", kind, "")]);
        let slot = &mut content.slots[0];
        (slot.required, slot.fallback, slot.max_length) = (required, fallback.into(), max_length);
        if kind == SlotKind::PartyField {
            slot.of = "x".into();
        }
        library(&[], &[("root", content)])
    };
    let text =
        |library: &Library, values: &[(&str, &str)]| printed(library, values).map(|it| it.text);
    let error = |what: &str| Err(because("render_error", &format!("slot x: {what}")));
    assert_eq!(text(&one(SlotKind::Text, true, "", 0), &[]), error("no value"));
    assert_eq!(text(&one(SlotKind::Text, true, "", 0), &[("x", " ")]), error("no value"));
    assert_eq!(text(&one(SlotKind::Text, false, "", 0), &[]), Ok(String::new()));
    assert_eq!(text(&one(SlotKind::PartyField, false, "Kollegin", 0), &[]), Ok("Kollegin".into()));
    assert_eq!(
        text(&one(SlotKind::PartyField, false, "Kollegin", 0), &[("x", "Ada")]),
        Ok("Ada".into())
    );
    assert_eq!(
        text(&one(SlotKind::Text, false, "", 3), &[("x", "abcd")]),
        error("longer than 3 characters")
    );
    assert_eq!(text(&one(SlotKind::Number, false, "", 0), &[("x", "five")]), error("not a number"));
    assert_eq!(
        text(&one(SlotKind::Date, false, "", 0), &[("x", "2026-02-29")]),
        error("not a date of the form YYYY-MM-DD")
    );
    assert_eq!(
        text(&one(SlotKind::Link, false, "", 0), &[("x", "javascript:x")]),
        error("not an absolute https link")
    );
}

#[test]
fn claims_are_printed_verbatim_and_modules_with_their_own_slots() {
    let slots = [
        ("c", SlotKind::Claim, "onset"),
        ("m", SlotKind::Module, "footer"),
        ("x", SlotKind::Text, ""),
    ];
    let mut root = module("{{x}} {{c}} {{m}}", &slots);
    root.variants[0].html = "<p>{{c}}</p>{{m}}".into();
    let footer =
        module("({{x}} & {{c}})", &[("x", SlotKind::Text, ""), ("c", SlotKind::Claim, "safety")]);
    let claims = [("onset", claim("Works < 1 h.")), ("safety", claim("See label {{x}}."))];
    let library = library(&claims, &[("root", root), ("footer", footer)]);
    let it = printed(&library, &[("x", "v")]).expect("printed");
    assert_eq!(it.text, "v Works < 1 h. (v & See label {{x}}.)");
    // The footer has no HTML: its text stands there, escaped.
    assert_eq!(it.html, "<p>Works &lt; 1 h.</p>(v &amp; See label {{x}}.)");
    let parts: Vec<_> = it.parts.iter().map(ToString::to_string).collect();
    assert_eq!(parts, ["module/root", "claim/onset", "module/footer", "claim/safety"]);
}

#[test]
fn language_falls_back_to_the_markets_default_and_tone_to_the_plain_one() {
    let mut content = module("plain de", &[]);
    content.variants.extend([variant("de", "warm", "warm de"), variant("en", "", "plain en")]);
    let library = library(&[], &[("root", content)]);
    let text = |language: &str, tone: &str| {
        let ask = Ask { language: language.into(), tone: tone.into(), ..ask() };
        selected(&library, &ask).map(|it| it.modules["root"].variant.text.clone())
    };
    for (language, tone, expected) in [
        ("", "", "plain de"),
        ("de", "warm", "warm de"),
        ("DE", "cool", "plain de"),
        ("en", "warm", "plain en"),
        ("fr", "warm", "warm de"),
        ("fr", "", "plain de"),
    ] {
        assert_eq!(text(language, tone).as_deref(), Ok(expected), "{language} {tone}");
    }
}

#[test]
fn without_a_variant_nothing_is_printed() {
    let mut content = module("de", &[]);
    content.default_languages.clear();
    let root = library(&[], &[("root", content.clone())]);
    let no_variant = || because("content_not_approved", "no_variant");
    for language in ["", "fr"] {
        let ask = Ask { language: language.into(), ..ask() };
        assert_eq!(selected(&root, &ask).err(), Some(no_variant()));
    }
    // A part speaks the language of the root, or the message is not sent.
    let mut outer = module("{{m}}", &[("m", SlotKind::Module, "footer")]);
    outer.variants[0].language = "fr".into();
    outer.default_languages = [("DE".to_owned(), "fr".to_owned())].into();
    let library = library(&[], &[("root", outer), ("footer", module("de", &[]))]);
    let detail = because("content_not_approved", "module/footer: no_variant");
    assert_eq!(selected(&library, &ask()).err(), Some(detail));
}

#[test]
fn the_newest_version_that_fits_is_used_and_otherwise_says_why_not() {
    let end = NOW.plus(HOUR);
    let timed = ModuleContent { expires_at: Some(end.to_proto()), ..module("a", &[]) };
    let usable = library(&[], &[("root", timed)]);
    let at = |library: &Library, at: Timestamp| {
        selected(library, &Ask { at, ..ask() }).map(|it| it.modules["root"].approval.version)
    };
    assert_eq!(at(&usable, end.minus(Duration::from_micros(1))), Ok(1));
    // By the clock, whether or not the timer has fired.
    assert_eq!(at(&usable, end), Err(because("content_expired", "expired")));

    let versions = Versions::clone(&usable.modules["root"]);
    let draft =
        Command::Save { content: module("b", &[]).encode_to_vec(), author: "author".into() };
    let with = |versions: Versions| Library {
        modules: [("root".to_owned(), versions.into())].into(),
        ..library(&[], &[])
    };
    assert_eq!(at(&with(then(&versions, draft)), NOW), Ok(1));
    let withdrawn =
        then(&versions, Command::Withdraw { version: 0, reason: "r".into(), cause: String::new() });
    assert_eq!(at(&with(withdrawn.clone()), NOW), Err(because("content_withdrawn", "withdrawn")));
    // What was approved after it counts again.
    let again = approve::<Module>(withdrawn, module("c", &[]).encode_to_vec());
    assert_eq!(at(&with(again), NOW), Ok(2));

    let future = ModuleContent { usable_from: Some(end.to_proto()), ..module("d", &[]) };
    let both = with(approve::<Module>(versions, future.encode_to_vec()));
    assert_eq!(at(&both, NOW), Ok(1));
    assert_eq!(at(&both, end), Ok(2));
    let alone = library(&[], &[("root", future)]);
    assert_eq!(at(&alone, NOW), Err(because("content_not_approved", "not_yet_usable")));
    assert_eq!(
        at(&with(Versions::default()), NOW),
        Err(because("content_not_approved", "unknown"))
    );
}

#[test]
fn every_part_must_be_approved_now() {
    let root =
        module("{{c}}{{m}}", &[("c", SlotKind::Claim, "onset"), ("m", SlotKind::Module, "footer")]);
    let whole = || {
        library(
            &[("onset", claim("Works."))],
            &[("root", root.clone()), ("footer", module("f", &[]))],
        )
    };
    assert!(selected(&whole(), &ask()).is_ok());
    let fault = |change: &dyn Fn(&mut Library)| {
        let mut library = whole();
        change(&mut library);
        selected(&library, &ask()).expect_err("at fault")
    };
    let withdraw = || Command::Withdraw { version: 0, reason: "r".into(), cause: String::new() };
    let claim_withdrawn = |it: &mut Library| {
        let versions = Versions::clone(&it.claims["onset"]);
        let events = Claim::decide(&versions, withdraw(), NOW).expect("granted");
        it.claims.insert("onset".into(), events.iter().fold(versions, Claim::evolve).into());
    };
    assert_eq!(fault(&claim_withdrawn), because("content_withdrawn", "claim/onset: withdrawn"));
    let module_withdrawn = |it: &mut Library| {
        let versions = then(&it.modules["footer"], withdraw());
        it.modules.insert("footer".into(), versions.into());
    };
    assert_eq!(fault(&module_withdrawn), because("content_withdrawn", "module/footer: withdrawn"));
    let no_reference =
        |it: &mut Library| drop(it.references.insert("study".into(), Default::default()));
    assert_eq!(
        fault(&no_reference),
        because("content_withdrawn", "claim/onset: no valid reference")
    );
    let elsewhere = |it: &mut Library| {
        let content = ClaimContent { markets: vec!["FR".into()], ..claim("Works.") };
        let versions = approve::<Claim>(Versions::default(), content.encode_to_vec());
        it.claims.insert("onset".into(), versions.into());
    };
    assert_eq!(fault(&elsewhere), because("content_not_approved", "claim/onset: market"));
    let over = |it: &mut Library| {
        let content = ClaimContent { expires_at: Some(NOW.to_proto()), ..claim("Works.") };
        let mut versions = approve::<Claim>(Versions::default(), claim("x").encode_to_vec());
        versions = forged(&versions, content.encode_to_vec());
        it.claims.insert("onset".into(), versions.into());
    };
    assert_eq!(fault(&over), because("content_not_approved", "claim/onset: tampered"));
    let no_asset = |it: &mut Library| {
        let content = ModuleContent { asset_ids: vec!["logo".into()], ..module("f", &[]) };
        let versions = approve::<Module>(Versions::default(), content.encode_to_vec());
        it.modules.insert("footer".into(), versions.into());
        it.assets.insert("logo".into(), Default::default());
    };
    assert_eq!(fault(&no_asset), because("content_expired", "module/footer: asset/logo: expired"));
}

/// The versions with the bytes of the first exchanged, as whoever writes into the store could.
fn forged(versions: &Versions, content: Vec<u8>) -> Versions {
    let first = versions.get(1).expect("there").clone();
    let drafted = proto::ModuleDraftSaved {
        version: 1,
        content,
        content_hash: first.hash.clone(),
        author: first.author.clone(),
        saved_at: Some(NOW.to_proto()),
    };
    let roles = first.roles.iter().map(|it| i32::from(*it)).collect();
    let submitted = proto::ModuleSubmitted { version: 1, roles, ..Default::default() };
    let opinion = first.opinions[0].1.clone();
    let verdict = proto::ModuleVerdictRecorded {
        version: 1,
        role: opinion.role.into(),
        verdict: opinion.verdict.into(),
        signature: Some(opinion.signature),
        ..Default::default()
    };
    let approved = proto::ModuleApproved {
        version: 1,
        content_hash: first.approved_hash.clone(),
        signature_ids: first.signature_ids,
        ..Default::default()
    };
    use proto::module_event::Event;
    eventstore::fold::<Module>(&[
        Event::DraftSaved(drafted),
        Event::Submitted(submitted),
        Event::VerdictRecorded(verdict),
        Event::Approved(approved),
    ])
}

#[test]
fn bytes_that_differ_from_those_that_were_signed_are_not_printed() {
    let mut library = library(&[], &[("root", module("safe", &[]))]);
    let honest = library.modules["root"].clone();
    let same = forged(&honest, module("safe", &[]).encode_to_vec());
    library.modules.insert("root".into(), same.into());
    assert!(selected(&library, &ask()).is_ok(), "the same bytes are the signed ones");
    for content in [module("harmless", &[]).encode_to_vec(), vec![0xff; 9], Vec::new()] {
        library.modules.insert("root".into(), forged(&honest, content).into());
        assert_eq!(
            selected(&library, &ask()).err(),
            Some(because("content_not_approved", "tampered"))
        );
    }
}

#[test]
fn what_must_accompany_is_never_skipped() {
    let accompany = |claim_id: &str, module_id: &str| {
        Rule::MustAccompany(MustAccompany {
            claim_id: claim_id.into(),
            module_id: module_id.into(),
        })
    };
    let claims = [("onset", claim("Works.")), ("safety", claim("Read the label."))];
    let slots = [
        ("c", SlotKind::Claim, "onset"),
        ("s", SlotKind::Claim, "safety"),
        ("m", SlotKind::Module, "part"),
    ];
    let with = |text: &str, html: &str, part: &str| {
        let mut root = module(text, &slots);
        root.variants[0].html = html.into();
        let part = rules(module(part, &slots[..2]), vec![accompany("safety", "")]);
        printed(&library(&claims, &[("root", root), ("part", part)]), &[])
    };
    let missing = Err(because("fair_balance", "module/part: claim/safety must accompany it"));
    assert_eq!(with("{{c}} {{m}}", "", "x"), missing);
    assert!(with("{{c}} {{m}} {{s}}", "", "x").is_ok());
    assert!(with("{{c}} {{m}}", "", "{{s}}").is_ok());
    // Whoever reads the HTML does not see the text.
    assert_eq!(with("{{m}} {{s}}", "<p>{{m}}</p>", "x"), missing);
    assert!(with("{{m}} {{s}}", "<p>{{m}}{{s}}</p>", "x").is_ok());
    // A rule of a module that is not printed does not count.
    assert!(with("{{c}}", "", "x").is_ok());
    let root = rules(module("{{c}}", &slots), vec![accompany("", "part")]);
    let it = printed(&library(&claims, &[("root", root)]), &[]);
    assert_eq!(it, Err(because("fair_balance", "module/root: module/part must accompany it")));
}

#[test]
fn rules_of_the_root_and_of_its_parts_are_checked() {
    let claims = [("one", claim("1.")), ("two", claim("2."))];
    let slots = [
        ("a", SlotKind::Claim, "one"),
        ("b", SlotKind::Claim, "two"),
        ("m", SlotKind::Module, "part"),
    ];
    let with = |text: &str, rule: Rule| {
        let root = module(text, &slots);
        let part = rules(module("part", &[]), vec![rule]);
        printed(&library(&claims, &[("root", root), ("part", part)]), &[]).map(|it| it.text)
    };
    let broken = |what: &str| Err(because("render_error", &format!("module/part: {what}")));
    let order = || Rule::Order(Order { ids: vec!["one".into(), "two".into()] });
    assert_eq!(with("{{m}}{{a}}", Rule::Requires("one".into())), Ok("part1.".into()));
    assert_eq!(with("{{m}}{{b}}", Rule::Requires("one".into())), broken("requires one"));
    assert_eq!(with("{{m}}{{b}}", Rule::Requires("root".into())), Ok("part2.".into()));
    assert_eq!(with("{{m}}{{b}}", Rule::Excludes("one".into())), Ok("part2.".into()));
    assert_eq!(with("{{m}}{{a}}", Rule::Excludes("one".into())), broken("excludes one"));
    assert_eq!(with("{{a}}{{m}}{{b}}", order()), Ok("1.part2.".into()));
    assert_eq!(with("{{b}}{{m}}{{a}}", order()), broken("order one, two"));
    assert_eq!(with("{{b}}{{m}}", order()), Ok("2.part".into()));
    assert_eq!(with("{{m}} and much more", Rule::MaxLength(4)), Ok("part and much more".into()));
    assert_eq!(with("{{m}}", Rule::MaxLength(3)), broken("longer than 3 characters"));
}

#[test]
fn modules_in_modules_have_an_end() {
    let nested = |depth: u32| {
        let names: Vec<_> =
            (0..=depth).map(|n| if n == 0 { "root".to_owned() } else { format!("m{n}") }).collect();
        let modules: Vec<_> = (0..=depth)
            .map(|n| match n == depth {
                true => module("end", &[]),
                false => module("{{m}}", &[("m", SlotKind::Module, &format!("m{}", n + 1))]),
            })
            .collect();
        let named: Vec<_> = names.iter().map(String::as_str).zip(modules).collect();
        printed(&library(&[], &named), &[]).map(|it| it.text)
    };
    assert_eq!(nested(DEEPEST), Ok("end".into()));
    assert_eq!(
        nested(DEEPEST + 1),
        Err(because("content_not_approved", "module/m5: nested too deep"))
    );
    let itself = module("{{m}}", &[("m", SlotKind::Module, "root")]);
    let error = printed(&library(&[], &[("root", itself)]), &[]).expect_err("refused");
    assert_eq!(error.0, "render_error");
    // Printed again and again, a small module would fill the memory.
    let many = module(&"{{m}}".repeat(150), &[("m", SlotKind::Module, "m1")]);
    let inner = module(&"{{m}}".repeat(150), &[("m", SlotKind::Module, "m2")]);
    let bomb = library(&[], &[("root", many), ("m1", inner), ("m2", module("x", &[]))]);
    assert_eq!(printed(&bomb, &[]).expect_err("refused").0, "render_error");
}

#[test]
fn the_hash_of_a_message_has_a_stated_form() {
    let library = library(&[], &[("root", module("text", &[]))]);
    let it = printed(&library, &[]).expect("printed");
    let bytes = b"\0\0\0\x05Hallo\0\0\0\x04text\0\0\0\0";
    assert_eq!(it.hash, hash_of(bytes));
}

proptest! {
    #[test]
    fn the_same_request_gives_the_same_bytes(
        value in any::<String>(),
        template in "[a-z <>&\"]{0,20}\\{\\{x\\}\\}[a-z <>&\"]{0,20}",
    ) {
        let mut content = module(&template, &[("x", SlotKind::Text, "")]);
        content.slots[0].max_length = 10_000;
        content.variants[0].subject = "{{x}}".into();
        content.variants[0].html = format!("<p>{template}</p>");
        let library = library(&[], &[("root", content)]);
        let first = printed(&library, &[("x", &value)]);
        prop_assert_eq!(&first, &printed(&library, &[("x", &value)]));
        if let Ok(first) = first {
            prop_assert!(!first.subject.chars().any(char::is_control));
            let quotes = |text: &str| text.matches(['<', '>', '"']).count();
            prop_assert_eq!(quotes(&first.html), quotes(&template) + 4);
        }
    }
}
