//! The rules of the project that a program can check, in about a second. Each failure states its rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::Value;

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let ours: BTreeSet<_> = packages.iter().map(|it| text(it, "name")).collect();
    let mut offences = Vec::new();
    for package in &packages {
        let name = text(package, "name");
        for used in list(package, "dependencies").iter().map(|it| text(it, "name")) {
            if ours.contains(used) && used != name && layer(used) >= layer(name) {
                offences.push(format!("{name} uses {used}"));
            }
        }
    }
    obeyed(
        "A crate uses only crates to its left: rapport-proto, eventstore, chassis and authored, the \
         services, rapport, rapport-tests; no service uses another.",
        &offences,
    );
}

#[test]
fn nothing_below_chassis_knows_grpc() {
    let mut offences = Vec::new();
    for package in packages().iter().filter(|it| layer(text(it, "name")) < layer("chassis")) {
        // Dependencies of a build or a test have a kind.
        let in_use = |it: &&Value| it["kind"].is_null() && it["optional"] == false;
        for used in list(package, "dependencies").iter().filter(in_use) {
            let grpc = list(used, "features").iter().any(|it| it == "grpc");
            if grpc || text(used, "name").starts_with("tonic") {
                offences.push(format!("{} uses {}", text(package, "name"), text(used, "name")));
            }
        }
    }
    obeyed("Below chassis there is no gRPC: the store cannot see a request.", &offences);
}

#[test]
fn domains_are_pure() {
    const ABSENT: [&str; 15] = [
        "async",
        "await",
        "tokio",
        "tonic",
        "sqlx",
        "rusqlite",
        "Store",
        "Database",
        "Clock",
        "Ids",
        "SystemTime",
        "Instant",
        "Uuid",
        "getrandom",
        "rand",
    ];
    let mut offences = Vec::new();
    for path in service_sources(|it| it.starts_with("domain") && !is_test(it)) {
        let words = words(&path);
        for word in ABSENT.iter().filter(|it| words.contains(**it)) {
            offences.push(format!("{} names `{word}`", shown(&path)));
        }
    }
    obeyed(
        "A domain is pure: no `async`, no SQL, no gRPC, no clock, no random number and no id \
         generator; time and randomness are arguments.",
        &offences,
    );
}

#[test]
fn every_list_is_paged() {
    let contract = Contract::load();
    let mut offences = Vec::new();
    for rpc in contract.rpcs.iter().filter(|it| it.name.starts_with("List")) {
        for (message, field) in [
            (&rpc.request, "page_size"),
            (&rpc.request, "page_token"),
            (&rpc.response, "next_page_token"),
        ] {
            if !contract.has_field(message, field) {
                offences.push(format!("{}: {message} has no {field}", rpc.path));
            }
        }
    }
    obeyed(
        "Every List RPC takes `page_size` and `page_token` and returns `next_page_token`.",
        &offences,
    );
}

#[test]
fn every_mutation_takes_a_request_id() {
    let contract = Contract::load();
    let mut offences = Vec::new();
    // The simulated clock is no fact: setting it twice is harmless.
    for rpc in contract.rpcs.iter().filter(|it| !it.path.contains("/rapport.simulation.")) {
        // To unseal is to read what not everybody may.
        let is_read = |it: &str| it.ends_with(".read") || it.ends_with(".unseal");
        let reads = rapport_proto::permission_of(&rpc.path).is_some_and(is_read);
        if reads == contract.has_field(&rpc.request, "request_id") {
            let kind = if reads { "reads" } else { "changes something" };
            offences.push(format!("{} {kind}: see `request_id` of {}", rpc.path, rpc.request));
        }
    }
    obeyed("Every RPC that changes something, and no other, takes a `request_id`.", &offences);
}

#[test]
fn every_view_statement_names_the_tenant() {
    let mut offences = Vec::new();
    for path in service_sources(|it| it.starts_with("view") && !is_test(it)) {
        for text in words(&path).iter().filter(|it| is_sql(it) && !names_tenant(it)) {
            offences.push(format!("{}: {text}", shown(&path)));
        }
    }
    obeyed(
        "Every statement of a view names the tenant: where it selects, joins or inserts.",
        &offences,
    );
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    const AGREED: [&str; 11] = [
        "Cargo.toml",
        "Cargo.lock",
        "services",
        "proto",
        "deploy",
        "charts",
        "tests",
        "Makefile",
        "README.md",
        "ARCHITECTURE.md",
        "LICENSE",
    ];
    let files = files();
    let top: BTreeSet<_> = files.iter().filter_map(|it| it.split('/').next()).collect();
    let offences: Vec<_> =
        top.into_iter().filter(|it| !it.starts_with('.') && !AGREED.contains(it)).collect();
    obeyed(&format!("The top level holds only {AGREED:?} and dotfiles."), &offences);
}

#[test]
fn no_file_names_a_machine() {
    const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut offences = Vec::new();
    for file in files() {
        let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
        for place in PLACES.iter().filter(|it| text.contains(**it)) {
            offences.push(format!("{file} names {place}"));
        }
    }
    obeyed("No file names a path of one machine: a checkout works anywhere.", &offences);
}

#[test]
fn no_file_is_called_after_its_lack_of_a_subject() {
    const VAGUE: [&str; 8] =
        ["mod", "util", "utils", "common", "helper", "helpers", "manager", "misc"];
    let vague = |file: &String| {
        let stem = Path::new(file).file_stem().and_then(|it| it.to_str()).unwrap_or_default();
        file.ends_with(".rs") && VAGUE.contains(&stem)
    };
    let offences: Vec<_> = files().into_iter().filter(vague).collect();
    obeyed("A file is named after its subject, and a module is `foo.rs`, not `mod.rs`.", &offences);
}

#[test]
fn no_source_file_is_dead() {
    let mut reached = BTreeSet::new();
    for target in packages().iter().flat_map(|it| list(it, "targets")) {
        reach(Path::new(text(target, "src_path")), true, &mut reached);
    }
    let dead = service_sources(|_| true).into_iter().filter(|it| !reached.contains(it));
    let offences: Vec<_> = dead.map(|it| shown(&it)).collect();
    obeyed("Every source file is a module of its crate; an unreachable one is deleted.", &offences);
}

#[track_caller]
fn obeyed(rule: &str, offences: &[impl AsRef<str>]) {
    let listed: Vec<_> = offences.iter().map(AsRef::as_ref).collect();
    assert!(listed.is_empty(), "{rule}\n  {}\n", listed.join("\n  "));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the crate stands in it")
}

/// The packages of the workspace, as cargo describes them.
fn packages() -> Vec<Value> {
    let described = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs these tests");
    let workspace: Value = serde_json::from_slice(&described.stdout).expect("cargo writes JSON");
    list(&workspace, "packages").to_vec()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

/// Place in the line of dependencies; what is not named is a service.
fn layer(package: &str) -> u8 {
    match package {
        "rapport-proto" => 0,
        "eventstore" => 1,
        "authored" | "chassis" => 2,
        "rapport" => 4,
        "rapport-tests" => 5,
        _ => 3,
    }
}

/// Every file that is, or could be, committed.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let present = |it: &&str| !it.is_empty() && root().join(it).exists();
    text.split('\0').filter(present).map(str::to_owned).collect()
}

/// The Rust files `services/*/src/<path>` whose `<path>` is wanted.
fn service_sources(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let within = |file: &String| {
        let mut parts = file.splitn(4, '/');
        let (top, src) = (parts.next(), parts.nth(1));
        let path = parts.next().unwrap_or_default();
        top == Some("services") && src == Some("src") && path.ends_with(".rs") && wanted(path)
    };
    files().into_iter().filter(within).map(|it| root().join(it)).collect()
}

fn is_test(path: &str) -> bool {
    path.split(['/', '.']).any(|it| it == "tests")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn tokens(path: &Path) -> TokenStream {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)));
    text.parse().unwrap_or_else(|error| panic!("{} is no Rust: {error}", shown(path)))
}

/// Identifiers and literals of a file; comments are left out, except that doc comments are literals.
fn words(path: &Path) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut rest = vec![tokens(path)];
    while let Some(stream) = rest.pop() {
        for token in stream {
            match token {
                TokenTree::Group(group) => rest.push(group.stream()),
                TokenTree::Ident(word) => drop(words.insert(word.to_string())),
                TokenTree::Literal(text) => drop(words.insert(text.to_string())),
                TokenTree::Punct(_) => {}
            }
        }
    }
    words
}

fn is_sql(literal: &str) -> bool {
    let text = literal.trim_start_matches(['r', '#', '"', ' ']);
    ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|it| text.starts_with(it))
}

/// In the condition that selects rows, or among the columns inserted.
fn names_tenant(sql: &str) -> bool {
    let condition = ["WHERE", "JOIN"].iter().filter_map(|it| sql.find(it)).min();
    let inserts = sql.contains("INSERT ") && sql.contains("tenant");
    inserts || condition.is_some_and(|it| sql[it..].contains("tenant"))
}

/// Adds a file and every module below it.
fn reach(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    if file.is_file() && reached.insert(file.to_owned()) {
        let folder = if is_root { file.with_file_name("") } else { file.with_extension("") };
        reach_modules(tokens(file), &folder, reached);
    }
}

fn reach_modules(tokens: TokenStream, folder: &Path, reached: &mut BTreeSet<PathBuf>) {
    let mut module: Option<String> = None;
    let mut after_mod = false;
    for token in tokens {
        match token {
            TokenTree::Ident(word) if after_mod => {
                module = Some(word.to_string().trim_start_matches("r#").to_owned());
                after_mod = false;
                continue;
            }
            TokenTree::Ident(word) => after_mod = word == "mod",
            TokenTree::Punct(mark) if mark.as_char() == ';' => {
                if let Some(name) = &module {
                    reach(&folder.join(name).with_extension("rs"), false, reached);
                }
            }
            TokenTree::Group(group) => match &module {
                Some(name) if group.delimiter() == Delimiter::Brace => {
                    reach_modules(group.stream(), &folder.join(name), reached);
                }
                _ => reach_modules(group.stream(), folder, reached),
            },
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        module = None;
    }
}

/// The RPCs of the compiled module, and the messages they speak.
struct Contract {
    rpcs: Vec<Rpc>,
    messages: BTreeMap<String, DescriptorProto>,
}

struct Rpc {
    name: String,
    path: String,
    request: String,
    response: String,
}

impl Contract {
    fn load() -> Self {
        let set = FileDescriptorSet::decode(rapport_proto::FILE_DESCRIPTOR_SET)
            .expect("the build wrote it");
        let mut contract = Self { rpcs: Vec::new(), messages: BTreeMap::new() };
        for file in set.file {
            let package = file.package().to_owned();
            for message in file.message_type {
                contract.messages.insert(format!(".{package}.{}", message.name()), message);
            }
            for service in &file.service {
                contract.rpcs.extend(service.method.iter().map(|method| Rpc {
                    name: method.name().to_owned(),
                    path: format!("/{package}.{}/{}", service.name(), method.name()),
                    request: method.input_type().to_owned(),
                    response: method.output_type().to_owned(),
                }));
            }
        }
        assert!(!contract.rpcs.is_empty(), "the compiled module has no RPC");
        contract
    }

    fn has_field(&self, message: &str, field: &str) -> bool {
        self.messages.get(message).is_some_and(|it| it.field.iter().any(|it| it.name() == field))
    }
}
