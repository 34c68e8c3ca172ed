//! The normal distribution, computed with nothing but IEEE arithmetic: the same bits on every machine, so that a
//! decision can be made again anywhere.

/// 1/√(2π).
const INVERSE_ROOT: f64 = 0.398_942_280_401_432_7;

/// e^x for |x| up to 700: 2^n · e^r with |r| ≤ ln 2 / 2, e^r by Taylor's series to r^13 (remainder below 1e-17).
pub(crate) fn exp(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x < -700.0 {
        return 0.0;
    }
    let x = x.min(700.0);
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    INVERSE_FACTORIALS.iter().fold(0.0, |sum, part| sum * r + part) * power_of_two(n)
}

/// 1/13!, 1/12!, … 1/1!, 1/0!.
const INVERSE_FACTORIALS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// 2^n for a whole n of at most three digits.
fn power_of_two(n: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "n is whole and below 1,100")]
    let n = n as i64;
    let bits = u64::try_from(1_023 + n.clamp(-1_022, 1_023)).unwrap_or_default() << 52;
    f64::from_bits(bits)
}

/// 2^-x for x ≥ 0: how much is left after x half lives.
pub(crate) fn halved(x: f64) -> f64 {
    exp(-x * std::f64::consts::LN_2)
}

/// Beyond so many deviations the density counts as 0 and the distribution as 0 or 1: what is left is below 1e-16.
const FAR: f64 = 8.3;

/// φ(z), the density, and Φ(z), the distribution, to 1e-15: G. West, "Better approximations to cumulative normal
/// functions", Wilmott 2005 (after J. F. Hart).
pub(crate) fn normal(z: f64) -> (f64, f64) {
    let x = z.abs();
    if x > FAR {
        return (0.0, if z > 0.0 { 1.0 } else { 0.0 });
    }
    let bell = exp(-0.5 * x * x);
    let tail = upper_tail(x, bell);
    (INVERSE_ROOT * bell, if z > 0.0 { 1.0 - tail } else { tail })
}

/// 1 − Φ(x) for x ≥ 0; `bell` is e^(−x²/2).
fn upper_tail(x: f64, bell: f64) -> f64 {
    const ABOVE: [f64; 7] = [
        3.526_249_659_989_11e-2,
        0.700_383_064_443_688,
        6.373_962_203_531_65,
        33.912_866_078_383,
        112.079_291_497_871,
        221.213_596_169_931,
        220.206_867_912_376,
    ];
    const BELOW: [f64; 8] = [
        8.838_834_764_831_84e-2,
        1.755_667_163_182_64,
        16.064_177_579_207,
        86.780_732_202_946_1,
        296.564_248_779_674,
        637.333_633_378_831,
        793.826_512_519_948,
        440.413_735_824_752,
    ];
    if x < 7.071_067_811_865_47 {
        let polynomial = |parts: &[f64]| parts.iter().fold(0.0, |sum, part| sum * x + part);
        return bell * polynomial(&ABOVE) / polynomial(&BELOW);
    }
    let fraction = x + 1.0 / (x + 2.0 / (x + 3.0 / (x + 4.0 / (x + 0.65))));
    bell * INVERSE_ROOT / fraction
}

#[cfg(test)]
mod tests;
