//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p decisioning --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost_types::Timestamp;
use rapport_proto::EventSet;
use rapport_proto::decisioning::v1::Calendar;
use rapport_proto::decisioning::v1::{
    Action, ActionGroup, Affinity, Arm, Candidate, Chosen, ConsentLine, ContactLine, ContextWeight,
    DecisionMade, Effect, Explore, Fact, Happening, HappeningKind, HoldoutEnded, HoldoutStarted,
    Inherited, Lever, ModelSnapshotPublished, OutboundLine, OutcomeObserved, OutcomeSuppression,
    PackVersion, Policy, PolicyVersionActivated, PolicyVersionApproved, PolicyVersionDrafted,
    PolicyVersionRetired, PolicyVersionSimulated, Prior, QuietHours, ReviewLine, Reward,
    RewardClosed, RewardCorrected, RulePack, RulePackActivated, RulePackApproved, RulePackDrafted,
    RulePackRetired, RulePackSimulated, RulePackTest, SimulationSummary, Stage, Treatment,
    VersionStep, decision_event, holdout_event, model_event, policy_event, rule_pack_event,
};
use rapport_proto::types::{
    Audience, Channel, Clear, ContentClass, PartyKind, Purpose, Regime, clear,
};

fn main() -> std::io::Result<()> {
    let samples = [policies(), packs(), holdouts(), decisions(), models()];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

fn samples<E: EventSet + std::fmt::Debug>(facts: impl IntoIterator<Item = E>) -> Vec<Sample> {
    facts.into_iter().map(|it| Sample::of(1, &it)).collect()
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn step(by: &str) -> Option<VersionStep> {
    Some(VersionStep { by: by.into(), at: time(1) })
}

fn hash() -> Vec<u8> {
    (0..32).collect()
}

fn number(value: f64) -> Clear {
    Clear { value: Some(clear::Value::Number(value)) }
}

fn policy() -> Policy {
    Policy {
        policy: "default".into(),
        groups: vec![ActionGroup {
            group: "win-back".into(),
            description: "Customers who order less".into(),
            eligibility: "party.kind == 'HCP'".into(),
        }],
        actions: vec![Action {
            action: "write".into(),
            group: "win-back".into(),
            description: "Write to them".into(),
            value: 10.0,
            eligibility: "attributes.tier >= 1.0".into(),
            applicability: "'lapsing' in segments".into(),
            suitability: "traits.orders_90d < 2.0".into(),
            rewards: vec![reward()],
            treatments: vec![Treatment {
                treatment: "mail".into(),
                channel: Channel::Email.into(),
                module: "letter".into(),
                topic: "asthma".into(),
            }],
            starts_at: time(0),
            ends_at: time(86_400),
        }],
        levers: vec![Lever {
            lever: "launch".into(),
            group: "win-back".into(),
            action: "write".into(),
            weight: 20.0,
            owner: "brand lead".into(),
            reason: "launch".into(),
            until: time(3_600),
        }],
        context_weights: vec![ContextWeight {
            id: "asked".into(),
            when: "context.trigger == 'inquiry'".into(),
            group: "win-back".into(),
            action: "write".into(),
            weight: 55.0,
        }],
        contact_policy: vec![ContactLine {
            id: "mails".into(),
            counts: vec!["EMAIL".into(), "Call Completed".into()],
            product_id: "breathe".into(),
            window: "7d".into(),
            max: 2,
            hard: false,
        }],
        suppressions: vec![OutcomeSuppression {
            id: "no".into(),
            outcome: "TaskDismissed".into(),
            reason: "NOT_RELEVANT".into(),
            count: 2,
            window: "30d".into(),
            duration: "60d".into(),
            scope: "action".into(),
        }],
        explore: Some(Explore { epsilon: Some(0.02) }),
        do_nothing_score: 0.1,
        affinity_half_life: "90d".into(),
    }
}

fn reward() -> Reward {
    Reward { event: "Order Completed".into(), within: "14d".into(), value: 1.0 }
}

fn policies() -> Vec<Sample> {
    use policy_event::Event;
    let count = |name: &str, count| [(name.to_owned(), count)].into();
    let summary = SimulationSummary {
        decisions: 1_000,
        changed: 3,
        now_nothing: 1,
        chosen_before: count("write", 700),
        chosen_after: count("write", 697),
        stopped_before: count("consent", 20),
        stopped_after: count("consent", 23),
        position: 77,
        unread: vec!["attributes.licence".into()],
    };
    let comment = || "Fine.".to_owned();
    samples([
        Event::Drafted(PolicyVersionDrafted {
            version: 1,
            policy: Some(policy()),
            hash: hash(),
            step: step("ada"),
        }),
        Event::Simulated(PolicyVersionSimulated {
            version: 1,
            hash: hash(),
            summary: Some(summary),
            step: step("ada"),
        }),
        Event::Approved(PolicyVersionApproved {
            version: 1,
            hash: hash(),
            comment: comment(),
            step: step("bea"),
        }),
        Event::Activated(PolicyVersionActivated {
            version: 1,
            policy: Some(policy()),
            hash: hash(),
            step: step("ada"),
        }),
        Event::Retired(PolicyVersionRetired {
            version: 1,
            reason: "error".into(),
            step: step("ada"),
        }),
    ])
}

fn pack(id: &str) -> RulePack {
    let flag = Clear { value: Some(clear::Value::Flag(true)) };
    RulePack {
        rule_pack: id.into(),
        inherits: "eu-strict".into(),
        consent: vec![ConsentLine {
            purpose: Purpose::Promotional.into(),
            channels: vec![Channel::Email.into(), Channel::Sms.into()],
            regime: Regime::OptIn.into(),
            double_opt_in: true,
            expires_after: "730d".into(),
            id: "de-mail".into(),
        }],
        outbound: vec![OutboundLine {
            id: "de-rx-hcp".into(),
            content_classes: vec![ContentClass::RxPromotional.into()],
            audiences: vec![Audience::Hcp.into()],
            channels: vec!["EMAIL".into(), "FIELD_TASK".into()],
            effect: Effect::Allow.into(),
            when: "attributes.licence_valid".into(),
        }],
        review: vec![ReviewLine {
            content_classes: vec![ContentClass::RxPromotional.into()],
            roles: vec!["MEDICAL".into(), "LEGAL".into()],
        }],
        quiet_hours: Some(QuietHours {
            channels: vec![Channel::Email.into()],
            from: "20:00".into(),
            to: "08:00".into(),
            also: vec!["SUN".into(), "HOLIDAY".into()],
        }),
        calendar: Some(Calendar {
            time_zones: vec!["Europe/Berlin".into()],
            weekend: vec!["SAT".into(), "SUN".into()],
            holidays: vec!["2026-12-25".into()],
        }),
        enabled_kinds: vec![PartyKind::Hcp.into(), PartyKind::Employee.into()],
        tests: vec![RulePackTest {
            content_class: ContentClass::RxPromotional.into(),
            audience: Audience::Hcp.into(),
            channel: Channel::Email.into(),
            attributes: [("licence_valid".to_owned(), flag)].into(),
            expect: Effect::Allow.into(),
            rule: "de-rx-hcp".into(),
        }],
    }
}

fn packs() -> Vec<Sample> {
    use rule_pack_event::Event;
    samples([
        Event::Drafted(RulePackDrafted {
            version: 1,
            pack: Some(pack("DE")),
            hash: hash(),
            step: step("ada"),
        }),
        Event::Simulated(RulePackSimulated {
            version: 1,
            hash: hash(),
            tests: 1,
            unmapped: 292,
            inherited: vec![PackVersion { pack: "eu-strict".into(), version: 4 }],
            step: step("ada"),
        }),
        Event::Approved(RulePackApproved {
            version: 1,
            hash: hash(),
            comment: "Fine.".into(),
            step: step("bea"),
        }),
        Event::Activated(RulePackActivated {
            market: "DE".into(),
            version: 1,
            document: Some(pack("DE")),
            inherited: vec![Inherited {
                pack: "eu-strict".into(),
                version: 4,
                document: Some(RulePack { inherits: String::new(), ..pack("eu-strict") }),
            }],
            effective_at: time(60),
            hash: hash(),
            step: step("ada"),
        }),
        Event::Retired(RulePackRetired { version: 1, reason: "error".into(), step: step("ada") }),
    ])
}

fn holdouts() -> Vec<Sample> {
    use holdout_event::Event;
    samples([
        Event::Started(HoldoutStarted {
            holdout_id: "q4".into(),
            salt: "salt".into(),
            share: 0.05,
            content_classes: vec![ContentClass::RxPromotional.into()],
            period: "2026-Q4".into(),
        }),
        Event::Ended(HoldoutEnded { reason: "over".into() }),
    ])
}

fn decisions() -> Vec<Sample> {
    use decision_event::Event;
    samples([
        Event::Made(made()),
        Event::OutcomeObserved(OutcomeObserved {
            kind: "TaskDismissed".into(),
            value: 0.25,
            occurred_at: time(5),
            source: "delivery".into(),
            position: 9,
            reason: "NOT_RELEVANT".into(),
        }),
        Event::RewardClosed(RewardClosed { reward: 0.25, censored: true }),
        Event::RewardCorrected(RewardCorrected { reward: 1.0 }),
    ])
}

fn candidates() -> Vec<Candidate> {
    let stopped = Candidate {
        action: "write".into(),
        treatment: "mail".into(),
        channel: Channel::Email.into(),
        module: "letter".into(),
        stage_failed: Stage::ContactPolicy.into(),
        clause: "mails".into(),
        value: "2 in 7d".into(),
        required: "< 2".into(),
        next_allowed_at: time(86_400),
        ..Candidate::default()
    };
    let scored = Candidate {
        action: "see".into(),
        treatment: "task".into(),
        channel: Channel::FieldTask.into(),
        module: "visit".into(),
        p: 0.375,
        c: 1.55,
        v: 0.5,
        l: 1.2,
        score: 0.34875,
        pi: 0.99,
        alpha: 3.0,
        beta: 5.0,
        context_weights: vec!["asked".into()],
        levers: vec!["launch".into()],
        ..Candidate::default()
    };
    let nothing = Candidate {
        action: "DO_NOTHING".into(),
        stage_failed: Stage::Outscored.into(),
        score: 0.1,
        pi: 0.01,
        ..Candidate::default()
    };
    vec![stopped, scored, nothing]
}

fn made() -> DecisionMade {
    let known = Fact { value: Some(number(2.0)), ..Fact::default() };
    let unknown = Fact { unknown: true, ..Fact::default() };
    let segments = Fact { codes: vec!["lapsing".into()], ..Fact::default() };
    let consent = Fact {
        value: Some(Clear { value: Some(clear::Value::Flag(false)) }),
        detail: "no_record".into(),
        ..Fact::default()
    };
    let facts = [
        ("attributes.tier", known),
        ("consent.PROMOTIONAL/SMS/northwind", consent),
        ("segments", segments),
        ("traits.orders_90d", unknown),
    ];
    DecisionMade {
        decision_id: "dec_0kn2wznbkeq4zc9pa7b84q2m0f".into(),
        party_id: "pty_0kn2wznbkeq4zc9pa7b84q2m0f".into(),
        decided_at: time(0),
        context: [("depth".to_owned(), number(1.0))].into(),
        channels: vec![Channel::Email.into(), Channel::FieldTask.into()],
        k: 1,
        groups: vec!["win-back".into()],
        sender_id: "northwind".into(),
        policy_version: 1,
        policy_hash: hash(),
        packs: [("DE".to_owned(), 1)].into(),
        model_as_of: time(-60),
        model_hash: hash(),
        facts: facts.map(|(name, fact)| (name.to_owned(), fact)).into(),
        positions: [("content".to_owned(), 4), ("profiles".to_owned(), 12)].into(),
        candidates: candidates(),
        epsilon: 0.02,
        explorer: "thompson-normal".into(),
        salt: "0001020304050607".into(),
        chosen: vec![Chosen {
            action: "see".into(),
            treatment: "task".into(),
            module: "visit".into(),
            channel: Channel::FieldTask.into(),
            pi: 0.99,
            draw: 0.25,
            topic: "asthma".into(),
            group: "win-back".into(),
            rewards: vec![reward()],
        }],
        holdout_id: "q4".into(),
        arm: Arm::Treated.into(),
        expires_at: time(86_400),
        latency_us: 900,
        market: "DE".into(),
        requested_by: "ins_0kn2wznbkeq4zc9pa7b84q2m0f".into(),
        happenings: vec![Happening {
            kind: HappeningKind::Outcome.into(),
            name: "TaskDismissed".into(),
            at: time(-600),
            reason: "NOT_RELEVANT".into(),
            product_id: "breathe".into(),
            action: "write".into(),
            group: "win-back".into(),
            channel: Channel::FieldTask.into(),
        }],
        affinities: vec![Affinity {
            channel: Channel::FieldTask.into(),
            topic: "asthma".into(),
            alpha: 3.0,
            beta: 5.0,
        }],
        closes_at: time(14 * 86_400),
        affinity_half_life_us: 7_776_000_000_000,
    }
}

fn models() -> Vec<Sample> {
    samples([model_event::Event::Published(ModelSnapshotPublished {
        as_of: time(0),
        hash: hash(),
        priors: vec![Prior {
            market: "DE".into(),
            channel: Channel::Email.into(),
            topic: "asthma".into(),
            mean_millionths: 352_941,
            strength_millionths: 5_250_000,
        }],
    })])
}
