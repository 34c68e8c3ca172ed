//! `SegmentService`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use authored::rule::Type;
use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::{BEHIND, Problem};
use eventstore::{AsOf, Error};
use prost::Message;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::segment_service_server::SegmentService;
use tonic::{Request, Response, Status};

use super::{Api, own, own_tenant};
use crate::convert::segment as parse;
use crate::domain::Invalid;
use crate::domain::segment::{self, Known, Segment, SegmentDefinition, Traits};
use crate::domain::trait_definition::{self, Trait, TraitDefinition};
use crate::refusal::RULE_INVALID;
use crate::view::definition::Kind;
use crate::{segments, traits, view};

/// How long a read waits for the memberships that a position led to.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks at the consumer's checkpoint.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The largest page.
const MOST: i32 = 500;

#[tonic::async_trait]
impl SegmentService for Api {
    async fn save_trait(
        &self,
        request: Request<proto::SaveTraitRequest>,
    ) -> Result<Response<proto::SaveTraitResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (stated, parsed) = parse::save_trait(request.get_ref())?;
        let id = parsed.id.clone();
        if let Err(problem) = self.still_fits(&caller.tenant, parsed).await {
            self.deps.unless_repeated(&meta, problem).await?;
        }
        let command = trait_definition::Command::Save(Box::new(stated));
        let done = self.execute::<TraitDefinition>(&id, &meta, command).await?;
        let author = self.author(&caller.tenant, Kind::Trait, &id, done.version).await?;
        Ok(Response::new(proto::SaveTraitResponse {
            version: Some(parse::version(
                done.state.version,
                &done.state.hash,
                author,
                done.updated_at,
            )),
            r#trait: Some(done.state.definition),
            position: done.position,
        }))
    }

    async fn list_traits(
        &self,
        request: Request<proto::ListTraitsRequest>,
    ) -> Result<Response<proto::ListTraitsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (size, token) = (request.page_size, request.page_token.as_str());
        let (traits, next_page_token) = self.list(caller, Kind::Trait, size, token).await?;
        Ok(Response::new(proto::ListTraitsResponse { traits, next_page_token }))
    }

    async fn save_segment(
        &self,
        request: Request<proto::SaveSegmentRequest>,
    ) -> Result<Response<proto::SaveSegmentResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let stated = parse::save_segment(request.get_ref())?;
        let known = self.known(&caller.tenant).await?;
        if let Err(faults) = Segment::parse(&stated, &known) {
            self.deps.unless_repeated(&meta, parse::refuse("segment", faults)).await?;
        }
        let id = stated.segment.clone();
        let command = segment::Command::Save(Box::new(stated));
        let done = self.execute::<SegmentDefinition>(&id, &meta, command).await?;
        let author = self.author(&caller.tenant, Kind::Segment, &id, done.version).await?;
        Ok(Response::new(proto::SaveSegmentResponse {
            version: Some(parse::version(
                done.state.version,
                &done.state.hash,
                author,
                done.updated_at,
            )),
            segment: Some(done.state.definition),
            position: done.position,
        }))
    }

    async fn get_segment(
        &self,
        request: Request<proto::GetSegmentRequest>,
    ) -> Result<Response<proto::GetSegmentResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "segments")?;
        self.settled(&request.min_positions).await?;
        let position = self.position();
        let found = self.deps.find::<SegmentDefinition>(&caller.tenant, id, "name").await?;
        let author = self.author(&caller.tenant, Kind::Segment, id, found.version).await?;
        let database = self.deps.store.database();
        let uses = view::uses::of(database, &caller.tenant, Kind::Segment, id);
        let members = view::membership::count(database, &caller.tenant, id);
        let (uses, members) = futures::try_join!(uses, members).map_err(Problem::from)?;
        let state = found.state;
        Ok(Response::new(proto::GetSegmentResponse {
            version: Some(parse::version(state.version, &state.hash, author, found.updated_at)),
            segment: Some(state.definition),
            uses,
            members,
            position,
        }))
    }

    async fn list_segments(
        &self,
        request: Request<proto::ListSegmentsRequest>,
    ) -> Result<Response<proto::ListSegmentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (size, token) = (request.page_size, request.page_token.as_str());
        let (segments, next_page_token) = self.list(caller, Kind::Segment, size, token).await?;
        Ok(Response::new(proto::ListSegmentsResponse { segments, next_page_token }))
    }

    async fn preview_segment(
        &self,
        request: Request<proto::PreviewSegmentRequest>,
    ) -> Result<Response<proto::PreviewSegmentResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let asked = request.consent.as_ref().map(parse::question).transpose()?;
        let known = self.known(&caller.tenant).await?;
        let rule = segment::rule(&request.rule, &known)
            .map_err(|invalid| Problem::of(RULE_INVALID).violation("rule", invalid.to_string()))?;
        // Read before: whatever stood before this position is counted.
        let (position, at) = (self.position(), self.now());
        let counted = segments::preview(&self.definitions, &caller.tenant, &rule, asked, at).await;
        let counted = counted.map_err(Problem::from)?;
        let count = |((market, consent), parties): ((String, &str), u64)| {
            proto::preview_segment_response::Count { market, consent: consent.to_owned(), parties }
        };
        Ok(Response::new(proto::PreviewSegmentResponse {
            members: counted.members,
            unknown: counted.unknown,
            counts: counted.groups.into_iter().map(count).collect(),
            sample_party_ids: counted.sample,
            parties: counted.parties,
            position,
        }))
    }

    async fn list_segment_members(
        &self,
        request: Request<proto::ListSegmentMembersRequest>,
    ) -> Result<Response<proto::ListSegmentMembersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "parent", &request.parent, "segments")?;
        let arguments = [caller.tenant.as_str(), "members", id];
        let page = Page::parse(request.page_size.min(MOST), &request.page_token, &arguments)?;
        self.settled(&request.min_positions).await?;
        self.deps.find::<SegmentDefinition>(&caller.tenant, id, "parent").await?;
        let after = page.cursor().unwrap_or_default();
        let database = self.deps.store.database();
        let listed =
            view::membership::members(database, &caller.tenant, id, after, page.size + 1).await;
        let mut members = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut members, |(party_id, _)| party_id.clone());
        let members = members.into_iter().map(|(id, state)| parse::member(id, &state)).collect();
        Ok(Response::new(proto::ListSegmentMembersResponse { members, next_page_token }))
    }
}

impl Api {
    /// What rules must know of the live traits.
    async fn known(&self, tenant: &str) -> Result<Traits, Problem> {
        let live = self.definitions.live(tenant).await?;
        let traits = live.traits.values().map(|it| &*it.definition);
        Ok(self.known_of(tenant, traits).await?)
    }

    async fn known_of(
        &self,
        tenant: &str,
        traits: impl Iterator<Item = &Trait> + Clone,
    ) -> Result<Traits, Error> {
        let kinds = traits::kinds_of(&self.deps.store, tenant, traits.clone()).await?;
        let known = |it: &Trait| {
            let kind = kinds.get(&it.id).copied().unwrap_or_default();
            let known =
                Known { type_: Type::of_clear(kind), depends_on_time: it.depends_on_time() };
            (it.id.clone(), known)
        };
        Ok(traits.map(known).collect())
    }

    /// Whether every segment that names a trait could be saved with its new version.
    async fn still_fits(&self, tenant: &str, new: Trait) -> Result<(), Problem> {
        let live = self.definitions.live(tenant).await?;
        let users: Vec<_> =
            live.segments.values().filter(|it| it.needs.traits.contains(&new.id)).collect();
        if users.is_empty() {
            return Ok(());
        }
        let others = live.traits.values().map(|it| &*it.definition).filter(|it| it.id != new.id);
        let traits: Vec<&Trait> = others.chain([&new]).collect();
        let known = self.known_of(tenant, traits.iter().copied()).await?;
        for user in users {
            let segment::Segment { id, rule } = &*user.definition;
            if let Err(Invalid::Rule(why)) = segment::rule(rule.text(), &known) {
                let remedy = format!("Change the segment {id} first, which uses it: {why}");
                return Err(Problem::of(RULE_INVALID).violation("trait", remedy));
            }
        }
        Ok(())
    }

    /// Who stated a version of a definition.
    async fn author(
        &self,
        tenant: &str,
        kind: Kind,
        id: &str,
        version: u64,
    ) -> Result<String, Problem> {
        let (store, stream) = (&self.deps.store, format!("{}/{id}", kind.as_str()));
        let events = store.read_stream(tenant, &stream, AsOf::Version(version)).await?;
        let last = events.into_iter().last();
        Ok(last.and_then(|it| it.envelope.actor).map(|it| it.subject).unwrap_or_default())
    }

    async fn list<M: Message + Default>(
        &self,
        caller: &Caller,
        kind: Kind,
        size: i32,
        token: &str,
    ) -> Result<(Vec<M>, String), Problem> {
        let page = Page::parse(size.min(MOST), token, &[caller.tenant.as_str(), kind.as_str()])?;
        let after = page.cursor().unwrap_or_default();
        let database = self.deps.store.database();
        let mut rows =
            view::definition::list(database, &caller.tenant, kind, after, page.size + 1).await?;
        let next_page_token = page.cut(&mut rows, |row| row.id.clone());
        let decode = |row: view::definition::Definition| {
            M::decode(&*row.document).map_err(|error| {
                Error::corrupt(format!("the {} {}: {error}", kind.as_str(), row.id))
            })
        };
        let documents = rows.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok((documents, next_page_token))
    }

    /// Waits until what the positions asked for led to is written.
    async fn settled(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        self.caught_up(positions).await?;
        let source = self.deps.store.source();
        let (wanted, until) =
            (positions.get(source).copied().unwrap_or(0), Instant::now() + PATIENCE);
        if wanted == 0 {
            return Ok(());
        }
        loop {
            let seen = self.deps.handled(segments::CONSUMER, source).await?;
            if seen >= wanted {
                return Ok(());
            }
            if Instant::now() >= until {
                let told = Problem::of(BEHIND).with("source", source).with("position", &seen);
                return Err(told.retry_after(PATIENCE));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
