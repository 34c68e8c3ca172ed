//! The normal distribution, computed with nothing but IEEE arithmetic: the same bits on every machine, so that a
//! decision can be made again anywhere.

/// 1/√(2π).
const INVERSE_ROOT: f64 = 0.398_942_280_401_432_7;

/// e^x for |x| up to 700: 2^n · e^r with |r| ≤ ln 2 / 2, e^r by Taylor's series to r^13 (remainder below 1e-17).
#[inline]
pub(crate) fn exp(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// 1.5 · 2^52: a number below 2^51 that is added to it loses what is behind its point.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    let rounded = x.min(700.0) * std::f64::consts::LOG2_E + WHOLE;
    let n = rounded - WHOLE;
    let r = (x.min(700.0) - n * LN_2_HIGH) - n * LN_2_LOW;
    // The lowest bits of `rounded` are n: 2^n has n + 1,023 as its exponent.
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1_023) << 52);
    let value = polynomial(&INVERSE_FACTORIALS, r) * power;
    if x < -700.0 { 0.0 } else { value }
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

#[inline]
fn polynomial<const N: usize>(parts: &[f64; N], x: f64) -> f64 {
    parts.iter().fold(0.0, |sum, part| sum * x + part)
}

/// 2^-x for x ≥ 0: how much is left after x half lives.
pub(crate) fn halved(x: f64) -> f64 {
    exp(-x * std::f64::consts::LN_2)
}

/// Beyond so many deviations the density counts as 0 and the distribution as 0 or 1: what is left is below 1e-16.
pub(crate) const FAR: f64 = 8.3;
/// From here on the tail is a continued fraction.
const TAIL: f64 = 7.071_067_811_865_47;

/// φ(z), the density, and Φ(z), the distribution, to 1e-15: G. West, "Better approximations to cumulative normal
/// functions", Wilmott 2005 (after J. F. Hart).
pub(crate) fn normal(z: f64) -> (f64, f64) {
    let x = z.abs();
    if x < TAIL {
        return near(z);
    }
    if x > FAR {
        return (0.0, if z > 0.0 { 1.0 } else { 0.0 });
    }
    let density = INVERSE_ROOT * exp(-0.5 * x * x);
    let fraction = x + 1.0 / (x + 2.0 / (x + 3.0 / (x + 4.0 / (x + 0.65))));
    let tail = density / fraction;
    (density, if z > 0.0 { 1.0 - tail } else { tail })
}

/// φ and Φ of each number, the same as [`normal`]'s. Nearly all are near, and without a branch the compiler computes
/// several of these at once.
pub(crate) fn each(z: &[f64], density: &mut [f64], distribution: &mut [f64]) {
    for ((z, density), distribution) in z.iter().zip(&mut *density).zip(&mut *distribution) {
        (*density, *distribution) = near(*z);
    }
    for ((z, density), distribution) in z.iter().zip(density).zip(distribution) {
        if z.abs() >= TAIL {
            (*density, *distribution) = normal(*z);
        }
    }
}

/// Below [`TAIL`].
#[inline]
fn near(z: f64) -> (f64, f64) {
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
    let x = z.abs();
    let bell = exp(-0.5 * x * x);
    let tail = bell * polynomial(&ABOVE, x) / polynomial(&BELOW, x);
    (INVERSE_ROOT * bell, if z > 0.0 { 1.0 - tail } else { tail })
}

#[cfg(test)]
mod tests;
