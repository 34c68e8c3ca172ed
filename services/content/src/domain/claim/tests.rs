use proptest::prelude::*;
use prost::Message as _;
use rapport_proto::content::v1::{ClaimContent, Signature};

use super::*;
use crate::domain::wrong::Rule;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn claim() -> ClaimContent {
    ClaimContent {
        text: "Works within one hour.".into(),
        category: "efficacy".into(),
        markets: vec!["DE".into()],
        reference_ids: vec!["study".into()],
        language: "de".into(),
        ..Default::default()
    }
}

fn found(change: impl FnOnce(&mut ClaimContent)) -> Vec<(String, Rule)> {
    let mut content = claim();
    change(&mut content);
    content::check(&content, NOW).0.into_iter().map(|it| (it.field, it.rule)).collect()
}

#[test]
fn a_claim_names_text_category_market_language_and_references() {
    assert_eq!(found(|_| ()), []);
    let field = |name: &str| vec![(format!("content.{name}"), Rule::Field)];
    assert_eq!(found(|it| it.text = "x".repeat(19)), field("text"));
    assert_eq!(found(|it| it.text = "x".repeat(1501)), field("text"));
    assert_eq!(found(|it| it.text = "x".repeat(1500)), []);
    assert_eq!(found(|it| it.text.push('\u{202e}')), field("text"));
    assert_eq!(found(|it| it.category = "very good".into()), field("category"));
    assert_eq!(found(|it| it.product_id = "A B".into()), field("product_id"));
    assert_eq!(found(|it| it.markets = vec![]), field("markets"));
    assert_eq!(found(|it| it.markets = vec!["EU".into()]), field("markets[0]"));
    assert_eq!(found(|it| it.markets = vec!["DE".into(), "DE".into()]), field("markets[1]"));
    assert_eq!(found(|it| it.language = "deutsch!".into()), field("language"));
    assert_eq!(found(|it| it.expires_at = Some(NOW.to_proto())), field("expires_at"));
    assert_eq!(found(|it| it.reference_ids = vec!["A/B".into()]), field("reference_ids[0]"));
    let none = vec![("content.reference_ids".to_owned(), Rule::NoReference)];
    assert_eq!(found(|it| it.reference_ids = vec![]), none);
}

#[test]
fn an_approved_claim_carries_its_content_to_others() {
    let bytes = claim().encode_to_vec();
    let hash = crate::domain::hash_of(&bytes);
    let signature = Signature {
        signature_id: "sig_1".into(),
        signer: "mia".into(),
        content_hash: hash.clone(),
        ..Default::default()
    };
    let opinion = Opinion {
        version: 1,
        role: ReviewRole::Medical,
        verdict: Verdict::Approve,
        comment: String::new(),
        signature,
    };
    let commands = [
        Command::Save { content: bytes, author: "author".into() },
        Command::Submit {
            version: 0,
            markets: vec![],
            roles: vec![ReviewRole::Medical],
            packs: vec![],
        },
        Command::Review(Box::new(opinion)),
    ];
    let (mut state, mut last) = (Versions::default(), None);
    for command in commands {
        let events = Claim::decide(&state, command, NOW).expect("granted");
        state = events.iter().fold(state, Claim::evolve);
        last = events.last().cloned();
    }
    let approved = proto::ClaimApproved {
        version: 1,
        content_hash: hash,
        signature_ids: vec!["sig_1".into()],
        content: Some(claim()),
    };
    assert_eq!(last, Some(Event::Approved(approved)));
}

proptest! {
    #[test]
    fn checking_never_panics(text in any::<String>(), markets in prop::collection::vec(any::<String>(), 0..4)) {
        let _ = found(|it| {
            it.text.clone_from(&text);
            it.language = text.clone();
            it.category = text;
            it.reference_ids.clone_from(&markets);
            it.markets = markets;
        });
    }
}
