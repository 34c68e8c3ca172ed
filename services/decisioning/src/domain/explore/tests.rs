use eventstore::draw;
use proptest::prelude::*;

use super::*;

fn arm(mean: f64, deviation: f64) -> Arm {
    Arm { mean, deviation }
}

#[test]
fn equal_arms_share_equally() {
    for count in [1_usize, 2, 5, 40] {
        let p = best(&vec![arm(0.4, 0.1); count], f64::NEG_INFINITY);
        for part in p {
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let expected = 1.0 / count as f64;
            assert!((part - expected).abs() < 1e-9, "{count}: {part}");
        }
    }
}

#[test]
fn of_two_arms_the_better_wins_as_often_as_the_normal_distribution_says() {
    for (a, b) in [
        (arm(0.5, 0.1), arm(0.45, 0.1)),
        (arm(0.5, 0.1), arm(0.3, 0.001)),
        (arm(0.2, 0.3), arm(0.25, 0.004)),
        (arm(1.0, 0.01), arm(0.9, 0.5)),
    ] {
        let p = best(&[a, b], f64::NEG_INFINITY);
        // A − B is normal too.
        let z = (a.mean - b.mean) / (a.deviation.powi(2) + b.deviation.powi(2)).sqrt();
        assert!((p[0] - normal::normal(z).1).abs() < 1e-8, "{a:?} {b:?}: {p:?} Φ({z})");
        assert!((p[0] + p[1] - 1.0).abs() < 1e-8);
    }
}

#[test]
fn a_dominated_arm_never_wins() {
    let p = best(&[arm(10.0, 0.1), arm(1.0, 0.1)], f64::NEG_INFINITY);
    assert_eq!(p[1], 0.0);
    assert!((p[0] - 1.0).abs() < 1e-9);
}

#[test]
fn a_certain_score_wins_when_all_others_fall_below_it() {
    let arms = [arm(0.5, 0.1), arm(0.4, 0.2)];
    for certain in [-1.0, 0.3, 0.5, 0.8, 3.0] {
        let p = best(&arms, certain);
        let none: f64 =
            arms.iter().map(|it| normal::normal((certain - it.mean) / it.deviation).1).product();
        assert!((1.0 - p[0] - p[1] - none).abs() < 1e-9, "{certain}: {p:?} {none}");
    }
    assert_eq!(probabilities(&[], 0.0, 0.02), [1.0]);
}

/// Standard normal numbers from seeded draws (Box and Muller).
fn drawn(seed: &str, index: usize) -> f64 {
    let u = 1.0 - draw(seed, &format!("{index}/u"));
    let v = draw(seed, &format!("{index}/v"));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[test]
fn the_integral_agrees_with_simulated_draws() {
    const DRAWS: usize = 20_000;
    for case in 0..6 {
        let seed = format!("case {case}");
        let arms: Vec<Arm> = (0..3 + case)
            .map(|it| {
                let of = |what: &str| draw(&seed, &format!("{what} {it}"));
                arm(of("mean"), 0.01 + 0.4 * of("deviation").powi(3))
            })
            .collect();
        let certain = 0.3;
        let p = best(&arms, certain);
        let mut won = vec![0_u32; arms.len()];
        for index in 0..DRAWS {
            let scores = (arms.iter().enumerate())
                .map(|(it, arm)| arm.mean + arm.deviation * drawn(&format!("{seed} {it}"), index));
            let top = scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).expect("arms");
            if top.1 > certain {
                won[top.0] += 1;
            }
        }
        for (exact, won) in p.iter().zip(won) {
            #[expect(clippy::cast_precision_loss, reason = "a count of draws")]
            let n = DRAWS as f64;
            let error = (exact * (1.0 - exact) / n).sqrt();
            let found = f64::from(won) / n;
            assert!((found - exact).abs() < 4.5 * error + 1e-4, "{exact} against {found}");
        }
    }
}

#[test]
fn a_slate_draws_without_replacement_and_logs_each_place() {
    let pi = [0.4, 0.3, 0.2, 0.1];
    for decision in 0..200 {
        let drawn = slate(&pi, 5, "salt", &format!("dec_{decision}"));
        let mut left: f64 = 1.0;
        let mut seen = Vec::new();
        for place in &drawn {
            assert!(!seen.contains(&place.index));
            assert!((place.pi - pi[place.index] / left).abs() < 1e-12);
            left -= pi[place.index];
            seen.push(place.index);
        }
        // Doing nothing, the last, ends the slate.
        assert_eq!(drawn.iter().position(|it| it.index == 3), Some(drawn.len() - 1));
    }
}

#[test]
fn what_has_no_probability_is_never_drawn() {
    assert_eq!(pick(&[0.0, 1.0, 0.0], 0.0), Some(1));
    assert_eq!(pick(&[0.5, 0.5, 0.0], 0.999_999_999_999), Some(1));
    assert_eq!(pick(&[0.3, 0.3], 0.99), Some(1));
    assert_eq!(pick(&[0.0], 0.5), None);
}

/// The integral as it is written down: every arm at every place, in steps of a tenth of the narrowest.
fn plainly(arms: &[Arm], certain: f64) -> Vec<f64> {
    let low = arms.iter().map(Arm::low).fold(certain, f64::max);
    let high = arms.iter().map(Arm::high).fold(low, f64::max);
    let step = arms.iter().map(|it| it.deviation).fold(f64::INFINITY, f64::min) / 10.0;
    let mut won = vec![0.0; arms.len()];
    let mut at = low + step / 2.0;
    while at < high {
        for (index, arm) in arms.iter().enumerate() {
            let others = arms.iter().enumerate().filter(|it| it.0 != index);
            let below = others.map(|(_, it)| normal::normal((at - it.mean) / it.deviation).1);
            let density = normal::normal((at - arm.mean) / arm.deviation).0 / arm.deviation;
            won[index] += step * density * below.product::<f64>();
        }
        at += step;
    }
    won
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn arms_that_are_alike_and_arms_that_are_left_behind_count_as_written_down(
        kinds in prop::collection::vec((0.1..1.0_f64, 0.02..0.4_f64), 1..6),
        which in prop::collection::vec(0..6_usize, 1..12),
        certain in prop::option::of(0.0..1.0_f64),
    ) {
        let of = |it: &usize| kinds[it % kinds.len()];
        let arms: Vec<Arm> = which.iter().map(of).map(|(mean, deviation)| arm(mean, deviation)).collect();
        let certain = certain.unwrap_or(f64::NEG_INFINITY);
        let found = best(&arms, certain);
        for (one, two) in found.iter().zip(plainly(&arms, certain)) {
            // The plain sum misses half a step at a certain score.
            prop_assert!((one - two).abs() < 1e-3, "{one} against {two}");
        }
        for (one, two) in found.iter().zip(&arms) {
            let alike = arms.iter().position(|it| it == two).expect("itself");
            prop_assert_eq!(one.to_bits(), found[alike].to_bits());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn probabilities_sum_to_one_and_none_is_below_the_floor(
        arms in prop::collection::vec((0.0..2.0_f64, 1e-4..0.6_f64), 0..40),
        certain in 0.0..1.5_f64,
        epsilon in 0.0..=1.0_f64,
    ) {
        let arms: Vec<Arm> = arms.into_iter().map(|(mean, deviation)| arm(mean, deviation)).collect();
        let raw: f64 = best(&arms, certain).iter().sum();
        prop_assert!(raw <= 1.0 + 1e-8, "mass {raw}");
        let pi = probabilities(&arms, certain, epsilon);
        let sum: f64 = pi.iter().sum();
        prop_assert!((sum - 1.0).abs() < 1e-12, "sum {sum}");
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let floor = epsilon / pi.len() as f64;
        for part in &pi {
            prop_assert!(*part >= floor - 1e-12, "{part} below {floor}");
        }
    }

    #[test]
    fn the_mass_is_one_when_nothing_is_certain(
        arms in prop::collection::vec((0.0..2.0_f64, 1e-3..0.6_f64), 1..30),
    ) {
        let arms: Vec<Arm> = arms.into_iter().map(|(mean, deviation)| arm(mean, deviation)).collect();
        let mass: f64 = best(&arms, f64::NEG_INFINITY).iter().sum();
        prop_assert!((mass - 1.0).abs() < 1e-8, "mass {mass}");
    }
}
