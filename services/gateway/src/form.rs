//! The form behind a personal link: the questions of a survey as plain HTML, and the one answer.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chassis::deps::Deps;
use chassis::status::{reason, violations};
use chassis::{Call, token};
use http::{HeaderMap, StatusCode, header};
use rapport_proto::feedback::v1::feedback_service_client::FeedbackServiceClient;
use rapport_proto::feedback::v1::{
    NewAnswer, OpenLinkRequest, OpenLinkResponse, Question, QuestionKind, SubmitResponseRequest,
    submit_response_request,
};
use tonic::{Code, Status};

use crate::answer::Refusal;
use crate::body;
use crate::keys::PATIENCE;
use crate::page::{escape, notice, page};
use crate::place::Place;

/// What was entered, by question.
type Entered = BTreeMap<String, Vec<String>>;
/// What is wrong, by question.
type Wrong = BTreeMap<String, String>;

pub(crate) fn routes(deps: &Deps) -> Router {
    Router::new().route("/f/{token}", get(open).post(submit)).with_state(deps.clone())
}

async fn open(
    Place(link): Place<String>,
    State(deps): State<Deps>,
    headers: HeaderMap,
) -> Response {
    match opened(&deps, &link).await {
        Ok(opened) => form(&opened, &language(&opened, &headers), &Entered::new(), &Wrong::new()),
        Err(status) => refused(&status),
    }
}

async fn submit(
    Place(link): Place<String>,
    State(deps): State<Deps>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let opened = match opened(&deps, &link).await {
        Ok(opened) => opened,
        Err(status) => return refused(&status),
    };
    let language = language(&opened, &headers);
    let bytes = match body::read(&headers, body).await {
        Ok(bytes) => bytes,
        Err(refusal) => return unread(&refusal),
    };
    let mut entered = Entered::new();
    for (name, value) in form_urlencoded::parse(&bytes) {
        entered.entry(name.into_owned()).or_default().push(value.trim().to_owned());
    }
    let survey = opened.survey.clone().unwrap_or_default();
    let (mut answers, mut wrong) = (Vec::new(), Wrong::new());
    for question in &survey.questions {
        match answer(question, entered.get(&question.id).map_or(&[][..], Vec::as_slice)) {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => {}
            Err(told) => drop(wrong.insert(question.id.clone(), told.to_owned())),
        }
    }
    if !wrong.is_empty() {
        return form(&opened, &language, &entered, &wrong);
    }
    let Some(tenant) = token::tenant_of(&link) else { return unknown() };
    let request = SubmitResponseRequest {
        parent: format!("tenants/{tenant}"),
        invitation: Some(submit_response_request::Invitation::Token(link.clone())),
        answers: answers.clone(),
        language: language.clone(),
        ..Default::default()
    };
    let mut client = FeedbackServiceClient::new(deps.peers.to("feedback"));
    let call = Call::of_tenant(tenant, PATIENCE);
    match call.scope(client.submit_response(request)).await {
        Ok(_) => notice(StatusCode::OK, "Thank you", "Your answer was received."),
        Err(status) if status.code() == Code::InvalidArgument => {
            for it in violations(&status) {
                let question = answered_by(&it.field, &answers).unwrap_or_default();
                wrong.insert(question, it.remedy);
            }
            form(&opened, &language, &entered, &wrong)
        }
        Err(status) => refused(&status),
    }
}

/// The question that a violation of `answers[n].…` is about.
fn answered_by(field: &str, answers: &[NewAnswer]) -> Option<String> {
    let index = field.strip_prefix("answers[")?.split(']').next()?;
    Some(answers.get(index.parse::<usize>().ok()?)?.question.clone())
}

async fn opened(deps: &Deps, link: &str) -> Result<OpenLinkResponse, Status> {
    let unknown = || Status::not_found("no such link");
    let tenant = token::tenant_of(link).filter(|it| deps.settings.tenants.iter().any(|t| t == it));
    let tenant = tenant.filter(|_| link.len() <= 300).ok_or_else(unknown)?;
    let request = OpenLinkRequest { parent: format!("tenants/{tenant}"), token: link.to_owned() };
    let mut client = FeedbackServiceClient::new(deps.peers.to("feedback"));
    let call = Call::of_tenant(tenant, PATIENCE);
    Ok(call.scope(client.open_link(request)).await?.into_inner())
}

/// The language of the page: what the reader's browser prefers of what there is, else the party's, else the first.
fn language(opened: &OpenLinkResponse, headers: &HeaderMap) -> String {
    let survey = opened.survey.clone().unwrap_or_default();
    let there: Vec<_> =
        survey.questions.first().map(|it| it.text.keys().cloned().collect()).unwrap_or_default();
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
    let wanted =
        wanted.unwrap_or_default().split(',').map(|it| it.split(';').next().unwrap_or_default());
    let primary = |tag: &str| tag.trim().split('-').next().unwrap_or_default().to_lowercase();
    wanted
        .chain([opened.language.as_str()])
        .find_map(|wish| there.iter().find(|it| primary(it) == primary(wish)))
        .or_else(|| there.first())
        .cloned()
        .unwrap_or_else(|| "en".to_owned())
}

/// Reads the fields of one question.
fn answer(question: &Question, entered: &[String]) -> Result<Option<NewAnswer>, &'static str> {
    let given: Vec<_> = entered.iter().filter(|it| !it.is_empty()).cloned().collect();
    let Some(first) = given.first() else {
        return if question.required { Err("Please answer this question.") } else { Ok(None) };
    };
    let mut answer = NewAnswer { question: question.id.clone(), ..NewAnswer::default() };
    match question.kind() {
        QuestionKind::Nps | QuestionKind::Csat | QuestionKind::Ces => {
            answer.score = Some(first.parse().map_err(|_| "Please choose one of the numbers.")?);
        }
        QuestionKind::SingleChoice | QuestionKind::MultipleChoice => answer.choices = given,
        QuestionKind::Text | QuestionKind::Unspecified => answer.text.clone_from(first),
    }
    Ok(Some(answer))
}

fn form(opened: &OpenLinkResponse, language: &str, entered: &Entered, wrong: &Wrong) -> Response {
    let survey = opened.survey.clone().unwrap_or_default();
    let mut html = String::from("<form method=\"post\" accept-charset=\"utf-8\">");
    if let Some(told) = wrong.get("") {
        html += &format!("<p class=\"error\" role=\"alert\">{}</p>", escape(told));
    }
    for question in &survey.questions {
        html += &field(question, language, entered.get(&question.id), wrong.get(&question.id));
    }
    html += "<button>Send</button></form>";
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    page(status, language, "Your opinion", &html)
}

/// One question: a group of labelled fields that says what is wrong with it.
fn field(
    question: &Question,
    language: &str,
    entered: Option<&Vec<String>>,
    wrong: Option<&String>,
) -> String {
    let id = escape(&question.id);
    let text = text_in(&question.text, language);
    let star = if question.required { " *" } else { "" };
    let mut html = format!("<fieldset><legend>{}{star}</legend>", escape(text));
    if let Some(told) = wrong {
        html += &format!("<p class=\"error\" role=\"alert\">{}</p>", escape(told));
    }
    let chosen = |value: &str| entered.is_some_and(|it| it.iter().any(|it| it == value));
    let option = |kind: &str, value: &str, label: &str| {
        let checked = if chosen(value) { " checked" } else { "" };
        format!(
            "<label><input type=\"{kind}\" name=\"{id}\" value=\"{}\"{checked}> {}</label>",
            escape(value),
            escape(label)
        )
    };
    match question.kind() {
        QuestionKind::Nps => {
            html += &(0..=10)
                .map(|it| option("radio", &it.to_string(), &it.to_string()))
                .collect::<String>();
            html += "<p class=\"hint\">0 = not at all, 10 = very likely</p>";
        }
        QuestionKind::Csat => {
            html += &(1..=5)
                .map(|it| option("radio", &it.to_string(), &it.to_string()))
                .collect::<String>();
            html += "<p class=\"hint\">1 = not at all, 5 = very</p>";
        }
        QuestionKind::Ces => {
            html += &(1..=7)
                .map(|it| option("radio", &it.to_string(), &it.to_string()))
                .collect::<String>();
            html += "<p class=\"hint\">1 = very hard, 7 = very easy</p>";
        }
        kind @ (QuestionKind::SingleChoice | QuestionKind::MultipleChoice) => {
            let input = if kind == QuestionKind::SingleChoice { "radio" } else { "checkbox" };
            for choice in &question.choices {
                html += &option(input, &choice.code, text_in(&choice.text, language));
            }
        }
        QuestionKind::Text | QuestionKind::Unspecified => {
            let held = entered.and_then(|it| it.first()).map_or("", String::as_str);
            html += &format!(
                "<textarea name=\"{id}\" maxlength=\"4000\" aria-label=\"{}\">{}</textarea>",
                escape(text),
                escape(held)
            );
        }
    }
    html + "</fieldset>"
}

fn text_in<'a>(texts: &'a BTreeMap<String, String>, language: &str) -> &'a str {
    texts.get(language).or_else(|| texts.values().next()).map_or("", String::as_str)
}

fn refused(status: &Status) -> Response {
    match (status.code(), reason(status).as_deref()) {
        (_, Some("LINK_USED")) => {
            notice(StatusCode::GONE, "Answered already", "Each link takes one answer. Thank you.")
        }
        (_, Some("LINK_EXPIRED")) => {
            notice(StatusCode::GONE, "Too late", "The time for an answer is over.")
        }
        (Code::NotFound | Code::InvalidArgument | Code::PermissionDenied, _) => unknown(),
        _ => {
            tracing::warn!(code = ?status.code(), message = status.message(), "a form could not be served");
            let told = "It does not work now. Please try again in a minute.";
            notice(StatusCode::SERVICE_UNAVAILABLE, "Not now", told)
        }
    }
}

/// A body that could not be read.
fn unread(refusal: &Refusal) -> Response {
    let (title, told) = match refusal.status {
        StatusCode::PAYLOAD_TOO_LARGE => ("Too long", "Please write less."),
        StatusCode::REQUEST_TIMEOUT => {
            ("Too slow", "It did not come in time. Please send it again.")
        }
        _ => ("Not readable", &*refusal.message),
    };
    notice(refusal.status, title, told)
}

fn unknown() -> Response {
    let told = "Use the link as it stands in the message.";
    notice(StatusCode::NOT_FOUND, "This link is not known", told)
}

#[cfg(test)]
mod tests {
    use rapport_proto::feedback::v1::{Choice, Survey};

    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(l, t)| ((*l).to_owned(), (*t).to_owned())).collect()
    }

    fn question(id: &str, kind: QuestionKind) -> Question {
        Question {
            id: id.into(),
            kind: kind.into(),
            text: texts(&[("de", "Wie war es?"), ("en", "How <was> it?")]),
            required: true,
            choices: vec![Choice { code: "a".into(), text: texts(&[("en", "A & B")]) }],
        }
    }

    #[test]
    fn a_question_is_labelled_escaped_and_keeps_what_was_entered() {
        let entered = vec!["</textarea><script>".to_owned()];
        let html = field(&question("why", QuestionKind::Text), "en", Some(&entered), None);
        assert!(html.contains("How &lt;was&gt; it? *"), "{html}");
        assert!(html.contains("&lt;/textarea&gt;&lt;script&gt;") && !html.contains("<script>"));
        let html = field(&question("n", QuestionKind::Nps), "de", Some(&vec!["7".into()]), None);
        assert!(html.contains("value=\"7\" checked") && html.contains("Wie war es?"));
        assert_eq!(html.matches("<input").count(), 11);
        let html = field(&question("c", QuestionKind::SingleChoice), "en", None, None);
        assert!(html.contains("A &amp; B"));
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_told_as_what_it_is() {
        let gzip = http::HeaderValue::from_static("gzip");
        let packed = [(header::CONTENT_ENCODING, gzip)].into_iter().collect();
        let long = Body::from(vec![b'x'; (4 << 20) + 1]);
        let slow = Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "Send it again.");
        let cases = [
            (body::read(&packed, Body::from("why=x")).await, 400, "Not readable"),
            (body::read(&HeaderMap::new(), long).await, 413, "Too long"),
            (Err(slow), 408, "Too slow"),
        ];
        for (read, status, title) in cases {
            let told = unread(&read.expect_err("refused"));
            assert_eq!(told.status(), status);
            let html = axum::body::to_bytes(told.into_body(), 1 << 20).await.expect("a page");
            assert!(String::from_utf8_lossy(&html).contains(title), "{title}");
        }
    }

    #[test]
    fn fields_become_answers_or_say_what_is_missing() {
        let given = |text: &str| vec![text.to_owned()];
        let nps = question("n", QuestionKind::Nps);
        assert_eq!(answer(&nps, &given("9")).expect("read").and_then(|it| it.score), Some(9));
        assert!(answer(&nps, &given("many")).is_err() && answer(&nps, &[]).is_err());
        let optional = Question { required: false, ..nps };
        assert_eq!(answer(&optional, &given("")), Ok(None));
    }

    #[test]
    fn the_reader_s_language_counts_first() {
        let survey =
            Survey { questions: vec![question("n", QuestionKind::Nps)], ..Survey::default() };
        let opened = OpenLinkResponse {
            survey: Some(survey),
            language: "en-US".into(),
            ..OpenLinkResponse::default()
        };
        let asks = |text: &'static str| {
            [(header::ACCEPT_LANGUAGE, http::HeaderValue::from_static(text))].into_iter().collect()
        };
        assert_eq!(language(&opened, &asks("fr, de-CH;q=0.8, en;q=0.5")), "de");
        assert_eq!(language(&opened, &asks("fr")), "en");
        assert_eq!(language(&opened, &HeaderMap::new()), "en");
    }
}
