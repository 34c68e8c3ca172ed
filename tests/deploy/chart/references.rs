//! What an object names is there: in the release, or among what the values say is somebody else's.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helm::{NAMESPACE, Scenario, obeyed, scenarios};
use super::objects::{called, items, kind, name, of, selects, workloads};
use super::yaml;
use crate::read;

/// Secrets, ConfigMaps and claims that are named anywhere in an object, or in values: `Secret/rapport`.
fn named(value: &Value, found: &mut BTreeSet<String>) {
    for it in items(value) {
        named(it, found);
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let (kind, names) = match key.as_str() {
            "existingSecret" | "databaseSecret" | "natsSecret" | "caSecret" | "secretName" => {
                ("Secret", vec![inner])
            }
            "secret" | "secretRef" | "secretKeyRef" => ("Secret", vec![&inner["name"]]),
            "pullSecrets" | "imagePullSecrets" => {
                ("Secret", items(inner).iter().map(|it| &it["name"]).collect())
            }
            "configMap" | "configMapRef" | "configMapKeyRef" => ("ConfigMap", vec![&inner["name"]]),
            "claimName" => ("PersistentVolumeClaim", vec![inner]),
            _ => ("", Vec::new()),
        };
        let names = names.into_iter().filter_map(Value::as_str).filter(|it| !it.is_empty());
        found.extend(names.map(|it| format!("{kind}/{it}")));
        named(inner, found);
    }
}

/// What the values of a scenario say is there.
fn declared(scenario: &Scenario) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in &scenario.files {
        let values = yaml::document(&read(file));
        named(&values, &mut found);
        let tls = &values["tls"];
        // Without a name and without who makes them, they have the names that the chart's README says.
        if tls["enabled"] == true && tls["existingSecret"].is_null() && tls["certManager"].is_null()
        {
            let targets = of(&scenario.objects, "Deployment").into_iter();
            found.extend(targets.map(|it| format!("Secret/{}-tls", name(it))));
        }
    }
    found
}

/// Secrets that operators make for the release, with their keys.
fn made(objects: &[Value]) -> Vec<(String, BTreeSet<&str>)> {
    let certificates = of(objects, "Certificate").into_iter().filter_map(|it| {
        let name = it["spec"]["secretName"].as_str()?;
        Some((name.to_owned(), BTreeSet::from(["tls.crt", "tls.key", "ca.crt"])))
    });
    let external = of(objects, "ExternalSecret").into_iter().filter_map(|it| {
        let keys = items(&it["spec"]["data"]).iter().filter_map(|it| it["secretKey"].as_str());
        Some((it["spec"]["target"]["name"].as_str()?.to_owned(), keys.collect()))
    });
    certificates.chain(external).collect()
}

#[test]
fn secrets_maps_and_claims_are_there_or_declared() {
    each("What a pod names is of the release, or named in the values.", |scenario| {
        let declared = declared(scenario);
        let made = made(&scenario.objects);
        let there: BTreeSet<_> = scenario.objects.iter().map(called).collect();
        let mut offences = Vec::new();
        for workload in workloads(&scenario.objects) {
            let mut used = BTreeSet::new();
            named(workload.spec, &mut used);
            for it in used {
                let made = made.iter().any(|(name, _)| it == format!("Secret/{name}"));
                if !made && !there.contains(&it) && !declared.contains(&it) {
                    offences.push(format!("{} names {it}", called(workload.object)));
                }
            }
        }
        offences
    });
}

#[test]
fn keys_are_in_what_the_release_makes() {
    each("A key that is mounted, or is a variable, is in what it is of.", |scenario| {
        let made = made(&scenario.objects);
        let keys = |name: &Value| -> Option<BTreeSet<&str>> {
            made.iter().find(|it| *name == it.0.as_str()).map(|it| it.1.clone())
        };
        let maps = |wanted: &Value| -> Option<BTreeSet<&str>> {
            let mut maps = of(&scenario.objects, "ConfigMap").into_iter();
            let map = maps.find(|it| it["metadata"]["name"] == *wanted)?;
            Some(map["data"].as_object()?.keys().map(String::as_str).collect())
        };
        let mut offences = Vec::new();
        for workload in workloads(&scenario.objects) {
            let mut look = |there: Option<BTreeSet<&str>>, key: &Value, of: &Value| {
                if there.is_some_and(|it| !key.as_str().is_some_and(|key| it.contains(key))) {
                    offences.push(format!("{} wants {key} of {of}", called(workload.object)));
                }
            };
            for volume in items(&workload.spec["volumes"]) {
                let (secret, map) = (&volume["secret"], &volume["configMap"]);
                for item in items(&secret["items"]) {
                    look(keys(&secret["secretName"]), &item["key"], &secret["secretName"]);
                }
                for item in items(&map["items"]) {
                    look(maps(&map["name"]), &item["key"], &map["name"]);
                }
            }
            for variable in workload.containers().flat_map(|it| items(&it["env"])) {
                let from = &variable["valueFrom"];
                let (secret, map) = (&from["secretKeyRef"], &from["configMapKeyRef"]);
                look(keys(&secret["name"]), &secret["key"], &secret["name"]);
                look(maps(&map["name"]), &map["key"], &map["name"]);
            }
        }
        offences
    });
}

#[test]
fn a_certificate_is_of_the_pod_that_shows_it() {
    each("A pod shows the certificate of its own Services, and each is shown.", |scenario| {
        let certificates = of(&scenario.objects, "Certificate");
        let found = workloads(&scenario.objects);
        let served: Vec<_> = found.iter().filter(|it| it.serves()).collect();
        if !certificates.is_empty() && certificates.len() != served.len() {
            return vec![format!("{} of {}", certificates.len(), served.len())];
        }
        let mut offences = Vec::new();
        for certificate in certificates {
            let shows = |it: &&&super::objects::Workload<'_>| {
                let mut volumes = items(&it.spec["volumes"]).iter();
                let secret = volumes.find(|it| it["name"] == "secret-tls");
                secret.is_some_and(|it| {
                    it["secret"]["secretName"] == certificate["spec"]["secretName"]
                })
            };
            let Some(pod) = served.iter().find(shows) else {
                offences.push(format!("{} is shown by nobody", called(certificate)));
                continue;
            };
            let names = items(&certificate["spec"]["dnsNames"]);
            for service in of(&scenario.objects, "Service") {
                let host = name(service);
                let long = format!("{host}.{NAMESPACE}.svc");
                let has = |wanted: &str| names.iter().any(|it| it == wanted);
                if selects(&service["spec"]["selector"], pod.labels) && !(has(host) && has(&long)) {
                    offences.push(format!("{} does not name {host}", called(certificate)));
                }
            }
        }
        offences
    });
}

#[test]
fn routes_lead_to_ports_of_the_release() {
    let mut seen = BTreeSet::new();
    each("A route's backend is a Service of the release, and a port of it.", |scenario| {
        let mut offences = Vec::new();
        for object in &scenario.objects {
            let mut backends = Vec::new();
            let rules = items(&object["spec"]["rules"]);
            match kind(object) {
                "HTTPRoute" | "GRPCRoute" => {
                    let all = rules.iter().flat_map(|it| items(&it["backendRefs"]));
                    backends.extend(all.map(|it| (&it["name"], &it["port"])));
                }
                "Ingress" => {
                    let paths = rules.iter().flat_map(|it| items(&it["http"]["paths"]));
                    backends.extend(paths.map(|it| {
                        let service = &it["backend"]["service"];
                        let port = service["port"].as_object().and_then(|it| it.values().next());
                        (&service["name"], port.unwrap_or(&Value::Null))
                    }));
                }
                _ => continue,
            }
            if backends.is_empty() {
                offences.push(format!("{} leads nowhere", called(object)));
            }
            for (service, port) in backends {
                let mut services = of(&scenario.objects, "Service").into_iter();
                let service = services.find(|it| it["metadata"]["name"] == *service);
                let ports = service.map_or(&[][..], |it| items(&it["spec"]["ports"]));
                // By number or by name; `grpc` alone is for others than Prometheus.
                let is = |it: &&Value| it["port"] == *port || it["name"] == *port;
                if ports.iter().find(is).is_none_or(|it| it["name"] != "grpc") {
                    offences.push(format!("{} leads to {port}", called(object)));
                }
            }
            seen.insert(kind(object).to_owned());
        }
        offences
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["GRPCRoute", "HTTPRoute", "Ingress"]);
}

#[test]
fn monitors_find_what_they_read() {
    let mut seen = BTreeSet::new();
    each("A monitor finds one Service or one kind of pod here, and a port of it.", |scenario| {
        let mut offences = Vec::new();
        let found = workloads(&scenario.objects);
        for object in &scenario.objects {
            let spec = &object["spec"];
            let selector = &spec["selector"]["matchLabels"];
            let (there, endpoints): (Vec<&[Value]>, _) = match kind(object) {
                "ServiceMonitor" => {
                    let services = of(&scenario.objects, "Service").into_iter();
                    let services =
                        services.filter(|it| selects(selector, &it["metadata"]["labels"]));
                    (services.map(|it| items(&it["spec"]["ports"])).collect(), &spec["endpoints"])
                }
                "PodMonitor" => {
                    let pods = found.iter().filter(|it| selects(selector, it.labels));
                    let ports = pods.map(|it| items(&it.own()["ports"])).collect();
                    (ports, &spec["podMetricsEndpoints"])
                }
                _ => continue,
            };
            let ports = items(endpoints).iter().map(|it| &it["port"]);
            let known =
                |port: &Value| there.iter().flat_map(|it| *it).any(|it| it["name"] == *port);
            let all = ports.clone().count() == 1 && ports.into_iter().all(known);
            let here = spec["namespaceSelector"]["matchNames"] == serde_json::json!([NAMESPACE]);
            if there.len() != 1 || !all || !here {
                offences.push(format!("{} finds {}", called(object), there.len()));
            }
            seen.insert(kind(object).to_owned());
        }
        let monitors = scenario.objects.iter().filter(|it| kind(it).ends_with("Monitor")).count();
        if ![0, found.iter().filter(|it| it.serves()).count()].contains(&monitors) {
            offences.push(format!("{monitors} monitors"));
        }
        offences
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["PodMonitor", "ServiceMonitor"]);
}

#[test]
fn selectors_have_no_label_that_may_change() {
    const SELECTORS: [&str; 4] = ["selector", "matchLabels", "labelSelector", "podSelector"];
    /// Labels of every selector in an object.
    fn labels<'a>(value: &'a Value, inside: bool, found: &mut BTreeSet<&'a str>) {
        for it in items(value) {
            labels(it, inside, found);
        }
        for (key, inner) in value.as_object().into_iter().flatten() {
            if inside && inner.is_string() {
                found.insert(key);
            }
            labels(inner, SELECTORS.contains(&key.as_str()), found);
        }
    }
    let mut seen = BTreeSet::new();
    each("commonLabels, podLabels and versions are in no selector.", |scenario| {
        let mut offences = Vec::new();
        for object in &scenario.objects {
            let mut found = BTreeSet::new();
            labels(object, false, &mut found);
            for key in ["cost-center", "team", "app.kubernetes.io/version", "helm.sh/chart"] {
                if found.contains(key) {
                    offences.push(format!("{} selects by {key}", called(object)));
                }
            }
            if !found.is_empty() && !object["metadata"]["labels"]["cost-center"].is_null() {
                seen.insert(kind(object).to_owned());
            }
        }
        offences
    });
    let wanted = [
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Service",
        "ServiceMonitor",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), wanted, "with commonLabels, in some scenario");
}

/// Looks at every scenario.
#[track_caller]
fn each(rule: &str, mut look: impl FnMut(&'static Scenario) -> Vec<String>) {
    let mut offences = Vec::new();
    for it in scenarios() {
        offences.extend(look(it).iter().map(|found| format!("{}: {found}", it.name)));
    }
    obeyed(rule, &offences);
}
