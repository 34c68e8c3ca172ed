//! `ConsentService`.

use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::Metadata;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::consent_service_server::ConsentService;
use tonic::{Request, Response, Status};

use super::{Api, Frontier, own, own_tenant, unsealed};
use crate::convert::consent as parse;
use crate::domain::consent::{Command, Consent, Key, Verdict};
use crate::domain::segment::Question;
use crate::verdict::judge;
use crate::view;

#[tonic::async_trait]
impl ConsentService for Api {
    async fn record_consent(
        &self,
        request: Request<proto::RecordConsentRequest>,
    ) -> Result<Response<proto::RecordConsentResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (key, command) = parse::record(request.get_ref())?;
        let (consent, position) = self.state_consent(caller, &meta, &key, command).await?;
        Ok(Response::new(proto::RecordConsentResponse { consent: Some(consent), position }))
    }

    async fn withdraw_consent(
        &self,
        request: Request<proto::WithdrawConsentRequest>,
    ) -> Result<Response<proto::WithdrawConsentResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (key, command) = parse::withdraw(request.get_ref())?;
        request.get_ref().reason.clone_into(&mut meta.reason);
        let (consent, position) = self.state_consent(caller, &meta, &key, command).await?;
        Ok(Response::new(proto::WithdrawConsentResponse { consent: Some(consent), position }))
    }

    async fn check_consent(
        &self,
        request: Request<proto::CheckConsentRequest>,
    ) -> Result<Response<proto::CheckConsentResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (key, at, regime) = parse::check(request)?;
        self.in_reach(caller, &key.party_id, "key.party_id").await?;
        let tenant = caller.tenant.as_str();
        let Frontier { live, positions } = self.frontier(tenant, &request.min_positions).await?;
        let at = at.unwrap_or_else(|| self.now());
        // Nobody may be contacted who is not known or is erased, whatever the regime.
        let party = self.living(tenant, &key.party_id, "key.party_id").await?;
        let (purpose, channel, sender_id) = (key.purpose, key.channel, key.sender_id);
        let question = Question { purpose, channel, sender_id };
        let asked = (key.party_id.as_str(), &party);
        let judged = judge(&self.deps.store, &live, tenant, asked, &question, (regime, at)).await;
        let position = positions.get(self.deps.store.source()).copied().unwrap_or_default();
        let verdict = judged.map_err(Problem::from)?.into_proto(&question, position);
        Ok(Response::new(match key.market.as_str() == party.market {
            true => proto::CheckConsentResponse {
                allowed: verdict.allowed,
                consent_id: verdict.consent_id,
                regime: verdict.regime,
                detail: verdict.detail,
                position: verdict.position,
                pack: verdict.pack,
                pack_version: verdict.pack_version,
            },
            // What was said in the market the party left counts there, and so do that market's rules.
            false => proto::CheckConsentResponse {
                regime: verdict.regime,
                detail: Verdict::NoRecord.detail().to_owned(),
                position: verdict.position,
                ..Default::default()
            },
        }))
    }

    async fn list_consents(
        &self,
        request: Request<proto::ListConsentsRequest>,
    ) -> Result<Response<proto::ListConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "parent", &request.parent, "parties")?;
        self.in_reach(caller, party_id, "parent").await?;
        let arguments = [caller.tenant.as_str(), "consents", party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed =
            view::consent::list(store.database(), &caller.tenant, party_id, after, page.size + 1);
        let mut ids = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found =
            store.load_many::<Consent>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let (now, unsealed) = (self.now(), unsealed(caller));
        let consents = ids
            .iter()
            .zip(found)
            .map(|(id, it)| parse::consent(id, &it.state, now, unsealed))
            .collect();
        Ok(Response::new(proto::ListConsentsResponse { consents, next_page_token }))
    }
}

impl Api {
    async fn state_consent(
        &self,
        caller: &Caller,
        meta: &Metadata,
        key: &Key,
        command: Command,
    ) -> Result<(proto::Consent, u64), Problem> {
        caller.in_market(key.market.as_str())?;
        self.in_reach(caller, &key.party_id, "key.party_id").await?;
        self.concerned(meta, &key.party_id, "key.party_id").await?;
        let consent_id = key.consent_id(&caller.tenant);
        let done = self.execute::<Consent>(&consent_id, meta, command).await?;
        Ok((parse::consent(&consent_id, &done.state, meta.at, unsealed(caller)), done.position))
    }
}
