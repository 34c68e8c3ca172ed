//! What Helm prints after an install: commands that lead somewhere, and warnings that are true.

use std::process::Command;

use super::helm::{NAMESPACE, RELEASE, Scenario, chart, helm, scenario, succeeds};
use super::objects::{items, kind, name, of, workloads};
use crate::PROGRAM;

fn notes(scenario: &Scenario) -> String {
    let mut install = helm();
    install.args(["install", RELEASE]).arg(chart()).args(["--namespace", NAMESPACE]);
    install.arg("--dry-run=client");
    for file in &scenario.files {
        install.arg("--values").arg(file);
    }
    let told = succeeds(&mut install);
    told.split_once("\nNOTES:\n").expect("notes").1.to_owned()
}

/// The words of the line that starts so.
fn line<'a>(notes: &'a str, start: &str) -> Vec<&'a str> {
    let mut lines = notes.lines().filter(|it| it.trim_start().starts_with(start));
    let line = lines.next().unwrap_or_else(|| panic!("no line {start}:\n{notes}"));
    assert!(lines.next().is_none(), "{start} twice:\n{notes}");
    line.split_whitespace().collect()
}

/// What a person types leads to a Service of the release, and is what the program takes.
fn smoke(notes: &str, scenario: &Scenario, scheme: &str, host: &str, tenant: &str) {
    let forward = line(notes, "kubectl --namespace rapport port-forward");
    let service = forward.iter().find_map(|it| it.strip_prefix("service/")).expect("a service");
    let services = of(&scenario.objects, "Service");
    let service = services.iter().find(|it| name(it) == service).expect("of the release");
    let ports = items(&service["spec"]["ports"]);
    let port: u64 = forward[forward.len() - 1].parse().expect("a port");
    assert!(ports.iter().any(|it| it["port"] == port), "{ports:?}");
    let words = line(notes, "rapport smoke");
    let url = format!("{scheme}://{host}:8080");
    assert_eq!(words[2..7], ["--url", &url, "--tenant", tenant, "--token"], "{words:?}");
    let ca = if scheme == "https" { vec!["--set", "tls.ca_file=ca.crt"] } else { Vec::new() };
    assert_eq!(words[8..], ca, "{words:?}");
    // Asked for help, it still refuses what it does not know.
    succeeds(Command::new(PROGRAM).args(&words[1..]).arg("--help"));
}

fn warnings(notes: &str) -> Vec<&str> {
    let cut = |it: &'_ str| -> Option<usize> { it.strip_prefix("WARNING: ")?.find(' ') };
    notes.lines().filter_map(|it| cut(it).map(|end| &it["WARNING: ".len()..][..end])).collect()
}

#[test]
fn in_clear_it_is_reached_at_localhost() {
    let scenario = scenario("minimal");
    let notes = notes(scenario);
    assert!(notes.starts_with("Rapport 0.0.0, distributed: audit, content, "), "{notes}");
    smoke(&notes, scenario, "http", "localhost", "default");
    assert!(!notes.contains("ca.crt"), "{notes}");
    line(&notes, "helm test r --namespace rapport");
    assert_eq!(
        warnings(&notes),
        ["tls.enabled", "database.runtimeRole", "delivery.smtp.existingSecret"]
    );
}

#[test]
fn with_tls_it_is_reached_by_a_name_in_its_certificate() {
    let mtls = scenario("mtls");
    let told = notes(mtls);
    let host = "r-rapport-gateway";
    smoke(&told, mtls, "https", host, "default");
    let certificates = of(&mtls.objects, "Certificate");
    let certificate = certificates.iter().find(|it| name(it) == host).expect("of the gateway");
    assert!(items(&certificate["spec"]["dnsNames"]).iter().any(|it| *it == host));
    assert_eq!(line(&told, "echo")[1..3], ["\"127.0.0.1", "r-rapport-gateway\""]);
    let secret = line(&told, "kubectl --namespace rapport get secret")[5];
    assert_eq!(certificate["spec"]["secretName"], secret);

    let single = scenario("single");
    let told = notes(single);
    smoke(&told, single, "https", "r-rapport-all", "default");
    let secret = line(&told, "kubectl --namespace rapport get secret")[5];
    let found = workloads(&single.objects);
    let pod = found.iter().find(|it| it.serves()).expect("one").spec;
    let volumes = items(&pod["volumes"]).iter();
    let mounted: Vec<_> = volumes.map(|it| &it["secret"]["secretName"]).collect();
    assert!(mounted.iter().any(|it| **it == secret), "{secret} of {mounted:?}");
    assert_eq!(warnings(&told), ["database.runtimeRole", "delivery.smtp.existingSecret"]);
}

#[test]
fn the_first_tenant_is_asked_and_what_is_off_is_warned_of() {
    let knobs = scenario("every-knob");
    smoke(&notes(knobs), knobs, "http", "localhost", "acme");
    let dev = notes(scenario("dev"));
    assert!(dev.starts_with("Rapport 0.0.0, single: all\n"), "{dev}");
    assert!(warnings(&dev).contains(&"networkPolicy.enabled"), "{dev}");
    assert!(of(&scenario("dev").objects, "NetworkPolicy").is_empty());
    assert!(scenario("dev").objects.iter().any(|it| kind(it) == "Job"));
    assert!(!warnings(&dev).contains(&"migrations.enabled"), "{dev}");
}
