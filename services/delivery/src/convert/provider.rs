//! What providers report.

use chassis::status::{Problem, Violation};
use chassis::text::Check;
use eventstore::{Timestamp, derive_id};
use rapport_proto::delivery::v1::{self as proto, ProviderEventKind, ProviderFact, ReportKept};

use super::{choice, code, line, optional_id, time};
use crate::domain::touch::{Fact, What, is_machine};

/// Events a request may hold.
const MOST: usize = 100;

/// How a report names its touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Touch(String),
    /// The provider's id of the message.
    Message(String),
    /// The token of an unsubscribe link.
    Token(String),
}

/// A report that can be taken in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) named: Named,
    pub(crate) fact: Fact,
}

impl Report {
    pub(crate) fn key(&self) -> (String, String) {
        let source = &self.fact.source;
        (source.provider.clone(), source.provider_event_id.clone())
    }

    /// The same for each repeat.
    pub(crate) fn id(&self, tenant: &str) -> String {
        let ProviderFact { provider, provider_event_id, .. } = &self.fact.source;
        derive_id("rpt", &[tenant, provider, provider_event_id])
    }

    /// What is kept of it while no touch is known to be what it is about. A token that is not ours names nothing. Of the
    /// texts of providers only ids are kept, and codes that nobody can be named in.
    pub(crate) fn kept(&self, tenant: &str) -> Option<ReportKept> {
        let (touch_id, provider_id) = match &self.named {
            Named::Touch(id) => (id.clone(), String::new()),
            Named::Message(id) => (String::new(), id.clone()),
            Named::Token(_) => return None,
        };
        let kept = ReportKept {
            report_id: self.id(tenant),
            fact: Some(self.fact.source.clone()),
            touch_id,
            provider_id,
            ..ReportKept::default()
        };
        let of_kind = |kind: &str| ReportKept { kind: kind.to_owned(), ..kept.clone() };
        Some(match &self.fact.what {
            What::Delivered => of_kind("delivered"),
            What::Opened { user_agent, machine } => {
                ReportKept { machine: *machine || is_machine(user_agent), ..of_kind("opened") }
            }
            What::Clicked { user_agent, machine, link_id } => ReportKept {
                machine: *machine || is_machine(user_agent),
                link_id: link_id.clone(),
                ..of_kind("clicked")
            },
            What::Bounced { hard, code } => {
                ReportKept { hard: *hard, code: status_code(code), ..of_kind("bounced") }
            }
            What::Complained => of_kind("complained"),
            What::Unsubscribed => of_kind("unsubscribed"),
        })
    }
}

/// What a report that was kept says; `None` for a kind that nobody keeps.
pub(crate) fn fact(kept: &ReportKept) -> Option<Fact> {
    let (user_agent, machine, link_id) = (String::new(), kept.machine, kept.link_id.clone());
    let what = match kept.kind.as_str() {
        "delivered" => What::Delivered,
        "opened" => What::Opened { user_agent, machine },
        "clicked" => What::Clicked { user_agent, machine, link_id },
        "bounced" => What::Bounced { hard: kept.hard, code: kept.code.clone() },
        "complained" => What::Complained,
        "unsubscribed" => What::Unsubscribed,
        _ => return None,
    };
    Some(Fact { source: kept.fact.clone()?, what })
}

/// `5.1.1` of `5.1.1 <ada@example.org> unknown`; empty when it does not begin with a status code.
fn status_code(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_code = first.starts_with(['2', '4', '5'])
        && first.len() <= 9
        && first.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    if is_code { first.to_owned() } else { String::new() }
}

/// All reports of a request, in order: one that cannot be used refuses none of the others. One that is dated in the
/// future happened now.
pub(crate) fn reports(
    request: &proto::RecordProviderEventsRequest,
    now: Timestamp,
) -> Result<Vec<Result<Report, Violation>>, Problem> {
    if request.events.is_empty() || request.events.len() > MOST {
        return Err(Problem::field("events", "Send 1 to 100 events."));
    }
    let (mut reports, mut violations) = (Vec::with_capacity(request.events.len()), Vec::new());
    for (at, event) in request.events.iter().enumerate() {
        let mut check = Check::default();
        let report = report(&mut check, at, event, now);
        let wrong = check.finish().map_or_else(|it| it.violations.clone(), |()| Vec::new());
        reports.push(match (wrong.first(), report) {
            (None, Some(report)) => Ok(report),
            (Some(first), _) => Err(first.clone()),
            // Nothing is left out without a violation that says why.
            (None, None) => Err(Violation::new(format!("events[{at}]"), "Describe an event.")),
        });
        violations.extend(wrong);
    }
    if reports.iter().all(Result::is_err) { Err(violations.into()) } else { Ok(reports) }
}

fn report(
    check: &mut Check,
    index: usize,
    event: &proto::ProviderEvent,
    now: Timestamp,
) -> Option<Report> {
    let field = |name: &str| format!("events[{index}].{name}");
    let provider = code(check, &field("provider"), &event.provider);
    let event_id = check.text(&field("provider_event_id"), &event.provider_event_id, 1..=200);
    let kind: Option<ProviderEventKind> = choice(check, &field("kind"), event.kind);
    let occurred_at = time(check, &field("occur_time"), event.occur_time.as_ref())?;
    let touch_id = optional_id(check, &field("touch_id"), &event.touch_id);
    let provider_id = line(check, &field("provider_id"), &event.provider_id, 200);
    let token = line(check, &field("unsubscribe_token"), &event.unsubscribe_token, 200);
    let user_agent = line(check, &field("user_agent"), &event.user_agent, 1000);
    let code = line(check, &field("code"), &event.code, 100);
    let link_id = line(check, &field("link_id"), &event.link_id, 200);
    let given = [&touch_id, &provider_id, &token].iter().filter(|it| !it.is_empty()).count();
    check.require(
        given == 1,
        &field("touch_id"),
        "Give exactly one of touch_id, provider_id and unsubscribe_token.",
    );
    let named = match (touch_id.is_empty(), provider_id.is_empty()) {
        (false, _) => Named::Touch(touch_id),
        (true, false) => Named::Message(provider_id),
        (true, true) => Named::Token(token),
    };
    let machine = event.machine;
    let what = match kind? {
        ProviderEventKind::Unspecified => return None,
        ProviderEventKind::Delivered => What::Delivered,
        ProviderEventKind::Opened => What::Opened { user_agent, machine },
        ProviderEventKind::Clicked => What::Clicked { user_agent, machine, link_id },
        ProviderEventKind::Bounced => What::Bounced { hard: event.hard, code },
        ProviderEventKind::Complained => What::Complained,
        ProviderEventKind::Unsubscribed => What::Unsubscribed,
    };
    let source = ProviderFact {
        provider,
        provider_event_id: event_id,
        occurred_at: Some(occurred_at.unwrap_or(now).min(now).to_proto()),
    };
    Some(Report { named, fact: Fact { source, what } })
}
