//! The examples fit each other, the chart, PostgreSQL and nats-server: what is made is what is named, and the program
//! migrates with the roles, databases and passwords of the examples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;

use eventstore::testing::{Postgres, psql};
use rapport::targets::TARGETS;
use serde_json::{Value, json};

use super::helm::{NAMESPACE, chart, fails, helm, succeeds};
use super::objects::{items, kind, name, of, workloads};
use super::yaml;
use crate::{PROGRAM, read, tool};

/// What the secrets are mounted under.
const SECRETS: &str = "/run/secrets/rapport";

struct Examples {
    /// What the chart makes of `values.yaml`.
    release: Vec<Value>,
    /// Objects of CloudNativePG.
    postgres: Vec<Value>,
    /// Values for the chart of NATS.
    nats: Value,
    /// What the Secrets hold that the script makes, by name.
    secrets: BTreeMap<String, Value>,
}

fn examples() -> Examples {
    let file = |it: &str| chart().join("examples").join(it);
    let mut render = helm();
    render.args(["template", "rapport"]).arg(chart()).args(["--namespace", NAMESPACE, "--values"]);
    let release = succeeds(render.arg(file("values.yaml")));
    let secrets = made(&file("secrets")).into_iter().map(|it| {
        assert_eq!(kind(&it), "Secret");
        (name(&it).to_owned(), it)
    });
    Examples {
        release: yaml::documents(&release).expect("YAML"),
        postgres: yaml::documents(&read(&file("cloudnative-pg.yaml"))).expect("YAML"),
        nats: yaml::document(&read(&file("nats.yaml"))),
        secrets: secrets.collect(),
    }
}

/// What the script gives to kubectl.
fn made(script: &Path) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let kubectl = folder.path().join("kubectl");
    let told = folder.path().join("told");
    let keeps =
        "#!/bin/sh\n[ \"$*\" = 'create --filename=-' ] && { echo ---; cat; } >> \"$TOLD\"\n";
    fs::write(&kubectl, keeps).expect("written");
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).expect("it runs");
    let mut run = Command::new("sh");
    run.args(["-c", "PATH=\"$1:$PATH\" exec \"$2\"", "sh"]).arg(folder.path()).arg(script);
    succeeds(run.env("TOLD", &told).env("TOKEN", "a.b.c"));
    yaml::documents(&read(&told)).expect("YAML")
}

impl Examples {
    fn cluster(&self) -> &Value {
        of(&self.postgres, "Cluster")[0]
    }

    /// Roles with a login, and the Secrets with their passwords.
    fn roles(&self) -> BTreeMap<&str, &str> {
        let spec = &self.cluster()["spec"];
        let first = &spec["bootstrap"]["initdb"];
        let managed = items(&spec["managed"]["roles"]).iter().filter(|it| it["login"] == true);
        let managed = managed.map(|it| (text(&it["name"]), text(&it["passwordSecret"]["name"])));
        managed.chain([(text(&first["owner"]), text(&first["secret"]["name"]))]).collect()
    }

    /// Databases, and who owns them.
    fn databases(&self) -> BTreeMap<&str, &str> {
        let first = &self.cluster()["spec"]["bootstrap"]["initdb"];
        let others = of(&self.postgres, "Database").into_iter().map(|it| {
            assert_eq!(it["spec"]["cluster"]["name"], name(self.cluster()));
            (text(&it["spec"]["name"]), text(&it["spec"]["owner"]))
        });
        others.chain([(text(&first["database"]), text(&first["owner"]))]).collect()
    }

    fn secret(&self, name: &str, key: &str) -> &str {
        let secret = self.secrets.get(name).unwrap_or_else(|| panic!("no Secret {name}"));
        let value = text(&secret["stringData"][key]);
        assert!(!value.is_empty(), "{name} has no {key}");
        value
    }

    /// What a pod of the release finds in a file of a Secret; the name of the Secret too.
    fn mounted(&self, component: &str, volume: &str, path: &str) -> (&str, &str) {
        let found = workloads(&self.release);
        let it = found.iter().find(|it| it.component() == component).expect(component);
        let mut volumes = items(&it.spec["volumes"]).iter();
        let secret = volumes.find(|it| it["name"] == format!("secret-{volume}")).expect(volume);
        let item = items(&secret["secret"]["items"]).iter().find(|it| it["path"] == path);
        let key = item.expect(path)["key"].as_str().expect("a key");
        let name = secret["secret"]["secretName"].as_str().expect("a name");
        let (name, _) = self.secrets.get_key_value(name).unwrap_or_else(|| panic!("no {name}"));
        (name, self.secret(name, key))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn each_target_has_a_role_and_a_database_of_its_own() {
    let it = examples();
    let (roles, databases) = (it.roles(), it.databases());
    let host = format!("{}-rw", name(it.cluster()));
    let url = |role: &str, database: &str| {
        let password = it.secret(roles[role], "password");
        format!("postgres://{role}:{password}@{host}/{database}")
    };
    let wanted: BTreeSet<_> = TARGETS.iter().map(|it| it.name).collect();
    assert_eq!(databases.keys().copied().collect::<BTreeSet<_>>(), wanted, "databases");
    let migrator = text(&it.cluster()["spec"]["bootstrap"]["initdb"]["owner"]);
    assert!(databases.values().all(|it| *it == migrator), "{databases:?}");
    assert_eq!(it.mounted("migrate", "database", "url").1, url(migrator, "{service}"));

    let migration =
        of(&it.release, "ConfigMap").into_iter().find(|it| name(it).ends_with("-migrate"));
    let settings = text(&migration.expect("settings")["data"]["rapport.toml"]);
    let role = settings.lines().find_map(|it| it.strip_prefix("runtime_role = ")).expect("a role");
    let mut serving = BTreeSet::from([migrator.to_owned()]);
    for target in TARGETS {
        let role = role.trim_matches('"').replace("{service}", target.name);
        let (secret, found) = it.mounted(target.name, "database", "url");
        assert_eq!(found, url(&role, target.name), "{}", target.name);
        assert_eq!(secret, roles[role.as_str()], "the role and the pod share a Secret");
        serving.insert(role);
    }
    let roles: Vec<_> = roles.into_iter().collect();
    assert_eq!(roles.iter().map(|it| it.0.to_owned()).collect::<BTreeSet<_>>(), serving);
    for (role, secret) in roles {
        assert_eq!(it.secret(secret, "username"), role, "the operator compares them");
        assert_eq!(it.secrets[secret]["type"], "kubernetes.io/basic-auth");
    }

    let policy = of(&it.release, "NetworkPolicy")[0];
    let label = format!("\"cnpg.io/cluster\":\"{}\"", name(it.cluster()));
    assert!(policy.to_string().contains(&label), "{policy:#}");
}

#[test]
fn the_program_migrates_and_roles_serve_as_the_example_says() {
    let (it, postgres) = (examples(), Postgres::start());
    let admin = |sql: &str| postgres.psql("postgres", sql);
    let roles = it.roles();
    for role in items(&it.cluster()["spec"]["managed"]["roles"]) {
        if role["login"] == false {
            admin(&format!("CREATE ROLE \"{}\"", text(&role["name"])));
        }
    }
    for (role, secret) in &roles {
        let password = it.secret(secret, "password");
        admin(&format!("CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'"));
    }
    for role in items(&it.cluster()["spec"]["managed"]["roles"]) {
        for group in items(&role["inRoles"]) {
            admin(&format!("GRANT \"{}\" TO \"{}\"", text(group), text(&role["name"])));
        }
    }
    for (database, owner) in it.databases() {
        admin(&format!("CREATE DATABASE \"{database}\" OWNER \"{owner}\""));
    }
    // The operator puts its own lines before these, and this last one after them.
    let rules = items(&it.cluster()["spec"]["postgresql"]["pg_hba"]).iter().map(text);
    let rules: Vec<_> = rules.chain(["host all all all scram-sha-256"]).collect();
    let rules = format!("host all postgres all trust\n{}\n", rules.join("\n"));
    fs::write(postgres.data().join("pg_hba.conf"), rules).expect("written");
    admin("SELECT pg_reload_conf()");
    assert_eq!(admin("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL"), "0");

    let here = |url: &str| {
        let host = format!("@{}-rw/", name(it.cluster()));
        url.replace(&host, &format!("@127.0.0.1:{}/", postgres.port()))
    };
    migrate(&it, &here(it.mounted("migrate", "database", "url").1));
    for (index, target) in TARGETS.iter().enumerate() {
        let url = here(it.mounted(target.name, "database", "url").1);
        assert_eq!(psql(&url, "SELECT count(*) FROM event"), "0", "{}", target.name);
        for refused in ["DELETE FROM event", "CREATE TABLE mine (id int)"] {
            let told = refusal(&url, refused);
            assert!(told.contains("permission denied"), "{}: {told}", target.name);
        }
        let other = TARGETS[(index + 1) % TARGETS.len()].name;
        let elsewhere = url.replace(&format!("/{}", target.name), &format!("/{other}"));
        let told = refusal(
            &elsewhere.replace(&format!("//{other}-"), &format!("//{}-", target.name)),
            "SELECT 1",
        );
        assert!(told.contains("pg_hba.conf rejects"), "{}: {told}", target.name);
    }
}

/// `rapport migrate` with the settings and Secrets of the release's Job.
fn migrate(it: &Examples, url: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = of(&it.release, "ConfigMap").into_iter();
    let settings = settings.filter(|it| name(it).ends_with("-migrate"));
    let settings: String = settings.map(|it| text(&it["data"]["rapport.toml"])).collect();
    let place = folder.path().display().to_string();
    fs::write(folder.path().join("rapport.toml"), settings.replace(SECRETS, &place))
        .expect("written");
    for volume in ["kek", "service-key"] {
        fs::create_dir(folder.path().join(volume)).expect("made");
        let content = it.mounted("migrate", volume, "key").1;
        fs::write(folder.path().join(volume).join("key"), content).expect("written");
    }
    let mut program = Command::new(PROGRAM);
    program.arg("migrate").arg("--config").arg(folder.path().join("rapport.toml"));
    succeeds(program.env("RAPPORT_DATABASE_URL", url));
}

/// Why SQL is refused.
fn refusal(url: &str, sql: &str) -> String {
    let told = catch_unwind(|| psql(url, sql)).expect_err(sql);
    told.downcast_ref::<String>().expect("what psql told").clone()
}

#[test]
fn each_target_has_a_user_of_the_log() {
    let it = examples();
    let servers = &it.nats["container"];
    let users = of(&it.release, "ConfigMap").into_iter();
    let users = users.filter(|it| name(it).ends_with("-nats-accounts")).collect::<Vec<_>>();
    let [users] = users[..] else { panic!("one ConfigMap") };

    // What the chart of NATS mounts is where its configuration looks, which stands in /etc/nats-config.
    let volume = &it.nats["podTemplate"]["patch"][0]["value"];
    let mount = &servers["patch"][0]["value"];
    assert_eq!(
        (&volume["configMap"]["name"], &volume["name"]),
        (&users["metadata"]["name"], &mount["name"])
    );
    let place = text(&mount["mountPath"]).strip_prefix("/etc/").expect("where reloads are noticed");
    let include = format!("../{place}/accounts.conf");
    assert_eq!(it.nats["config"]["merge"], json!({"$include": include}));

    let variable = |it: &str| format!("RAPPORT_NATS_PASSWORD_{}", it.to_uppercase());
    let variables = servers["env"].as_object().expect("variables");
    let names: BTreeSet<_> = variables.keys().cloned().collect();
    assert_eq!(names, TARGETS.iter().map(|it| variable(it.name)).collect());
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("nats-config")).expect("made");
    fs::create_dir_all(folder.path().join(place)).expect("made");
    let config = folder.path().join("nats-config/nats.conf");
    fs::write(&config, format!("{{\n  include {include};\n  \"port\": 4222\n}}\n"))
        .expect("written");
    let content = text(&users["data"]["accounts.conf"]);
    fs::write(folder.path().join(place).join("accounts.conf"), content).expect("written");
    let mut server = tool("nats-server");
    server.arg("-t").arg("-c").arg(&config);
    for target in TARGETS {
        let (secret, url) = it.mounted(target.name, "nats", "url");
        let from = &variables[&variable(target.name)]["valueFrom"]["secretKeyRef"];
        assert_eq!(from["name"], secret, "server and pod share a Secret");
        let password = it.secret(secret, text(&from["key"]));
        assert_eq!(url, format!("nats://{}:{password}@nats:4222", target.name));
        server.env(variable(target.name), password);
    }
    succeeds(&mut server);
    let told = fails(server.env_remove(variable("audit")));
    assert!(told.contains("RAPPORT_NATS_PASSWORD_AUDIT"), "{told}");
}
