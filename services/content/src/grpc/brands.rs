//! Keeping to the brands that a caller is confined to. A claim or module is of the brands of its products, those of all its
//! versions; what names no product is of no brand, and only for who is confined to none.

use std::collections::BTreeSet;

use chassis::auth::Caller;
use chassis::name::unknown;
use chassis::page::Page;
use chassis::status::{BRAND_FORBIDDEN, Problem};
use eventstore::Decider;
use rapport_proto::content::v1::{self as proto, ModuleContent, SlotKind};

use super::Api;
use super::existing::of_kind;
use crate::domain::claim::{self, Claim};
use crate::domain::module::{self, Module};
use crate::domain::product::Product;
use crate::domain::review::{Version, Versions};

/// What is about a product.
pub(super) trait OfProduct: Decider<State = Versions> {
    const KIND: &'static str;

    /// The product of a version; empty for none.
    fn product_id(version: &Version) -> Option<String>;
}

impl OfProduct for Claim {
    const KIND: &'static str = "claim";

    fn product_id(version: &Version) -> Option<String> {
        claim::content_of(version).map(|it| it.product_id)
    }
}

impl OfProduct for Module {
    const KIND: &'static str = "module";

    fn product_id(version: &Version) -> Option<String> {
        module::content_of(version).map(|it| it.product_id)
    }
}

/// Rows that are looked at together for who is confined to brands, whatever the size of the page.
const LOOKED_AT: u32 = 200;

/// A page of what the caller reaches, by id. It is read on until the page is full, so that neither a token nor a short
/// page tells of anything else.
pub(super) struct Reading<'a, T> {
    page: &'a Page,
    /// Rows to read at once.
    limit: u32,
    /// Where to read on; nothing when that is enough.
    after: Option<String>,
    reached: Vec<(String, T)>,
}

impl<'a, T> Reading<'a, T> {
    pub(super) fn new(caller: &Caller, page: &'a Page) -> Self {
        let least = if caller.brands.is_some() { LOOKED_AT } else { 0 };
        Self {
            page,
            limit: (page.size + 1).max(least),
            after: Some(page.cursor::<&str>().unwrap_or_default().to_owned()),
            reached: Vec::new(),
        }
    }

    /// After which id to read, and how many rows.
    pub(super) fn next(&mut self) -> Option<(String, u32)> {
        self.after.take().map(|after| (after, self.limit))
    }

    /// What was read, with nothing for what is out of reach.
    pub(super) fn read(&mut self, ids: Vec<String>, shown: impl IntoIterator<Item = Option<T>>) {
        let last = ids.last().filter(|_| ids.len() == self.limit as usize).cloned();
        self.reached.extend(ids.into_iter().zip(shown).filter_map(|(id, it)| Some((id, it?))));
        self.after = last.filter(|_| self.reached.len() <= self.page.size as usize);
    }

    /// The page, and the token for the next one.
    pub(super) fn done(mut self) -> (Vec<T>, String) {
        let next_page_token = self.page.cut(&mut self.reached, |it| it.0.clone());
        (self.reached.into_iter().map(|it| it.1).collect(), next_page_token)
    }
}

impl Api {
    /// Refuses a claim or module outside of the caller's brands, as if there were none.
    pub(super) async fn in_reach<A: OfProduct>(
        &self,
        caller: &Caller,
        id: &str,
        field: &str,
    ) -> Result<(), Problem> {
        if caller.brands.is_none() {
            return Ok(());
        }
        let found = self.deps.find::<A>(&caller.tenant, id, field).await?.state;
        match self.reached::<A>(caller, &[&found]).await?.as_slice() {
            [true] => Ok(()),
            _ => Err(unknown(field)),
        }
    }

    /// Which of some claims or modules are within the caller's brands.
    pub(super) async fn reached<A: OfProduct>(
        &self,
        caller: &Caller,
        found: &[&Versions],
    ) -> Result<Vec<bool>, Problem> {
        if caller.brands.is_none() {
            return Ok(vec![true; found.len()]);
        }
        let products = |it: &&Versions| it.iter().filter_map(A::product_id).collect();
        let products: Vec<BTreeSet<String>> = found.iter().map(products).collect();
        let ids = products.iter().flatten().filter(|it| !it.is_empty()).cloned();
        let own = self.own_products(caller, ids.collect::<BTreeSet<_>>()).await?;
        Ok(products.iter().map(|it| !it.is_empty() && it.is_subset(&own)).collect())
    }

    /// Refuses a version that would be outside of the caller's brands, or be added to what is.
    pub(super) async fn may_save<A: OfProduct>(
        &self,
        caller: &Caller,
        id: &str,
        product_id: &str,
    ) -> Result<(), Problem> {
        if caller.brands.is_none() {
            return Ok(());
        }
        let (tenant, store) = (caller.tenant.as_str(), &self.deps.store);
        let product = store.load_many::<Product>(tenant, &[product_id.to_owned()]).await?;
        let product = product.into_iter().next().and_then(|it| it.state.product);
        caller.in_brand(&product.unwrap_or_default().brand)?;
        let known = store.load_many::<A>(tenant, &[id.to_owned()]).await?;
        let known: Vec<_> = known.iter().map(|it| &it.state).filter(|it| !it.is_empty()).collect();
        match self.reached::<A>(caller, &known).await?.contains(&false) {
            true => Err(Problem::of(BRAND_FORBIDDEN)),
            false => Ok(()),
        }
    }

    /// Refuses a product that would be, or was, outside of the caller's brands.
    pub(super) async fn may_register(
        &self,
        caller: &Caller,
        product: &proto::Product,
    ) -> Result<(), Problem> {
        caller.in_brand(&product.brand)?;
        let id = product.product_id.clone();
        let known = self.deps.store.load_many::<Product>(&caller.tenant, &[id]).await?;
        let mut known = known.into_iter().filter_map(|it| it.state.product);
        match known.all(|it| caller.reaches_brand(&it.brand)) {
            true => Ok(()),
            false => Err(Problem::of(BRAND_FORBIDDEN)),
        }
    }

    /// Refuses a module that is made of claims or modules outside of the caller's brands, as if there were none.
    pub(super) async fn may_name(
        &self,
        caller: &Caller,
        content: &ModuleContent,
    ) -> Result<(), Problem> {
        self.parts_in_reach::<Claim>(caller, of_kind(content, SlotKind::Claim)).await?;
        self.parts_in_reach::<Module>(caller, of_kind(content, SlotKind::Module)).await
    }

    /// Each id comes with the field that names it.
    async fn parts_in_reach<A: OfProduct>(
        &self,
        caller: &Caller,
        named: Vec<(String, String)>,
    ) -> Result<(), Problem> {
        if caller.brands.is_none() {
            return Ok(());
        }
        let ids: Vec<_> = named.iter().map(|it| it.1.clone()).collect();
        let found = self.deps.store.load_many::<A>(&caller.tenant, &ids).await?;
        let found: Vec<_> = found.iter().map(|it| &it.state).collect();
        let reached = self.reached::<A>(caller, &found).await?;
        match named.iter().zip(reached).find(|it| !it.1) {
            None => Ok(()),
            Some(((field, _), _)) => {
                Err(Problem::field(field.as_str(), format!("Name a {} that exists.", A::KIND)))
            }
        }
    }

    /// Those of some products that are of the caller's brands.
    async fn own_products(
        &self,
        caller: &Caller,
        ids: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Problem> {
        let ids: Vec<_> = ids.into_iter().collect();
        let found = self.deps.store.load_many::<Product>(&caller.tenant, &ids).await?;
        let known = found.into_iter().filter_map(|it| it.state.product);
        let own = known.filter(|it| caller.reaches_brand(&it.brand));
        Ok(own.map(|it| it.product_id).collect())
    }
}
