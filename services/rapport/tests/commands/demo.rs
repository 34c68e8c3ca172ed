//! `rapport demo orders`, as a program runs it.

use serde_json::Value;

use super::{fails, succeeds};

#[test]
fn the_demo_of_orders_ends_with_the_same_report_whenever_it_is_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = || -> Value {
        let told = succeeds(
            folder.path(),
            &["demo", "orders", "--share", "0.0005", "--data", "runs", "--output", "json"],
        );
        serde_json::from_str(&told).expect("JSON and nothing else")
    };
    let (mut first, mut second) = (report(), report());
    for name in ["orders", "customers", "value", "events"] {
        assert!(first[name].as_f64().is_some_and(|it| it > 0.0), "{name}: {first:#}");
    }
    assert_eq!(first["chains_intact"], true, "{first:#}");
    assert!(first["touches_by_verdict"].is_object() && first["effect"].is_object(), "{first:#}");
    for report in [&mut first, &mut second] {
        for time in ["wall_seconds", "events_per_second"] {
            let told = report.as_object_mut().and_then(|it| it.remove(time));
            assert!(told.is_some_and(|it| it.as_f64() > Some(0.0)), "{time}");
        }
    }
    assert_eq!(first, second);
    for run in ["1", "2"] {
        assert!(folder.path().join("runs").join(run).join("profiles.db").is_file(), "run {run}");
    }
}

#[test]
fn a_share_is_above_nothing_and_at_most_all() {
    let folder = tempfile::tempdir().expect("a folder");
    for share in ["0", "-0.5", "2", "NaN", "all"] {
        let said = fails(folder.path(), &["demo", "orders", &format!("--share={share}")]);
        assert!(said.contains("--share") && said.contains("above 0, at most 1"), "{said}");
    }
    assert!(fails(folder.path(), &["demo", "orders", "--share=1e-9"]).contains("nobody"));
}
