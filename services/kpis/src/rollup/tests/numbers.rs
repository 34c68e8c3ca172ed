use proptest::prelude::*;
use rapport_proto::kpis::v1::Target;

use crate::rollup::contribution::{Sums, measured, millionths};
use crate::rollup::judge::{Judged, Judgement, judge};
use crate::rollup::statistics::{mean_interval, sample_ratio, welch, wilson};
use crate::rollup::survival::{Lasted, quantile};

fn sums(values: &[f64]) -> Sums {
    let mut sums = Sums::default();
    values.iter().for_each(|it| sums.add(millionths(*it).expect("small")));
    sums
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
}

/// The extra sleep of two groups (Student 1908), as R's `t.test` compares them.
#[test]
fn a_difference_has_welchs_interval() {
    let one = sums(&[0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]);
    let two = sums(&[1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]);
    let difference = welch(&one, &two).expect("two in each");
    near(difference.value, 1.58);
    near(difference.lower, -0.205_483_2);
    near(difference.upper, 3.365_483_2);
    assert!(difference.covers(0.0) && !difference.covers(4.0));
}

#[test]
fn without_spread_an_interval_is_a_point_and_without_two_there_is_none() {
    let (one, two) = (sums(&[1.0, 1.0]), sums(&[3.0, 3.0]));
    let difference = welch(&one, &two).expect("two in each");
    assert_eq!((difference.lower, difference.value, difference.upper), (2.0, 2.0, 2.0));
    assert_eq!(welch(&one, &sums(&[3.0])), None);
    assert_eq!(mean_interval(&sums(&[3.0])), None);
}

#[test]
fn large_amounts_add_up_and_those_that_fit_no_more_tell_no_spread() {
    // An order of 25 thousand million, in a currency of small units.
    let orders = sums(&[25e9, 25e9, 28e9]);
    assert_eq!(orders.total(), 78e9);
    near(orders.variance().expect("some") / 3e18, 1.0);
    let most = sums(&[1e12; 200]);
    assert_eq!((most.total(), most.variance()), (2e14, None));
}

#[test]
fn shares_have_wilsons_interval() {
    let (lower, upper) = wilson(8, 10).expect("some");
    near(lower, 0.490_2);
    near(upper, 0.943_3);
    assert_eq!(wilson(0, 0), None);
    assert_eq!(wilson(0, 10).map(|it| it.0), Some(0.0));
    assert_eq!(wilson(10, 10).map(|it| it.1), Some(1.0));
}

#[test]
fn sizes_of_arms_are_tested_against_the_plan() {
    near(sample_ratio(520, 1_000, 0.5), 0.205_903);
    near(sample_ratio(100, 1_000, 0.1), 1.0);
    assert!(sample_ratio(580, 1_000, 0.5) < 0.001);
    near(sample_ratio(0, 0, 0.5), 1.0);
}

/// Weeks in remission under 6-mercaptopurine (Freireich 1963), the example of every text book.
#[test]
fn what_has_not_ended_counts_as_long_as_it_is_known() {
    let ended = [6, 6, 6, 7, 10, 13, 16, 22, 23].map(|it| Lasted { for_: it, open: false });
    let open =
        [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35].map(|it| Lasted { for_: it, open: true });
    let mut times: Vec<_> = open.into_iter().chain(ended).collect();
    assert_eq!(quantile(&mut times, 0.5), Some(23));
    assert_eq!(quantile(&mut times, 0.25), Some(13));
    assert_eq!(quantile(&mut times, 0.9), None);
    assert_eq!(quantile(&mut [], 0.5), None);
}

#[test]
fn numbers_too_large_to_be_exact_are_none() {
    assert_eq!(millionths(1.234_567_4), Some(1_234_567));
    assert_eq!(millionths(-0.1), Some(-100_000));
    assert_eq!(millionths(25e9), Some(25_000_000_000_000_000));
    assert_eq!(millionths(1e13), None);
    assert_eq!(millionths(f64::NAN), None);
    assert_eq!(measured(&authored::rule::Value::Duration(1_500_000)), Some(1_500_000));
    assert_eq!(measured(&authored::rule::Value::Bool(true)), None);
}

#[test]
fn a_figure_is_judged_by_what_was_asked() {
    let target = Target {
        at_least: Some(2.0),
        at_most: Some(9.0),
        change_at_most: Some(0.5),
        n_at_least: 3,
        ..Default::default()
    };
    let of = |value, n| Judged { value: Some(value), n, suppressed: false };
    let before = of(4.0, 10);
    use Judgement::{Met, Missed, Silent};
    assert_eq!(judge(&target, &of(4.0, 10), &before), Met);
    assert_eq!(judge(&target, &of(1.0, 10), &before), Missed("below"));
    assert_eq!(judge(&target, &of(10.0, 10), &before), Missed("above"));
    assert_eq!(judge(&target, &of(7.0, 10), &before), Missed("changed"));
    assert_eq!(judge(&target, &of(6.0, 10), &before), Met);
    assert_eq!(judge(&target, &of(4.0, 2), &before), Missed("missing_data"));
    let none = Judged::default();
    assert_eq!(judge(&target, &none, &before), Missed("missing_data"));
    assert_eq!(judge(&target, &of(7.0, 10), &none), Met);
    // What is hidden or not there says nothing, and neither does a change from it.
    let hidden = Judged { suppressed: true, ..none };
    assert_eq!(judge(&target, &hidden, &before), Silent);
    let any = Target { n_at_least: 0, ..target };
    assert_eq!(judge(&any, &none, &before), Silent);
    let change = Target { at_least: None, at_most: None, ..any };
    assert_eq!(judge(&change, &of(7.0, 10), &none), Silent);
    assert_eq!(judge(&change, &of(5.0, 10), &before), Met);
}

/// Kaplan and Meier, written down as it is defined.
fn by_definition(times: &[Lasted], q: f64) -> Option<i64> {
    let mut ends: Vec<i64> = times.iter().filter(|it| !it.open).map(|it| it.for_).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut surviving = 1.0;
    for at in ends {
        let count = |it: &dyn Fn(&&Lasted) -> bool| times.iter().filter(it).count() as f64;
        let ended = count(&|it| !it.open && it.for_ == at);
        surviving *= 1.0 - ended / count(&|it| it.for_ >= at);
        if surviving <= 1.0 - q + 1e-12 {
            return Some(at);
        }
    }
    None
}

proptest! {
    #[test]
    fn spans_are_read_as_defined(
        times in prop::collection::vec((0_i64..20, any::<bool>()), 0..40),
        q in prop::sample::select(vec![0.1, 0.25, 0.5, 0.75, 0.9, 1.0]),
    ) {
        let mut times: Vec<_> =
            times.into_iter().map(|(for_, open)| Lasted { for_, open }).collect();
        prop_assert_eq!(by_definition(&times, q), quantile(&mut times, q));
    }

    #[test]
    fn variance_is_that_of_the_sample(values in prop::collection::vec(-1_000_000_i64..1_000_000, 2..60)) {
        let mut sums = Sums::default();
        values.iter().for_each(|it| sums.add(*it));
        let n = values.len() as f64;
        let mean = values.iter().sum::<i64>() as f64 / n;
        let spread: f64 = values.iter().map(|it| (*it as f64 - mean).powi(2)).sum();
        let expected = spread / (n - 1.0) / 1e12;
        let found = sums.variance().expect("two");
        prop_assert!((found - expected).abs() <= 1e-9 * expected.max(1e-6));
    }
}
