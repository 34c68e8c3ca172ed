//! No order of arrival shows, and what is added piece by piece is what is computed from nothing.

use proptest::prelude::*;
use proptest::sample::Index;
use rapport_proto::content::v1::{ModuleApproved, ModuleSubmitted};
use rapport_proto::delivery::v1::{TouchDelivered, TouchSent};
use rapport_proto::profiles::v1::InteractionRecorded;
use rapport_proto::types::{Clear, Money, clear};

use super::*;
use crate::rollup::built_in;
use crate::rollup::contribution::{Role, Sums};
use crate::rollup::figure::Place;

/// Any event that built-in metrics read.
fn said() -> impl Strategy<Value = Said> {
    let at = (0_i64..40).prop_map(|hours| Timestamp(MONDAY.0 + hours * 6 * 3_600 * 1_000_000));
    (at, 0_u8..6, 0_u64..12, 0_i32..11).prop_map(|(at, what, thing, score)| {
        let id = format!("thing_{thing}");
        let said = match what {
            0 => {
                answered(0, at, &[(QuestionKind::Nps, score), (QuestionKind::Csat, score % 5 + 1)])
            }
            1 => {
                order(at, i64::from(score), 370_000_000, if thing % 2 == 0 { "EUR" } else { "USD" })
            }
            2 => Said::new(
                "delivery",
                0,
                at,
                &TouchSent { adapter: "smtp".into(), ..Default::default() },
            ),
            3 => Said::new("delivery", 0, at, &TouchDelivered::default()),
            4 => Said::new("content", 0, at, &ModuleSubmitted { version: 1, ..Default::default() }),
            _ => Said::new("content", 0, at, &ModuleApproved { version: 1, ..Default::default() }),
        };
        said.id(&id).party(&format!("pty_{thing}"))
    })
}

fn order(at: Timestamp, units: i64, nanos: i32, currency: &str) -> Said {
    let money = Money { currency_code: currency.into(), units, nanos };
    let value = Clear { value: Some(clear::Value::Money(money)) };
    let it = InteractionRecorded {
        name: "Order Completed".into(),
        clear: [("revenue".to_owned(), value)].into(),
        ..Default::default()
    };
    Said::new("profiles", 0, at, &it)
}

/// Events with positions, in an order of arrival.
fn arriving() -> impl Strategy<Value = (Vec<Said>, Vec<Said>)> {
    let events = prop::collection::vec(said(), 0..60);
    (events, prop::collection::vec(any::<Index>(), 60)).prop_map(|(mut events, picks)| {
        for (position, it) in (1..).zip(&mut events) {
            it.position = position;
        }
        let mut left = events.clone();
        let mut shuffled = Vec::new();
        for pick in picks.iter().take(events.len()) {
            shuffled.push(left.swap_remove(pick.index(left.len())));
        }
        (events, shuffled)
    })
}

/// As the consumer keeps it: cells that grow batch by batch.
fn kept(definition: &Definition, query: &Query, arrived: &[Said]) -> BTreeMap<Cell, Number> {
    let mut cells: BTreeMap<(Role, Timestamp, String, String), Sums> = BTreeMap::new();
    for batch in arrived.chunks(7) {
        for it in contributions(definition, batch) {
            cells.entry((it.role, it.bucket, it.dims, it.currency)).or_default().add(it.value);
        }
    }
    let mut fold = Fold::new(definition.series.shape, false, query);
    for ((role, bucket, dims, currency), sums) in &cells {
        let place = Place { bucket: *bucket, dims, currency, kind: "" };
        fold.sums(*role, &place, sums);
    }
    fold.finish(Timestamp::default())
}

proptest! {
    #[test]
    fn figures_are_the_same_bits_in_any_order((events, arrived) in arriving(), split in any::<bool>()) {
        for definition in built_in::all() {
            let group = if split && !definition.series.dimensions.is_empty() {
                vec![Dimension::Defined(0)]
            } else {
                Vec::new()
            };
            let query = Query { group, ..Query::default() };
            let rebuilt = figures(definition, &query, &events);
            prop_assert_eq!(&figures(definition, &query, &arrived), &rebuilt);
            if definition.series.shape.is_summed() {
                prop_assert_eq!(&kept(definition, &query, &arrived), &rebuilt);
            }
            let total = Query { total: true, ..query };
            prop_assert_eq!(
                figures(definition, &total, &arrived),
                figures(definition, &total, &events)
            );
        }
    }
}
