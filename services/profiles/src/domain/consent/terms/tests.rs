use proptest::prelude::*;
use rapport_proto::decisioning::v1::Inherited;
use rapport_proto::types::PartyKind;

use super::super::{Kind, Verdict, verdict};
use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const DAY: i64 = 86_400_000_000;

fn day(number: i64) -> Timestamp {
    Timestamp(NOW.0 + number * DAY)
}

/// A line about promotion by e-mail.
fn line(regime: Regime) -> ConsentLine {
    ConsentLine {
        purpose: Purpose::Promotional.into(),
        channels: vec![Channel::Email.into()],
        regime: regime.into(),
        ..ConsentLine::default()
    }
}

fn document(consent: Vec<ConsentLine>) -> RulePack {
    let enabled_kinds = vec![PartyKind::Hcp.into()];
    RulePack { rule_pack: "any".into(), consent, enabled_kinds, ..RulePack::default() }
}

/// A pack of DE and what it inherits, nearest first.
fn pack(own: Vec<ConsentLine>, inherited: Vec<Vec<ConsentLine>>) -> RulePackActivated {
    let inherited = (1..).zip(inherited).map(|(number, lines)| Inherited {
        pack: format!("archetype-{number}"),
        version: 10 + number,
        document: Some(document(lines)),
    });
    RulePackActivated {
        market: "DE".into(),
        version: 3,
        document: Some(document(own)),
        inherited: inherited.collect(),
        ..RulePackActivated::default()
    }
}

fn terms(pack: &RulePackActivated) -> Terms {
    Terms::of(Some(pack), Purpose::Promotional, Channel::Email)
}

#[test]
fn the_nearest_layer_with_a_line_answers() {
    use Regime::{NotRequired, OptIn, OptOut};
    let other = || ConsentLine { purpose: Purpose::Service.into(), ..line(NotRequired) };
    let by_sms = || ConsentLine { channels: vec![Channel::Sms.into()], ..line(NotRequired) };
    let rows = [
        (pack(vec![line(OptOut)], vec![vec![line(OptIn)]]), OptOut, "DE", 3),
        (pack(vec![], vec![vec![line(OptOut)], vec![line(OptIn)]]), OptOut, "archetype-1", 11),
        (pack(vec![], vec![vec![], vec![line(NotRequired)]]), NotRequired, "archetype-2", 12),
        (pack(vec![other(), by_sms()], vec![vec![line(OptOut)]]), OptOut, "archetype-1", 11),
        (pack(vec![other(), by_sms()], vec![]), OptIn, "", 0),
        (pack(vec![], vec![]), OptIn, "", 0),
    ];
    for (pack, regime, name, version) in rows {
        let found = terms(&pack);
        assert_eq!(
            (found.regime, found.pack.as_str(), found.pack_version),
            (regime, name, version)
        );
        assert!(found.has_pack);
    }
    let none = Terms::of(None, Purpose::Promotional, Channel::Email);
    assert_eq!(none, Terms::default());
    assert_eq!((none.regime, none.has_pack), (OptIn, false));
}

#[test]
fn of_several_lines_in_a_layer_the_one_that_asks_for_most_counts() {
    let lasting = |text: &str| ConsentLine { expires_after: text.into(), ..line(Regime::OptIn) };
    let double = ConsentLine { double_opt_in: true, ..line(Regime::OptIn) };
    let rows = [
        (vec![line(Regime::OptOut), line(Regime::OptIn)], Regime::OptIn, false, None),
        (vec![line(Regime::NotRequired), line(Regime::OptOut)], Regime::OptOut, false, None),
        (vec![double, line(Regime::OptIn)], Regime::OptIn, true, None),
        (vec![lasting("2d"), lasting("1d"), lasting("")], Regime::OptIn, false, Some(DAY)),
        (vec![line(Regime::Unspecified)], Regime::OptIn, false, None),
        (vec![lasting("a year")], Regime::OptIn, false, Some(0)),
    ];
    for (lines, regime, double_opt_in, expires_after) in rows {
        let found = terms(&pack(lines.clone(), vec![]));
        let told = (found.regime, found.double_opt_in, found.expires_after);
        assert_eq!(told, (regime, double_opt_in, expires_after), "{lines:?}");
    }
}

#[test]
fn a_stated_regime_tightens_and_never_loosens() {
    use Regime::{NotRequired, OptIn, OptOut, Unspecified};
    let rows = [
        (OptOut, Unspecified, OptOut, "DE"),
        (OptOut, NotRequired, OptOut, "DE"),
        (OptOut, OptOut, OptOut, "DE"),
        (OptOut, OptIn, OptIn, ""),
        (NotRequired, OptOut, OptOut, ""),
        (OptIn, NotRequired, OptIn, "DE"),
    ];
    for (packs, stated, counts, cited) in rows {
        let found = terms(&pack(vec![line(packs)], vec![])).tightened(stated);
        assert_eq!((found.regime, found.pack.as_str()), (counts, cited), "{packs:?} {stated:?}");
    }
    for stated in [Unspecified, NotRequired, OptOut, OptIn] {
        assert_eq!(Terms::default().tightened(stated), Terms::default());
    }
}

fn statement(kind: Kind, effective_at: Timestamp, expires_at: Option<Timestamp>) -> Statement {
    Statement {
        kind,
        regime_shown: Regime::OptIn,
        source: "web".into(),
        evidence: None,
        text_version: "v1".into(),
        language: String::new(),
        captured_at: effective_at,
        effective_at,
        expires_at,
        reason: String::new(),
    }
}

#[test]
fn each_pack_has_its_verdict() {
    let of = |regime| terms(&pack(vec![line(regime)], vec![]));
    let lasting = |days: i64| Terms { expires_after: Some(days * DAY), ..of(Regime::OptIn) };
    let double = Terms { double_opt_in: true, ..of(Regime::OptIn) };
    let unmapped = Terms::of(Some(&pack(vec![], vec![])), Purpose::Promotional, Channel::Email);
    let grant = || vec![statement(Kind::Granted, NOW, None)];
    let short = || vec![statement(Kind::Granted, NOW, Some(day(2)))];
    let objection = || vec![statement(Kind::Withdrawn, NOW, None)];
    // Statements, terms, day, whether the contact point is verified, verdict.
    let rows: [(Vec<Statement>, Terms, i64, bool, Verdict); 21] = [
        (vec![], Terms::default(), 1, true, Verdict::NoPack),
        (grant(), Terms::default(), 1, false, Verdict::Granted),
        (objection(), Terms::default(), 1, true, Verdict::Withdrawn),
        (vec![], unmapped.clone(), 1, true, Verdict::NoRecord),
        (grant(), unmapped, 1, true, Verdict::Granted),
        (grant(), lasting(730), 729, true, Verdict::Granted),
        (grant(), lasting(730), 730, true, Verdict::Expired),
        (short(), lasting(730), 2, true, Verdict::Expired),
        (short(), lasting(1), 1, true, Verdict::Expired),
        (grant(), lasting(0), 0, true, Verdict::Expired),
        (grant(), double.clone(), 1, false, Verdict::NoRecord),
        (grant(), double.clone(), 1, true, Verdict::Granted),
        (objection(), double.clone(), 1, false, Verdict::Withdrawn),
        (short(), double, 2, false, Verdict::Expired),
        (vec![], of(Regime::OptOut), 1, false, Verdict::NoObjection),
        (objection(), of(Regime::OptOut), -1, false, Verdict::NoObjection),
        (objection(), of(Regime::OptOut), 1, false, Verdict::Withdrawn),
        (
            grant(),
            Terms { expires_after: Some(0), ..of(Regime::OptOut) },
            1,
            true,
            Verdict::NoObjection,
        ),
        (
            grant(),
            Terms { double_opt_in: true, ..of(Regime::OptOut) },
            1,
            false,
            Verdict::NoObjection,
        ),
        (vec![], of(Regime::NotRequired), 1, false, Verdict::NotRequired),
        (objection(), of(Regime::NotRequired), 1, false, Verdict::NotRequired),
    ];
    for (statements, terms, at, verified, expected) in rows {
        let found = verdict(&statements, day(at), &terms, verified);
        assert_eq!(found, expected, "{statements:?} on day {at} under {terms:?}");
        assert_eq!(found.allows(), found.detail().is_empty());
    }
}

fn any_regime() -> impl Strategy<Value = Regime> {
    prop::sample::select(vec![
        Regime::Unspecified,
        Regime::OptIn,
        Regime::OptOut,
        Regime::NotRequired,
    ])
}

fn any_line() -> impl Strategy<Value = ConsentLine> {
    let channels = prop::collection::vec(1..4_i32, 1..3);
    let lasting = prop::sample::select(vec!["", "0s", "2d", "730d", "soon"]);
    (1..3_i32, channels, any_regime(), any::<bool>(), lasting).prop_map(
        |(purpose, channels, regime, double_opt_in, lasting)| ConsentLine {
            purpose,
            channels,
            regime: regime.into(),
            double_opt_in,
            expires_after: lasting.into(),
            ..ConsentLine::default()
        },
    )
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let kind = prop::sample::select(vec![Kind::Granted, Kind::Denied, Kind::Withdrawn]);
    (kind, 0..5_i64, prop::option::of(1..6_i64)).prop_map(|(kind, at, lasts)| {
        let expires_at = lasts.map(|days| day(at + days)).filter(|_| kind == Kind::Granted);
        statement(kind, day(at), expires_at)
    })
}

proptest! {
    #[test]
    fn a_pack_allows_no_more_than_its_regime_does_alone(
        own in prop::collection::vec(any_line(), 0..4),
        above in prop::collection::vec(any_line(), 0..4),
        statements in prop::collection::vec(any_statement(), 0..5),
        (today, verified, stated) in (0..8_i64, any::<bool>(), any_regime()),
    ) {
        let found = terms(&pack(own, vec![above])).tightened(stated);
        let alone = Terms { regime: found.regime, has_pack: true, ..Terms::default() };
        if verdict(&statements, day(today), &found, verified).allows() {
            prop_assert!(verdict(&statements, day(today), &alone, verified).allows());
        }
    }

    #[test]
    fn without_a_pack_nothing_is_allowed_that_nobody_granted(
        statements in prop::collection::vec(any_statement(), 0..5),
        (today, stated) in (0..8_i64, any_regime()),
    ) {
        let granted = super::super::counting(&statements, day(today))
            .is_some_and(|it| it.kind == Kind::Granted && !it.has_expired(day(today)));
        let terms = Terms::default().tightened(stated);
        prop_assert_eq!(verdict(&statements, day(today), &terms, true).allows(), granted);
    }
}
