//! Rules that people write, beside the crate `cel` with a context that is used again.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use authored::rule::{Catalogue, Rule, RuleId, Rules, Type, Value};

use crate::Bench;
use crate::measure::in_turn;
use crate::report::{Report, Row};

/// `data.md` section 2: five conjuncts over twenty attributes, all true.
const RULE: &str = "attributes.country in ['DE', 'AT'] && attributes.segment == 'oncology' \
                    && attributes.digital == true && attributes.visits >= 3 && attributes.score > 10";
const ATTRIBUTES: usize = 20;
const EVALUATIONS: usize = 100_000;
/// Rules of a policy that are asked of one party.
const MANY: usize = 30;

/// How the attributes are there.
#[derive(Clone, Copy)]
enum Shape {
    /// `attributes.visits`.
    Record,
    /// `visits`.
    Flat,
}

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for (shape, names) in
        [(Shape::Record, "attributes in one record"), (Shape::Flat, "attributes as plain names")]
    {
        let peer = Peer::new(shape)?;
        for (way, told) in
            [("row", "a row bound before"), ("bind", "binding a row from a map, and evaluation")]
        {
            let id = match shape {
                Shape::Record => format!("rule-{way}"),
                Shape::Flat => format!("rule-flat-{way}"),
            };
            if bench.wants(&id) {
                let what = format!(
                    "a rule of 5 conjuncts over {ATTRIBUTES} {names}: {told}; reference: crate cel 0.15, program and \
                     context used again"
                );
                report
                    .add(measured(bench, &id, what, Ours::new(shape)?, &peer, way == "row").await?);
            }
        }
    }
    if bench.wants("rule-many") {
        report.add(many(bench).await?);
    }
    Ok(())
}

/// As a decision asks them: of the rules of a policy each differs from the next in one conjunct.
async fn many(bench: &Bench) -> Result<Row> {
    let texts = (0..MANY).map(|it| RULE.replace("visits >= 3", &format!("visits >= {}", it % 10)));
    let texts: Vec<String> = texts.collect();
    let Ours { facts, .. } = Ours::new(Shape::Record)?;
    let mut rules = Rules::new(Catalogue::new().open("attributes"));
    let ids: Vec<RuleId> = texts.iter().map(|it| rules.add(it)).collect::<Result<_, _>>()?;
    let Peer { context, .. } = Peer::new(Shape::Record)?;
    let programs = texts.iter().map(|it| cel::Program::compile(it));
    let programs: Vec<_> = programs.collect::<Result<_, _>>().context("the peer compiles")?;
    let times = (bench.plan.volume(EVALUATIONS) / MANY).max(1);
    let ours = || {
        let judge = black_box(&rules).over(black_box(&facts));
        ids.iter().filter(|it| judge.holds(**it)).count()
    };
    let theirs = || {
        let run = |it: &&cel::Program| {
            let found = black_box(*it).execute(black_box(&context));
            matches!(found, Ok(cel::Value::Bool(true)))
        };
        programs.iter().filter(run).count()
    };
    ensure!(ours() == theirs(), "both find the same rules to hold");
    let compared = in_turn(
        bench.plan,
        async || Ok(nanoseconds(times, || _ = black_box(ours()))),
        async || Ok(nanoseconds(times, || _ = black_box(theirs()))),
    )
    .await?;
    let what = format!(
        "{MANY} rules of 5 conjuncts, four of them the same in all, over one record of {ATTRIBUTES} attributes, facts \
         looked up once; reference: crate cel 0.15, programs and context used again"
    );
    Ok(Row::timed("rule-many", what, &compared, 1.5))
}

async fn measured(
    bench: &Bench,
    id: &str,
    what: String,
    ours: Ours,
    peer: &Peer,
    bound: bool,
) -> Result<Row> {
    let times = bench.plan.volume(EVALUATIONS);
    let compared = in_turn(
        bench.plan,
        async || Ok(if bound { ours.check_row(times) } else { ours.bind_and_check(times) }),
        async || peer.execute(times),
    )
    .await?;
    Ok(Row::timed(id, what, &compared, 1.5))
}

impl Shape {
    fn text(self) -> String {
        match self {
            Self::Record => RULE.to_owned(),
            Self::Flat => RULE.replace("attributes.", ""),
        }
    }
}

/// Names of the fifteen attributes that the rule does not look at.
fn others() -> impl Iterator<Item = String> {
    (5..ATTRIBUTES).map(|it| format!("other_{it}"))
}

/// Nanoseconds for each of so many.
#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn nanoseconds(times: usize, mut once: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        once();
    }
    start.elapsed().as_secs_f64() * 1e9 / times as f64
}

/// A rule of this platform, and facts.
struct Ours {
    rule: Rule,
    facts: HashMap<String, Value>,
}

impl Ours {
    fn new(shape: Shape) -> Result<Self> {
        let typed = || {
            let read = [
                ("country", Type::Text),
                ("segment", Type::Text),
                ("digital", Type::Bool),
                ("visits", Type::Number),
                ("score", Type::Number),
            ];
            let read = read.into_iter().map(|(name, type_)| (name.to_owned(), type_));
            read.chain(others().map(|name| (name, Type::Number)))
        };
        let (catalogue, prefix) = match shape {
            Shape::Record => (Catalogue::new().record("attributes", typed()), "attributes."),
            Shape::Flat => {
                let all =
                    typed().fold(Catalogue::new(), |all, (name, type_)| all.value(&name, type_));
                (all, "")
            }
        };
        let read = [
            ("country", Value::from("DE")),
            ("segment", Value::from("oncology")),
            ("digital", Value::from(true)),
            ("visits", Value::from(5_i64)),
            ("score", Value::from(50_i64)),
        ];
        let read = read.into_iter().map(|(name, value)| (name.to_owned(), value));
        let facts = read.chain(others().map(|name| (name, Value::from(7_i64))));
        let facts: HashMap<_, _> =
            facts.map(|(name, value)| (format!("{prefix}{name}"), value)).collect();
        let rule = Rule::compile(&shape.text(), &catalogue, &Type::Bool)?;
        ensure!(facts.len() == ATTRIBUTES && rule.check(&facts).is_true(), "the rule holds");
        Ok(Self { rule, facts })
    }

    fn check_row(&self, times: usize) -> f64 {
        let row = self.rule.bind(&self.facts);
        nanoseconds(times, || {
            black_box(black_box(&self.rule).check_row(black_box(&row)));
        })
    }

    fn bind_and_check(&self, times: usize) -> f64 {
        nanoseconds(times, || {
            let rule = black_box(&self.rule);
            black_box(rule.check_row(&rule.bind(black_box(&self.facts))));
        })
    }
}

/// The same in the crate `cel`.
struct Peer {
    program: cel::Program,
    context: cel::Context<'static, 'static>,
}

impl Peer {
    fn new(shape: Shape) -> Result<Self> {
        let read: [(&str, cel::Value); 5] = [
            ("country", "DE".into()),
            ("segment", "oncology".into()),
            ("digital", true.into()),
            ("visits", 5_i64.into()),
            ("score", 50_i64.into()),
        ];
        let read = read.into_iter().map(|(name, value)| (name.to_owned(), value));
        let all = read.chain(others().map(|name| (name, 7_i64.into())));
        let mut context = cel::Context::default();
        match shape {
            Shape::Record => {
                let all: HashMap<String, cel::Value> = all.collect();
                context.add_variable_from_value("attributes", all);
            }
            Shape::Flat => {
                all.for_each(|(name, value)| context.add_variable_from_value(name, value))
            }
        }
        let program = cel::Program::compile(&shape.text()).context("the peer compiles the rule")?;
        Ok(Self { program, context })
    }

    fn execute(&self, times: usize) -> Result<f64> {
        let found = self.program.execute(&self.context)?;
        ensure!(found == cel::Value::Bool(true), "the rule holds for the peer");
        Ok(nanoseconds(times, || {
            let program = black_box(&self.program);
            let _ = black_box(program.execute(black_box(&self.context)));
        }))
    }
}
