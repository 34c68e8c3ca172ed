//! What holds for SQLite alone.

use futures::FutureExt as _;
use tempfile::TempDir;

use super::super::Database;
use super::*;
use crate::values;

/// Counts to 300,000: more than the patience for a question.
const LONG: &str = "
    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
    SELECT count(*), sum(i), (SELECT count(*) FROM thing) FROM n";

/// A file with one table, opened; and once more by whoever asks.
struct Place(TempDir);

impl Place {
    async fn new() -> (Self, Database) {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let database = place.open(Duration::from_secs(60)).await;
        let mut tx = database.begin().await.expect("began");
        tx.script("CREATE TABLE thing (value BLOB)").await.expect("created");
        tx.commit().await.expect("committed");
        (place, database)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("things.db")
    }

    async fn open(&self, acquire_timeout: Duration) -> Database {
        let url = format!("sqlite://{}", self.file().display());
        let options = DatabaseOptions { acquire_timeout, ..DatabaseOptions::new(url) };
        Database::open(&options).await.expect("opened")
    }
}

#[tokio::test]
async fn a_long_question_is_answered_like_a_short_one() {
    let (_place, database) = Place::new().await;
    let counted = |things: i64| vec![Row(values![300_000, 45_000_150_000_i64, things])];
    assert_eq!(database.query(LONG, vec![]).await.expect("counted"), counted(0));
    let mut tx = database.begin().await.expect("began");
    tx.exec("INSERT INTO thing VALUES ($1)", values![7]).await.expect("written");
    assert_eq!(tx.query(LONG, vec![]).await.expect("counted"), counted(1), "and its own rows");
    tx.commit().await.expect("committed");
    assert_eq!(database.query(LONG, vec![]).await.expect("counted"), counted(1));
}

#[tokio::test]
async fn a_question_is_long_when_patience_ends() {
    let (place, _database) = Place::new().await;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let options = Options { file: place.file(), flags, busy_timeout: Duration::from_secs(60) };
    let mut connection = <Connection as pool::Connection>::open(&options).await.expect("opened");
    let left = connection.left.clone();
    let db = connection.here().expect("here");
    assert_eq!(ask(db, LONG, &[], Some(&left)).expect("asked"), None);
    left.store(5, Ordering::Relaxed);
    assert!(ask(db, LONG, &[], None).is_err(), "an answer is whole or an error");
    let short = ask(db, "SELECT 1", &[], Some(&left)).expect("asked");
    assert_eq!(short, Some(vec![Row(values![1])]));
}

#[tokio::test]
async fn a_transaction_whose_question_is_given_up_is_rolled_back() {
    let (_place, database) = Place::new().await;
    let mut tx = database.begin().await.expect("began");
    tx.exec("INSERT INTO thing VALUES ($1)", values![7]).await.expect("written");
    assert!(tx.query(LONG, vec![]).now_or_never().is_none(), "it is answered elsewhere");
    let error = tx.exec("INSERT INTO thing VALUES ($1)", values![8]).await.expect_err("lost");
    assert!(error.is_transient(), "{error:?}");
    drop(tx);
    let things = database.query("SELECT value FROM thing", vec![]).await.expect("asked");
    assert_eq!(things, []);
    database.exec("INSERT INTO thing VALUES ($1)", values![9]).await.expect("another connection");
}

#[tokio::test]
async fn the_log_file_is_folded_into_the_database_before_it_grows_large() {
    let (place, database) = Place::new().await;
    let (megabytes, size) = (1 << 20, || place.file().metadata().expect("a file").len());
    // Twice as much as is kept in the log file, durably and not.
    for durable in [true, false] {
        let before = size();
        for _ in 0..64 {
            let tx = if durable { database.begin().await } else { database.begin_relaxed().await };
            let mut tx = tx.expect("began");
            let blob = vec![7_u8; megabytes];
            tx.exec("INSERT INTO thing VALUES ($1)", values![blob]).await.expect("written");
            tx.commit().await.expect("committed");
        }
        let folded = size() - before;
        assert!(folded > 32 << 20, "{folded} bytes were folded, durable {durable}");
    }
    let log = place.file().with_extension("db-wal").metadata().expect("a log file").len();
    assert!(log < 64 << 20, "{log} bytes");
}

#[tokio::test]
async fn another_process_that_writes_is_waited_for() {
    let (place, database) = Place::new().await;
    let other = place.open(Duration::from_millis(20)).await;
    let patient = place.open(Duration::from_secs(60)).await;
    let writing = database.begin().await.expect("began");
    let error = other.begin().await.expect_err("the database is written");
    assert!(error.is_transient(), "{error:?}");
    assert!(error.chain().contains("another process writes"), "{}", error.chain());
    let (began, ended) = futures::join!(patient.begin(), writing.commit());
    ended.expect("committed");
    began.expect("began when the other ended").rollback().await.expect("rolled back");
    other.begin().await.expect("it works again").rollback().await.expect("rolled back");
}

#[tokio::test]
async fn values_are_bound_by_their_number() {
    let (_place, database) = Place::new().await;
    let answer = async |sql, args| database.query(sql, args).await;
    let swapped = answer("SELECT $2, $1, $2", values![1, 2]).await.expect("asked");
    assert_eq!(swapped, [Row(values![2, 1, 2])]);
    let counted = answer("SELECT ?, ?", values!["a", "b"]).await.expect("asked");
    assert_eq!(counted, [Row(values!["a", "b"])]);
    let missing = answer("SELECT $1, $2", values![1]).await.expect_err("one is missing");
    assert!(matches!(missing, Error::Corrupt(_)), "{missing:?}");
    let null = database.exec("INSERT INTO thing VALUES ($1)", vec![Value::Null]).await;
    assert!(matches!(null, Err(Error::Statement(_))), "{null:?}");
}

#[tokio::test]
async fn a_text_that_is_not_utf8_is_damage() {
    let (_place, database) = Place::new().await;
    let error = database.query("SELECT CAST(x'ff' AS TEXT)", vec![]).await.expect_err("damaged");
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
}

#[test]
fn a_url_names_a_file() {
    for (url, file) in [
        ("sqlite://data/audit.db", "data/audit.db"),
        ("sqlite:///data/audit.db", "/data/audit.db"),
        ("sqlite:data/audit.db", "data/audit.db"),
        ("sqlite:////data/audit.db", "//data/audit.db"),
    ] {
        assert_eq!(sqlite_file(url), PathBuf::from(file));
    }
}
