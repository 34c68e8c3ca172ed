//! The verdicts of a request that was granted before.
//!
//! Since then parties may have been registered, identifiers moved, schemas extended and messages recorded by others. So
//! nothing is decided again: what the request recorded and refused are its own events, and the rest follows from what
//! was recorded before them.

use std::collections::{BTreeMap, BTreeSet};

use chassis::status::Problem;
use eventstore::{AsOf, Metadata, Stored};
use rapport_proto::profiles::v1::NewInteraction;
use rapport_proto::profiles::v1::record_interactions_response::{
    Verdict, verdict::Outcome as Told,
};
use rapport_proto::types::Envelope;

use super::{interaction_id, refused, rejected_id, taken, unknown_party};
use crate::convert::source as parse;
use crate::domain::interaction::Code;
use crate::domain::source::{self, Source};
use crate::grpc::Api;
use crate::view;
use crate::view::interaction::Kept;

/// What a request left, and what it found.
struct Past {
    /// Position before its first event.
    before: u64,
    /// Ids of the streams it touched.
    touched: BTreeSet<String>,
    source: source::State,
    /// The messages recorded until its last event, by message id.
    kept: BTreeMap<String, Kept>,
}

impl Api {
    pub(super) async fn first_verdicts(
        &self,
        meta: &Metadata,
        source_id: &str,
        stated: &[NewInteraction],
        position: u64,
    ) -> Result<Vec<Verdict>, Problem> {
        let (store, tenant) = (&self.deps.store, meta.tenant.as_str());
        let (before, touched) = self.left_by(meta, position).await?;
        let source = store.load::<Source>(tenant, source_id, AsOf::Position(position)).await?.state;
        let ids = stated.iter().filter_map(|it| parse::message_id(&it.message_id));
        let kept =
            view::interaction::kept(store.database(), tenant, source_id, ids, position).await?;
        let past = Past { before, touched, source, kept };
        let mut verdicts: Vec<_> =
            stated.iter().map(|it| self.first_verdict(&past, tenant, source_id, it)).collect();
        // A message that stands twice in the request was recorded by the first of the two.
        let mut recorded = BTreeSet::new();
        for verdict in verdicts.iter_mut().filter(|it| it.outcome() == Told::Recorded) {
            if !recorded.insert(verdict.interaction_id.clone()) {
                verdict.set_outcome(Told::Duplicate);
            }
        }
        Ok(verdicts)
    }

    fn first_verdict(
        &self,
        past: &Past,
        tenant: &str,
        source_id: &str,
        stated: &NewInteraction,
    ) -> Verdict {
        let message_id = stated.message_id.as_str();
        let digest = self.digest(tenant, source_id, stated);
        let told = |it| taken(message_id, &interaction_id(tenant, source_id, message_id), it);
        let kept = past.kept.get(message_id);
        let same = kept.is_some_and(|it| it.body_digest == digest);
        if same && kept.is_some_and(|it| it.position > past.before) {
            return told(Told::Recorded);
        }
        let of_nobody = rejected_id(tenant, source_id, Code::UnknownParty, &digest);
        match parse::report(source_id, &past.source, stated, digest) {
            Err(it) => refused(&it.message_id, it.code, &it.detail),
            // Refused by the request, or before it and therefore without an event of its own.
            Ok(it) if kept.is_none() || past.touched.contains(&of_nobody) => {
                let it = unknown_party(it.message);
                refused(&it.message_id, it.code, &it.detail)
            }
            Ok(_) if same => told(Told::Duplicate),
            Ok(_) => told(Told::Conflicted),
        }
    }

    /// The position before the unit that ends at a position, and the ids of its streams, if the request is the one
    /// that left it: a request that neither recorded nor refused anything new left no event.
    async fn left_by(
        &self,
        meta: &Metadata,
        position: u64,
    ) -> Result<(u64, BTreeSet<String>), Problem> {
        let store = &self.deps.store;
        let last = store.read(position.saturating_sub(1), 1).await?;
        let last = last.first().map(Stored::envelope).transpose()?.unwrap_or_default();
        let size = if is_of(&last, meta) { last.unit_size.into() } else { 0 };
        let before = position.saturating_sub(size);
        let (mut at, mut ids) = (before, BTreeSet::new());
        while at < position {
            let limit = usize::try_from(position - at).unwrap_or(usize::MAX);
            let page = store.read(at, limit).await?;
            let Some(end) = page.last() else { break };
            at = end.position;
            for event in &page {
                let stream = event.envelope()?.stream;
                ids.extend(stream.split_once('/').map(|(_, id)| id.to_owned()));
            }
        }
        Ok((before, ids))
    }
}

fn is_of(envelope: &Envelope, meta: &Metadata) -> bool {
    let subject = envelope.actor.as_ref().map_or("", |it| &it.subject);
    envelope.tenant == meta.tenant
        && subject == meta.actor.subject
        && envelope.method == meta.method
        && envelope.request_id == meta.request_id
        && envelope.request_digest == meta.request_digest
}
