use std::time::Duration;

use proptest::prelude::*;
use rapport_proto::content::v1::Part;
use rapport_proto::decisioning::v1::{
    Calendar, ContactLine, Policy as PolicyDocument, QuietHours, RulePack, RulePackActivated,
};
use rapport_proto::delivery::v1::{SuppressionCause, TouchCause};
use rapport_proto::profiles::v1::ConsentVerdict;
use rapport_proto::types::{PartyKind, Purpose};

use super::*;

/// 2026-01-01T12:00:00Z, a Thursday.
const NOON: Timestamp = Timestamp(1_767_268_800_000_000);

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

/// Everything is as it should be.
fn lawful() -> Gathered {
    Gathered {
        request: TouchRequested {
            touch_id: "tch_1".into(),
            cause: TouchCause::Instance.into(),
            party_id: "pty_1".into(),
            module: "welcome".into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            instance_id: "ins_1".into(),
            expires_at: Some(NOON.plus(hours(1)).to_proto()),
            ..TouchRequested::default()
        },
        instance: Some(CheckInstanceResponse {
            live: true,
            instance_version: 4,
            position: 9,
            ..Default::default()
        }),
        recipient: Some(ResolveRecipientResponse {
            found: true,
            state: "ACTIVE".into(),
            kind: PartyKind::Hcp.into(),
            market: "DE".into(),
            time_zone: "Europe/Berlin".into(),
            contact_point_id: "cpt_1".into(),
            address: "ada@example.org".into(),
            same_address: vec!["cpt_1".into()],
            consent: Some(ConsentVerdict {
                allowed: true,
                regime: Regime::OptIn.into(),
                consent_id: "con_1".into(),
                pack: "DE".into(),
                pack_version: 2,
                position: 17,
                ..Default::default()
            }),
            assignee_party_id: "pty_rep".into(),
            positions: [("profiles".to_owned(), 17)].into(),
            ..Default::default()
        }),
        content: Some(RenderResponse {
            subject: "Hello".into(),
            text: "Hello".into(),
            render_hash: "ab".repeat(32),
            parts: vec![Part {
                kind: "module".into(),
                id: "welcome".into(),
                version: 3,
                content_hash: "cd".repeat(32),
                signature_ids: vec!["sig_1".into(), "sig_2".into()],
            }],
            content_class: ContentClass::RxPromotional.into(),
            product_id: "cardiol".into(),
            topic: "launch".into(),
            position: 5,
            ..Default::default()
        }),
        outbound: Some(CheckOutboundResponse {
            effect: OutboundEffect::Allow.into(),
            pack: "DE".into(),
            pack_version: 2,
            rule: "de-rx-hcp".into(),
            holdout_id: "winter".into(),
            arm: Arm::Treated.into(),
            position: 31,
            ..Default::default()
        }),
        pack: Some(compiled(&pack())),
        policy: Some(policy(line(&["EMAIL", "Call Completed"], "7d", 2))),
        sender: Some(Sender {
            sender_id: "northwind".into(),
            from_address: "news@northwind.example".into(),
            ..Default::default()
        }),
        position: 40,
        ..Default::default()
    }
}

fn compiled(pack: &RulePackActivated) -> Arc<rules::Pack> {
    Arc::new(rules::Pack::compile(pack))
}

fn policy(line: ContactLine) -> Arc<Policy> {
    let document = PolicyDocument { contact_policy: vec![line], ..Default::default() };
    Arc::new(Policy::compile(6, &document))
}

fn pack() -> RulePackActivated {
    RulePackActivated {
        market: "DE".into(),
        version: 2,
        document: Some(RulePack {
            quiet_hours: Some(QuietHours {
                channels: vec![Channel::Email.into(), Channel::Sms.into()],
                from: "20:00".into(),
                to: "08:00".into(),
                also: vec!["SUN".into()],
            }),
            calendar: Some(Calendar {
                time_zones: vec!["Europe/Berlin".into(), "America/New_York".into()],
                weekend: vec!["SAT".into(), "SUN".into()],
                holidays: Vec::new(),
            }),
            enabled_kinds: vec![PartyKind::Hcp.into()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn line(counts: &[&str], window: &str, max: u32) -> ContactLine {
    ContactLine {
        id: "weekly".into(),
        counts: counts.iter().map(|it| (*it).to_owned()).collect(),
        window: window.into(),
        max,
        hard: true,
        ..Default::default()
    }
}

fn contact(touch_id: &str, at: Timestamp) -> Contact {
    let (touch_id, product_id) = (touch_id.to_owned(), String::new());
    Contact { touch_id, channel: Channel::Email, product_id, at }
}

fn verdict(judgement: &Judgement, step: GateStep) -> &Verdict {
    judgement.verdicts.iter().find(|it| it.step() == step).expect("every step has a verdict")
}

#[test]
fn what_is_lawful_passes_with_proof_at_every_step() {
    let judged = judge(&lawful(), NOON);
    let Outcome::Ready(ready) = &judged.outcome else { panic!("{judged:#?}") };
    assert_eq!(judged.verdicts.len(), 11);
    for (number, found) in (1..).zip(&judged.verdicts[..10]) {
        assert_eq!((found.step, found.outcome()), (number, VerdictOutcome::Pass), "{found:?}");
        assert_eq!(found.checked_at, Some(NOON.to_proto()));
    }
    assert_eq!(judged.verdicts[10].outcome(), VerdictOutcome::NotReached);
    let proofs = |step| verdict(&judged, step).proof_ids.clone();
    assert_eq!(proofs(GateStep::Live), ["ins_1"]);
    assert_eq!(verdict(&judged, GateStep::Live).positions["journeys"], 9);
    assert_eq!(verdict(&judged, GateStep::Recipient).positions["profiles"], 17);
    assert_eq!(proofs(GateStep::ContactPoint), ["cpt_1"]);
    let consent = verdict(&judged, GateStep::Consent);
    assert_eq!(
        (consent.proof_ids.as_slice(), consent.rule.as_str()),
        (&["con_1".to_owned()][..], "OPT_IN")
    );
    let rule = verdict(&judged, GateStep::CountryRule);
    assert_eq!((rule.pack.as_str(), rule.pack_version, rule.rule.as_str()), ("DE", 2, "de-rx-hcp"));
    assert_eq!(proofs(GateStep::Content), ["cd".repeat(32), "sig_1".into(), "sig_2".into()]);
    let holdout = verdict(&judged, GateStep::Holdout);
    assert_eq!(
        (holdout.proof_ids.as_slice(), holdout.detail.as_str()),
        (&["winter".to_owned()][..], "TREATED")
    );
    assert_eq!(proofs(GateStep::Cap), ["weekly/tch_1"]);
    assert_eq!(verdict(&judged, GateStep::QuietHours).detail, "Europe/Berlin");
    assert_eq!(proofs(GateStep::Render), ["ab".repeat(32)]);
    assert_eq!(ready.verdicts.len(), 10);
    assert_eq!(ready.reserved[0].counts_until, Some(NOON.plus(hours(7 * 24)).to_proto()));
    assert_eq!((ready.contact_point_id.as_str(), ready.market.as_str()), ("cpt_1", "DE"));
    assert_eq!(ready.content[0].signature_ids, ["sig_1", "sig_2"]);
}

type Break = fn(&mut Gathered);

/// One way to fail for each step: what to break, the step, reason, detail.
fn failures() -> Vec<(Break, GateStep, &'static str, &'static str)> {
    use GateStep as S;
    vec![
        (|it| it.request.expires_at = Some(NOON.to_proto()), S::Live, "stale", ""),
        (|it| it.instance.as_mut().expect("told").live = false, S::Live, "exited", "version 4"),
        (|it| it.instance = None, S::Live, "exited", "not_asked"),
        (|it| it.recipient = None, S::Recipient, "suppressed", "unknown_party"),
        (|it| it.told().state = "ERASED".into(), S::Recipient, "suppressed", "erased"),
        (
            |it| it.told().kind = PartyKind::Patient.into(),
            S::Recipient,
            "suppressed",
            "kind_not_enabled",
        ),
        (|it| it.suppressions = vec![unsubscribed()], S::Recipient, "suppressed", "unsubscribed"),
        (|it| it.told().contact_point_id.clear(), S::ContactPoint, "missing_identifier", ""),
        (
            |it| it.told().address = "a@b.c\r\nBcc: x@y.z".into(),
            S::ContactPoint,
            "missing_identifier",
            "invalid",
        ),
        (|it| it.told().consent = None, S::Consent, "consent", "no_record"),
        (
            |it| {
                let consent = it.told().consent.as_mut().expect("a verdict");
                (consent.allowed, consent.detail) = (false, "withdrawn".into());
            },
            S::Consent,
            "consent",
            "withdrawn",
        ),
        (
            // A yes that nothing proves.
            |it| it.told().consent.as_mut().expect("a verdict").consent_id.clear(),
            S::Consent,
            "consent",
            "no_record",
        ),
        (|it| it.outbound = None, S::CountryRule, "country_rule", "not_asked"),
        (
            |it| {
                let told = it.outbound.as_mut().expect("told");
                (told.effect, told.detail) = (OutboundEffect::Deny.into(), "unmapped".into());
            },
            S::CountryRule,
            "country_rule",
            "unmapped",
        ),
        (
            |it| it.outbound.as_mut().expect("told").effect = OutboundEffect::Conditional.into(),
            S::CountryRule,
            "country_rule",
            "denied",
        ),
        (
            |it| {
                let told = it.content.as_mut().expect("told");
                (told.content_reason, told.content_detail) =
                    ("content_withdrawn".into(), "claim/x".into());
            },
            S::Content,
            "content_withdrawn",
            "claim/x",
        ),
        (
            |it| it.content.as_mut().expect("told").parts[0].signature_ids.clear(),
            S::Content,
            "content_not_approved",
            "unsigned",
        ),
        (
            |it| it.content.as_mut().expect("told").parts.clear(),
            S::Content,
            "content_not_approved",
            "unsigned",
        ),
        (
            |it| it.request.invitation_id = "inv_1".into(),
            S::Content,
            "content_not_approved",
            "not_survey",
        ),
        (
            |it| it.outbound.as_mut().expect("told").arm = Arm::HeldOut.into(),
            S::Holdout,
            "holdout",
            "HELD_OUT",
        ),
        (
            |it| it.contacts = vec![contact("tch_8", NOON), contact("tch_9", NOON)],
            S::Cap,
            "cap",
            "2 of 2 in 7d",
        ),
        (
            |it| {
                it.told().time_zone.clear();
                let mut pack = pack();
                pack.document.as_mut().expect("a document").calendar = None;
                it.pack = Some(compiled(&pack));
            },
            S::QuietHours,
            "deferred",
            "zone_unknown",
        ),
        (
            |it| it.content.as_mut().expect("told").render_reason = "fair_balance".into(),
            S::Render,
            "fair_balance",
            "",
        ),
        (
            |it| it.content.as_mut().expect("told").subject = "Hi\r\nBcc: x@y.z".into(),
            S::Render,
            "render_error",
            "subject",
        ),
        (|it| it.sender = None, S::Render, "render_error", "unknown_sender"),
    ]
}

fn unsubscribed() -> RecipientSuppressed {
    RecipientSuppressed {
        suppression_id: "unsubscribed/tch_0".into(),
        cause: SuppressionCause::Unsubscribed.into(),
        party_id: "pty_1".into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        purpose: Purpose::Promotional.into(),
        ..Default::default()
    }
}

impl Gathered {
    fn told(&mut self) -> &mut ResolveRecipientResponse {
        self.recipient.as_mut().expect("told")
    }
}

#[test]
fn what_a_paused_journey_says_waits_until_it_moves_again_or_is_out_of_date() {
    let mut gathered = lawful();
    let told = gathered.instance.as_mut().expect("told");
    (told.live, told.rule) = (false, "paused".into());
    let judged = judge(&gathered, NOON);
    let until = instant(gathered.request.expires_at.as_ref());
    assert_eq!(judged.outcome, Outcome::Defer { until, time_zone: String::new() });
    let live = verdict(&judged, GateStep::Live);
    assert_eq!((live.reason.as_str(), live.rule.as_str()), ("deferred", "paused"));
    let stale = judge(&gathered, until);
    assert_eq!(verdict(&stale, GateStep::Live).reason, "stale");
}

#[test]
fn each_step_stops_what_it_is_there_to_stop() {
    for (break_it, step, reason, detail) in failures() {
        let mut gathered = lawful();
        break_it(&mut gathered);
        let judged = judge(&gathered, NOON);
        let failed = verdict(&judged, step);
        assert_eq!(
            (failed.outcome(), failed.reason.as_str(), failed.detail.as_str()),
            (VerdictOutcome::Fail, reason, detail),
            "{judged:#?}"
        );
        let Outcome::Skip { reason: told, .. } = &judged.outcome else { panic!("{judged:#?}") };
        assert_eq!(told, reason);
    }
}

#[test]
fn the_first_failure_decides_and_the_rest_is_not_reached() {
    let failures = failures();
    for (first, step, reason, _) in &failures {
        for (second, later, ..) in failures.iter().filter(|it| it.1 > *step) {
            // What a later breach takes away must not be what the first one needs.
            let mut gathered = lawful();
            second(&mut gathered);
            first(&mut gathered);
            let judged = judge(&gathered, NOON);
            assert_eq!(verdict(&judged, *step).reason, *reason, "{step:?} before {later:?}");
            let behind = judged.verdicts.iter().filter(|it| it.step() > *step);
            assert!(behind.clone().all(|it| it.outcome() == VerdictOutcome::NotReached));
            assert!(behind.clone().all(|it| it.checked_at.is_none()));
        }
    }
}

#[test]
fn an_opt_out_regime_proves_itself_by_its_rule_and_the_position() {
    let mut gathered = lawful();
    let consent = gathered.told().consent.as_mut().expect("a verdict");
    consent.consent_id.clear();
    consent.regime = Regime::OptOut.into();
    let judged = judge(&gathered, NOON);
    let found = verdict(&judged, GateStep::Consent);
    assert_eq!(found.outcome(), VerdictOutcome::Pass);
    assert_eq!(
        (found.rule.as_str(), found.pack.as_str(), found.positions["profiles"]),
        ("OPT_OUT", "DE", 17)
    );
    let consent = gathered.told().consent.as_mut().expect("a verdict");
    consent.position = 0;
    assert!(
        matches!(judge(&gathered, NOON).outcome, Outcome::Skip { .. }),
        "no position, no proof"
    );
}

#[test]
fn exempt_classes_pass_the_named_steps_only() {
    use ContentClass as C;
    use GateStep as S;
    let table = [
        (C::SafetyCommunication, vec![S::Holdout, S::Cap, S::QuietHours]),
        (C::Service, vec![S::Holdout]),
        (C::RxPromotional, vec![]),
        (C::Survey, vec![]),
        (C::Internal, vec![]),
    ];
    for (class, exempt) in table {
        let mut gathered = lawful();
        gathered.content.as_mut().expect("told").content_class = class.into();
        let judged = judge(&gathered, NOON);
        let passed: Vec<_> =
            judged.verdicts.iter().filter(|it| it.rule == "exempt").map(Verdict::step).collect();
        assert_eq!(passed, exempt, "{class:?}");
    }
    // At night, held out, with no place left: only safety communication leaves.
    let mut gathered = lawful();
    gathered.outbound.as_mut().expect("told").arm = Arm::HeldOut.into();
    gathered.contacts = vec![contact("tch_8", NOON), contact("tch_9", NOON)];
    gathered.content.as_mut().expect("told").content_class = C::SafetyCommunication.into();
    gathered.request.expires_at = Some(NOON.plus(hours(48)).to_proto());
    let judged = judge(&gathered, NOON.plus(hours(12)));
    let Outcome::Ready(ready) = judged.outcome else { panic!("{judged:#?}") };
    assert!(ready.reserved.is_empty());
}

#[test]
fn quiet_hours_put_off_until_they_end_where_the_recipient_is() {
    let mut gathered = lawful();
    gathered.request.expires_at = Some(NOON.plus(hours(72)).to_proto());
    // 22:00 in Berlin.
    let judged = judge(&gathered, NOON.plus(hours(9)));
    let Outcome::Defer { until, time_zone } = &judged.outcome else { panic!("{judged:#?}") };
    assert_eq!(
        (until.to_string().as_str(), time_zone.as_str()),
        ("2026-01-02T07:00:00.000000Z", "Europe/Berlin")
    );
    let found = verdict(&judged, GateStep::QuietHours);
    assert_eq!(
        (found.reason.as_str(), found.next_allowed_at),
        ("deferred", Some(until.to_proto()))
    );
    // Nobody knows where they are: 13:00 in Berlin is 07:00 in New York, and both must allow.
    gathered.told().time_zone.clear();
    let judged = judge(&gathered, NOON);
    let Outcome::Defer { until, .. } = &judged.outcome else { panic!("{judged:#?}") };
    assert_eq!(until.to_string(), "2026-01-01T13:00:00.000000Z");
    // Other channels are not quiet.
    gathered.request.channel = Channel::FieldTask.into();
    assert!(matches!(judge(&gathered, NOON.plus(hours(12))).outcome, Outcome::Ready(_)));
}

#[test]
fn a_place_is_free_again_when_its_window_is_over() {
    let mut gathered = lawful();
    let week = hours(7 * 24);
    gathered.contacts =
        vec![contact("tch_8", NOON.minus(hours(24))), contact("tch_9", NOON.minus(hours(48)))];
    let judged = judge(&gathered, NOON);
    let next = NOON.minus(hours(48)).plus(week);
    assert_eq!(verdict(&judged, GateStep::Cap).next_allowed_at, Some(next.to_proto()));
    gathered.request.expires_at = Some(next.plus(hours(1)).to_proto());
    let before = Timestamp(next.0 - 1);
    assert!(matches!(judge(&gathered, before).outcome, Outcome::Skip { .. }));
    // 2026-01-06 is a Tuesday, noon: the second-to-last contact has just left the window.
    assert!(matches!(judge(&gathered, next).outcome, Outcome::Ready(_)));
    // The touch's own place is not in its way.
    gathered.contacts = vec![contact("tch_1", NOON), contact("tch_9", NOON)];
    assert!(matches!(judge(&gathered, NOON).outcome, Outcome::Ready(_)));
    // Interactions count by their names.
    gathered.interactions = vec![Seen { name: "Call Completed".into(), at: NOON.minus(hours(1)) }];
    assert!(matches!(judge(&gathered, NOON).outcome, Outcome::Skip { .. }));
    gathered.interactions = vec![Seen { name: "Order Completed".into(), at: NOON.minus(hours(1)) }];
    assert!(matches!(judge(&gathered, NOON).outcome, Outcome::Ready(_)));
}

#[test]
fn a_line_for_a_product_counts_that_product_only() {
    let mut gathered = lawful();
    let of_product = ContactLine { product_id: "cardiol".into(), ..line(&["EMAIL"], "7d", 2) };
    gathered.policy = Some(policy(of_product));
    let other = Contact { product_id: "other".into(), ..contact("tch_8", NOON) };
    gathered.contacts = vec![other.clone(), other.clone(), contact("tch_9", NOON)];
    assert!(matches!(judge(&gathered, NOON).outcome, Outcome::Ready(_)));
    let same = Contact { product_id: "cardiol".into(), ..contact("tch_7", NOON) };
    gathered.contacts = vec![same.clone(), Contact { touch_id: "tch_6".into(), ..same }];
    assert!(matches!(judge(&gathered, NOON).outcome, Outcome::Skip { .. }));
}

#[test]
fn a_line_counts_and_limits_what_it_names() {
    let calls = |count: u64| -> Vec<Seen> {
        let call = |n| Seen { name: "Call Completed".into(), at: NOON.minus(hours(n)) };
        (1..=count).map(call).collect()
    };
    let stopped = |counts: &[&str], max, contacts: usize, interactions: Vec<Seen>| {
        let mut gathered = lawful();
        gathered.policy = Some(policy(line(counts, "7d", max)));
        gathered.contacts =
            (0..contacts).map(|it| contact(&format!("tch_9{it}"), NOON.minus(hours(1)))).collect();
        gathered.interactions = interactions;
        let judged = judge(&gathered, NOON);
        (matches!(judged.outcome, Outcome::Skip { .. }), verdict(&judged, GateStep::Cap).clone())
    };
    // Both dimensions add up.
    assert!(!stopped(&["EMAIL", "Call Completed"], 3, 1, calls(1)).0);
    assert!(stopped(&["EMAIL", "Call Completed"], 3, 2, calls(1)).0);
    // Another channel neither counts nor is limited.
    assert!(!stopped(&["SMS"], 1, 5, Vec::new()).0);
    assert!(!stopped(&["SMS", "Call Completed"], 1, 0, calls(5)).0);
    // A line of interactions only limits every channel, and takes no place of a touch.
    let (full, _) = stopped(&["Call Completed"], 2, 0, calls(2));
    let (free, verdict) = stopped(&["Call Completed"], 2, 9, calls(1));
    assert!(full && !free && verdict.proof_ids.is_empty(), "{verdict:?}");
    // What an interaction calls itself makes it no message.
    let named_so = vec![Seen { name: "EMAIL".into(), at: NOON.minus(hours(1)) }];
    assert!(!stopped(&["EMAIL"], 1, 0, named_so).0);
}

#[test]
fn a_line_that_nobody_can_keep_lets_nothing_pass() {
    for (window, passes) in [("366d", true), ("367d", false), ("a week", false)] {
        let mut gathered = lawful();
        gathered.policy = Some(policy(line(&["EMAIL"], window, 2)));
        let judged = judge(&gathered, NOON);
        let cap = verdict(&judged, GateStep::Cap);
        assert_eq!(cap.outcome() == VerdictOutcome::Pass, passes, "{window}");
        assert_eq!(cap.detail == "line_invalid", !passes, "{window}");
    }
}

#[test]
fn interactions_are_looked_for_no_farther_than_lines_need() {
    let document = PolicyDocument {
        contact_policy: vec![
            line(&["EMAIL", "Call Completed"], "7d", 2),
            line(&["Call Completed", "Order Completed"], "1d", 5),
            ContactLine { hard: false, ..line(&["Visit"], "90d", 50) },
        ],
        ..Default::default()
    };
    let compiled = Policy::compile(1, &document);
    let looks: Vec<_> =
        compiled.looks().into_iter().map(|(name, it)| (name, it.back, it.most)).collect();
    let day = 86_400_000_000;
    assert_eq!(looks, [("Call Completed", 7 * day, 5), ("Order Completed", day, 5)]);
}

#[test]
fn content_without_a_class_is_not_asked_consent_for() {
    let mut gathered = lawful();
    gathered.content = Some(RenderResponse {
        content_reason: "content_not_approved".into(),
        content_detail: "not_found".into(),
        ..Default::default()
    });
    gathered.outbound = None;
    let judged = judge(&gathered, NOON);
    assert_eq!(verdict(&judged, GateStep::Consent).outcome(), VerdictOutcome::NotReached);
    assert_eq!(verdict(&judged, GateStep::CountryRule).outcome(), VerdictOutcome::NotReached);
    assert_eq!(verdict(&judged, GateStep::Content).detail, "not_found");
}

#[test]
fn tasks_need_no_contact_point_and_go_to_who_covers_the_party() {
    let mut gathered = lawful();
    gathered.request.channel = Channel::FieldTask.into();
    (gathered.told().contact_point_id, gathered.told().address) = Default::default();
    let judged = judge(&gathered, NOON);
    let Outcome::Ready(ready) = judged.outcome else { panic!("{judged:#?}") };
    assert_eq!(
        (ready.assignee_party_id.as_str(), ready.contact_point_id.as_str()),
        ("pty_rep", "")
    );
}

#[test]
fn an_unsubscription_stops_its_purpose_and_a_complaint_the_channel() {
    let table = [
        (ContentClass::RxPromotional, SuppressionCause::Unsubscribed, Purpose::Promotional, true),
        (ContentClass::Service, SuppressionCause::Unsubscribed, Purpose::Promotional, false),
        (ContentClass::Service, SuppressionCause::Complained, Purpose::Unspecified, true),
    ];
    for (class, cause, purpose, stops) in table {
        let mut gathered = lawful();
        gathered.content.as_mut().expect("told").content_class = class.into();
        gathered.suppressions = vec![RecipientSuppressed {
            cause: cause.into(),
            purpose: purpose.into(),
            ..unsubscribed()
        }];
        let judged = judge(&gathered, NOON);
        assert_eq!(matches!(judged.outcome, Outcome::Skip { .. }), stops, "{class:?} {cause:?}");
    }
}

proptest! {
    /// The newest of each name that lines look for decide as all of them would.
    #[test]
    fn looking_no_farther_changes_no_verdict(
        all in proptest::collection::vec((0_usize..3, 0_u64..400), 0..40),
        lines in proptest::collection::vec((1_u32..4, 1_u64..300, 0_usize..3, 0_usize..3), 1..4),
    ) {
        const NAMES: [&str; 3] = ["Call Completed", "Order Completed", "Visit"];
        let contact_policy = lines.into_iter().map(|(max, window, one, other)| {
            line(&["EMAIL", NAMES[one], NAMES[other]], &format!("{window}h"), max)
        });
        let document = PolicyDocument { contact_policy: contact_policy.collect(), ..Default::default() };
        let compiled = Arc::new(Policy::compile(6, &document));
        let mut seen: Vec<Seen> = (all.into_iter())
            .map(|(name, ago)| Seen { name: NAMES[name].into(), at: NOON.minus(hours(ago)) })
            .collect();
        seen.sort_by_key(|it| std::cmp::Reverse(it.at));
        let found = compiled.looks().into_iter().flat_map(|(name, look)| {
            let since = NOON.0 - look.back;
            let of_name = seen.iter().filter(move |it| it.name == name && it.at.0 > since);
            of_name.take(look.most as usize).cloned().collect::<Vec<_>>()
        });
        let whole = Gathered { policy: Some(compiled.clone()), interactions: seen.clone(), ..lawful() };
        let part = Gathered { interactions: found.collect(), ..whole.clone() };
        let next = |it: &Gathered| caps::first_full(it, NOON).map(|it| it.map(|it| (it.line, it.next_allowed_at)));
        prop_assert_eq!(next(&whole), next(&part));
    }

    /// Whatever is broken: eleven verdicts, and what passes is proven.
    #[test]
    fn what_passes_is_proven(broken in proptest::collection::vec(0_usize..24, 0..3), hour in 0_u64..60) {
        let failures = failures();
        let mut gathered = lawful();
        gathered.request.expires_at = Some(NOON.plus(hours(30)).to_proto());
        for index in broken {
            // A break may need what an earlier one took away.
            let mut next = gathered.clone();
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (failures[index % failures.len()].0)(&mut next);
                next
            }));
            if let Ok(next) = ran { gathered = next; }
        }
        let judged = judge(&gathered, NOON.plus(hours(hour)));
        let steps: Vec<i32> = judged.verdicts.iter().map(|it| it.step).collect();
        prop_assert_eq!(steps, (1..=11).collect::<Vec<i32>>());
        let failed = judged.verdicts.iter().filter(|it| it.outcome() == VerdictOutcome::Fail).count();
        match &judged.outcome {
            Outcome::Ready(ready) => {
                prop_assert_eq!(failed, 0);
                let consent = verdict(&judged, GateStep::Consent);
                let by_rule = !consent.rule.is_empty() && consent.positions.get("profiles").is_some_and(|it| *it > 0);
                prop_assert!(!consent.proof_ids.is_empty() || by_rule);
                prop_assert!(!ready.content.is_empty());
                prop_assert!(ready.content.iter().all(|it| !it.signature_ids.is_empty() && !it.content_hash.is_empty()));
            }
            Outcome::Skip { reason, .. } => { prop_assert_eq!(failed, 1); prop_assert!(!reason.is_empty()); }
            Outcome::Defer { until, .. } => {
                prop_assert_eq!(failed, 1);
                prop_assert!(*until > NOON.plus(hours(hour)));
            }
        }
    }
}
