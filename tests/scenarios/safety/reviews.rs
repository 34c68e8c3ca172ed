//! Reviews of medicines that people wrote, through the screening as it runs in production: each is what a customer said
//! in a case. The reviews are not ours to pass on: tests/setup installs them, and `tests/data/drug-reviews` holds what we
//! read in a part of them.
//!
//! What is claimed is recall: a text that tells of harm and is not seen is the failure that counts. Nearly every review of
//! a medicine speaks of an illness, so precision says little here; it is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rapport::remote::told;
use rapport_proto::content::v1::{Product, RegisterProductRequest};
use rapport_proto::feedback::v1::{CaseType, OpenCaseRequest, TextReceived, TextScreened};
use serde_json::Value;
use support::{Topology, python};

use crate::stage::{Stage, tell};

/// Reviews that are screened: those that were read, and more.
const REVIEWS: usize = 400;
/// Calls at the same time.
const AT_ONCE: usize = 8;
/// Texts that are screened before the next are sent.
const BATCH: usize = 50;

const LABELS: &str = include_str!("../../data/drug-reviews/labels.tsv");
/// The last so many labels were given to reviews by which nothing was changed.
const HELD_OUT: usize = 60;

/// A review, with the numbers of the names that stand in it, and of those that mean what it is about.
struct Review {
    id: String,
    text: String,
    stand: BTreeSet<usize>,
    own: BTreeSet<usize>,
}

/// What the screening made of a text.
struct Screened {
    hits: Vec<String>,
    named: BTreeSet<usize>,
    candidate: bool,
}

impl Screened {
    /// Whether words tell of harm, whatever products are named.
    fn tells_of_harm(&self) -> bool {
        let kinds = ["event.", "serious.", "situation."];
        self.hits.iter().any(|it| kinds.iter().any(|kind| it.starts_with(kind)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_who_tell_of_harm_are_heard() {
    tell(Topology::Embedded, heard).await;
}

async fn heard(stage: &mut Stage) {
    let (names, reviews) = installed();
    register(stage, &names).await;
    let screened = screen(stage, &reviews).await;
    assert_eq!(screened.len(), REVIEWS);
    recall(&screened);
    products(&reviews, &screened);
}

/// What was read in the labelled reviews against what the screening made of them.
fn recall(screened: &BTreeMap<String, Screened>) {
    let lines = LABELS.lines().filter(|it| !it.starts_with('#'));
    let labels: Vec<_> = lines.filter_map(|it| it.split_once('\t')).collect();
    assert!(labels.len() >= 150 && labels.iter().all(|it| screened.contains_key(it.0)));
    let held_out = &labels[labels.len() - HELD_OUT..];
    let all = labels.as_slice();
    for (what, labels, floor) in [("all", all, 0.98), ("held out", held_out, 0.95)] {
        for (how, by_words) in [("candidates", false), ("by words of harm alone", true)] {
            let seen = |id: &str| {
                let it = &screened[id];
                if by_words { it.tells_of_harm() } else { it.candidate }
            };
            let told = labels.iter().filter(|it| it.1 == "event");
            let (mut hit, mut missed) = (0, Vec::new());
            for (id, _) in told {
                if seen(id) { hit += 1 } else { missed.push(*id) }
            }
            let marked = labels.iter().filter(|it| seen(it.0)).count();
            let special = labels.iter().filter(|it| it.1 == "situation" && seen(it.0)).count();
            let (recall, precision) = (share(hit, hit + missed.len()), share(hit, marked));
            println!(
                "{what}, {how}: {} labelled, {} tell of an event, recall {recall:.3}, precision {precision:.3} \
                 ({:.3} with special situations), missed {missed:?}",
                labels.len(),
                hit + missed.len(),
                share(hit + special, marked),
            );
            assert!(recall >= floor, "{what}, {how}: {recall} of {floor}, missed {missed:?}");
        }
    }
}

/// Names that stand in a review as they are written are found, all of them; others hardly.
fn products(reviews: &[Review], screened: &BTreeMap<String, Screened>) {
    let (mut stand, mut found, mut beyond, mut known, mut right) = (0, 0, 0, 0, 0);
    for review in reviews {
        let named = &screened[&review.id].named;
        stand += review.stand.len();
        found += review.stand.intersection(named).count();
        beyond += named.difference(&review.stand).count();
        known += usize::from(!review.stand.is_disjoint(&review.own));
        right += usize::from(!named.is_disjoint(&review.own));
    }
    println!(
        "{} reviews, {known} call their drugName by a name of the catalogue, {right} were found to; {stand} names stand \
         in them, {found} were found, and {beyond} beyond: plurals, and a letter wrong",
        reviews.len(),
    );
    assert!(known > 100 && stand > 200, "there is something to find");
    assert_eq!(found, stand, "what stands there is found");
    assert!(right >= known);
    assert!(share(found, found + beyond) > 0.8, "{beyond} beyond {found}");
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Names of medicines, and the reviews.
fn installed() -> (Vec<String>, Vec<Review>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/safety/reviews.py");
    let printed = Command::new(python()).args([script, &REVIEWS.to_string()]).output();
    let printed = printed.expect("Python starts");
    let complained = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "run tests/setup reviews: {complained}");
    let told: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let text = |it: &Value| it.as_str().expect("a text").to_owned();
    let numbers = |it: &Value| -> BTreeSet<usize> {
        let numbers = it.as_array().expect("numbers").iter();
        numbers.map(|it| usize::try_from(it.as_u64().expect("a number")).expect("small")).collect()
    };
    let names = told["names"].as_array().expect("names").iter().map(text).collect();
    let review = |it: &Value| Review {
        id: text(&it["id"]),
        text: text(&it["text"]),
        stand: numbers(&it["stand"]),
        own: numbers(&it["own"]),
    };
    (names, told["reviews"].as_array().expect("reviews").iter().map(review).collect())
}

/// The tenant sells them all.
async fn register(stage: &mut Stage, names: &[String]) {
    let remote = &stage.remote;
    let registered = stream::iter(names.iter().enumerate()).map(|(number, name)| async move {
        let product = Product {
            product_id: format!("product-{number}"),
            brand: name.clone(),
            indications: vec!["as reviewed".into()],
            markets: vec!["US".into()],
        };
        let parent = remote.parent.clone();
        let request =
            RegisterProductRequest { parent, product: Some(product), ..Default::default() };
        told(remote.library.clone().register_product(request).await)
    });
    let all: Vec<_> = registered.buffer_unordered(AT_ONCE).try_collect().await.expect("registered");
    assert_eq!(all.len(), names.len());
    stage.settle().await;
}

/// Has everything screened; what came of each review.
async fn screen(stage: &mut Stage, reviews: &[Review]) -> BTreeMap<String, Screened> {
    let party_id = stage.physician("reader", "DE").await;
    let party_id = party_id.as_str();
    let mut of_case = BTreeMap::new();
    for batch in reviews.chunks(BATCH) {
        let remote = &stage.remote;
        let opened = stream::iter(batch).map(|review| async move {
            let request = OpenCaseRequest {
                parent: remote.parent.clone(),
                r#type: CaseType::ProductQuality.into(),
                party_id: party_id.into(),
                text: review.text.clone(),
                language: "en".into(),
                ..Default::default()
            };
            let case =
                told(remote.cases.clone().open_case(request).await)?.case.unwrap_or_default();
            let id = case.name.rsplit('/').next().unwrap_or_default().to_owned();
            Ok::<_, rapport::remote::Refused>((id, review.id.clone()))
        });
        let opened: Vec<_> = opened.buffer_unordered(AT_ONCE).try_collect().await.expect("opened");
        of_case.extend(opened);
        stage.settle().await;
    }
    let (mut of_text, mut screened) = (BTreeMap::new(), BTreeMap::new());
    for (_, envelope) in stage.platform.log_of("feedback").await {
        match envelope.r#type.as_str() {
            "rapport.feedback.v1.TextReceived" => {
                let it: TextReceived = prost::Message::decode(&*envelope.payload).expect("a text");
                of_text.insert(it.text_id, it.of_id);
            }
            "rapport.feedback.v1.TextScreened" => {
                let it: TextScreened =
                    prost::Message::decode(&*envelope.payload).expect("a result");
                let number = |it: &String| it.strip_prefix("product-")?.parse().ok();
                let named = it.products.iter().filter_map(number).collect();
                let found = Screened { hits: it.hits, named, candidate: !it.clear };
                screened.insert(of_case[&of_text[&it.text_id]].clone(), found);
            }
            _ => {}
        }
    }
    screened
}
