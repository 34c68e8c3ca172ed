//! What an SMTP server is told, and when: a real one, with a certificate of an authority made here.

use std::path::{Path, PathBuf};
use std::process::Command;

use chassis::settings::{EmailBy, SmtpTls};
use rapport_proto::delivery::v1::touch_event;
use tempfile::TempDir;

use super::receivers::Receiver;
use super::*;

/// An authority, and a server's certificate that it signed: of 127.0.0.1, in `server.crt` beside its key.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let it = Self { folder: tempfile::tempdir().expect("a folder") };
        it.sign("authority", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        let (file, key) = (it.path("authority.crt"), it.path("authority.key"));
        let [file, key] = [&file, &key].map(|it| it.to_str().expect("a path"));
        let by_authority = ["-CA", file, "-CAkey", key];
        let of_server = ["-addext", "subjectAltName=IP:127.0.0.1"];
        it.sign("server", &[&by_authority[..], &of_server].concat());
        it
    }

    fn sign(&self, name: &str, more: &[&str]) {
        let signed = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-config", "/dev/null", "-subj", &format!("/CN={name}")])
            .args(more)
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.path(&format!("{name}.crt")))
            .output()
            .expect("openssl starts");
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server with its certificate, that lets in by a mechanism; empty: everybody.
    fn server(&self, mechanism: &str) -> Receiver {
        let certificate = self.path("server.crt").display().to_string();
        Receiver::start("smtp.py", &[&certificate, mechanism])
    }
}

/// A world that insists on STARTTLS, and trusts who stands in a file.
async fn world(server: &str, ca_file: &Path) -> World {
    let world = World::with(|settings| {
        settings.delivery.email = EmailBy::Smtp;
        settings.delivery.smtp_tls = SmtpTls::Starttls;
        settings.delivery.smtp_url = format!("smtp://{server}");
        settings.delivery.smtp_ca_file = ca_file.to_owned();
    })
    .await;
    world.address("accept@example.org");
    world
}

/// Why the attempts of a touch came to nothing, in their order.
async fn codes(world: &World, touch_id: &str) -> Vec<String> {
    let (store, stream) = (world.store("delivery"), format!("touch/{touch_id}"));
    let events = store.read_stream(ACME, &stream, eventstore::AsOf::Now).await.expect("read");
    let code = |event: &eventstore::Recorded| match event.decode().expect("a fact") {
        Some(touch_event::Event::RetryScheduled(it)) => Some(it.code),
        Some(touch_event::Event::Failed(it)) => Some(it.code),
        _ => None,
    };
    events.iter().filter_map(code).collect()
}

/// The one attempt that comes to nothing leaves the touch to be tried again.
async fn comes_to(world: &World, code: &str) {
    let touch_id = world.request(email()).await;
    world.retries(&touch_id, 1).await;
    assert_eq!(codes(world, &touch_id).await, [code]);
}

#[tokio::test]
async fn a_password_and_a_message_are_told_to_a_server_somebody_vouches_for() {
    let authority = Authority::new();
    for mechanism in ["PLAIN", "LOGIN"] {
        let receiver = authority.server(mechanism);
        let server = format!("relay:secret@127.0.0.1:{}", receiver.port);
        let world = world(&server, &authority.path("authority.crt")).await;
        let touch = world.email(State::Sent).await;
        let touch_id = touch.request.expect("what was asked for").touch_id;
        let expected = [
            format!("tls AUTH {mechanism} right"),
            "tls MAIL".into(),
            format!("accept@example.org <{touch_id}@northwind.example>"),
        ];
        assert_eq!(receiver.lines(), expected);
        world.harness.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let trusted = authority.path("authority.crt");
    // An unknown authority; another name than the certificate's; nobody but the public's authorities; a file of nothing.
    for (host, ca_file, code) in [
        ("127.0.0.1", stranger.path("authority.crt"), "starttls"),
        ("localhost", trusted.clone(), "starttls"),
        ("127.0.0.1", PathBuf::new(), "starttls"),
        ("127.0.0.1", authority.path("missing.crt"), "ca_file"),
    ] {
        let receiver = authority.server("PLAIN");
        let world = world(&format!("relay:secret@{host}:{}", receiver.port), &ca_file).await;
        comes_to(&world, code).await;
        assert_eq!(receiver.lines(), Vec::<String>::new(), "{host} {}", ca_file.display());
        world.harness.stop().await;
    }
}

#[tokio::test]
async fn a_server_without_starttls_is_told_nothing() {
    // It would take a password and a message in clear.
    let receiver = Receiver::start("smtp.py", &["", "PLAIN"]);
    let server = format!("relay:secret@127.0.0.1:{}", receiver.port);
    let world = world(&server, Path::new("")).await;
    comes_to(&world, "starttls").await;
    assert_eq!(receiver.lines(), Vec::<String>::new());
    world.harness.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_no_fault_of_the_message_and_ends_it_only_after_many_attempts() {
    let authority = Authority::new();
    let receiver = authority.server("LOGIN");
    let server = format!("relay:wrong@127.0.0.1:{}", receiver.port);
    let world = world(&server, &authority.path("authority.crt")).await;
    let touch_id = world.request(email()).await;
    for attempt in 1..10 {
        let touch = world.retries(&touch_id, attempt).await;
        assert!(touch.next_time.is_some());
        world.harness.clock.advance(Duration::from_secs(3600));
    }
    let touch = world.reaches(&touch_id, State::Failed).await;
    assert_eq!((touch.reason.as_str(), touch.attempts), ("auth_535", 10));
    assert_eq!(codes(&world, &touch_id).await, vec!["auth_535"; 10]);
    assert_eq!(receiver.lines(), vec!["tls AUTH LOGIN wrong"; 10], "no message is begun");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_server_that_wants_a_password_and_gets_none_refuses_us_and_not_the_message() {
    let authority = Authority::new();
    let receiver = authority.server("PLAIN");
    let server = format!("127.0.0.1:{}", receiver.port);
    let world = world(&server, &authority.path("authority.crt")).await;
    comes_to(&world, "auth_530").await;
    assert_eq!(receiver.lines(), Vec::<String>::new());
    world.harness.stop().await;
}

#[tokio::test]
async fn a_server_that_takes_no_password_is_told_none() {
    let authority = Authority::new();
    let receiver = authority.server("");
    let server = format!("relay:secret@127.0.0.1:{}", receiver.port);
    let world = world(&server, &authority.path("authority.crt")).await;
    let touch_id = world.request(email()).await;
    world.retries(&touch_id, 1).await;
    let told = receiver.lines();
    assert!(told.iter().all(|it| !it.contains("MAIL")), "{told:?}");
    world.harness.stop().await;
}
