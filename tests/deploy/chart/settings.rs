//! What the chart tells a process is what the program takes: each settings file, with the variables and files beside it,
//! is checked as `rapport config check` does.

use std::fs;
use std::path::Path;

use chassis::settings::{Settings, Sources};
use serde_json::Value;

use super::helm::{obeyed, scenarios};
use super::objects::{Workload, called, items, kind, name, workloads};

/// Where Secrets are mounted.
const SECRETS: &str = "/run/secrets/rapport";

#[test]
fn the_program_takes_every_settings_file() {
    let mut offences = Vec::new();
    for scenario in scenarios() {
        for workload in workloads(&scenario.objects).iter().filter(|it| it.component() != "smoke") {
            if let Err(error) = check(&scenario.objects, workload) {
                offences.push(format!("{} {}: {error}", scenario.name, called(workload.object)));
            }
        }
    }
    obeyed("The program takes what a pod tells it.", &offences);
}

#[test]
fn a_pod_gets_the_time_it_needs_to_stop() {
    let mut offences = Vec::new();
    for scenario in scenarios() {
        for workload in workloads(&scenario.objects).iter().filter(|it| it.serves()) {
            let grpc = check(&scenario.objects, workload).expect("settings").grpc;
            let stops = (grpc.shutdown_delay() + grpc.shutdown_drain()).as_secs();
            let sleep = workload.own().pointer("/lifecycle/preStop/sleep/seconds");
            let sleep = sleep.and_then(Value::as_u64).unwrap_or_default();
            let grace = workload.spec["terminationGracePeriodSeconds"].as_u64();
            if sleep == 0 || grace.is_none_or(|it| it < sleep + stops + 5) {
                offences.push(format!("{} {}", scenario.name, called(workload.object)));
            }
        }
    }
    obeyed("The grace period holds a pause before SIGTERM, the drain and 5 s.", &offences);
}

#[test]
fn a_setting_that_the_program_does_not_know_is_found() {
    let mut objects = super::helm::scenario("minimal").objects.clone();
    for map in objects.iter_mut().filter(|it| kind(it) == "ConfigMap") {
        let text = map["data"]["rapport.toml"].as_str().expect("settings");
        let text = text.replace("max_connections", "max_connection");
        map["data"]["rapport.toml"] = text.into();
    }
    let workloads = workloads(&objects);
    assert!(check(&objects, &workloads[0]).unwrap_err().contains("max_connection"));
}

/// Settings as the container of a workload would load them, its Secrets being files with plausible content.
fn check(objects: &[Value], workload: &Workload<'_>) -> Result<Settings, String> {
    let folder = tempfile::tempdir().map_err(|it| it.to_string())?;
    let here = |path: &str| path.replace(SECRETS, &folder.path().display().to_string());
    let container = workload.own();
    let mounts = items(&container["volumeMounts"]);
    for volume in items(&workload.spec["volumes"]) {
        let Some(mount) = mounts.iter().find(|it| it["name"] == volume["name"]) else { continue };
        let at = mount["mountPath"].as_str().unwrap_or_default();
        for item in items(&volume["secret"]["items"]) {
            let file = format!("{}/{}", here(at), item["path"].as_str().unwrap_or_default());
            fs::create_dir_all(Path::new(&file).parent().expect("a folder")).expect("made");
            fs::write(&file, secret(&file)).expect("written");
        }
    }
    let mut sources = Sources::default();
    for it in items(&container["env"]) {
        let (name, value) = (it["name"].as_str(), it["value"].as_str());
        let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
        sources.environment.push((name.to_owned(), here(value)));
    }
    for argument in items(&container["args"]).iter().filter_map(Value::as_str) {
        sources.flags.extend(argument.strip_prefix("--set=").map(str::to_owned));
    }
    sources.file = Some(here(&settings_file(objects, workload)?));
    let settings = Settings::load(&sources).map_err(|it| it.to_string())?;
    let files = [&settings.keys.kek_file, &settings.auth.service_key_file];
    let tls = &settings.tls;
    let more = [&tls.cert_file, &tls.key_file, &tls.ca_file, &tls.client_ca_file];
    let log = [&settings.log.credentials_file, &settings.log.ca_file];
    for file in files.into_iter().chain(more).chain(log).filter(|it| !it.as_os_str().is_empty()) {
        if !file.exists() {
            return Err(format!("{} is not mounted", file.display()));
        }
    }
    for file in settings.gateway.provider_secret_files.values() {
        if !Path::new(file).exists() {
            return Err(format!("{file} is not mounted"));
        }
    }
    if settings.database.is_sqlite() {
        return Err("the URL of the database is not told".to_owned());
    }
    if workload.serves() && settings.log.is_local() {
        return Err("the URL of the log is not told".to_owned());
    }
    Ok(settings)
}

/// The settings file at the place that the arguments name.
fn settings_file(objects: &[Value], workload: &Workload<'_>) -> Result<String, String> {
    let container = workload.own();
    let mut arguments = items(&container["args"]).iter().filter_map(Value::as_str);
    let path = arguments.find_map(|it| it.strip_prefix("--config=")).ok_or("no --config")?;
    let (folder, file) = path.rsplit_once('/').ok_or("no path")?;
    let mount = items(&container["volumeMounts"]).iter().find(|it| it["mountPath"] == folder);
    let volume = &mount.ok_or("nothing is mounted there")?["name"];
    let volume = items(&workload.spec["volumes"]).iter().find(|it| it["name"] == *volume);
    let map = volume.ok_or("no such volume")?["configMap"]["name"].as_str().unwrap_or_default();
    let map = objects.iter().find(|it| kind(it) == "ConfigMap" && name(it) == map);
    let text = map.ok_or("no such ConfigMap")?["data"][file].as_str();
    text.map(str::to_owned).ok_or_else(|| "no such file".to_owned())
}

fn secret(file: &str) -> &'static str {
    if file.ends_with("database/url") {
        "postgres://rapport:secret@postgres/{service}"
    } else if file.ends_with("nats/url") {
        "nats://rapport:secret@nats:4222"
    } else if file.ends_with("smtp/url") {
        "smtp://rapport:secret@smtp:587"
    } else {
        "secret"
    }
}
