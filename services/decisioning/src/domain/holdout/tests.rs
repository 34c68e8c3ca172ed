use super::*;

fn holdout(id: &str, share: f64) -> proto::HoldoutStarted {
    proto::HoldoutStarted {
        holdout_id: id.into(),
        salt: "salt".into(),
        share,
        content_classes: vec![ContentClass::RxPromotional.into()],
        period: "2026-Q4".into(),
    }
}

#[test]
fn the_share_lies_within_binomial_bounds_and_is_the_same_for_every_call() {
    const PARTIES: u32 = 20_000;
    for share in [0.02, 0.1, 0.5] {
        let holdout = holdout("h", share);
        let held = (0..PARTIES)
            .filter(|it| {
                let party = format!("pty_{it}");
                let first = arm(&holdout, &party);
                assert_eq!(arm(&holdout, &party), first);
                first == Arm::HeldOut
            })
            .count();
        let n = f64::from(PARTIES);
        let error = (n * share * (1.0 - share)).sqrt();
        #[expect(clippy::cast_precision_loss, reason = "a count of parties")]
        let held = held as f64;
        assert!((held - n * share).abs() < 4.0 * error, "{held} of {n} at {share}");
    }
}

#[test]
fn a_new_period_draws_anew() {
    let (one, two) = (
        holdout("h", 0.5),
        proto::HoldoutStarted { period: "2027-Q1".into(), ..holdout("h", 0.5) },
    );
    let differs = |it: &u32| {
        let party = format!("pty_{it}");
        arm(&one, &party) != arm(&two, &party)
    };
    assert!((0..100).any(|it| differs(&it)));
}

#[test]
fn only_classes_in_scope_are_held_out_and_some_never() {
    let all = [holdout("none", 1e-12), holdout("all", 1.0)];
    let (found, side) = counting(&all, ContentClass::RxPromotional, "pty_1");
    assert_eq!((found.map(|it| it.holdout_id.as_str()), side), (Some("all"), Arm::HeldOut));
    let (found, side) = counting(&all[..1], ContentClass::RxPromotional, "pty_1");
    assert_eq!((found.map(|it| it.holdout_id.as_str()), side), (Some("none"), Arm::Treated));
    assert_eq!(counting(&all, ContentClass::Survey, "pty_1"), (None, Arm::Unspecified));
    assert_eq!(counting(&all, ContentClass::Service, "pty_1"), (None, Arm::Unspecified));
    let (found, side) = counting(&all, ContentClass::RxPromotional, "");
    assert_eq!((found.is_some(), side), (true, Arm::Unspecified));
}

#[test]
fn starting_and_ending_twice_is_harmless() {
    let start = |share| Command::Start(Box::new(holdout("h", share)));
    let end = || Command::End { reason: "over".into() };
    let at = Timestamp(0);
    assert_eq!(Holdout::decide(&State::default(), end(), at), Err(Refusal::Unknown));
    let events = Holdout::decide(&State::default(), start(0.1), at).expect("started");
    let state = eventstore::fold::<Holdout>(&events);
    assert_eq!(Holdout::decide(&state, start(0.1), at), Ok(Vec::new()));
    assert_eq!(Holdout::decide(&state, start(0.2), at), Err(Refusal::Exists));
    let ended = Holdout::decide(&state, end(), at).expect("ended");
    let state = ended.iter().fold(state, Holdout::evolve);
    assert_eq!(Holdout::decide(&state, end(), at), Ok(Vec::new()));
}
