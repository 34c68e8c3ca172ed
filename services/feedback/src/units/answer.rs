//! The one answer of an invitation.

use eventstore::{AsOf, Decider as _, Error, Metadata, Outcome, Store, derive_id};
use rapport_proto::feedback::v1 as proto;

use super::{Appended, Failure, NewText, append, kept_changing, push_case, receive};
use crate::domain::answers;
use crate::domain::invitation::{Command, Invitation};
use crate::domain::response::{self, Response, Submit};
use crate::domain::survey::Survey;
use crate::view;
use crate::view::party::Party;

/// What somebody answers.
pub(crate) struct Submission {
    pub(crate) invitation_id: String,
    pub(crate) given: Vec<proto::NewAnswer>,
    pub(crate) language: String,
    pub(crate) generated: bool,
}

/// What was kept.
pub(crate) struct Answered {
    pub(crate) response_id: String,
    pub(crate) position: u64,
}

/// Keeps an answer: clear answers in the response, each text in a stream of its own, and a case for each follow-up of
/// the survey that the answer calls for.
pub(crate) async fn submit(
    store: &Store,
    meta: &Metadata,
    submission: &Submission,
) -> Result<Answered, Failure> {
    let id = submission.invitation_id.as_str();
    let response_id = derive_id("rsp", &[&meta.tenant, "rsp", id]);
    for _ in 0..super::ATTEMPTS {
        // What was granted before is answered as it was then, though the invitation is used since.
        match store.find_request(meta).await? {
            Some(Outcome::Repeated { position, .. }) => {
                return Ok(Answered { response_id, position });
            }
            Some(_) => return Err(Failure::RequestReused),
            None => {}
        }
        let invitation = store.load::<Invitation>(&meta.tenant, id, AsOf::Now).await?;
        if invitation.version == 0 {
            return Err(Failure::Unknown("invitation_id"));
        }
        let issued = invitation.state.open_at(meta.at)?;
        let survey = store.load::<Survey>(&meta.tenant, &issued.survey, AsOf::Now).await?.state;
        let document = (survey.documents.get(&issued.version))
            .ok_or_else(|| Error::corrupt(format!("{id} asks a version that is not there")))?;
        let answered = answers::read(document, &submission.given).map_err(Failure::Answers)?;
        let party = view::party::find(store.database(), &meta.tenant, &issued.party_id).await?;
        let kept = Kept { meta, issued, document, party: &party, response_id: &response_id };

        let answer = Command::Answer { response_id: response_id.clone() };
        let events = Invitation::decide(&invitation.state, answer, meta.at)?;
        let mut unit = store.unit(meta.clone());
        unit.push::<Invitation>(id, invitation.version, &invitation.state, events).await?;
        let cases = kept.cases(&answered);
        let medical = cases.iter().any(|it| it.r#type() == proto::CaseType::MedicalInquiry);
        let submitted = kept.response(&answered, submission.generated);
        let state = response::State::default();
        let submit = Submit(Box::new(submitted));
        let events = Response::decide(&state, submit, meta.at).unwrap_or_default();
        unit.push::<Response>(&response_id, 0, &state, events).await?;
        for (question, text) in &answered.texts {
            let new = NewText {
                text_id: kept.text_id(question),
                of: "response",
                of_id: &response_id,
                party_id: &issued.party_id,
                party: &party,
                language: &submission.language,
                products: &document.products,
                medical,
                text,
            };
            receive(&mut unit, meta, new).await?;
        }
        for case in cases {
            push_case(&mut unit, meta, case).await?;
        }
        match append(store, unit.finish()?).await? {
            Appended::Yes(position) => return Ok(Answered { response_id, position }),
            Appended::Again | Appended::Before => {}
            Appended::Elsewhere => return Err(kept_changing(id)),
        }
    }
    Err(kept_changing(id))
}

/// What an answer is kept with.
struct Kept<'a> {
    meta: &'a Metadata,
    issued: &'a proto::InvitationIssued,
    document: &'a proto::Survey,
    party: &'a Party,
    response_id: &'a str,
}

impl Kept<'_> {
    fn text_id(&self, question: &str) -> String {
        derive_id("txt", &[&self.meta.tenant, "txt", self.response_id, question])
    }

    fn response(&self, answered: &answers::Answered, generated: bool) -> proto::ResponseSubmitted {
        let is_text = |question: &String| answered.texts.iter().any(|it| it.0 == *question);
        let of_text = |mut it: proto::Answer| {
            if is_text(&it.question) {
                it.text_id = self.text_id(&it.question);
            }
            it
        };
        proto::ResponseSubmitted {
            response_id: self.response_id.to_owned(),
            invitation_id: self.issued.invitation_id.clone(),
            survey: self.issued.survey.clone(),
            version: self.issued.version,
            party_id: self.issued.party_id.clone(),
            about_touch_id: self.issued.about_touch_id.clone(),
            answers: answered.answers.iter().cloned().map(of_text).collect(),
            generated,
            instance_id: self.issued.instance_id.clone(),
            market: self.party.market.clone(),
        }
    }

    /// The cases that the survey's follow-ups open.
    fn cases(&self, answered: &answers::Answered) -> Vec<proto::CaseOpened> {
        let calls = |it: &proto::FollowUp| {
            let answer = answered.answers.iter().find(|answer| answer.question == it.question);
            answer.is_some_and(|answer| it.score_at_most.is_none_or(|most| answer.score <= most))
        };
        let follow_ups = self.document.follow_ups.iter().enumerate();
        follow_ups
            .filter(|(_, it)| calls(it))
            .map(|(number, it)| {
                let own = answered.texts.iter().find(|text| text.0 == it.question);
                let text = own.or(answered.texts.first());
                let number = number.to_string();
                let parts = [&self.meta.tenant, "cas", self.response_id, &number];
                proto::CaseOpened {
                    case_id: derive_id("cas", &parts),
                    r#type: it.r#type,
                    party_id: self.issued.party_id.clone(),
                    about_touch_id: self.issued.about_touch_id.clone(),
                    response_id: self.response_id.to_owned(),
                    calendar: it.calendar.clone(),
                    sla: it.sla.clone(),
                    text_id: text.map(|it| self.text_id(&it.0)).unwrap_or_default(),
                    market: self.party.market.clone(),
                    ..proto::CaseOpened::default()
                }
            })
            .collect()
    }
}
