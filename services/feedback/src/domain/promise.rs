//! What was promised to a customer: a calendar of work and, in its time, when somebody responds and when it is resolved.

use authored::calendar::{self, Interval, WorkingTime, Zone};
use eventstore::Timestamp;
use rapport_proto::feedback::v1 as proto;

use super::{Findings, Wrong};

/// Holidays of a calendar, at most.
const MOST_HOLIDAYS: usize = 1_000;
/// Intervals of a day, at most.
const MOST_INTERVALS: usize = 24;
/// Somewhere on a Monday: a target that cannot be reached from here within ten years is none.
const SAMPLE: Timestamp = Timestamp(1_767_571_200_000_000);

/// A calendar and targets, in microseconds of business time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) calendar: WorkingTime,
    pub(crate) first_response: Option<i64>,
    pub(crate) resolution: Option<i64>,
}

impl Promise {
    /// Reads it; places are those of a request with the fields `calendar` and `sla`.
    pub(crate) fn read(
        calendar: Option<&proto::BusinessCalendar>,
        sla: Option<&proto::Sla>,
    ) -> Result<Self, Vec<Wrong>> {
        let mut found = Findings::default();
        let calendar = read_calendar(&mut found, calendar);
        let none = proto::Sla::default();
        let sla = sla.unwrap_or(&none);
        let first_response = target(&mut found, "sla.first_response", &sla.first_response);
        let resolution = target(&mut found, "sla.resolution", &sla.resolution);
        let Some(calendar) = calendar else { return Err(found.0) };
        for (place, micros) in
            [("sla.first_response", first_response), ("sla.resolution", resolution)]
        {
            let reached = micros.is_none_or(|it| calendar.after(SAMPLE, it).is_some());
            found.require(reached, place, "Promise what this calendar reaches within ten years.");
        }
        let promise = Self { calendar, first_response, resolution };
        if found.0.is_empty() { Ok(promise) } else { Err(found.0) }
    }
}

/// A target that may be left out.
fn target(found: &mut Findings, place: &str, text: &str) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let micros = found.keep(place, calendar::duration(text))?;
    found.require(micros > 0, place, "Use a duration of at least a second.");
    Some(micros)
}

fn read_calendar(
    found: &mut Findings,
    stated: Option<&proto::BusinessCalendar>,
) -> Option<WorkingTime> {
    let Some(stated) = stated else {
        return found.keep("calendar.time_zone", Zone::parse("UTC")).map(WorkingTime::always);
    };
    let before = found.0.len();
    let zone = found.keep("calendar.time_zone", Zone::parse(&stated.time_zone));
    found.require(stated.hours.len() <= 7, "calendar.hours", "Name each weekday once.");
    let mut hours = Vec::new();
    for (number, day) in stated.hours.iter().enumerate().take(7) {
        let place = format!("calendar.hours[{number}]");
        let weekday = found.keep(&format!("{place}.weekday"), calendar::weekday(&day.weekday));
        let fits = day.intervals.len() <= MOST_INTERVALS;
        found.require(fits, &format!("{place}.intervals"), "Use at most 24 intervals a day.");
        let mut intervals = Vec::new();
        for (index, text) in day.intervals.iter().enumerate().take(MOST_INTERVALS) {
            let place = format!("{place}.intervals[{index}]");
            intervals.extend(found.keep(&place, Interval::parse(text)));
        }
        hours.extend(weekday.map(|it| (it, intervals)));
    }
    let fits = stated.holidays.len() <= MOST_HOLIDAYS;
    found.require(fits, "calendar.holidays", "Use at most 1,000 holidays.");
    let mut holidays = Vec::new();
    for (index, text) in stated.holidays.iter().enumerate().take(MOST_HOLIDAYS) {
        let place = format!("calendar.holidays[{index}]");
        holidays.extend(found.keep(&place, calendar::date(text)));
    }
    let zone = zone.filter(|_| found.0.len() == before)?;
    found.keep("calendar.hours", WorkingTime::new(zone, hours, holidays))
}
