//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p delivery --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost_types::Timestamp;
use rapport_proto::EventSet;
use rapport_proto::delivery::v1::{
    ContactReleased, ContactReserved, ContentPart, DismissReason, GateStep, ProviderFact,
    RecipientReleased, RecipientSuppressed, ReportKept, ReportPlaced, Reservation, Sender,
    SenderRegistered, SuppressionCause, TaskAccepted, TaskCompleted, TaskDismissed, TaskExpired,
    TaskWithdrawn, TouchAttempted, TouchBounced, TouchCause, TouchClicked, TouchComplained,
    TouchDeferred, TouchDelivered, TouchFailed, TouchOpened, TouchReady, TouchRequested,
    TouchResolved, TouchRetryScheduled, TouchSent, TouchSkipped, TouchUnresolved,
    TouchUnsubscribed, Verdict, VerdictOutcome, pressure_event, recipient_event, report_event,
    sender_event, touch_event,
};
use rapport_proto::types::{Channel, ContentClass, Purpose};

fn main() -> std::io::Result<()> {
    let samples = [touches(), added(), reports(), tasks(), others()];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

fn samples<E: EventSet + std::fmt::Debug>(events: &[E]) -> Vec<Sample> {
    events.iter().map(|it| Sample::of(1, it)).collect()
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn touch_id() -> String {
    "tch_0kn2wznbkeq4zc9pa7b84q2m0f".into()
}

fn party_id() -> String {
    "pty_4r2c9m0t6qhx8vw3n5y7zp1kdg".into()
}

fn verdict(step: GateStep, outcome: VerdictOutcome) -> Verdict {
    Verdict {
        step: step.into(),
        outcome: outcome.into(),
        reason: "consent".into(),
        detail: "withdrawn".into(),
        rule: "OPT_IN".into(),
        pack: "DE".into(),
        pack_version: 3,
        proof_ids: vec!["con_4r2c9m0t6qhx8vw3n5y7zp1kdg".into()],
        positions: [("profiles".to_owned(), 17)].into(),
        checked_at: time(1),
        next_allowed_at: time(2),
    }
}

fn part() -> ContentPart {
    ContentPart {
        kind: "module".into(),
        id: "welcome".into(),
        version: 2,
        content_hash: "ab".repeat(32),
        signature_ids: vec!["sig_4r2c9m0t6qhx8vw3n5y7zp1kdg".into()],
    }
}

fn reservation() -> Reservation {
    Reservation {
        line: "weekly".into(),
        reservation_id: format!("weekly/{}", touch_id()),
        counts_until: time(604_800),
        policy_version: 4,
    }
}

fn touches() -> Vec<Sample> {
    use touch_event::Event;
    let failed = || vec![verdict(GateStep::Consent, VerdictOutcome::Fail)];
    let eleventh = |outcome| Some(verdict(GateStep::Provider, outcome));
    samples(&[
        Event::Requested(TouchRequested {
            touch_id: touch_id(),
            cause: TouchCause::Instance.into(),
            party_id: party_id(),
            module: "welcome".into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            decision_id: "dec_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            instance_id: "ins_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            invitation_id: "inv_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            expires_at: time(259_200),
            slots: [("product".to_owned(), "Cardiol".to_owned())].into(),
            positions: [("journeys".to_owned(), 9)].into(),
            journey_id: "win-back".into(),
        }),
        Event::Skipped(TouchSkipped {
            reason: "consent".into(),
            verdicts: failed(),
            content: vec![part()],
            market: String::new(),
        }),
        Event::Deferred(TouchDeferred {
            until: time(3_600),
            verdicts: failed(),
            time_zone: "Europe/Berlin".into(),
            market: String::new(),
        }),
        Event::Ready(TouchReady {
            verdicts: vec![verdict(GateStep::Live, VerdictOutcome::Pass)],
            contact_point_id: "cpt_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            content: vec![part()],
            render_hash: "cd".repeat(32),
            reserved: vec![reservation()],
            content_class: ContentClass::RxPromotional.into(),
            product_id: "cardiol".into(),
            topic: "launch".into(),
            market: "DE".into(),
            assignee_party_id: party_id(),
        }),
        Event::Attempted(TouchAttempted {
            attempt: 1,
            idempotency_key: touch_id(),
            adapter: "smtp".into(),
            gives_up_at: time(120),
        }),
        Event::RetryScheduled(TouchRetryScheduled {
            retry_at: time(60),
            code: "451".into(),
            attempts: 1,
            in_doubt: true,
        }),
        Event::Sent(TouchSent {
            provider_id: "250 2.0.0 Ok".into(),
            adapter: "smtp".into(),
            verdict: eleventh(VerdictOutcome::Pass),
        }),
        Event::Failed(TouchFailed { code: "550".into(), verdict: eleventh(VerdictOutcome::Fail) }),
        Event::Unresolved(TouchUnresolved {
            code: "timeout".into(),
            counts_as_sent_at: time(86_400),
        }),
        Event::Resolved(TouchResolved {
            by: "person".into(),
            sent: true,
            reason: "asked-provider".into(),
            provider_id: "queue-7".into(),
            verdict: eleventh(VerdictOutcome::Pass),
            adapter: String::new(),
        }),
    ])
}

/// What the second release added: what was stopped or put off tells its market, what was resolved its adapter, and what
/// is kept of a click the link.
fn added() -> Vec<Sample> {
    use touch_event::Event;
    let market = "DE".to_owned();
    let skipped = TouchSkipped {
        reason: "cap".into(),
        verdicts: vec![verdict(GateStep::Cap, VerdictOutcome::Fail)],
        content: vec![part()],
        market: market.clone(),
    };
    let deferred = TouchDeferred {
        until: time(3_600),
        verdicts: vec![verdict(GateStep::QuietHours, VerdictOutcome::Fail)],
        time_zone: "Europe/Berlin".into(),
        market,
    };
    let resolved = TouchResolved {
        by: "elapsed".into(),
        sent: true,
        adapter: "smtp".into(),
        verdict: Some(verdict(GateStep::Provider, VerdictOutcome::Pass)),
        ..TouchResolved::default()
    };
    let kept = report_event::Event::Kept(ReportKept {
        report_id: "rpt_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
        fact: Some(ProviderFact {
            provider: "relay".into(),
            provider_event_id: "e-2".into(),
            occurred_at: time(5),
        }),
        kind: "clicked".into(),
        provider_id: "<7@relay.example>".into(),
        link_id: "1".into(),
        machine: true,
        ..ReportKept::default()
    });
    [Event::Skipped(skipped), Event::Deferred(deferred), Event::Resolved(resolved)]
        .iter()
        .map(|it| Sample::of(2, it))
        .chain([Sample::of(2, &kept)])
        .collect()
}

fn reports() -> Vec<Sample> {
    use touch_event::Event;
    let fact = || {
        Some(ProviderFact {
            provider: "relay".into(),
            provider_event_id: "e-1".into(),
            occurred_at: time(5),
        })
    };
    samples(&[
        Event::Delivered(TouchDelivered { fact: fact() }),
        Event::Opened(TouchOpened { fact: fact(), machine: true }),
        Event::Clicked(TouchClicked { fact: fact(), link_id: "1".into(), machine: false }),
        Event::Bounced(TouchBounced { fact: fact(), hard: true, code: "5.1.1".into() }),
        Event::Complained(TouchComplained {
            fact: fact(),
            party_id: party_id(),
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            market: "DE".into(),
        }),
        Event::Unsubscribed(TouchUnsubscribed {
            fact: fact(),
            party_id: party_id(),
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            market: "DE".into(),
        }),
    ])
}

fn tasks() -> Vec<Sample> {
    use touch_event::Event;
    let by = || "rep-7".to_owned();
    samples(&[
        Event::TaskAccepted(TaskAccepted { by: by() }),
        Event::TaskCompleted(TaskCompleted {
            by: by(),
            outcome: "talked".into(),
            verdicts: vec![verdict(GateStep::Content, VerdictOutcome::Pass)],
            content: vec![part()],
            render_hash: "ab".repeat(32),
        }),
        Event::TaskDismissed(TaskDismissed {
            by: by(),
            reason: DismissReason::DisagreeContent.into(),
        }),
        Event::TaskExpired(TaskExpired { expired_at: time(259_200) }),
        Event::TaskWithdrawn(TaskWithdrawn {
            reason: "content_withdrawn".into(),
            detail: "module/welcome".into(),
            verdicts: vec![verdict(GateStep::Content, VerdictOutcome::Fail)],
            accepted: true,
        }),
    ])
}

fn others() -> Vec<Sample> {
    let mut all = samples(&[sender_event::Event::Registered(SenderRegistered {
        sender: Some(Sender {
            sender_id: "northwind".into(),
            legal_entity: "Northwind Pharma GmbH".into(),
            brand: "Cardiol".into(),
            from_address: "news@northwind.example".into(),
            from_name: "Northwind".into(),
            unsubscribe_url: "https://northwind.example/u/{token}".into(),
        }),
    })]);
    all.extend(samples(&[
        report_event::Event::Kept(ReportKept {
            report_id: "rpt_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            fact: Some(ProviderFact {
                provider: "relay".into(),
                provider_event_id: "e-1".into(),
                occurred_at: time(5),
            }),
            kind: "bounced".into(),
            touch_id: touch_id(),
            provider_id: "<7@relay.example>".into(),
            hard: true,
            code: "5.1.1".into(),
            ..ReportKept::default()
        }),
        report_event::Event::Placed(ReportPlaced { touch_id: touch_id() }),
    ]));
    all.extend(samples(&[
        recipient_event::Event::Suppressed(RecipientSuppressed {
            suppression_id: format!("unsubscribed/{}", touch_id()),
            cause: SuppressionCause::Unsubscribed.into(),
            party_id: party_id(),
            channel: Channel::Email.into(),
            contact_point_id: "cpt_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            sender_id: "northwind".into(),
            touch_id: touch_id(),
            purpose: Purpose::Promotional.into(),
            suppressed_at: time(5),
        }),
        recipient_event::Event::Released(RecipientReleased {
            suppression_ids: vec![format!("unsubscribed/{}", touch_id())],
            by: "consent".into(),
            consent_id: "con_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
            reason: "asked".into(),
        }),
    ]));
    all.extend(samples(&[
        pressure_event::Event::Reserved(ContactReserved {
            touch_id: touch_id(),
            channel: Channel::Email.into(),
            product_id: "cardiol".into(),
            reserved: vec![reservation()],
            reserved_at: time(1),
        }),
        pressure_event::Event::Released(ContactReleased {
            touch_id: touch_id(),
            reason: "550".into(),
        }),
    ]));
    all
}
