use ::authored::rule::Facts as _;
use proptest::prelude::*;
use rapport_proto::decisioning::v1::{
    Action, ActionGroup, ContactLine, ContextWeight, Happening, HappeningKind, Lever,
    OutcomeSuppression, Policy, Reward, RulePack, Treatment,
};
use rapport_proto::decisioning::v1::{Arm, OutboundLine};
use rapport_proto::types::{Audience, ContentClass, PartyKind, Purpose, clear};

use super::content::Module;
use super::facts::consent_key;
use super::reads::Reads;
use super::*;

mod why_not;

pub(crate) const AT: Timestamp = Timestamp(1_767_225_600_000_000);
const HOUR: i64 = 3_600 * 1_000_000;
const DAY: i64 = 24 * HOUR;

/// A small world in which everything is allowed, for tests to change.
pub(crate) struct Fixture {
    pub(crate) decision_id: String,
    pub(crate) policy: Policy,
    pub(crate) pack: Option<RulePack>,
    pub(crate) party: PartyFacts,
    pub(crate) modules: Modules,
    pub(crate) happenings: Vec<Happening>,
    pub(crate) wish: Wish,
    pub(crate) holdouts: Vec<HoldoutStarted>,
    /// α and β of e-mail; every other channel is unknown.
    pub(crate) email: Beta,
}

pub(crate) fn fixture() -> Fixture {
    let mut party = PartyFacts::new(PartyKind::Hcp, "DE", "ACTIVE", AT);
    party.set("attributes.tier", 2.0);
    party.set("traits.orders_90d", 1.0);
    party.set_segments(["lapsing"]);
    for channel in [Channel::Email, Channel::FieldTask] {
        party.set_consent(&consent_key(Purpose::Promotional, channel, "northwind"), true, "");
    }
    let mut modules = Modules::default();
    for id in ["letter", "visit"] {
        modules.add(id, module());
    }
    Fixture {
        decision_id: "dec_1".into(),
        policy: policy(),
        pack: Some(pack()),
        party,
        modules,
        happenings: Vec::new(),
        wish: Wish {
            party_id: "pty_1".into(),
            sender_id: "northwind".into(),
            k: 1,
            valid_for: DAY,
            ..Wish::default()
        },
        holdouts: Vec::new(),
        email: (3.0, 5.0),
    }
}

pub(crate) fn module() -> Module {
    Module {
        version: 1,
        class: ContentClass::RxPromotional,
        markets: vec!["DE".into()],
        audiences: vec![Audience::Hcp],
        channels: vec![Channel::Email, Channel::FieldTask],
        topic: "asthma".into(),
        approved_position: 1,
        ..Module::default()
    }
}

fn pack() -> RulePack {
    let line = OutboundLine {
        id: "de-rx".into(),
        content_classes: vec![ContentClass::RxPromotional.into()],
        audiences: vec![Audience::Hcp.into()],
        channels: vec!["ANY".into()],
        effect: proto::Effect::Allow.into(),
        when: String::new(),
    };
    RulePack { rule_pack: "DE".into(), outbound: vec![line], ..RulePack::default() }
}

/// Two actions, three candidates.
pub(crate) fn policy() -> Policy {
    let treatment = |treatment: &str, channel: Channel, module: &str| Treatment {
        treatment: treatment.into(),
        channel: channel.into(),
        module: module.into(),
        topic: String::new(),
    };
    let reward = Reward { event: "Order Completed".into(), within: "14d".into(), value: 1.0 };
    Policy {
        policy: "default".into(),
        groups: vec![ActionGroup { group: "win-back".into(), ..ActionGroup::default() }],
        actions: vec![
            Action {
                action: "write".into(),
                group: "win-back".into(),
                value: 10.0,
                rewards: vec![reward],
                treatments: vec![
                    treatment("mail", Channel::Email, "letter"),
                    treatment("task", Channel::FieldTask, "letter"),
                ],
                ..Action::default()
            },
            Action {
                action: "see".into(),
                group: "win-back".into(),
                value: 5.0,
                treatments: vec![treatment("task", Channel::FieldTask, "visit")],
                ..Action::default()
            },
        ],
        ..Policy::default()
    }
}

impl Fixture {
    pub(crate) fn compiled(&self) -> Compiled {
        Compiled::new(1, &[7; 32], &self.policy)
    }

    pub(crate) fn compiled_pack(&self) -> Option<Pack> {
        self.pack.as_ref().map(|it| Pack::compile([(1, it)]))
    }

    pub(crate) fn decide(&self) -> DecisionMade {
        let email = self.email;
        decide(&Inputs {
            decision_id: &self.decision_id,
            at: AT,
            salt: "salt",
            wish: &self.wish,
            policy: &self.compiled(),
            party: &self.party,
            pack: self.compiled_pack().as_ref(),
            modules: &self.modules,
            content_position: 1,
            happenings: &self.happenings,
            affinity: &|channel, _| if channel == Channel::Email { email } else { (1.0, 1.0) },
            holdouts: &self.holdouts,
            positions: [("content".to_owned(), 1)].into(),
            model: None,
        })
    }

    /// The first candidate, an e-mail of the first action.
    fn first(&self) -> Candidate {
        self.decide().candidates.into_iter().next().expect("a candidate")
    }

    fn set_first(&mut self, stage: Stage, rule: &str) {
        let action = &mut self.policy.actions[0];
        match stage {
            Stage::Applicability => action.applicability = rule.into(),
            Stage::Suitability => action.suitability = rule.into(),
            _ => action.eligibility = rule.into(),
        }
    }
}

/// Stage, clause, value, required.
fn why(candidate: &Candidate) -> (Stage, &str, &str, &str) {
    let Candidate { clause, value, required, .. } = candidate;
    (candidate.stage_failed(), clause, value, required)
}

pub(crate) fn happened(kind: HappeningKind, name: &str, ago: i64) -> Happening {
    Happening {
        kind: kind.into(),
        name: name.into(),
        at: Some(Timestamp(AT.0 - ago).to_proto()),
        channel: Channel::Email.into(),
        action: "write".into(),
        group: "win-back".into(),
        ..Happening::default()
    }
}

#[test]
fn every_candidate_is_recorded_with_a_stage_or_a_probability() {
    let made = fixture().decide();
    let names: Vec<_> =
        made.candidates.iter().map(|it| (it.action.as_str(), it.treatment.as_str())).collect();
    assert_eq!(names, [("write", "mail"), ("write", "task"), ("see", "task"), (DO_NOTHING, "")]);
    let sum: f64 = made.candidates.iter().map(|it| it.pi).sum();
    assert!((sum - 1.0).abs() < 1e-12);
    assert!(made.candidates.iter().all(|it| it.pi >= 0.02 / 4.0 - 1e-12));
    let mail = &made.candidates[0];
    assert_eq!((mail.p, mail.c, mail.v, mail.l, mail.score), (0.375, 1.0, 1.0, 1.0, 0.375));
    assert_eq!(made.candidates[2].v, 0.5);
    assert_eq!(made.chosen.len(), 1);
    assert_eq!(made.packs, [("DE".to_owned(), 1)].into());
}

#[test]
fn stages_stop_in_their_order_with_clause_value_and_requirement() {
    let mut world = fixture();
    world.set_first(Stage::Suitability, "attributes.tier > 5.0");
    assert_eq!(
        why(&world.first()),
        (Stage::Suitability, "attributes.tier > 5.0", "attributes.tier = 2", "> 5")
    );
    world.set_first(Stage::Applicability, "'lapsing' in segments && traits.orders_90d >= 2.0");
    assert_eq!(
        why(&world.first()),
        (Stage::Applicability, "traits.orders_90d >= 2.0", "traits.orders_90d = 1", ">= 2")
    );
    world.policy.groups[0].eligibility = "party.market == 'FR'".into();
    assert_eq!(
        why(&world.first()),
        (Stage::Eligibility, "party.market == 'FR'", "party.market = \"DE\"", "== \"FR\"")
    );
    world.pack = None;
    assert_eq!(why(&world.first()), (Stage::CountryRule, "DE", "no_pack", "ALLOW"));
    let ended = Module { ended: Some((1, "withdrawn".into())), ..module() };
    world.modules = Modules::default();
    world.modules.add("letter", ended);
    assert_eq!(
        why(&world.first()),
        (Stage::Content, "letter@1", "withdrawn", "an approved version")
    );
    let key = consent_key(Purpose::Promotional, Channel::Email, "northwind");
    world.party.set_consent(&key, false, "no_record");
    assert_eq!(
        why(&world.first()),
        (Stage::Consent, "PROMOTIONAL/EMAIL/northwind", "no_record", "consent")
    );
}

#[test]
fn unknown_is_no_and_says_what_is_unknown() {
    let mut world = fixture();
    world.set_first(Stage::Eligibility, "attributes.tier > 1.0 && attributes.licence");
    let stopped = world.first();
    assert_eq!(stopped.stage_failed(), Stage::Eligibility);
    assert_eq!(stopped.clause, "attributes.licence");
    assert_eq!(stopped.value, "unknown:attributes.licence");
    assert!(world.decide().facts["attributes.licence"].unknown);

    let mut world = fixture();
    world.wish.sender_id = "other".into();
    assert_eq!(world.first().value, "unknown:consent.PROMOTIONAL/EMAIL/other");

    let mut world = fixture();
    world.modules = Modules::default();
    assert_eq!(
        why(&world.first()),
        (Stage::Content, "letter", "not approved", "an approved version")
    );
}

#[test]
fn a_party_that_is_not_active_gets_nothing() {
    let mut world = fixture();
    world.party = PartyFacts::new(PartyKind::Hcp, "DE", "SUPPRESSED", AT);
    let made = world.decide();
    assert!(made.candidates[..3].iter().all(|it| it.stage_failed() == Stage::Consent));
    assert_eq!(made.chosen[0].action, DO_NOTHING);
    assert_eq!((made.chosen[0].pi, made.candidates[3].pi), (1.0, 1.0));
    assert_eq!(made.closes_at, None);
}

#[test]
fn a_kind_that_the_pack_does_not_enable_is_denied() {
    let mut world = fixture();
    let pack = world.pack.as_mut().expect("a pack");
    pack.enabled_kinds = vec![PartyKind::Patient.into()];
    assert_eq!(world.first().clause, "enabled_kinds");
}

#[test]
fn a_full_contact_line_says_when_the_next_contact_is_allowed() {
    let mut world = fixture();
    world.policy.contact_policy = vec![ContactLine {
        id: "mails".into(),
        counts: vec!["EMAIL".into(), "Call Completed".into()],
        window: "7d".into(),
        max: 2,
        ..ContactLine::default()
    }];
    world.happenings = vec![
        happened(HappeningKind::Contact, "EMAIL", DAY),
        happened(HappeningKind::Contact, "FIELD_TASK", DAY),
        happened(HappeningKind::Contact, "EMAIL", 8 * DAY),
    ];
    assert_eq!(world.first().stage_failed, world.decide().candidates[0].stage_failed);
    assert_ne!(world.first().stage_failed(), Stage::ContactPolicy);
    world.happenings.insert(1, happened(HappeningKind::Interaction, "Call Completed", 3 * DAY));
    let stopped = world.first();
    assert_eq!(why(&stopped), (Stage::ContactPolicy, "mails", "2 in 7d", "< 2"));
    // The older of the two leaves the window seven days after it happened.
    let next = Timestamp(AT.0 - 3 * DAY + 7 * DAY);
    assert_eq!(super::super::instant(stopped.next_allowed_at.as_ref()), Some(next));
    // A channel that does not count is not limited.
    assert_ne!(world.decide().candidates[1].stage_failed(), Stage::ContactPolicy);
}

#[test]
fn a_contact_leaves_its_window_at_the_end_of_it() {
    let mut world = fixture();
    world.policy.contact_policy = vec![ContactLine {
        id: "mails".into(),
        counts: vec!["EMAIL".into()],
        window: "7d".into(),
        max: 1,
        ..ContactLine::default()
    }];
    world.happenings = vec![happened(HappeningKind::Contact, "EMAIL", 7 * DAY - 1)];
    assert_eq!(world.first().stage_failed(), Stage::ContactPolicy);
    world.happenings = vec![happened(HappeningKind::Contact, "EMAIL", 7 * DAY)];
    assert_ne!(world.first().stage_failed(), Stage::ContactPolicy);
}

#[test]
fn a_line_of_a_product_counts_and_limits_that_product_only() {
    let mut world = fixture();
    world.policy.contact_policy = vec![ContactLine {
        id: "mails".into(),
        counts: vec!["EMAIL".into()],
        product_id: "breathe".into(),
        window: "7d".into(),
        max: 1,
        ..ContactLine::default()
    }];
    let contact = happened(HappeningKind::Contact, "EMAIL", DAY);
    world.happenings = vec![Happening { product_id: "breathe".into(), ..contact }];
    assert_ne!(world.first().stage_failed(), Stage::ContactPolicy);
    world.modules = Modules::default();
    world.modules.add("letter", Module { product_id: "breathe".into(), ..module() });
    assert_eq!(world.first().stage_failed(), Stage::ContactPolicy);
}

#[test]
fn outcomes_put_off_their_scope_for_a_while() {
    let mut world = fixture();
    world.policy.suppressions = vec![OutcomeSuppression {
        id: "no-means-no".into(),
        outcome: "TaskDismissed".into(),
        reason: "NOT_RELEVANT".into(),
        count: 2,
        window: "30d".into(),
        duration: "60d".into(),
        scope: "action".into(),
    }];
    let dismissed = |ago| Happening {
        reason: "NOT_RELEVANT".into(),
        ..happened(HappeningKind::Outcome, "TaskDismissed", ago)
    };
    world.happenings = vec![dismissed(40 * DAY), dismissed(71 * DAY)];
    assert_ne!(world.first().stage_failed(), Stage::ContactPolicy);
    world.happenings = vec![dismissed(40 * DAY), dismissed(70 * DAY)];
    let made = world.decide();
    assert_eq!(made.candidates[0].clause, "no-means-no");
    let until = Timestamp(AT.0 + 20 * DAY).to_proto();
    assert_eq!(made.candidates[0].next_allowed_at, Some(until));
    assert_eq!(made.candidates[1].clause, "no-means-no");
    assert_ne!(made.candidates[2].stage_failed(), Stage::ContactPolicy);
    world.policy.suppressions[0].scope = "group".into();
    assert_eq!(world.decide().candidates[2].clause, "no-means-no");
    world.policy.suppressions[0].scope = "channel".into();
    assert_ne!(world.decide().candidates[1].clause, "no-means-no");
}

#[test]
fn weights_add_up_and_a_lever_ends() {
    let mut world = fixture();
    let lever = |lever: &str, weight, until: i64| Lever {
        lever: lever.into(),
        group: "win-back".into(),
        weight,
        until: Some(Timestamp(until).to_proto()),
        ..Lever::default()
    };
    world.policy.levers = vec![lever("on", 50.0, AT.0 + 1), lever("over", 500.0, AT.0)];
    let weight = |id: &str, when: &str, weight| ContextWeight {
        id: id.into(),
        when: when.into(),
        weight,
        ..ContextWeight::default()
    };
    world.policy.context_weights = vec![
        weight("tier", "attributes.tier == 2.0", 30.0),
        weight("lapsing", "'lapsing' in segments", 25.0),
        weight("unknown", "attributes.absent", 900.0),
    ];
    let mail = world.first();
    assert_eq!((mail.c, mail.l), (1.55, 1.5));
    assert_eq!(mail.context_weights, ["tier", "lapsing"]);
    assert_eq!(mail.levers, ["on"]);
}

#[test]
fn doing_nothing_wins_when_nothing_is_better() {
    let mut world = fixture();
    world.policy.do_nothing_score = 5.0;
    let made = world.decide();
    assert!(made.candidates[3].pi > 0.98);
    assert!(made.candidates[..3].iter().all(|it| it.pi >= 0.005 - 1e-12));
}

#[test]
fn groups_channels_and_times_say_who_is_a_candidate() {
    let mut world = fixture();
    world.wish.channels = vec![Channel::FieldTask];
    assert_eq!(world.decide().candidates.len(), 3);
    world.wish.groups = vec!["other".into()];
    assert_eq!(world.decide().candidates.len(), 1);
    let mut world = fixture();
    world.policy.actions[0].ends_at = Some(AT.to_proto());
    world.policy.actions[1].starts_at = Some(AT.to_proto());
    let made = world.decide();
    assert_eq!(made.candidates[0].action, "see");
}

#[test]
fn the_holdout_is_noted_and_stops_nothing() {
    let mut world = fixture();
    world.holdouts = vec![HoldoutStarted {
        holdout_id: "q1".into(),
        salt: "s".into(),
        share: 1.0,
        content_classes: vec![ContentClass::RxPromotional.into()],
        period: "2026-Q1".into(),
    }];
    let (before, after) = (fixture().decide(), world.decide());
    assert_eq!(before.chosen, after.chosen);
    if after.chosen[0].action != DO_NOTHING {
        assert_eq!((after.holdout_id.as_str(), after.arm()), ("q1", Arm::HeldOut));
    }
}

#[test]
fn safety_communication_is_exempt_from_the_contact_policy() {
    let mut world = fixture();
    world.modules = Modules::default();
    world.modules.add("letter", Module { class: ContentClass::SafetyCommunication, ..module() });
    let pack = world.pack.as_mut().expect("a pack");
    pack.outbound[0].content_classes = vec![ContentClass::SafetyCommunication.into()];
    let key = consent_key(Purpose::Safety, Channel::Email, "northwind");
    world.party.set_consent(&key, true, "");
    world.policy.contact_policy = vec![ContactLine {
        id: "mails".into(),
        counts: vec!["EMAIL".into()],
        window: "7d".into(),
        max: 1,
        ..ContactLine::default()
    }];
    world.happenings = vec![happened(HappeningKind::Contact, "EMAIL", DAY)];
    assert_ne!(world.first().stage_failed(), Stage::ContactPolicy);
}

#[test]
fn the_same_inputs_give_the_same_bits_and_the_draw_can_be_made_again() {
    use prost::Message as _;
    let mut world = fixture();
    world.wish.k = 3;
    for number in 0..200 {
        world.decision_id = format!("dec_{number}");
        let made = world.decide();
        assert_eq!(made.encode_to_vec(), world.decide().encode_to_vec());
        let pi: Vec<f64> = made.candidates.iter().map(|it| it.pi).collect();
        let drawn = explore::slate(&pi, made.k, &made.salt, &made.decision_id);
        let again: Vec<_> = drawn
            .iter()
            .map(|it| {
                (made.candidates[it.index].action.as_str(), it.pi.to_bits(), it.draw.to_bits())
            })
            .collect();
        let chosen: Vec<_> = (made.chosen.iter())
            .map(|it| (it.action.as_str(), it.pi.to_bits(), it.draw.to_bits()))
            .collect();
        assert_eq!(again, chosen);
    }
}

#[test]
fn twenty_thousand_decisions_are_drawn_as_often_as_they_say() {
    let world = fixture();
    let (policy, pack) = (world.compiled(), world.compiled_pack());
    let mut counts = [0_u32; 4];
    let mut pi = Vec::new();
    for number in 0..20_000 {
        let made = decide(&Inputs {
            decision_id: &format!("dec_{number}"),
            at: AT,
            salt: "salt",
            wish: &world.wish,
            policy: &policy,
            party: &world.party,
            pack: pack.as_ref(),
            modules: &world.modules,
            content_position: 1,
            happenings: &[],
            affinity: &|_, _| (3.0, 5.0),
            holdouts: &[],
            positions: BTreeMap::new(),
            model: None,
        });
        let chosen = &made.chosen[0];
        let index = (made.candidates.iter())
            .position(|it| it.action == chosen.action && it.treatment == chosen.treatment)
            .expect("a candidate");
        counts[index] += 1;
        pi = made.candidates.iter().map(|it| it.pi).collect();
    }
    let chi: f64 = (counts.iter().zip(&pi))
        .map(|(count, pi)| (f64::from(*count) - 20_000.0 * pi).powi(2) / (20_000.0 * pi))
        .sum();
    // Three degrees of freedom: 16.27 is exceeded once in a thousand.
    assert!(chi < 16.27, "χ² = {chi}, {counts:?} of {pi:?}");
}

#[test]
fn what_is_read_of_a_party_is_known_before_it_is() {
    let mut world = fixture();
    world.set_first(Stage::Eligibility, "attributes.tier > 1.0 && context.trigger == 'visit'");
    world.set_first(Stage::Suitability, "consent['SAFETY/PHONE/acme'] || party.kind == 'HCP'");
    world.policy.context_weights = vec![ContextWeight {
        id: "lapsing".into(),
        when: "'lapsing' in segments && traits.orders_90d < 2.0".into(),
        ..ContextWeight::default()
    }];
    world.pack.as_mut().expect("a pack").outbound[0].when = "attributes.licence".into();
    let (policy, pack) = (world.compiled(), world.compiled_pack());
    let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    let expected = Reads {
        attributes: names(&["licence", "tier"]),
        traits: names(&["orders_90d"]),
        segments: true,
        consents: [(Purpose::Safety, Channel::Phone, "acme".to_owned())].into(),
        contacts: [
            (Purpose::Promotional, Channel::Email),
            (Purpose::Promotional, Channel::FieldTask),
        ]
        .into(),
    };
    assert_eq!(Reads::new(&policy, pack.iter(), &world.modules), expected);
    let only_rules = Reads { contacts: [].into(), ..expected };
    assert_eq!(Reads::new(&policy, pack.iter(), &Modules::default()), only_rules);
}

/// Facts of a party: some known, some not.
fn facts() -> impl Strategy<Value = Vec<(String, Option<f64>)>> {
    let names = ["attributes.a", "attributes.b", "traits.c", "traits.d"];
    let values = prop::collection::vec(prop::option::of((0..4_u8).prop_map(f64::from)), 4);
    values.prop_map(move |it| names.iter().map(|it| (*it).to_owned()).zip(it).collect())
}

/// A rule of one to three comparisons.
fn rule() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["attributes.a", "attributes.b", "traits.c", "traits.d"]);
    let op = prop::sample::select(vec![">=", "<", "=="]);
    let clause = (name, op, 0..4_u8).prop_map(|(name, op, value)| format!("{name} {op} {value}.0"));
    prop::collection::vec(clause, 1..4).prop_map(|it| it.join(" && "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_record_holds_all_that_rules_read(facts in facts(), rule in rule()) {
        let mut world = fixture();
        for (name, value) in &facts {
            if let Some(value) = value {
                world.party.set(name, *value);
            }
        }
        let code = Clear { value: Some(clear::Value::Code("api".into())) };
        world.wish.context = [("trigger".to_owned(), code.clone())].into();
        world.party.set_clear("context", "trigger", &code);
        world.set_first(Stage::Eligibility, &rule);
        world.pack.as_mut().expect("a pack").outbound[0].when = "attributes.tier > 1.0".into();
        let made = world.decide();
        let row = PartyFacts::of_record(&made.facts, &made.context, AT);
        let (policy, pack) = (world.compiled(), world.compiled_pack().expect("a pack"));
        let read = policy.names().iter().chain(&pack.reads);
        for name in read.clone() {
            prop_assert_eq!(row.get(name), world.party.get(name), "{}", name);
            prop_assert_eq!(made.facts[name.as_str()].unknown, row.get(name).is_none());
        }
        // And nothing that nobody read.
        let whom = |name: &str| name.starts_with("party.") || name.starts_with("consent.");
        let read: Vec<&str> = read.map(::authored::rule::Name::as_str).collect();
        prop_assert!(made.facts.keys().all(|it| whom(it) || read.contains(&it.as_str())));
    }
}
