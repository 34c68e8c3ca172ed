//! Values that do not make sense are refused, and the message names the place: by the schema, or by `validate.yaml` when
//! each value is right and they do not go together.

use std::fs;

use super::helm::{chart, fails, scenario, template};

/// A file of values over `ci/minimal.yaml`, and what the refusal names.
const REFUSED: [(&str, &str); 52] = [
    // By the schema: a path in the values.
    ("replicas: 3", "additional properties 'replicas' not allowed"),
    ("mode: clustered", "'/mode'"),
    (
        "fullnameOverride: a-name-that-is-far-too-long-for-what-comes-after-it",
        "'/fullnameOverride'",
    ),
    ("image: {tag: 'no spaces'}", "'/image/tag'"),
    ("image: {digest: sha256:abc}", "'/image/digest'"),
    ("image: {repository: ''}", "'/image/repository'"),
    ("image: {pullPolicy: Sometimes}", "'/image/pullPolicy'"),
    ("image: {pullSecrets: [mirror]}", "'/image/pullSecrets/0'"),
    ("tenants: []", "'/tenants'"),
    ("tenants: [Acme]", "'/tenants/0'"),
    ("config: {grpc: {message_bytes: 1}}", "'/config/grpc'"),
    ("config: {grpc: {max_message_bytes: 1}}", "'/config/grpc/max_message_bytes'"),
    ("auth: {issuer: login.example.com}", "'/auth/issuer'"),
    ("auth: {roles: {analyst: kpis.read}}", "'/auth/roles/analyst'"),
    ("database: {maxConnections: 0}", "'/database/maxConnections'"),
    ("database: {url: postgres://x}", "'/database'"),
    ("nats: {url: 'http://nats:4222'}", "'/nats/url'"),
    ("nats: {replicas: 6}", "'/nats/replicas'"),
    ("nats: {prefix: 'a.b'}", "'/nats/prefix'"),
    ("tls: {enabled: 'yes'}", "'/tls/enabled'"),
    ("tls: {certManager: {duration: 90d}}", "'/tls/certManager/duration'"),
    ("otel: {sampleRatio: 2}", "'/otel/sampleRatio'"),
    ("log: {format: xml}", "'/log/format'"),
    ("defaults: {replicas: -1}", "'/defaults/replicas'"),
    ("defaults: {probes: {liveness: {path: /livez}}}", "'/defaults/probes/liveness'"),
    ("defaults: {strategy: {type: Blue}}", "'/defaults/strategy/type'"),
    ("services: {billing: {}}", "'/services'"),
    ("services: {profiles: {replica: 2}}", "'/services/profiles'"),
    ("services: {kpis: {autoscaling: {kind: vpa}}}", "'/services/kpis/autoscaling/kind'"),
    ("single: {service: {type: ExternalName}}", "'/single/service/type'"),
    ("migrations: {mode: init}", "'/migrations/mode'"),
    ("networkPolicy: {database: {port: 70000}}", "'/networkPolicy/database/port'"),
    ("monitoring: {serviceMonitor: {interval: 30}}", "'/monitoring/serviceMonitor/interval'"),
    ("externalSecrets: {secrets: {rapport: []}}", "'/externalSecrets/secrets/rapport'"),
    ("extraObjects: [1]", "'/extraObjects/0'"),
    // By validate.yaml: what does not go together.
    ("auth: {issuer: ''}", "auth.issuer: is empty"),
    ("keys: {existingSecret: ''}", "keys.existingSecret: is empty"),
    ("nats: {urlKey: url}", "nats.urlKey: and nats.url are both set"),
    ("nats: {credentialsKey: user.creds}", "nats.existingSecret: is empty"),
    (
        "{mode: single, nats: {accounts: {enabled: true}}}",
        "nats.accounts.enabled: is for one target a pod",
    ),
    ("nats: {accounts: {enabled: true}}", "nats.urlKey: is empty, but the users"),
    (
        "nats: {url: '', urlKey: url, existingSecret: nats, accounts: {enabled: true}}",
        "services.audit.natsSecret: is empty",
    ),
    (
        "services: {audit: {terminationGracePeriodSeconds: 20}}",
        "services.audit.terminationGracePeriodSeconds",
    ),
    (
        "services: {audit: {podDisruptionBudget: {minAvailable: 1}}}",
        "services.audit.podDisruptionBudget: needs one",
    ),
    (
        "services: {audit: {autoscaling: {kind: keda}}}",
        "services.audit.autoscaling.keda.serverAddress",
    ),
    (
        "{services: {audit: {autoscaling: {kind: keda, keda: {serverAddress: 'http://p'}}}}, monitoring: {serviceMonitor: {enabled: true, honorLabels: false}}}",
        "monitoring.serviceMonitor.honorLabels: is false",
    ),
    ("services: {audit: {autoscaling: {minReplicas: 9}}}", "services.audit.autoscaling: has fewer"),
    (
        "{services: {gateway: {enabled: false}}, tests: {enabled: false}, ingress: {enabled: true, hosts: [a]}}",
        "services.gateway.enabled",
    ),
    ("tls: {enabled: true, certManager: {enabled: true}}", "tls.certManager.issuerRef.name"),
    ("monitoring: {serviceMonitor: {enabled: true}}", "networkPolicy.metrics: is empty"),
    (
        "{externalSecrets: {enabled: true, secretStoreRef: {name: vault}}}",
        "migrations.mode: hook runs before",
    ),
    ("delivery: {webhooks: true, surveyUrl: 'http://a'}", "delivery.surveyUrl: is not https"),
];

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, (values, place)) in REFUSED.iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        fs::write(&file, values).expect("written");
        let mut files = scenario("minimal").files.clone();
        files.push(file);
        let told = fails(&mut template(&files));
        assert!(told.contains(place), "{values} is refused without {place}:\n{told}");
    }
}

#[test]
fn the_defaults_alone_say_what_is_missing() {
    let told = fails(&mut template(&[chart().join("values.yaml")]));
    assert!(told.contains("auth.issuer: is empty. Name the issuer"), "{told}");
}
