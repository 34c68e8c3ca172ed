//! `ModuleService`.

use chassis::auth::Caller;
use chassis::name;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::Metadata;
use prost::Message as _;
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::module_service_server::ModuleService;
use rapport_proto::content::v1::save_module_request::Definition;
use tonic::{Request, Response, Status};

use super::brands::Reading;
use super::{Api, own, own_tenant, unknown};
use crate::convert::{self, Shown};
use crate::domain::asset::Asset;
use crate::domain::claim::Claim;
use crate::domain::module::{self, Module};
use crate::domain::reference::Reference;
use crate::domain::review::{Command, Versions};
use crate::render::{Ask, Library, Part, PartKind, Rendered, Selection, Wanted, message, select};
use crate::view;
use crate::view::part_use::Use;

#[tonic::async_trait]
impl ModuleService for Api {
    async fn save_module(
        &self,
        request: Request<proto::SaveModuleRequest>,
    ) -> Result<Response<proto::SaveModuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let id = name::authored_id("module_id", &it.module_id).map_err(Problem::from)?;
        let content: proto::ModuleContent =
            match convert::required("content", it.definition.clone())? {
                Definition::Content(content) => content,
                Definition::Yaml(text) => convert::yaml(&text)?,
            };
        let found = module::content::check(&content, meta.at);
        if caller.brands.is_some() {
            // Nothing is looked up by what cannot be a name.
            self.unless_repeated(&meta, found.clone().finish()).await?;
            self.may_save::<Module>(caller, id, &content.product_id).await?;
            self.may_name(caller, &content).await?;
        }
        let checked = self.check_module(&caller.tenant, id, &content, found).await;
        self.unless_repeated(&meta, checked).await?;
        let author = meta.actor.subject.clone();
        let save = Command::Save { content: content.encode_to_vec(), author };
        let (state, position) = self.of_module(id, &meta, save).await?;
        let version = state.newest().map_or(0, |it| it.number);
        let module = Some(convert::module(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::SaveModuleResponse { module, version, position }))
    }

    async fn submit_module(
        &self,
        request: Request<proto::SubmitModuleRequest>,
    ) -> Result<Response<proto::SubmitModuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "modules")?;
        self.in_reach::<Module>(caller, id, "name").await?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let submit = self.submission_of_module(&meta, id, it.version).await?;
        let (state, position) = self.of_module(id, &meta, submit).await?;
        let module = Some(convert::module(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::SubmitModuleResponse { module, position }))
    }

    async fn review_module(
        &self,
        request: Request<proto::ReviewModuleRequest>,
    ) -> Result<Response<proto::ReviewModuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "modules")?;
        self.in_reach::<Module>(caller, id, "name").await?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let (review, signature_id) = convert::review(&it.into(), caller, &meta)?;
        self.deps.find::<Module>(&caller.tenant, id, "name").await?;
        let (state, position) = self.of_module(id, &meta, review).await?;
        let module = Some(convert::module(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::ReviewModuleResponse { module, signature_id, position }))
    }

    async fn withdraw_module(
        &self,
        request: Request<proto::WithdrawModuleRequest>,
    ) -> Result<Response<proto::WithdrawModuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "modules")?;
        self.in_reach::<Module>(caller, id, "name").await?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let reason = convert::reason(&it.reason)?;
        meta.reason.clone_from(&reason);
        self.deps.find::<Module>(&caller.tenant, id, "name").await?;
        let withdraw = Command::Withdraw { version: it.version, reason, cause: String::new() };
        let (state, position) = self.of_module(id, &meta, withdraw).await?;
        let module = Some(convert::module(&caller.tenant, id, &state, meta.at, Shown::All));
        Ok(Response::new(proto::WithdrawModuleResponse { module, position }))
    }

    async fn get_module(
        &self,
        request: Request<proto::GetModuleRequest>,
    ) -> Result<Response<proto::GetModuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "modules")?;
        self.in_reach::<Module>(caller, id, "name").await?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let state = self.deps.find::<Module>(&caller.tenant, id, "name").await?.state;
        let shown = match request.version {
            0 => Shown::All,
            version if state.get(version).is_some() => Shown::One(version),
            _ => return Err(unknown("version").into()),
        };
        let module = Some(convert::module(&caller.tenant, id, &state, self.now(), shown));
        Ok(Response::new(proto::GetModuleResponse { module, position }))
    }

    async fn list_modules(
        &self,
        request: Request<proto::ListModulesRequest>,
    ) -> Result<Response<proto::ListModulesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (tenant, request) = (caller.tenant.as_str(), request.get_ref());
        own_tenant(caller, &request.parent)?;
        let arguments = [tenant, "modules", &request.state.to_string()];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let (state, now) = (request.state(), self.now());
        let (store, mut reading) = (&self.deps.store, Reading::new(caller, &page));
        while let Some((after, limit)) = reading.next() {
            let listed =
                view::newest::list(store.database(), tenant, "module", state, &after, limit);
            let ids = listed.await.map_err(Problem::from)?;
            let found = store.load_many::<Module>(tenant, &ids).await.map_err(Problem::from)?;
            let states: Vec<_> = found.iter().map(|it| &it.state).collect();
            let reached = self.reached::<Module>(caller, &states).await?;
            let shown = ids.iter().zip(states).zip(reached).map(|((id, it), reached)| {
                reached.then(|| convert::module(tenant, id, it, now, Shown::Listed))
            });
            let shown: Vec<_> = shown.collect();
            reading.read(ids, shown);
        }
        let (modules, next_page_token) = reading.done();
        Ok(Response::new(proto::ListModulesResponse { modules, next_page_token }))
    }

    async fn list_usable_modules(
        &self,
        request: Request<proto::ListUsableModulesRequest>,
    ) -> Result<Response<proto::ListUsableModulesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (tenant, request) = (caller.tenant.as_str(), request.get_ref());
        own_tenant(caller, &request.parent)?;
        let (market, language) = (&request.market, &request.language);
        let (audience, channel) = (request.audience(), request.channel());
        let ask =
            convert::ask(market, audience, channel, language, request.time.as_ref(), self.now())?;
        let (audience, channel) = (request.audience.to_string(), request.channel.to_string());
        let at = request.time.map(|it| format!("{}.{}", it.seconds, it.nanos)).unwrap_or_default();
        let arguments = [tenant, "usable", market, &audience, &channel, language, &at];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let database = self.deps.store.database();
        let listed = view::usable::list(database, tenant, &ask, after, page.size + 1).await;
        let mut ids = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let modules = self.usable(tenant, ids, &ask).await?;
        Ok(Response::new(proto::ListUsableModulesResponse { modules, next_page_token }))
    }

    async fn list_module_uses(
        &self,
        request: Request<proto::ListModuleUsesRequest>,
    ) -> Result<Response<proto::ListModuleUsesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (tenant, request) = (caller.tenant.as_str(), request.get_ref());
        let part = self.part(caller, &request.parent).await?;
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, "uses", &part])?;
        let after = page.cursor().and_then(Use::parse).unwrap_or(Use::START);
        let database = self.deps.store.database();
        let listed = view::part_use::list(database, tenant, &part, &after, page.size + 1);
        let mut uses = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut uses, Use::to_string);
        let told = |Use { kind, id, version, place, state }| {
            let state = state.into();
            proto::ModuleUse { kind, id, version, place, state }
        };
        let uses = uses.into_iter().map(told).collect();
        Ok(Response::new(proto::ListModuleUsesResponse { uses, next_page_token }))
    }

    async fn check_usable(
        &self,
        request: Request<proto::CheckUsableRequest>,
    ) -> Result<Response<proto::CheckUsableResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "modules")?;
        self.in_reach::<Module>(caller, id, "name").await?;
        let (audience, channel) = (it.audience(), it.channel());
        let ask = convert::ask(
            &it.market,
            audience,
            channel,
            &it.language,
            it.time.as_ref(),
            self.now(),
        )?;
        self.caught_up(&it.min_positions).await?;
        // Read before the parts: nothing that was withdrawn before this position is missed.
        let position = self.position();
        let mut library = Library::default();
        let reply = match self.select(&caller.tenant, &mut library, id, &ask).await? {
            Ok(selection) => {
                proto::CheckUsableResponse { usable: true, position, ..root(&selection) }
            }
            Err(unusable) => proto::CheckUsableResponse {
                reason: unusable.reason.to_owned(),
                detail: unusable.detail,
                position,
                ..would_be_used(&library, id)
            },
        };
        Ok(Response::new(reply))
    }

    async fn render(
        &self,
        request: Request<proto::RenderRequest>,
    ) -> Result<Response<proto::RenderResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "modules")?;
        self.in_reach::<Module>(caller, id, "name").await?;
        let (ask, values) = convert::render(it, self.now())?;
        self.caught_up(&it.min_positions).await?;
        let position = self.position();
        let mut library = Library::default();
        let selection = match self.select(&caller.tenant, &mut library, id, &ask).await? {
            Ok(selection) => selection,
            Err(unusable) => {
                return Ok(Response::new(proto::RenderResponse {
                    content_reason: unusable.reason.to_owned(),
                    content_detail: unusable.detail,
                    content_class: would_be_used(&library, id).content_class,
                    position,
                    ..Default::default()
                }));
            }
        };
        let reply = match message(&selection, &values) {
            Ok(rendered) => printed(&selection, rendered),
            Err(unprintable) => proto::RenderResponse {
                render_reason: unprintable.reason.to_owned(),
                render_detail: unprintable.detail,
                ..of_root(&selection)
            },
        };
        Ok(Response::new(proto::RenderResponse { position, ..reply }))
    }
}

impl Api {
    async fn of_module(
        &self,
        id: &str,
        meta: &Metadata,
        command: Command,
    ) -> Result<(Versions, u64), Problem> {
        let done = self.execute::<Module>(id, meta, command).await?;
        Ok((done.state, done.position))
    }

    /// The command that submits a module: with the roles its markets ask for now.
    async fn submission_of_module(
        &self,
        meta: &Metadata,
        id: &str,
        version: u32,
    ) -> Result<Command, Problem> {
        let state = self.deps.find::<Module>(&meta.tenant, id, "name").await?.state;
        let found = if version == 0 { state.newest() } else { state.get(version) };
        let content = found.and_then(module::content_of).unwrap_or_default();
        let (markets, class) = (&content.markets, content.content_class());
        let required = self.requirement(&meta.tenant, markets, class, meta.at).await?;
        // The version that was looked at, should another be saved meanwhile.
        let version = found.map_or(version, |it| it.number);
        let markets = content.markets;
        Ok(Command::Submit { version, markets, roles: required.roles, packs: required.packs })
    }

    /// The stream of the module, claim, reference or asset a name means.
    async fn part(&self, caller: &Caller, parent: &str) -> Result<String, Problem> {
        const KINDS: [(&str, &str); 3] =
            [("claims", "claim"), ("references", "reference"), ("assets", "asset")];
        let named = parent.split('/').nth(2).unwrap_or_default();
        let kind = KINDS.into_iter().find(|it| it.0 == named);
        let (collection, aggregate) = kind.unwrap_or(("modules", "module"));
        let id = own(caller, "parent", parent, collection)?;
        let (tenant, deps) = (caller.tenant.as_str(), &self.deps);
        match aggregate {
            "claim" => deps.find::<Claim>(tenant, id, "parent").await.map(drop),
            "reference" => deps.find::<Reference>(tenant, id, "parent").await.map(drop),
            "asset" => deps.find::<Asset>(tenant, id, "parent").await.map(drop),
            _ => deps.find::<Module>(tenant, id, "parent").await.map(drop),
        }?;
        Ok(format!("{aggregate}/{id}"))
    }

    /// Those of some modules that may be used: the table said where to look, the streams say whether it is so. Each
    /// round reads one level of the parts of all of them.
    async fn usable(
        &self,
        tenant: &str,
        ids: Vec<String>,
        ask: &Ask,
    ) -> Result<Vec<proto::UsableModule>, Problem> {
        let mut library = Library::default();
        let mut wanted = Wanted { modules: ids.clone(), ..Default::default() };
        loop {
            self.read(tenant, &mut library, wanted).await?;
            wanted = Wanted::default();
            let mut usable = Vec::new();
            for id in &ids {
                match usable_one(&library, id, ask) {
                    Ok(found) => usable.extend(found),
                    Err(more) => wanted.join(more),
                }
            }
            if wanted.is_empty() {
                return Ok(usable);
            }
        }
    }
}

/// A module as it may be used; without a language in any that it has for the channel.
fn usable_one(
    library: &Library,
    id: &str,
    ask: &Ask,
) -> Result<Option<proto::UsableModule>, Wanted> {
    let mut languages = vec![ask.language.clone()];
    if ask.language.is_empty() {
        let approved = library.modules.get(id).into_iter().flat_map(|it| it.approved());
        let variants = approved.filter_map(module::content_of).flat_map(|it| it.variants);
        languages.extend(variants.filter(|it| it.channel() == ask.channel).map(|it| it.language));
    }
    for language in languages {
        if let Ok(selection) = select(library, id, &Ask { language, ..ask.clone() })? {
            return Ok(usable_module(&selection));
        }
    }
    Ok(None)
}

fn usable_module(selection: &Selection) -> Option<proto::UsableModule> {
    let piece = selection.modules.get(&selection.root)?;
    Some(proto::UsableModule {
        module_id: selection.root.clone(),
        version: piece.approval.version,
        content_hash: piece.approval.content_hash.clone(),
        content_class: piece.content.content_class,
        expire_time: piece.content.expires_at,
    })
}

fn root(selection: &Selection) -> proto::CheckUsableResponse {
    let piece = selection.modules.get(&selection.root);
    proto::CheckUsableResponse {
        version: piece.map_or(0, |it| it.approval.version),
        content_class: piece.map_or(0, |it| it.content.content_class),
        ..Default::default()
    }
}

/// What would be used were nothing at fault.
fn would_be_used(library: &Library, id: &str) -> proto::CheckUsableResponse {
    let versions = library.modules.get(id);
    let version = versions.and_then(|it| it.approved().next().or_else(|| it.newest()));
    let content = version.and_then(module::content_of);
    proto::CheckUsableResponse {
        version: version.map_or(0, |it| it.number),
        content_class: content.map_or(0, |it| it.content_class),
        ..Default::default()
    }
}

fn of_root(selection: &Selection) -> proto::RenderResponse {
    let piece = selection.modules.get(&selection.root);
    let content = piece.map(|it| it.content.clone()).unwrap_or_default();
    proto::RenderResponse {
        content_class: content.content_class,
        product_id: content.product_id,
        topic: content.topic,
        language: piece.map(|it| it.variant.language.clone()).unwrap_or_default(),
        ..Default::default()
    }
}

fn printed(selection: &Selection, rendered: Rendered) -> proto::RenderResponse {
    let part = |part: &Part| {
        let approval = selection.approval(part)?;
        Some(proto::Part {
            kind: match part.kind {
                PartKind::Module => "module",
                PartKind::Claim => "claim",
            }
            .to_owned(),
            id: part.id.clone(),
            version: approval.version,
            content_hash: approval.content_hash.clone(),
            signature_ids: approval.signature_ids.clone(),
        })
    };
    proto::RenderResponse {
        subject: rendered.subject,
        text: rendered.text,
        html: rendered.html,
        render_hash: rendered.hash,
        parts: rendered.parts.iter().filter_map(part).collect(),
        ..of_root(selection)
    }
}
