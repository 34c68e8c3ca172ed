//! The commands for people, with what people get wrong: each says which field it is and what to do, on standard error,
//! with an exit code that is not zero; with `--output json` as JSON.

use std::path::Path;

use chassis::testing::{OidcIssuer, TokenSpec};
use rapport::demo::Cast;
use rapport::remote::{Addresses, Remote, told};
use rapport_proto::content::v1::{SaveModuleRequest, SubmitModuleRequest, save_module_request};
use serde_json::Value;

use super::{Server, rapport};

const MODULE: &str = "title: Hello\ncontent_class: MEDICAL_INFORMATION\nmarkets: [DE]\naudiences: [HCP]\n\
     default_languages: {DE: de}\nslots:\n  - {name: code, kind: TEXT, fallback: none}\nvariants:\n  \
     - {channel: EMAIL, language: de, subject: Hallo, text: 'Hallo. {{code}}', html: '<p>Hallo.</p>'}\n\
     rules:\n  - {max_length: 500}\n";
const JOURNEY: &str = "journey: letters\nsender: northwind\nmarkets: [DE]\naudiences: [HCP]\nentry: {api: {}}\n\
     reentry: never\nstart: done\nnodes:\n  done: {exit: {outcome: done}}\n";

/// A server with an issuer of its own, people, and a module in review.
struct Office {
    folder: tempfile::TempDir,
    issuer: OidcIssuer,
    server: Server,
    cast: Cast,
}

impl Office {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let issuer = OidcIssuer::start().await;
        let settings = [
            "auth.mode=oidc".to_owned(),
            format!("auth.issuer={}", issuer.url()),
            format!("auth.audience={}", chassis::testing::AUDIENCE),
        ];
        let server = Server::start_with(folder.path(), &settings);
        let addresses = Addresses { all: server.url.clone(), ..Addresses::default() };
        let cast = Cast::new(|person, roles| {
            let token = TokenSpec::new("default", person, &["*"]).roles(roles);
            Remote::new(&addresses, "default", &issuer.mint(token))
        });
        Self { cast: cast.expect("people"), folder, issuer, server }
    }

    fn here(&self) -> &Path {
        self.folder.path()
    }

    fn token(&self, person: &str, permissions: &[&str], roles: &[&str]) -> String {
        self.issuer.mint(TokenSpec::new("default", person, permissions).roles(roles))
    }

    /// What a command says as a person; nothing of it on the other stream.
    fn says(&self, token: &str, ends_well: bool, arguments: &[&str]) -> String {
        let all = [&["--url", &self.server.url, "--token", token][..], arguments].concat();
        let output = rapport(self.here(), &all);
        let (out, err) = (&output.stdout, &output.stderr);
        let (said, other) = if ends_well { (out, err) } else { (err, out) };
        let text = String::from_utf8_lossy(said).into_owned();
        assert_eq!(output.status.success(), ends_well, "{arguments:?}: {text}");
        assert_eq!(String::from_utf8_lossy(other), "", "{arguments:?}");
        assert!(!text.contains('\u{1b}'), "{arguments:?} moves the cursor: {text}");
        text
    }

    /// Checks that a command fails with a reason and names each of these; for people and for programs.
    fn refuses(&self, token: &str, arguments: &[&str], reason: &str, named: &[&str]) {
        let said = self.says(token, false, arguments);
        assert!(said.starts_with(&format!("rapport: {reason}: ")), "{arguments:?}: {said}");
        for it in named {
            assert!(said.contains(it), "{arguments:?} names {it}: {said}");
        }
        assert!(said.lines().count() >= 2, "{arguments:?} says what to do: {said}");
        let json = self.says(token, false, &[arguments, &["--output", "json"]].concat());
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["error"]["reason"], reason, "{json}");
        let remedies = json["error"]["violations"].as_array().expect("violations").len();
        let remedy = json["error"]["remedy"].as_str().expect("a remedy");
        assert!(remedies > 0 || !remedy.is_empty(), "{json}");
    }

    /// What a command prints: a table within 100 columns, and JSON.
    fn shows(&self, token: &str, arguments: &[&str]) -> String {
        let said = self.says(token, true, arguments);
        let wide = said.lines().find(|it| it.chars().count() > 100);
        assert_eq!(wide, None, "{arguments:?}");
        said
    }

    fn shows_json(&self, token: &str, arguments: &[&str]) -> Value {
        let json = self.says(token, true, &[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&json).expect("one JSON document")
    }

    /// Submits the module `hello`; its hash.
    async fn submitted(&self) -> String {
        let remote = &self.cast.author;
        let request = SaveModuleRequest {
            parent: remote.parent.clone(),
            module_id: "hello".into(),
            definition: Some(save_module_request::Definition::Yaml(MODULE.into())),
            ..Default::default()
        };
        told(remote.modules.clone().save_module(request).await).expect("saved");
        let name = remote.name("modules", "hello");
        let request = SubmitModuleRequest { name, ..Default::default() };
        let reply = told(remote.modules.clone().submit_module(request).await).expect("submitted");
        reply.module.expect("a module").versions[0].content_hash.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_refused_with_field_and_remedy() {
    let office = Office::open().await;
    let admin = office.token("root", &["*"], &[]);
    let cases: &[(&[&str], &str, &str)] = &[
        (&["customer", "show", "pty_nobody"], "NOT_FOUND", "name: "),
        (&["customer", "show", "crm:nobody"], "NOT_FOUND", "value: "),
        (&["customer", "show", "not an id"], "FIELD_INVALID", "name: "),
        (&["why", "pty_nobody", "letters"], "NOT_FOUND", "name: "),
        (&["decision", "explain", "dec_none"], "NOT_FOUND", "name: "),
        (&["touch", "show", "tch_none"], "NOT_FOUND", "name: "),
        (&["content", "review", "nothing"], "NOT_FOUND", "name: "),
        (&["content", "withdraw", "nothing", "--reason", "old"], "NOT_FOUND", "name: "),
        (&["journey", "show", "nothing"], "NOT_FOUND", "name: "),
        (&["journey", "publish", "nothing"], "NOT_FOUND", "name: "),
        (&["journey", "pause", "nothing", "--reason", "old"], "NOT_FOUND", "name: "),
        (&["journey", "resume", "nothing"], "NOT_FOUND", "name: "),
    ];
    for (arguments, reason, field) in cases {
        office.refuses(&admin, arguments, reason, &[field]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_review_is_refused_with_field_and_remedy() {
    let office = Office::open().await;
    let hash = office.submitted().await;
    let mira = office.token("mira", &["content.*"], &["medical"]);
    let approve = |role: &'static str, hash: &str| {
        let words = ["content", "approve", "hello", "--role", role, "--name", "Dr Mira", "--hash"];
        words.iter().map(|it| (*it).to_owned()).chain([hash.to_owned()]).collect::<Vec<_>>()
    };
    let refuses = |token: &str, arguments: Vec<String>, reason: &str, named: &str| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        office.refuses(token, &arguments, reason, &[named]);
    };
    refuses(&mira, approve("legal", &hash), "ROLE_NOT_HELD", "role: ");
    refuses(&mira, approve("medical", "abc"), "FIELD_INVALID", "content_hash: ");
    refuses(&mira, approve("medical", &"0".repeat(64)), "HASH_MISMATCH", "content_hash: ");
    let ada = office.token("ada", &["content.*"], &["medical"]);
    refuses(&ada, approve("medical", &hash), "AUTHOR_MAY_NOT_SIGN", "role: ");
    let reader = office.token("mira", &["content.modules.read"], &["medical"]);
    refuses(&reader, approve("medical", &hash), "PERMISSION_MISSING", "content.modules.sign");
    office.refuses(
        &mira,
        &["content", "review", "hello", "--version", "9"],
        "NOT_FOUND",
        &["version: "],
    );
    let reason = ["content", "withdraw", "hello", "--reason", "It is old."];
    office.refuses(&mira, &reason, "FIELD_INVALID", &["reason: "]);

    let signed: Vec<_> = approve("medical", &hash);
    let signed: Vec<_> = signed.iter().map(String::as_str).collect();
    assert!(office.shows(&mira, &signed).starts_with("signed as sig_"));
    refuses(&mira, approve("medical", &hash), "ALREADY_SIGNED", "role: ");
    let reject = ["--reject", "legal", "--comment", "Not in this tone.", "--name", "Leo Lex"];
    let reject = [&["content", "review", "hello"][..], &reject].concat();
    let leo = office.token("leo", &["content.*"], &["legal"]);
    office.shows(&leo, &reject);
    office.refuses(&leo, &reject, "WRONG_STATE", &["version: "]);

    let shown = office.shows(&mira, &["content", "review", "hello"]);
    for it in [
        &hash,
        "    <p>Hallo.</p>",
        "code",
        "max_length",
        "Not in this tone.",
        "time per stage: draft ",
    ] {
        assert!(shown.contains(it), "{it}: {shown}");
    }
    let shown = office.shows_json(&mira, &["content", "review", "hello", "--version", "1"]);
    assert_eq!(shown["versions"][0]["content_hash"], hash.as_str());
    office.shows(&mira, &["content", "withdraw", "hello", "--reason", "old"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journey_goes_live_by_what_the_commands_print() {
    let office = Office::open().await;
    let file = office.here().join("journey.yaml");
    let file = file.to_str().expect("a path");
    let (ada, ben) = (office.token("ada", &["*"], &[]), office.token("ben", &["*"], &[]));
    std::fs::write(file, JOURNEY.replace("next", "nexxt").replace("done: {exit", "done: {exitt"))
        .expect("written");
    office.refuses(&ada, &["journey", "draft", file], "GRAPH_INVALID", &["line 9", "exitt"]);
    std::fs::write(file, JOURNEY).expect("written");
    let drafted = office.shows_json(&ada, &["journey", "draft", file]);
    assert_eq!(drafted["version"]["version"], 1, "{drafted}");
    office.refuses(&ben, &["journey", "publish", "letters"], "NOT_APPROVED", &[""]);
    // What `approve` wants is what `show` prints.
    let shown = office.shows(&ben, &["journey", "show", "letters"]);
    let hash = shown.lines().find_map(|it| it.strip_prefix("hash of version 1: "));
    let hash = hash.expect("the whole hash").to_owned();
    let approve = ["journey", "approve", "letters", "--hash", hash.as_str()];
    office.refuses(&ada, &approve, "AUTHOR_MAY_NOT_APPROVE", &[""]);
    let wrong = "0".repeat(64);
    let stale = ["journey", "approve", "letters", "--hash", wrong.as_str()];
    office.refuses(&ben, &stale, "CHECK_STALE", &["hash: "]);
    office.shows(&ben, &approve);
    office.refuses(&ben, &["journey", "pause", "letters", "--reason", "x"], "WRONG_STATE", &[""]);
    office.shows(&ben, &["journey", "publish", "letters"]);
    office.shows(&ben, &["journey", "pause", "letters", "--reason", "incident"]);
    let shown = office.shows_json(&ben, &["journey", "show", "letters"]);
    assert!(shown["versions"][0]["hash"] == hash.as_str(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_is_told_how_to_be() {
    let office = Office::open().await;
    let here = office.here();
    let show = ["customer", "show", "pty_1"];
    office.refuses("nonsense", &show, "TOKEN_INVALID", &["issuer"]);
    let old = office.issuer.mint(TokenSpec::new("default", "ada", &["*"]).expired());
    office.refuses(&old, &show, "TOKEN_EXPIRED", &["new token"]);
    let stranger = office.issuer.mint(TokenSpec::new("elsewhere", "ada", &["*"]));
    office.refuses(&stranger, &show, "TENANT_UNKNOWN", &["tenants"]);
    let nobody = office.token("ada", &[], &[]);
    office.refuses(&nobody, &show, "PERMISSION_MISSING", &["profiles.parties.read"]);
    let other = [&["--tenant", "other"][..], &show].concat();
    office.refuses(&office.token("ada", &["*"], &[]), &other, "NOT_FOUND", &["name: "]);

    let fails = |arguments: &[&str]| {
        let output = rapport(here, &[arguments, &show].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let token = office.token("ada", &["*"], &[]);
    let said = fails(&["--token", &token, "--as", "ben"]);
    assert!(said.contains("--as") && said.contains("development token"), "{said}");
    let said = fails(&["--token", &token, "--url", "here and there"]);
    assert!(said.contains("--url") && said.contains("http://HOST:PORT"), "{said}");
    let said = fails(&["--token", "a\nb"]);
    assert!(said.contains("the token"), "{said}");
    let said = fails(&["--token", &token, "--url", "http://127.0.0.1:1"]);
    assert!(said.contains("--url") && said.contains("rapport serve"), "{said}");
    let said = fails(&["--output", "json", "--token", &token, "--url", "http://127.0.0.1:1"]);
    let json: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json["error"]["violations"][0]["field"], "--url", "{json}");
    let said = fails(&["--output", "json"]);
    let json: Value = serde_json::from_str(&said).expect("JSON");
    assert!(json["error"]["message"].as_str().is_some_and(|it| it.contains("--token")), "{json}");
}
