//! `profiles` and `audit` on databases of their own and a log of its own, with an issuer: what outlives a process.

use std::path::Path;

use chassis::testing::{AUDIENCE, OidcIssuer, TokenSpec};
use eventstore::testing::{NatsServer, Postgres};
use rapport::remote::{Addresses, Remote};

use super::Server;

pub(super) struct Deployment {
    pub(super) folder: tempfile::TempDir,
    pub(super) postgres: Option<Postgres>,
    pub(super) nats: NatsServer,
    pub(super) set: Vec<String>,
    issuer: OidcIssuer,
}

impl Deployment {
    /// Its servers; nothing of it is served yet.
    pub(super) async fn new(postgres: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let nats = NatsServer::start();
        let postgres = postgres.then(Postgres::start);
        let database = match &postgres {
            Some(it) => it.url("{service}"),
            None => format!("sqlite://{}/{{service}}.db", folder.path().display()),
        };
        let issuer = OidcIssuer::start().await;
        let keys = [
            ("service.keys", "a key that all targets of this deployment hold\n"),
            ("kek", "Y29udHJhY3Qta2V5LWVuY3J5cHRpb24ta2V5LTEyMzQ=\n"),
        ];
        for (name, text) in keys {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let set = vec![
            "targets=profiles,audit".to_owned(),
            format!("database.url={database}"),
            format!("log.url={}", nats.url()),
            "auth.mode=oidc".to_owned(),
            format!("auth.issuer={}", issuer.url()),
            format!("auth.audience={AUDIENCE}"),
            "auth.service_key_file=service.keys".to_owned(),
            "keys.kek_file=kek".to_owned(),
        ];
        let deployment = Self { folder, postgres, nats, set, issuer };
        ["profiles", "audit"].iter().for_each(|it| deployment.make_database(it));
        deployment
    }

    /// Makes an empty database on PostgreSQL; on SQLite a file makes itself.
    fn make_database(&self, target: &str) {
        if let Some(it) = &self.postgres {
            it.psql("postgres", &format!("CREATE DATABASE {target}"));
        }
    }

    /// Loses a target's database.
    pub(super) fn lose(&self, target: &str) {
        match &self.postgres {
            Some(it) => {
                it.psql("postgres", &format!("DROP DATABASE {target} WITH (FORCE)"));
            }
            None => {
                for end in ["db", "db-wal", "db-shm"] {
                    // What was folded into the database is not there any more.
                    let _ = std::fs::remove_file(self.here().join(format!("{target}.{end}")));
                }
            }
        }
        self.make_database(target);
    }

    pub(super) fn here(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn serve(&self) -> Server {
        Server::start_with(self.here(), &self.set)
    }

    /// Arguments of a command, behind this deployment's settings.
    pub(super) fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let set = self.set.iter().flat_map(|it| ["--set", it.as_str()]);
        set.chain(arguments.iter().copied()).collect()
    }

    pub(super) fn token(&self) -> String {
        self.issuer.mint(TokenSpec::new("default", "operator", &["*"]))
    }

    pub(super) fn remote(&self, server: &Server) -> Remote {
        let addresses = Addresses { all: server.url.clone(), ..Addresses::default() };
        Remote::new(&addresses, "default", &self.token()).expect("clients")
    }
}
