use super::*;

fn sums(parties: i64, successes: i64, total: i64, rates: &[i64]) -> Sums {
    Sums {
        parties,
        successes: successes * MILLION,
        total: total * MILLION,
        rates: rates.iter().sum(),
        squares: rates.iter().map(|it| it * it / MILLION).sum(),
    }
}

fn group(topic: &str) -> Group {
    ("DE".into(), Channel::Email.into(), topic.into())
}

#[test]
fn a_topic_is_drawn_to_its_channel_and_a_channel_to_one_half() {
    let groups = [
        (group(""), sums(1_000, 200, 1_000, &[])),
        (group("asthma"), sums(20, 10, 20, &[])),
        (group("new"), Sums::default()),
    ];
    let found = priors(&groups.into());
    let mean = |topic: &str| found.iter().find(|it| it.topic == topic).expect("it").mean_millionths;
    // (200 + 20 · ½) / 1,020
    assert_eq!(mean(""), 205_882);
    // (10 + 20 · 0.205882) / 40
    assert_eq!(mean("asthma"), 352_941);
    assert_eq!(mean("new"), 205_882);
}

#[test]
fn strength_follows_from_how_much_parties_differ() {
    let strength = |rates: &[i64]| {
        let parties = i64::try_from(rates.len()).expect("few");
        let groups = [(group(""), sums(parties, parties / 2, parties, rates))];
        priors(&groups.into())[0].strength_millionths
    };
    // All alike: as strong as can be. Only zeros and ones: κ = 0, clamped. Few: nothing is known.
    assert_eq!(strength(&[500_000; 20]), KAPPA.1);
    assert_eq!(strength(&[0, MILLION].repeat(10)), KAPPA.0);
    assert_eq!(strength(&[500_000; 9]), KAPPA.0);
    // ¼ / 0.04 − 1 = 5.25
    assert_eq!(strength(&[300_000, 700_000].repeat(10)), 5_250_000);
}

#[test]
fn a_midnight_is_published_once() {
    let publish = || Publish { as_of: Timestamp(DAY), priors: Vec::new() };
    let at = Timestamp(0);
    let events = Model::decide(&State::default(), publish(), at).expect("published");
    let state = eventstore::fold::<Model>(&events);
    assert_eq!((events.len(), Model::decide(&state, publish(), at)), (1, Ok(Vec::new())));
    assert_eq!((id(Timestamp(0)), id(Timestamp(DAY))), ("1970-01-01".into(), "1970-01-02".into()));
}

#[test]
fn of_too_many_priors_those_are_published_of_which_most_is_known() {
    let few = i64::try_from(MOST).expect("few");
    let topic = |number: i64| group(&format!("{number:0>120}"));
    let mut groups: BTreeMap<Group, Sums> =
        (1..=2 * few).map(|it| (topic(it), sums(1, 0, it, &[]))).collect();
    groups.insert(group(""), Sums::default());
    let found = priors(&groups);
    let topics: Vec<_> = found.iter().map(|it| it.topic.clone()).collect();
    let expected = [group("").2].into_iter().chain((few + 2..=2 * few).map(|it| topic(it).2));
    assert_eq!(topics, expected.collect::<Vec<_>>());
    let event = proto::ModelSnapshotPublished { priors: found, ..Default::default() };
    // The largest payload of an event.
    assert!(event.encoded_len() < 256 * 1024);
}

#[test]
fn the_next_midnight_is_later_than_now() {
    assert_eq!(next_midnight(Timestamp(0)), Timestamp(DAY));
    assert_eq!(next_midnight(Timestamp(DAY - 1)), Timestamp(DAY));
    assert_eq!(next_midnight(Timestamp(-1)), Timestamp(0));
}
