//! The CDNOW orders, as histories of pharmacists: what is real, and what is assigned.
//!
//! Customers, days and amounts are real. Market, consents and answers are assigned by stable hashes of the customer's
//! number; the report says so.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use eventstore::{Timestamp, draw};

use super::Part;

/// The file of the package Lifetimes; `tests/data/cdnow/README.md` says where it comes from.
const MASTER: &[u8] = include_bytes!("../../../../../tests/data/cdnow/CDNOW_master.txt.gz");
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// 12:00 UTC.
const NOON: Duration = Duration::from_secs(86_400 / 2);

/// A week before the first order, 1996-12-25T00:00:00Z: when the story begins.
pub(super) const START: Timestamp = Timestamp(851_472_000_000_000);

/// A row of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Number of the row from 1: the id of its message.
    pub(super) row: usize,
    /// The customer's number as the file writes it.
    pub(super) customer: String,
    pub(super) at: Timestamp,
    pub(super) items: u32,
    /// Dollars and cents, in cents.
    pub(super) cents: u64,
}

/// All orders of the customers that take part, by day; at least one day a week, be it empty.
#[derive(Debug)]
pub(super) struct History {
    pub(super) days: Vec<(Timestamp, Vec<Order>)>,
    pub(super) customers: BTreeSet<String>,
}

impl History {
    /// The orders of a part of the story.
    pub(super) fn read(part: Part) -> anyhow::Result<Self> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(MASTER).read_to_string(&mut text).context("unpack")?;
        let over = START.plus(WEEK).plus(DAY * part.days);
        let mut orders = Vec::new();
        for (row, line) in text.lines().skip(1).filter(|it| !it.trim().is_empty()).enumerate() {
            let order = Order::read(row + 1, line).with_context(|| format!("row {}", row + 1))?;
            if draw("orders/share", &order.customer) < part.share && order.at < over {
                orders.push(order);
            }
        }
        ensure!(!orders.is_empty(), "--share is so small that nobody takes part");
        orders.sort_by_key(|it| (it.at, it.row));
        let customers = orders.iter().map(|it| it.customer.clone()).collect();
        let mut days: Vec<(Timestamp, Vec<Order>)> = Vec::new();
        for order in orders {
            // In a sample there may be long gaps; who is asked answers within a week.
            while let Some((last, _)) = days.last().filter(|it| it.0.plus(WEEK) < order.at) {
                days.push((last.plus(WEEK), Vec::new()));
            }
            match days.last_mut() {
                Some((at, of_day)) if *at == order.at => of_day.push(order),
                _ => days.push((order.at, vec![order])),
            }
        }
        Ok(Self { days, customers })
    }

    pub(super) fn orders(&self) -> usize {
        self.days.iter().map(|it| it.1.len()).sum()
    }

    /// A day after the last order.
    pub(super) fn end(&self) -> Timestamp {
        self.days.last().map_or(START, |it| it.0).plus(DAY)
    }

    /// Orders, customers, and cents.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let cents: u64 = self.days.iter().flat_map(|it| &it.1).map(|it| it.cents).sum();
        (self.orders() as u64, self.customers.len() as u64, cents)
    }
}

impl Order {
    fn read(row: usize, line: &str) -> anyhow::Result<Self> {
        let mut fields = line.split_whitespace();
        let mut next = |what: &'static str| fields.next().context(what);
        let (customer, day) = (next("customer")?.to_owned(), next("day")?);
        let (items, dollars) = (next("items")?.parse()?, next("dollars")?);
        let (whole, cents) = dollars.split_once('.').context("dollars and cents")?;
        ensure!(cents.len() == 2, "cents have two digits");
        let cents = whole.parse::<u64>()? * 100 + cents.parse::<u64>()?;
        Ok(Self { row, customer, at: noon(day)?, items, cents })
    }
}

/// 12:00 UTC of a day `YYYYMMDD`.
fn noon(day: &str) -> anyhow::Result<Timestamp> {
    ensure!(day.len() == 8 && day.is_ascii(), "a day is YYYYMMDD");
    let text = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    let date: jiff::civil::Date = text.parse()?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp();
    Ok(Timestamp(midnight.as_microsecond()).plus(NOON))
}

/// Market of a customer, assigned: two in five are German.
pub(super) fn market(customer: &str) -> &'static str {
    if draw("orders/market", customer) < 0.4 { "DE" } else { "US" }
}

/// What a customer said to e-mail, assigned: in Germany, where silence is a no, most were asked and agreed; in the
/// United States, where silence is a yes, some objected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Yes,
    No,
}

pub(super) fn said(customer: &str) -> Said {
    let drawn = draw("orders/consent", customer);
    match market(customer) {
        "DE" if drawn < 0.7 => Said::Yes,
        "US" if drawn < 0.1 => Said::No,
        _ => Said::Nothing,
    }
}

/// What a customer answers to an invitation of a day, generated: `None` for those who do not answer.
pub(super) fn answer(customer: &str, day: Timestamp) -> Option<(i32, i32)> {
    let asked = format!("{customer}/{day}");
    if draw("orders/answers", &asked) >= 0.6 {
        return None;
    }
    // More at the upper end, as answers to such questions are.
    let likely = draw("orders/nps", &asked).sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "0 to 10")]
    let recommend = (likely * 10.99) as i32;
    Some((recommend, 1 + recommend * 4 / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_one_with_the_known_totals() {
        let all = History::read(Part::with(1.0)).expect("read");
        assert_eq!(all.totals(), (69_659, 23_570, 250_031_563));
        let (first, last) = (all.days.first().expect("days"), all.days.last().expect("days"));
        assert_eq!(first.0.to_string(), "1997-01-01T12:00:00.000000Z");
        assert_eq!(last.0.to_string(), "1998-06-30T12:00:00.000000Z");
    }

    #[test]
    fn a_sample_holds_whole_customers() {
        let (all, some) = (
            History::read(Part::with(1.0)).expect("read"),
            History::read(Part::with(0.01)).expect("read"),
        );
        assert!((150..350).contains(&some.customers.len()), "{}", some.customers.len());
        let of = |history: &History, customer: &String| {
            let orders = history.days.iter().flat_map(|it| &it.1);
            orders.filter(|it| it.customer == *customer).count()
        };
        for customer in some.customers.iter().take(20) {
            assert_eq!(of(&some, customer), of(&all, customer));
        }
        assert!(History::read(Part::with(0.0)).is_err());
    }

    #[test]
    fn what_is_assigned_is_the_same_for_ever() {
        let all = History::read(Part::with(1.0)).expect("read");
        let count =
            |what: &dyn Fn(&str) -> bool| all.customers.iter().filter(|it| what(it)).count();
        assert_eq!(
            [count(&|it| market(it) == "DE"), count(&|it| market(it) == "US")],
            [9_568, 14_002]
        );
        let consents = [Said::No, Said::Yes, Said::Nothing];
        assert_eq!(consents.map(|it| count(&|of| said(of) == it)), [1_367, 6_698, 15_505]);
        let answers: Vec<_> = (0..1_000).filter_map(|it| answer(&it.to_string(), START)).collect();
        assert!((500..700).contains(&answers.len()));
        assert!(answers.iter().all(|(nps, csat)| (0..=10).contains(nps) && (1..=5).contains(csat)));
    }
}
