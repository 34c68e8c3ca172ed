//! Slow or gone? A machine that is lost says nothing, not even that a connection is closed, and a statement that was sent
//! there would wait for a quarter of an hour, or for ever behind a balancer. So whoever waits for long asks on another
//! connection whether the server still works on it: one that was promoted meanwhile knows nothing of it.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::error::Error;
use crate::ids::{Ids, hex};

/// How long a statement is waited for before the server is asked about it.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the server may take to say so, and an answer to arrive that was on its way.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a name begins with is cut to this: the server keeps 63 bytes of it.
const PREFIX: usize = 40;

/// The server of one connection, which it knows by a name that no other has.
pub(super) struct Server {
    options: Box<PgConnectOptions>,
    name: String,
}

impl Server {
    pub(super) fn named(options: &PgConnectOptions) -> Self {
        let prefix = options.get_application_name().unwrap_or("rapport").chars();
        let prefix: String = prefix.filter(char::is_ascii_graphic).take(PREFIX).collect();
        let name = format!("{prefix} {}", hex(&Ids::system().bytes::<8>()));
        Self { options: Box::new(options.clone().application_name(&name)), name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.connect().await
    }

    /// Waits for an answer for as long as the server works on it.
    pub(super) async fn answers<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(answer) = tokio::time::timeout(SILENCE, &mut work).await {
                return Ok(answer?);
            }
            let does = tokio::select! {
                answer = &mut work => return Ok(answer?),
                does = tokio::time::timeout(PATIENCE, Box::pin(self.does())) => does,
            };
            match does {
                // It is there, and cannot say: it starts, or has too many connections.
                Ok(Ok(Does::Work) | Err(sqlx::Error::Database(_))) => continue,
                // Its answer is on the way here, or lost.
                Ok(Ok(Does::Rest)) => {
                    if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut work).await {
                        return Ok(answer?);
                    }
                }
                Ok(Ok(Does::NotKnow) | Err(_)) | Err(_) => {}
            }
            return Err(Error::unavailable("the database does not answer"));
        }
    }

    /// What a server that answers does for the connection.
    async fn does(&self) -> Result<Does, sqlx::Error> {
        let asks = PgConnectOptions::clone(&self.options).application_name("rapport asks");
        let mut connection = asks.connect().await?;
        let works: Option<bool> = sqlx::query_scalar(
            "SELECT COALESCE(state, '') NOT LIKE 'idle%' FROM pg_stat_activity
             WHERE application_name = $1",
        )
        .bind(&self.name)
        .fetch_optional(&mut connection)
        .await?;
        let _ = sqlx::Connection::close(connection).await;
        Ok(match works {
            Some(true) => Does::Work,
            Some(false) => Does::Rest,
            None => Does::NotKnow,
        })
    }
}

/// What a server does for a connection.
enum Does {
    Work,
    Rest,
    NotKnow,
}
