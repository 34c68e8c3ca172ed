//! One write, followed: a party is registered, registered again under the same request id, read back where it was
//! written, found where a consumer of another service put it, and given up.

use std::collections::BTreeMap;
use std::time::Duration;

use eventstore::Ids;
use rapport_proto::audit::v1::{SearchEventsRequest, SearchEventsResponse};
use rapport_proto::profiles::v1::{
    GetPartyRequest, Identifier, LookupPartyRequest, Party, RegisterPartyRequest,
    RegisterPartyResponse, RemoveIdentifierRequest, SuppressPartyRequest, party,
};
use rapport_proto::types::PartyKind;
use tokio::time::Instant;
use tonic::{Response, Status};

use super::Check;
use crate::remote::Remote;

/// The system of the party's identifier, and the reason it is given up for.
const SMOKE: &str = "smoke";
/// What giving up may take when the time is over already.
const TIDYING: Duration = Duration::from_secs(5);

/// A party that was registered for this.
struct Trip<'a> {
    remote: &'a Remote,
    registration: RegisterPartyRequest,
    name: String,
    party_id: String,
    position: u64,
}

/// Follows the write; tells each check when it is done.
pub(super) async fn run(
    remote: &Remote,
    market: &str,
    until: Instant,
    tell: &mut impl FnMut(Check),
) {
    let id = Ids::system().random(SMOKE);
    let identifier =
        Identifier { system: SMOKE.into(), value: id.clone(), ..Identifier::default() };
    let registration = RegisterPartyRequest {
        parent: remote.parent.clone(),
        kind: PartyKind::Hco.into(),
        market: market.to_owned(),
        identifiers: vec![identifier],
        request_id: id,
        ..RegisterPartyRequest::default()
    };
    let judge = |it: &RegisterPartyResponse| Ok(format!("at position {}", it.position));
    let ask = || register(remote, &registration);
    let (check, registered) = Check::of("write", until, ask, judge).await;
    tell(check);
    let Some(RegisterPartyResponse { party: Some(party), position }) = registered else { return };
    let trip = Trip { remote, registration, name: party.name, party_id: party.party_id, position };
    trip.follow(until, tell).await;
    let until = until.max(Instant::now() + TIDYING);
    tell(trip.give_up(until).await);
}

async fn register(
    remote: &Remote,
    request: &RegisterPartyRequest,
) -> Result<RegisterPartyResponse, Status> {
    remote.parties.clone().register_party(request.clone()).await.map(Response::into_inner)
}

impl Trip<'_> {
    async fn follow(&self, until: Instant, tell: &mut impl FnMut(Check)) {
        let again = || register(self.remote, &self.registration);
        let judge = |it: &RegisterPartyResponse| self.judge_again(it);
        tell(Check::of("write again", until, again, judge).await.0);
        let judge = |it: &Party| self.judge_found(it);
        tell(Check::of("read", until, || self.look_up(), judge).await.0);
        let judge = |it: &SearchEventsResponse| self.judge_indexed(it);
        tell(Check::of("read by a consumer", until, || self.indexed(), judge).await.0);
    }

    fn judge_again(&self, it: &RegisterPartyResponse) -> Result<String, String> {
        let party = it.party.as_ref().map(|it| it.party_id.as_str()).unwrap_or_default();
        match party == self.party_id && it.position == self.position {
            true => Ok("the same request id has the same answer".to_owned()),
            false => Err(format!(
                "the same request id made {party} at {}, after {} at {}",
                it.position, self.party_id, self.position
            )),
        }
    }

    async fn look_up(&self) -> Result<Party, Status> {
        let identifier = self.registration.identifiers.first().cloned().unwrap_or_default();
        let request = LookupPartyRequest {
            parent: self.remote.parent.clone(),
            system: identifier.system,
            value: identifier.value,
            min_positions: self.seen(),
        };
        let answer = self.remote.parties.clone().lookup_party(request).await?;
        Ok(answer.into_inner().party.unwrap_or_default())
    }

    fn judge_found(&self, it: &Party) -> Result<String, String> {
        match it.party_id == self.party_id {
            true => Ok("the party is found by its identifier".to_owned()),
            false => Err(format!("the identifier leads to {:?}", it.party_id)),
        }
    }

    async fn indexed(&self) -> Result<SearchEventsResponse, Status> {
        let request = SearchEventsRequest {
            parent: self.remote.parent.clone(),
            party_id: self.party_id.clone(),
            min_positions: self.seen(),
            ..SearchEventsRequest::default()
        };
        self.remote.audit.clone().search_events(request).await.map(Response::into_inner)
    }

    fn judge_indexed(&self, it: &SearchEventsResponse) -> Result<String, String> {
        let is_it = |at: &u64| *at == self.position;
        match it.events.iter().map(|it| it.position).find(is_it) {
            Some(position) => Ok(format!("audit has read position {position} of profiles")),
            None => Err(format!("audit passed over position {}", self.position)),
        }
    }

    fn seen(&self) -> BTreeMap<String, u64> {
        [("profiles".to_owned(), self.position)].into()
    }

    /// Facts stay. The party is not contacted, and cannot be found by its identifier any more.
    async fn give_up(&self, until: Instant) -> Check {
        let judge = |it: &Party| match it.state() {
            party::State::Suppressed if it.identifiers.is_empty() => {
                Ok(format!("{} stays, suppressed and without identifier", self.party_id))
            }
            other => Err(format!("{} stays, {}", self.party_id, other.as_str_name())),
        };
        Check::of("clean up", until, || self.suppressed(), judge).await.0
    }

    async fn suppressed(&self) -> Result<Party, Status> {
        let request_id = |what: &str| format!("{}-{what}", self.registration.request_id);
        let remove = RemoveIdentifierRequest {
            name: self.name.clone(),
            number: 1,
            reason: SMOKE.into(),
            request_id: request_id("remove"),
        };
        self.remote.parties.clone().remove_identifier(remove).await?;
        let suppress = SuppressPartyRequest {
            name: self.name.clone(),
            reason: SMOKE.into(),
            request_id: request_id("suppress"),
        };
        self.remote.parties.clone().suppress_party(suppress).await?;
        let read = GetPartyRequest { name: self.name.clone(), ..GetPartyRequest::default() };
        let answer = self.remote.parties.clone().get_party(read).await?;
        Ok(answer.into_inner().party.unwrap_or_default())
    }
}
