use super::*;

#[test]
fn exp_is_as_exact_as_the_library() {
    for step in -6_000..6_000 {
        let x = f64::from(step) * 0.1;
        let (ours, theirs) = (exp(x), x.exp());
        assert!((ours - theirs).abs() <= theirs * 4e-16, "e^{x}: {ours} against {theirs}");
    }
    assert_eq!(exp(-701.0), 0.0);
    assert_eq!(exp(0.0), 1.0);
}

#[test]
fn the_distribution_has_its_known_values() {
    // Abramowitz & Stegun, table 26.1; the tail from table 26.2.
    let known = [
        (0.0, 0.5),
        (1.0, 0.841_344_746_068_542_9),
        (-1.0, 0.158_655_253_931_457_05),
        (1.96, 0.975_002_104_851_779_5),
        (3.0, 0.998_650_101_968_369_9),
        (-5.0, 2.866_515_718_791_945_5e-7),
        (-8.0, 6.220_960_574_271_786e-16),
    ];
    for (z, expected) in known {
        let found = normal(z).1;
        assert!((found - expected).abs() <= 1e-15 + expected * 1e-9, "Φ({z}) = {found}");
    }
    assert_eq!((normal(40.0).1, normal(-40.0).1), (1.0, 0.0));
}

#[test]
fn many_at_once_have_the_bits_of_each_alone() {
    let z: Vec<f64> = (-1_700..=1_700).map(|step| f64::from(step) * 0.007_3).collect();
    let (mut density, mut below) = (vec![0.0; z.len()], vec![0.0; z.len()]);
    each(&z, &mut density, &mut below);
    for (at, z) in z.into_iter().enumerate() {
        let (one, two) = normal(z);
        assert_eq!((density[at].to_bits(), below[at].to_bits()), (one.to_bits(), two.to_bits()));
    }
}

#[test]
fn a_half_life_halves() {
    assert_eq!(halved(0.0), 1.0);
    assert!((halved(1.0) - 0.5).abs() < 1e-15);
    assert!((halved(3.0) - 0.125).abs() < 1e-15);
    assert_eq!((halved(5_000.0), halved(1e300)), (0.0, 0.0));
}
