//! Answers to the invitations that were sent: generated, and marked as that.

use std::collections::BTreeMap;

use eventstore::Timestamp;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rapport_proto::audit::v1::{IndexedEvent, SearchEventsRequest};
use rapport_proto::feedback::v1::{NewAnswer, SubmitResponseRequest, submit_response_request};

use super::{AT_ONCE, Stage, history};
use crate::demo::again;
use crate::remote::{Remote, told};

/// What says that an invitation is out.
const SENT: &str = "rapport.feedback.v1.InvitationSent";
/// Events on a page.
const PAGE: i32 = 500;

pub(super) struct Answers {
    /// Numbers of the customers by party id.
    customers: BTreeMap<String, String>,
    /// Invitations sent before this were answered, or are not.
    until: Timestamp,
}

impl Answers {
    pub(super) fn new(customers: BTreeMap<String, String>, from: Timestamp) -> Self {
        Self { customers, until: from }
    }

    /// Answers what was sent since the last time and before now.
    pub(super) async fn give(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let (from, now) = (self.until, stage.time.now());
        let sent = sent(stage, from, now).await?;
        self.until = now;
        let author = &stage.cast.author;
        let answers = sent.iter().filter_map(|it| self.answer(author, it, from));
        let calls = stream::iter(answers).map(|request| async move {
            let call =
                async || told(author.feedback.clone().submit_response(request.clone()).await);
            again("answer an invitation", call).await.map(drop)
        });
        calls.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// What the customer answers who was asked, if anything; drawn by who was asked and when, for ids are nobody's.
    fn answer(
        &self,
        author: &Remote,
        sent: &IndexedEvent,
        since: Timestamp,
    ) -> Option<SubmitResponseRequest> {
        let customer = self.customers.get(&sent.party_id)?;
        let (recommend, satisfied) = history::answer(customer, since)?;
        let invitation_id = sent.stream.rsplit('/').next().unwrap_or_default().to_owned();
        let answer = |question: &str, score| NewAnswer {
            question: question.into(),
            score: Some(score),
            ..Default::default()
        };
        Some(SubmitResponseRequest {
            parent: author.parent.clone(),
            request_id: format!("orders/answer/{invitation_id}"),
            invitation: Some(submit_response_request::Invitation::InvitationId(invitation_id)),
            answers: vec![answer("recommend", recommend), answer("satisfied", satisfied)],
            generated: true,
            ..Default::default()
        })
    }
}

/// Invitations that were sent in a time.
async fn sent(
    stage: &Stage,
    from: Timestamp,
    until: Timestamp,
) -> anyhow::Result<Vec<IndexedEvent>> {
    let author = &stage.cast.author;
    let (mut sent, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = SearchEventsRequest {
            parent: author.parent.clone(),
            page_size: PAGE,
            page_token,
            r#type: SENT.into(),
            from: Some(from.to_proto()),
            until: Some(until.to_proto()),
            min_positions: stage.time.frontier().clone(),
            ..Default::default()
        };
        let search = async || told(author.audit.clone().search_events(request.clone()).await);
        let page = again("look for invitations", search).await?;
        sent.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(sent);
        }
    }
}
