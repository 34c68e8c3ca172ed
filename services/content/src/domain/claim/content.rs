//! Whether what an author wrote can be a claim.

use eventstore::Timestamp;
use rapport_proto::content::v1::ClaimContent;
use rapport_proto::is_market;

use crate::domain::text::{self, is_code, is_language};
use crate::domain::wrong::{Findings, Rule, ends_later};

/// What is wrong with a claim that is saved at an instant, as far as it can be told from the claim alone.
pub(crate) fn check(content: &ClaimContent, at: Timestamp) -> Findings {
    let mut found = Findings::default();
    found.keep(chassis::text::prose("content.text", &content.text, 20..=1500));
    found.require(is_code(&content.category), "content.category", text::CODE);
    let product =
        content.product_id.is_empty() || chassis::name::is_authored_id(&content.product_id);
    found.require(product, "content.product_id", "Use the id of a product, or leave it empty.");
    found.require(!content.markets.is_empty(), "content.markets", "Name at least one market.");
    found.list("content.markets", &content.markets, 249, |it| is_market(it), text::MARKET);
    let reference = |it: &String| chassis::name::is_authored_id(it);
    found.list(
        "content.reference_ids",
        &content.reference_ids,
        50,
        reference,
        "Use the id of a reference.",
    );
    if content.reference_ids.is_empty() {
        found.add(Rule::NoReference, "content.reference_ids", "Cite at least one reference.");
    }
    found.require(is_language(&content.language), "content.language", text::LANGUAGE);
    ends_later(&mut found, "content.expires_at", content.expires_at.as_ref(), at);
    found
}
