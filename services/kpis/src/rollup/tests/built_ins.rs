use std::collections::BTreeSet;

use crate::rollup::built_in;

#[test]
fn every_document_compiles_under_its_own_name() {
    let ids: BTreeSet<_> = built_in::all().iter().map(|it| it.metric.metric.clone()).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/metrics");
    let files: BTreeSet<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|it| it.expect("a file").file_name().into_string().expect("a name"))
        .map(|it| it.trim_end_matches(".yaml").to_owned())
        .collect();
    assert_eq!(ids, files);
    assert!(built_in::all().iter().all(|it| !it.metric.description.is_empty()));
}

#[test]
fn everything_about_parties_hides_few_patients() {
    for definition in built_in::all().iter().filter(|it| it.metric.source != "content") {
        let id = &definition.metric.metric;
        assert_eq!(definition.metric.suppress_below.get("PATIENT"), Some(&5), "{id}");
    }
}

#[test]
fn what_must_be_there_is() {
    let asked = [
        "nps",
        "csat",
        "ces",
        "time-to-resolution",
        "time-to-resolution-p90",
        "delivery-rate",
        "open-rate",
        "click-rate",
        "response-rate",
        "portal-visits",
        "portal-time",
        "orders",
        "order-value",
        "decision-acceptance",
        "suggestion-acceptance",
        "touches-skipped",
        "review-cycle-time",
        "consent-withdrawal-time",
        "safety-escalations",
        "safety-late-hand-offs",
    ];
    assert!(asked.iter().all(|it| built_in::find(it).is_some()));
}
