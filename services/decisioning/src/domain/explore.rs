//! From scores to probabilities, exactly.
//!
//! Every P is drawn from the normal distribution with its Beta's mean and variance (Thompson sampling), the other
//! factors are fixed, so each arm's score is normal. The probability that arm a is the best is
//!
//! ```text
//! p(a) = ∫ φ((s − mₐ)/σₐ)/σₐ · Π_{j≠a} Φ((s − mⱼ)/σⱼ) ds        π(a) = (1 − ε)·p(a) + ε/|E|
//! ```
//!
//! integrated by 8-point Gauss–Legendre over short steps (`data.md` 1.5). Doing nothing is an arm whose score is
//! certain: below it nobody wins. The choice is drawn from the logged π, so the logged probability is exact by
//! construction.

use std::collections::HashMap;

use super::normal;

/// Name of this explorer in the record.
pub(crate) const THOMPSON_NORMAL: &str = "thompson-normal";

/// Beyond so many standard deviations nothing is left.
const FAR: f64 = 6.5;
/// Length of a step in standard deviations of the narrowest arm that it crosses.
const STEP: f64 = 1.0;
/// Steps at most; arms that differ in width by orders of magnitude need many.
const STEPS: usize = 4_096;

/// Nodes and weights of the 8-point rule on [−1, 1], the positive half (Abramowitz & Stegun, table 25.4).
const NODES: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_26),
];

/// The score of a candidate: normal with this mean and standard deviation, which is above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arm {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Arm {
    /// The score g · P where P has a Beta distribution's mean and variance.
    pub(crate) fn of_beta(g: f64, alpha: f64, beta: f64) -> Self {
        let n = alpha + beta;
        let variance = alpha * beta / (n * n * (n + 1.0));
        Self { mean: g * alpha / n, deviation: (g * variance.sqrt()).max(1e-12) }
    }

    fn low(&self) -> f64 {
        self.mean - FAR * self.deviation
    }

    fn high(&self) -> f64 {
        self.mean + FAR * self.deviation
    }
}

/// The probability that each arm's score is the largest and above `certain`; what is left to 1 is the probability
/// that none is.
pub(crate) fn best(arms: &[Arm], certain: f64) -> Vec<f64> {
    // Below `floor` the best arm's Φ, or the certain score, leaves nothing.
    let floor = arms.iter().map(Arm::low).fold(certain, f64::max);
    let end = arms.iter().map(Arm::high).fold(floor, f64::max);
    let (mut race, racers) = Race::new(arms, floor);
    let mut from = floor;
    for _ in 0..STEPS {
        if from >= end {
            break;
        }
        let to = race.step(from).min(end);
        race.integrate(from, to);
        from = to;
    }
    let won = |racer: &Option<usize>| racer.map_or(0.0, |it| race.racers[it].won.clamp(0.0, 1.0));
    racers.iter().map(won).collect()
}

/// The arms that can win. Equal ones, such as two treatments that nothing is known of yet, are computed once.
struct Race {
    racers: Vec<Racer>,
    /// Those that the walk has not left behind.
    left: Vec<usize>,
    /// Of those at one place: how many deviations away it is, the density there, the probability of being below it.
    away: Vec<f64>,
    density: Vec<f64>,
    below: Vec<f64>,
}

struct Racer {
    arm: Arm,
    /// How many arms are this one.
    times: usize,
    /// What each of them has won so far.
    won: f64,
}

impl Race {
    /// The race, and which racer each arm is, if it can win at all.
    fn new(arms: &[Arm], floor: f64) -> (Self, Vec<Option<usize>>) {
        let mut racers: Vec<Racer> = Vec::new();
        let mut known = HashMap::new();
        let mut racer = |arm: &Arm| {
            let at =
                *known.entry((arm.mean.to_bits(), arm.deviation.to_bits())).or_insert_with(|| {
                    racers.push(Racer { arm: *arm, times: 0, won: 0.0 });
                    racers.len() - 1
                });
            racers[at].times += 1;
            at
        };
        let which = arms.iter().map(|it| (it.high() > floor).then(|| racer(it))).collect();
        let left = (0..racers.len()).collect();
        let empty = Vec::new;
        (Self { racers, left, away: empty(), density: empty(), below: empty() }, which)
    }

    /// Where the step from here ends: short against every arm that it crosses.
    fn step(&self, from: f64) -> f64 {
        let crossed =
            self.left.iter().map(|it| &self.racers[*it].arm).filter(|it| from < it.high());
        let to = crossed.map(|it| from + STEP * it.deviation).fold(f64::INFINITY, f64::min);
        // An arm narrower than the distance between two doubles here must not hold the walk.
        to.max(from + from.abs() * 1e-12)
    }

    fn integrate(&mut self, from: f64, to: f64) {
        let racers = &self.racers;
        self.left
            .retain(|it| from < racers[*it].arm.mean + normal::FAR * racers[*it].arm.deviation);
        self.density.resize(self.left.len(), 0.0);
        self.below.resize(self.left.len(), 0.0);
        let (middle, half) = (f64::midpoint(from, to), (to - from) / 2.0);
        for (node, weight) in NODES {
            for at in [middle - half * node, middle + half * node] {
                self.add(at, weight * half);
            }
        }
    }

    fn add(&mut self, at: f64, weight: f64) {
        self.away.clear();
        let arms = self.left.iter().map(|it| self.racers[*it].arm);
        self.away.extend(arms.map(|arm| (at - arm.mean) / arm.deviation));
        normal::each(&self.away, &mut self.density, &mut self.below);
        let all = self.all_but(usize::MAX);
        for (place, racer) in self.left.iter().enumerate() {
            let (density, below) = (self.density[place], self.below[place]);
            if density == 0.0 {
                continue;
            }
            let others = if below > 1e-150 { all / below } else { self.all_but(place) };
            let racer = &mut self.racers[*racer];
            racer.won += weight * density / racer.arm.deviation * others;
        }
    }

    /// The probability that all arms are below, but for one of those at a place.
    fn all_but(&self, place: usize) -> f64 {
        let mut all = 1.0;
        for (it, racer) in self.left.iter().enumerate() {
            for _ in usize::from(it == place)..self.racers[*racer].times {
                all *= self.below[it];
            }
        }
        all
    }
}

/// π over the arms and, last, over doing nothing, whose score is certain. It sums to 1.
pub(crate) fn probabilities(arms: &[Arm], certain: f64, epsilon: f64) -> Vec<f64> {
    let mut p = best(arms, certain);
    let sum: f64 = p.iter().sum();
    p.push((1.0 - sum).max(0.0));
    let total: f64 = p.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "candidates are few")]
    let share = epsilon / p.len() as f64;
    let mut pi: Vec<f64> = p.iter().map(|it| (1.0 - epsilon) * it / total + share).collect();
    settle(&mut pi);
    pi
}

/// Makes the sum 1 by moving the last rounding error into the largest part.
fn settle(pi: &mut [f64]) {
    let total: f64 = pi.iter().sum();
    let largest = (0..pi.len()).max_by(|a, b| pi[*a].total_cmp(&pi[*b]));
    if let Some(largest) = largest {
        pi[largest] += 1.0 - total;
    }
}

/// Which of `pi` a number in [0, 1) falls on, by cumulative sum; what is 0 is never drawn.
pub(crate) fn pick(pi: &[f64], drawn: f64) -> Option<usize> {
    let mut upto = 0.0;
    let mut last = None;
    for (index, part) in pi.iter().enumerate().filter(|it| *it.1 > 0.0) {
        upto += part;
        last = Some(index);
        if drawn < upto {
            return last;
        }
    }
    // Rounding may leave the sum an ulp below the number drawn.
    last
}

/// What was drawn for one place: which candidate, the probability given those drawn before, and the number drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) index: usize,
    pub(crate) pi: f64,
    pub(crate) draw: f64,
}

/// Fills `k` places without replacement from π, the last of which is doing nothing: who draws it fills no more places.
/// The draw of a place is `hash(salt, decision id, place)`.
pub(crate) fn slate(pi: &[f64], k: u32, salt: &str, decision_id: &str) -> Vec<Drawn> {
    let mut left = pi.to_vec();
    let mut drawn: Vec<Drawn> = Vec::new();
    for place in 0..k {
        if place > 0 {
            let total: f64 = left.iter().sum();
            if total <= 0.0 {
                break;
            }
            left.iter_mut().for_each(|it| *it /= total);
        }
        let draw = eventstore::draw(salt, &format!("{decision_id}/{place}"));
        let Some(index) = pick(&left, draw) else { break };
        drawn.push(Drawn { index, pi: left[index], draw });
        if index + 1 == pi.len() {
            break;
        }
        left[index] = 0.0;
    }
    drawn
}

#[cfg(test)]
mod tests;
