//! Whether what an author wrote can be a module.

use std::collections::BTreeMap;

use eventstore::Timestamp;
use prost::Message as _;
use rapport_proto::content::v1::assembly_rule::Rule as Assembly;
use rapport_proto::content::v1::{ModuleContent, Slot, SlotKind, Variant};
use rapport_proto::is_market;
use rapport_proto::types::{Audience, Channel, ContentClass};

use crate::domain::instant;
use crate::domain::template::{Segment, is_slot_name, parse};
use crate::domain::text::{self, is_code, is_language};
use crate::domain::value;
use crate::domain::wrong::{Findings, Rule, ends_later};

/// Bytes that the content of a version may have: its event has room for no more.
const MOST_BYTES: usize = 200 * 1024;
/// Slots, variants, rules, tags, assets: of each at most.
const MOST: usize = 100;
/// Characters of a template: a message, not a book.
const MOST_TEXT: usize = 20_000;
const MOST_HTML: usize = 100_000;
/// Characters a value may have at most.
const MOST_VALUE: u32 = 10_000;

/// What is wrong with a module that is saved at an instant, as far as it can be told from the module alone.
pub(crate) fn check(content: &ModuleContent, at: Timestamp) -> Findings {
    let mut found = Findings::default();
    let size = content.encoded_len();
    found.require(
        size <= MOST_BYTES,
        "content",
        format!("Use at most {MOST_BYTES} bytes; split the module."),
    );
    if size > MOST_BYTES {
        return found;
    }
    head(&mut found, content);
    target(&mut found, content);
    slots(&mut found, &content.slots);
    variants(&mut found, content);
    rules(&mut found, content);
    ends_later(&mut found, "content.expires_at", content.expires_at.as_ref(), at);
    let (from, until) =
        (instant(content.usable_from.as_ref()), instant(content.expires_at.as_ref()));
    let begins = content.usable_from.is_none() || from.is_some();
    found.require(
        begins,
        "content.usable_from",
        "Use a time before the year 10000, or leave it empty.",
    );
    let ordered = from.zip(until).is_none_or(|(from, until)| from < until);
    found.require(ordered, "content.expires_at", "Use a time after usable_from.");
    found
}

fn head(found: &mut Findings, content: &ModuleContent) {
    found.keep(chassis::text::line("content.title", &content.title, 1..=200));
    let class = ContentClass::try_from(content.content_class).unwrap_or_default();
    found.require(
        class != ContentClass::Unspecified,
        "content.content_class",
        "Choose a content class.",
    );
    let product =
        content.product_id.is_empty() || chassis::name::is_authored_id(&content.product_id);
    found.require(product, "content.product_id", "Use the id of a product, or leave it empty.");
    found.require(content.topic.is_empty() || is_code(&content.topic), "content.topic", text::CODE);
    found.list("content.tags", &content.tags, MOST, |it| is_code(it), text::CODE);
    let asset = |it: &String| chassis::name::is_authored_id(it);
    found.list("content.asset_ids", &content.asset_ids, MOST, asset, "Use the id of an asset.");
}

fn target(found: &mut Findings, content: &ModuleContent) {
    found.require(!content.markets.is_empty(), "content.markets", "Name at least one market.");
    found.list("content.markets", &content.markets, 249, |it| is_market(it), text::MARKET);
    found.require(
        !content.audiences.is_empty(),
        "content.audiences",
        "Name at least one audience.",
    );
    let audience = |it: &i32| Audience::try_from(*it).is_ok_and(|it| it != Audience::Unspecified);
    found.list(
        "content.audiences",
        &content.audiences,
        7,
        audience,
        "Choose one of the audiences.",
    );
    for (market, language) in content.default_languages.iter().take(249) {
        let field =
            format!("content.default_languages[{}]", if is_market(market) { market } else { "?" });
        found.require(
            content.markets.contains(market),
            field.as_str(),
            "Name a market of the module.",
        );
        let spoken = content.variants.iter().any(|it| it.language.eq_ignore_ascii_case(language));
        found.require(spoken, field.as_str(), "Name a language for which there is a variant.");
    }
}

fn slots(found: &mut Findings, slots: &[Slot]) {
    found.require(slots.len() <= MOST, "content.slots", format!("Declare at most {MOST}."));
    for (n, slot) in slots.iter().enumerate().take(MOST) {
        let field = |name: &str| format!("content.slots[{n}].{name}");
        found.require(
            is_slot_name(&slot.name),
            field("name"),
            "Use a lower-case letter, then up to 62 of a-z, 0-9 and _.",
        );
        let first = slots[..n].iter().all(|it| it.name != slot.name);
        found.require(first, field("name"), "Declare each slot once.");
        found.require(
            slot.max_length <= MOST_VALUE,
            field("max_length"),
            format!("Use 0 to {MOST_VALUE}."),
        );
        let (of_fits, remedy) = match slot.kind() {
            SlotKind::Unspecified => {
                found.add(Rule::Field, field("kind"), "Choose a kind.");
                continue;
            }
            SlotKind::Text | SlotKind::Number | SlotKind::Date | SlotKind::Link => {
                (slot.of.is_empty(), "Leave it empty: the value comes with the request.")
            }
            SlotKind::PartyField => (is_attribute(&slot.of), "Name an attribute of the recipient."),
            SlotKind::Claim => (chassis::name::is_authored_id(&slot.of), "Use the id of a claim."),
            SlotKind::Module => {
                (chassis::name::is_authored_id(&slot.of), "Use the id of a module.")
            }
        };
        found.require(of_fits, field("of"), remedy);
        if !slot.fallback.is_empty() {
            fallback(found, &field("fallback"), slot);
        }
    }
}

/// Names of attributes as `profiles` has them.
fn is_attribute(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn fallback(found: &mut Findings, field: &str, slot: &Slot) {
    if matches!(slot.kind(), SlotKind::Claim | SlotKind::Module) {
        return found.add(
            Rule::Field,
            field,
            "Leave it empty: approved content has no substitute.",
        );
    }
    if slot.required {
        return found.add(Rule::Field, field, "Leave it empty: rendering fails without a value.");
    }
    if let Err(misfit) = value::fit(slot, &slot.fallback) {
        found.add(Rule::Field, field, format!("Use a text that fits the slot: {misfit}."));
    }
}

fn variants(found: &mut Findings, content: &ModuleContent) {
    let variants = &content.variants;
    found.require(!variants.is_empty(), "content.variants", "Write at least one variant.");
    found.require(variants.len() <= MOST, "content.variants", format!("Write at most {MOST}."));
    let slots: BTreeMap<_, _> =
        content.slots.iter().map(|it| (it.name.as_str(), it.kind())).collect();
    for (n, variant) in variants.iter().enumerate().take(MOST) {
        let at = format!("content.variants[{n}]");
        let key = |it: &Variant| (it.channel, it.language.to_ascii_lowercase(), it.tone.clone());
        let first = variants[..n].iter().all(|it| key(it) != key(variant));
        found.require(first, at.as_str(), "Write one variant for a channel, language and tone.");
        form(found, &at, variant);
        for (name, text) in
            [("subject", &variant.subject), ("text", &variant.text), ("html", &variant.html)]
        {
            template(found, &format!("{at}.{name}"), text, &slots, name == "subject");
        }
    }
}

fn form(found: &mut Findings, at: &str, variant: &Variant) {
    let channel = Channel::try_from(variant.channel).unwrap_or_default();
    found.require(channel != Channel::Unspecified, format!("{at}.channel"), "Choose a channel.");
    found.require(is_language(&variant.language), format!("{at}.language"), text::LANGUAGE);
    found.require(
        variant.tone.is_empty() || is_code(&variant.tone),
        format!("{at}.tone"),
        text::CODE,
    );
    // One line without control characters: a subject becomes a header.
    found.keep(chassis::text::line(&format!("{at}.subject"), &variant.subject, 0..=300));
    found.keep(chassis::text::prose(&format!("{at}.text"), &variant.text, 1..=MOST_TEXT));
    found.keep(chassis::text::prose(&format!("{at}.html"), &variant.html, 0..=MOST_HTML));
    let html = variant.html.is_empty() || channel == Channel::Email;
    found.require(html, format!("{at}.html"), "Leave it empty: only e-mail has HTML.");
}

fn template(
    found: &mut Findings,
    field: &str,
    text: &str,
    slots: &BTreeMap<&str, SlotKind>,
    is_subject: bool,
) {
    let segments = match parse(text) {
        Ok(segments) => segments,
        Err(malformed) => return found.add(Rule::Field, field, malformed.to_string()),
    };
    for segment in segments {
        let Segment::Slot(name) = segment else { continue };
        match slots.get(name) {
            None => found.add(
                Rule::SlotUnknown,
                field,
                format!("Declare the slot {name}, or name one that is."),
            ),
            Some(SlotKind::Claim | SlotKind::Module) if is_subject => {
                found.add(
                    Rule::Field,
                    field,
                    format!("Do not print approved content in a subject: {name}."),
                );
            }
            Some(_) => {}
        }
    }
}

fn rules(found: &mut Findings, content: &ModuleContent) {
    let rules = &content.rules;
    found.require(rules.len() <= MOST, "content.rules", format!("State at most {MOST}."));
    let id = |it: &str| chassis::name::is_authored_id(it);
    for (n, rule) in rules.iter().enumerate().take(MOST) {
        let at = format!("content.rules[{n}]");
        match &rule.rule {
            None => found.add(Rule::Field, at, "State a rule."),
            Some(Assembly::Requires(it)) => {
                found.require(id(it), format!("{at}.requires"), "Use the id of a module or claim.");
            }
            Some(Assembly::Excludes(it)) => {
                found.require(id(it), format!("{at}.excludes"), "Use the id of a module or claim.");
            }
            Some(Assembly::Order(it)) => {
                let ids = format!("{at}.order.ids");
                found.require(it.ids.len() >= 2, ids.as_str(), "Name at least two.");
                found.list(&ids, &it.ids, MOST, |it| id(it), "Use the id of a module or claim.");
            }
            Some(Assembly::MaxLength(it)) => {
                found.require(*it > 0, format!("{at}.max_length"), "Use 1 or more characters.");
            }
            Some(Assembly::MustAccompany(it)) => {
                let one = it.claim_id.is_empty() != it.module_id.is_empty();
                found.require(
                    one,
                    format!("{at}.must_accompany"),
                    "Name a claim or a module, one of them.",
                );
                let fits = |it: &str| it.is_empty() || id(it);
                found.require(
                    fits(&it.claim_id),
                    format!("{at}.must_accompany.claim_id"),
                    "Use the id of a claim.",
                );
                found.require(
                    fits(&it.module_id),
                    format!("{at}.must_accompany.module_id"),
                    "Use the id of a module.",
                );
            }
        }
    }
}
