//! Whether what a claim or module names exists, and who must review it: the checks of a save that need the store.

use std::collections::{BTreeMap, BTreeSet};

use chassis::status::Problem;
use eventstore::{Decider, Timestamp};
use rapport_proto::content::v1::assembly_rule::Rule as Assembly;
use rapport_proto::content::v1::{ClaimContent, ModuleContent, Slot, SlotKind};
use rapport_proto::types::ContentClass;

use super::Api;
use crate::domain::asset::Asset;
use crate::domain::claim::Claim;
use crate::domain::module::{self, Module};
use crate::domain::product::Product;
use crate::domain::reference::Reference;
use crate::domain::requirement::{self, Requirement};
use crate::domain::review::{Version, Versions};
use crate::domain::wrong::{Findings, Rule};
use crate::render::DEEPEST;
use crate::view::rule_pack;

impl Api {
    /// Checks what a claim names.
    pub(super) async fn check_claim(
        &self,
        tenant: &str,
        content: &ClaimContent,
        mut found: Findings,
    ) -> Result<(), Problem> {
        self.product(tenant, &content.product_id, &mut found).await?;
        self.references(tenant, &content.reference_ids, self.now(), &mut found).await?;
        found.finish()
    }

    /// Checks that something a claim cites counts, and that everything it cites exists.
    pub(super) async fn references(
        &self,
        tenant: &str,
        ids: &[String],
        at: Timestamp,
        found: &mut Findings,
    ) -> Result<(), Problem> {
        let cited = self.deps.store.load_many::<Reference>(tenant, ids).await?;
        for (n, it) in cited.iter().enumerate() {
            if !it.state.counts_at(at) {
                found.add(
                    Rule::NoReference,
                    format!("content.reference_ids[{n}]"),
                    "Cite a reference that exists and is valid.",
                );
            }
        }
        Ok(())
    }

    /// Checks what a module names.
    pub(super) async fn check_module(
        &self,
        tenant: &str,
        module_id: &str,
        content: &ModuleContent,
        mut found: Findings,
    ) -> Result<(), Problem> {
        // A module that is malformed names nothing reliably.
        if !found.0.is_empty() {
            return found.finish();
        }
        self.product(tenant, &content.product_id, &mut found).await?;
        let assets = self.deps.store.load_many::<Asset>(tenant, &content.asset_ids).await?;
        for (n, it) in assets.iter().enumerate() {
            let field = format!("content.asset_ids[{n}]");
            found.require(
                it.state.counts_at(self.now()),
                field,
                "Name an asset that is stored and has rights.",
            );
        }
        self.named::<Claim>(tenant, of_kind(content, SlotKind::Claim), "claim", &mut found).await?;
        // Itself is no cycle of others, but it is one.
        let modules = of_kind(content, SlotKind::Module);
        let others = modules.iter().filter(|it| it.1 != module_id).cloned().collect();
        self.named::<Module>(tenant, others, "module", &mut found).await?;
        if self.comes_back(tenant, module_id, content).await? {
            for (field, _) in modules {
                found.add(Rule::Cycle, field, "Name a module that does not lead back here.");
            }
        }
        found.finish()
    }

    async fn product(&self, tenant: &str, id: &str, found: &mut Findings) -> Result<(), Problem> {
        if id.is_empty() || !chassis::name::is_authored_id(id) {
            return Ok(());
        }
        let known = self.deps.store.load_many::<Product>(tenant, &[id.to_owned()]).await?;
        let known = known.iter().any(|it| it.version > 0);
        found.require(known, "content.product_id", "Name a registered product, or leave it empty.");
        Ok(())
    }

    /// Checks that streams exist; each id with the field that names it.
    async fn named<D: Decider>(
        &self,
        tenant: &str,
        named: Vec<(String, String)>,
        what: &str,
        found: &mut Findings,
    ) -> Result<(), Problem> {
        let ids: Vec<_> = named.iter().map(|it| it.1.clone()).collect();
        let known = self.deps.store.load_many::<D>(tenant, &ids).await?;
        for ((field, _), it) in named.into_iter().zip(known) {
            found.require(it.version > 0, field, format!("Name a {what} that exists."));
        }
        Ok(())
    }

    /// Whether modules in the slots lead back to a module, or deeper than modules may stand. Every version counts that
    /// may still be used.
    async fn comes_back(
        &self,
        tenant: &str,
        module_id: &str,
        content: &ModuleContent,
    ) -> Result<bool, Problem> {
        let mut level: BTreeSet<_> = inner(content).cloned().collect();
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for _ in 0..DEEPEST {
            if level.is_empty() || level.contains(module_id) {
                return Ok(!level.is_empty());
            }
            let unread: Vec<_> =
                level.iter().filter(|it| !known.contains_key(*it)).cloned().collect();
            let loaded = self.deps.store.load_many::<Module>(tenant, &unread).await?;
            known.extend(unread.into_iter().zip(loaded.iter().map(|it| all_inner(&it.state))));
            level = level.iter().filter_map(|it| known.get(it)).flatten().cloned().collect();
        }
        Ok(!level.is_empty())
    }

    /// The roles that must review content of a class for markets, by the packs in force.
    pub(super) async fn requirement(
        &self,
        tenant: &str,
        markets: &[String],
        class: ContentClass,
        at: Timestamp,
    ) -> Result<Requirement, Problem> {
        let packs = rule_pack::in_force(self.deps.store.database(), tenant, markets, at).await?;
        let by_market = markets.iter().map(|market| (market.as_str(), packs.get(market)));
        Ok(requirement::of_markets(by_market, class))
    }
}

/// Ids in slots of a kind, and in the rule about what must accompany, each with its field.
pub(super) fn of_kind(content: &ModuleContent, kind: SlotKind) -> Vec<(String, String)> {
    let slots = content.slots.iter().enumerate().filter(|(_, it)| it.kind() == kind);
    let mut named: Vec<_> =
        slots.map(|(n, it)| (format!("content.slots[{n}].of"), it.of.clone())).collect();
    for (n, rule) in content.rules.iter().enumerate() {
        let Some(Assembly::MustAccompany(it)) = &rule.rule else { continue };
        let id = if kind == SlotKind::Claim { &it.claim_id } else { &it.module_id };
        if !id.is_empty() {
            named.push((format!("content.rules[{n}].must_accompany"), id.clone()));
        }
    }
    named
}

fn inner(content: &ModuleContent) -> impl Iterator<Item = &String> {
    let is_module = |it: &&Slot| it.kind() == SlotKind::Module;
    content.slots.iter().filter(is_module).map(|it| &it.of)
}

fn all_inner(versions: &Versions) -> BTreeSet<String> {
    let alive = versions.iter().filter(|it: &&Version| !it.stage.is_over());
    let contents: Vec<_> = alive.filter_map(module::content_of).collect();
    contents.iter().flat_map(inner).cloned().collect()
}
