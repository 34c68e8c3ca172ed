//! `LibraryService`.

use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::Metadata;
use prost::Message as _;
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::library_service_server::LibraryService;
use rapport_proto::content::v1::save_claim_request::Definition;
use rapport_proto::types::ContentClass;
use tonic::{Request, Response, Status};

use super::brands::Reading;
use super::{Api, own, own_tenant};
use crate::convert::{self, Shown};
use crate::domain::asset::{self, Asset};
use crate::domain::claim::{self, Claim};
use crate::domain::product::{self, Product};
use crate::domain::reference::{self, Reference};
use crate::domain::review::{Command, Versions};
use crate::domain::wrong::Findings;
use crate::view;

#[tonic::async_trait]
impl LibraryService for Api {
    async fn register_product(
        &self,
        request: Request<proto::RegisterProductRequest>,
    ) -> Result<Response<proto::RegisterProductResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let product = convert::required("product", it.product.clone())?;
        product::check(&product).finish()?;
        let id = product.product_id.clone();
        self.may_register(caller, &product).await?;
        let done = self.execute::<Product>(&id, &meta, product::Register(product)).await?;
        let (product, position) = (done.state.product, done.position);
        Ok(Response::new(proto::RegisterProductResponse { product, position }))
    }

    async fn list_products(
        &self,
        request: Request<proto::ListProductsRequest>,
    ) -> Result<Response<proto::ListProductsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (tenant, request) = (caller.tenant.as_str(), request.get_ref());
        own_tenant(caller, &request.parent)?;
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, "products"])?;
        let (store, mut reading) = (&self.deps.store, Reading::new(caller, &page));
        while let Some((after, limit)) = reading.next() {
            let listed = view::library::products(store.database(), tenant, &after, limit).await;
            let ids = listed.map_err(Problem::from)?;
            let found = store.load_many::<Product>(tenant, &ids).await.map_err(Problem::from)?;
            let own = |it: &proto::Product| caller.reaches_brand(&it.brand);
            reading.read(ids, found.into_iter().map(|it| it.state.product.filter(own)));
        }
        let (products, next_page_token) = reading.done();
        Ok(Response::new(proto::ListProductsResponse { products, next_page_token }))
    }

    async fn add_reference(
        &self,
        request: Request<proto::AddReferenceRequest>,
    ) -> Result<Response<proto::AddReferenceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let reference = convert::required("reference", it.reference.clone())?;
        self.unless_repeated(&meta, reference::check(&reference, meta.at).finish()).await?;
        let id = reference.reference_id.clone();
        let done =
            self.execute::<Reference>(&id, &meta, reference::Command::Add(reference)).await?;
        let (reference, position) = (done.state.told(), done.position);
        Ok(Response::new(proto::AddReferenceResponse { reference, position }))
    }

    async fn expire_reference(
        &self,
        request: Request<proto::ExpireReferenceRequest>,
    ) -> Result<Response<proto::ExpireReferenceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "references")?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let reason = convert::reason(&it.reason)?;
        meta.reason.clone_from(&reason);
        let done =
            self.execute::<Reference>(id, &meta, reference::Command::Expire { reason }).await?;
        let (reference, position) = (done.state.told(), done.position);
        Ok(Response::new(proto::ExpireReferenceResponse { reference, position }))
    }

    async fn list_references(
        &self,
        request: Request<proto::ListReferencesRequest>,
    ) -> Result<Response<proto::ListReferencesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (tenant, request) = (caller.tenant.as_str(), request.get_ref());
        own_tenant(caller, &request.parent)?;
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, "references"])?;
        let (store, after) = (&self.deps.store, page.cursor().unwrap_or_default());
        let listed = view::library::references(store.database(), tenant, after, page.size + 1);
        let mut ids = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found = store.load_many::<Reference>(tenant, &ids).await.map_err(Problem::from)?;
        let references = found.into_iter().filter_map(|it| it.state.told()).collect();
        Ok(Response::new(proto::ListReferencesResponse { references, next_page_token }))
    }

    async fn store_asset(
        &self,
        request: Request<proto::StoreAssetRequest>,
    ) -> Result<Response<proto::StoreAssetResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let asset = convert::required("asset", it.asset.clone())?;
        self.unless_repeated(&meta, asset::check(&asset, meta.at).finish()).await?;
        let id = asset.asset_id.clone();
        let done = self.execute::<Asset>(&id, &meta, asset::Command::Register(asset)).await?;
        let (asset, position) = (done.state.asset, done.position);
        Ok(Response::new(proto::StoreAssetResponse { asset, position }))
    }

    async fn save_claim(
        &self,
        request: Request<proto::SaveClaimRequest>,
    ) -> Result<Response<proto::SaveClaimResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let id = chassis::name::authored_id("claim_id", &it.claim_id).map_err(Problem::from)?;
        let content: proto::ClaimContent =
            match convert::required("content", it.definition.clone())? {
                Definition::Content(content) => content,
                Definition::Yaml(text) => convert::yaml(&text)?,
            };
        let found = claim::content::check(&content, meta.at);
        if caller.brands.is_some() {
            // Nothing is looked up by what cannot be a name.
            self.unless_repeated(&meta, found.clone().finish()).await?;
            self.may_save::<Claim>(caller, id, &content.product_id).await?;
        }
        let checked = self.check_claim(&caller.tenant, &content, found).await;
        self.unless_repeated(&meta, checked).await?;
        let author = meta.actor.subject.clone();
        let save = Command::Save { content: content.encode_to_vec(), author };
        let (state, position) = self.of_claim(id, &meta, save).await?;
        let version = state.newest().map_or(0, |it| it.number);
        let claim = Some(convert::claim(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::SaveClaimResponse { claim, version, position }))
    }

    async fn submit_claim(
        &self,
        request: Request<proto::SubmitClaimRequest>,
    ) -> Result<Response<proto::SubmitClaimResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "claims")?;
        self.in_reach::<Claim>(caller, id, "name").await?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let submit = self.submission_of_claim(&meta, id, it.version).await?;
        let (state, position) = self.of_claim(id, &meta, submit).await?;
        let claim = Some(convert::claim(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::SubmitClaimResponse { claim, position }))
    }

    async fn review_claim(
        &self,
        request: Request<proto::ReviewClaimRequest>,
    ) -> Result<Response<proto::ReviewClaimResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "claims")?;
        self.in_reach::<Claim>(caller, id, "name").await?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let (review, signature_id) = convert::review(&it.into(), caller, &meta)?;
        self.deps.find::<Claim>(&caller.tenant, id, "name").await?;
        let (state, position) = self.of_claim(id, &meta, review).await?;
        let claim = Some(convert::claim(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::ReviewClaimResponse { claim, signature_id, position }))
    }

    async fn withdraw_claim(
        &self,
        request: Request<proto::WithdrawClaimRequest>,
    ) -> Result<Response<proto::WithdrawClaimResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "claims")?;
        self.in_reach::<Claim>(caller, id, "name").await?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let reason = convert::reason(&it.reason)?;
        meta.reason.clone_from(&reason);
        self.deps.find::<Claim>(&caller.tenant, id, "name").await?;
        let withdraw = Command::Withdraw { version: it.version, reason, cause: String::new() };
        let (state, position) = self.of_claim(id, &meta, withdraw).await?;
        let claim = Some(convert::claim(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::WithdrawClaimResponse { claim, position }))
    }

    async fn get_claim(
        &self,
        request: Request<proto::GetClaimRequest>,
    ) -> Result<Response<proto::GetClaimResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "claims")?;
        self.in_reach::<Claim>(caller, id, "name").await?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let found = self.deps.find::<Claim>(&caller.tenant, id, "name").await?;
        let claim = Some(convert::claim(&caller.tenant, id, &found.state, self.now(), Shown::All));
        Ok(Response::new(proto::GetClaimResponse { claim, position }))
    }

    async fn list_claims(
        &self,
        request: Request<proto::ListClaimsRequest>,
    ) -> Result<Response<proto::ListClaimsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (tenant, request) = (caller.tenant.as_str(), request.get_ref());
        own_tenant(caller, &request.parent)?;
        let arguments = [tenant, "claims", &request.state.to_string()];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let (state, now) = (request.state(), self.now());
        let (store, mut reading) = (&self.deps.store, Reading::new(caller, &page));
        while let Some((after, limit)) = reading.next() {
            let listed =
                view::newest::list(store.database(), tenant, "claim", state, &after, limit);
            let ids = listed.await.map_err(Problem::from)?;
            let found = store.load_many::<Claim>(tenant, &ids).await.map_err(Problem::from)?;
            let states: Vec<_> = found.iter().map(|it| &it.state).collect();
            let reached = self.reached::<Claim>(caller, &states).await?;
            let shown = ids.iter().zip(states).zip(reached).map(|((id, it), reached)| {
                reached.then(|| convert::claim(tenant, id, it, now, Shown::Listed))
            });
            let shown: Vec<_> = shown.collect();
            reading.read(ids, shown);
        }
        let (claims, next_page_token) = reading.done();
        Ok(Response::new(proto::ListClaimsResponse { claims, next_page_token }))
    }
}

impl Api {
    async fn of_claim(
        &self,
        id: &str,
        meta: &Metadata,
        command: Command,
    ) -> Result<(Versions, u64), Problem> {
        let done = self.execute::<Claim>(id, meta, command).await?;
        Ok((done.state, done.position))
    }

    /// The command that submits a claim: a claim about a product is promotion.
    async fn submission_of_claim(
        &self,
        meta: &Metadata,
        id: &str,
        version: u32,
    ) -> Result<Command, Problem> {
        let tenant = meta.tenant.as_str();
        let state = self.deps.find::<Claim>(tenant, id, "name").await?.state;
        let found = if version == 0 { state.newest() } else { state.get(version) };
        let content = found.and_then(claim::content_of).unwrap_or_default();
        let mut wrong = Findings::default();
        self.references(tenant, &content.reference_ids, meta.at, &mut wrong).await?;
        // Some may have run out since it was saved, as long as one is left.
        if wrong.0.len() == content.reference_ids.len() {
            self.unless_repeated(meta, wrong.finish()).await?;
        }
        let class = match content.product_id.as_str() {
            "" => ContentClass::DiseaseAwareness,
            _ => ContentClass::RxPromotional,
        };
        let required = self.requirement(tenant, &content.markets, class, meta.at).await?;
        // The version that was looked at, should another be saved meanwhile.
        let version = found.map_or(version, |it| it.number);
        Ok(Command::Submit {
            version,
            markets: Vec::new(),
            roles: required.roles,
            packs: required.packs,
        })
    }
}
