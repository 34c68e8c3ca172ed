//! Commands that work on the stores the settings name, with or without a running server beside them.
//!
//! Only `migrate` makes or changes a schema. The others refuse a store that is not there or not up to date: looked for
//! in the wrong folder, it must not be found empty and in order.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chassis::Reason;
use chassis::assembly::{self, Ends, Means, open_existing};
use chassis::readiness::Readiness;
use chassis::root_key::{self, Kms};
use chassis::settings::Settings;
use eventstore::{Clock, Handler, Ids, Log, Store, consumer, timers};

use crate::cli::print;
use crate::targets;

/// Opens the store of one target to read what it holds, sealed as it is: an auditor needs no key of the deployment's.
pub(crate) async fn open(settings: &Settings, name: &str) -> anyhow::Result<Store> {
    open_with(settings, name, None).await
}

/// Opens the store of one target with the deployment's key, to apply events.
async fn open_with_key(settings: &Settings, name: &str) -> anyhow::Result<Store> {
    open_with(settings, name, Some(root_key::read(settings)?)).await
}

/// The log is not needed to read or rebuild.
async fn open_with(settings: &Settings, name: &str, kms: Option<Kms>) -> anyhow::Result<Store> {
    let target = targets::TARGETS.iter().find(|it| it.name == name);
    let target = target.with_context(|| format!("there is no source {name:?}"))?;
    Ok(open_existing(target, settings, &alone(), kms).await?)
}

fn alone() -> Means {
    Means { clock: Clock::system(), ids: Ids::system(), log: Log::local() }
}

pub(crate) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let targets = targets::select(&settings.targets)?;
    assembly::migrate(&targets, settings).await?;
    targets.iter().for_each(|it| print(&format!("{}: up to date\n", it.name)));
    Ok(())
}

/// Replays a view, or empties a consumer's: only its service can read the events that fill it.
pub(crate) async fn rebuild(settings: &Settings, name: &str) -> anyhow::Result<()> {
    for target in targets::select(&settings.targets)? {
        let store = open_with_key(settings, target.name).await?;
        let view = store.views().iter().find(|it| it.name() == name);
        if let Some(view) = view {
            let rebuilt = store.rebuild(&**view).await?;
            print(&format!("{name}: {} events replayed\n", rebuilt.events));
            store.close().await;
            return Ok(());
        }
        store.close().await;
    }
    reset(settings, name).await
}

async fn reset(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let assembly = assemble(settings).await?;
    let qualified = |source: &str, consumer: &str| format!("{source}.{consumer}");
    let found: Vec<_> = (assembly.consumers.iter())
        .filter(|(deps, it)| it.name == name || qualified(deps.store.source(), &it.name) == name)
        .collect();
    let (deps, consumer) = match found.as_slice() {
        [] => bail!("no target has a view or a consumer {name:?}"),
        [one] => one,
        several => {
            let names = several.iter().map(|(deps, it)| qualified(deps.store.source(), &it.name));
            bail!("{name:?} is in several targets: {}", names.collect::<Vec<_>>().join(", "));
        }
    };
    if let Handler::Reactor(_) = consumer.handler {
        bail!("{name} is a reactor: what it appended are facts, and nothing is rebuilt");
    }
    consumer::reset(&deps.store, consumer).await?;
    let source = deps.store.source();
    print(&format!("{name}: emptied; it is filled again when {source} runs\n"));
    Ok(())
}

pub(crate) async fn verify(settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for target in targets::select(&settings.targets)? {
        let store = open(settings, target.name).await?;
        match store.verify().await? {
            Ok(head) => {
                let chain = eventstore::hex(&head.chain);
                print(&format!("{}: {} events, chain {chain}\n", target.name, head.position));
            }
            Err(fault) => {
                print(&format!("{}: position {}: {}\n", target.name, fault.position, fault.what));
                code = ExitCode::FAILURE;
            }
        }
        store.close().await;
    }
    Ok(code)
}

pub(crate) async fn unfence(settings: &Settings) -> anyhow::Result<()> {
    for target in targets::select(&settings.targets)? {
        let store = open(settings, target.name).await?;
        let was = eventstore::unfence(store.database()).await?;
        print(&format!(
            "{}: {}\n",
            target.name,
            if was { "writes again" } else { "was not fenced" }
        ));
        store.close().await;
    }
    Ok(())
}

pub(crate) async fn list_parked(settings: &Settings) -> anyhow::Result<()> {
    for target in targets::select(&settings.targets)? {
        let store = open(settings, target.name).await?;
        for it in consumer::list_parked(&store, 1_000).await? {
            print(&format!(
                "{} {} {} {} {}: {}\n",
                it.consumer, it.source, it.tenant, it.stream, it.position, it.reason
            ));
        }
        for it in timers::list_parked(&store, 1_000).await? {
            let (timer, reason, source) = (it.timer, it.reason, store.source());
            let (tenant, stream, id) = (timer.key.tenant, timer.stream, timer.key.id);
            print(&format!("{} {source} {tenant} {stream} {id}: {reason}\n", timers::CONSUMER));
        }
        store.close().await;
    }
    Ok(())
}

pub(crate) async fn retry_parked(
    settings: &Settings,
    name: &str,
    source: &str,
    tenant: &str,
    stream: &str,
) -> anyhow::Result<()> {
    if name == timers::CONSUMER {
        let store = open_with_key(settings, source).await?;
        let fire = timers::retry_parked(&store, tenant, stream).await?;
        print(&format!("{name}: {fire} of {stream} fire again when {source} runs\n"));
        store.close().await;
        return Ok(());
    }
    let assembly = assemble(settings).await?;
    let (deps, consumer) = assembly
        .consumers
        .iter()
        .find(|it| it.1.name == name)
        .with_context(|| format!("no target has a consumer {name:?}"))?;
    let applied = consumer::retry_parked(&deps.store, consumer, source, tenant, stream).await?;
    print(&format!("{name}: {applied} events of {stream} applied\n"));
    Ok(())
}

/// The reasons every target refuses with, and the chassis's own.
pub(crate) fn reasons() -> Vec<&'static [Reason]> {
    let own = targets::TARGETS.iter().map(|it| it.reasons);
    std::iter::once(chassis::status::REASONS).chain(own).collect()
}

/// The targets with their consumers. Every store was there and up to date a moment ago, so nothing is made.
async fn assemble(settings: &Settings) -> anyhow::Result<assembly::Assembly> {
    let targets = targets::select(&settings.targets)?;
    for target in &targets {
        open_with_key(settings, target.name).await?.close().await;
    }
    let readiness = Readiness::new();
    Ok(assembly::assemble(&targets, settings, &alone(), &readiness, Ends::default()).await?)
}
