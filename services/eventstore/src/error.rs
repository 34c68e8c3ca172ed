//! The few ways the store can fail. Whoever branches does so on these; people read the chain.

use std::error::Error as StdError;

use rusqlite::ErrorCode;
use sqlx::error::ErrorKind;

/// A failure of the store or the log: ours, not the caller's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database or the log cannot be used right now; the same call may work later.
    #[error("{what}")]
    Unavailable {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// Stored bytes are not what was written.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The store and the log tell different histories; nothing is written until a person decides.
    #[error("the store is fenced: {0}")]
    Fenced(String),
    /// A statement was wrong: a bug.
    #[error("run a statement")]
    Statement(#[source] Box<dyn StdError + Send + Sync>),
    /// A view refused a unit under the head lock.
    #[error("refused: {0}")]
    Refused(String),
}

impl Error {
    /// Stored data is not what was written.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }

    /// Something outside cannot be used right now.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), source: None }
    }

    /// Something outside cannot be used right now, and why.
    pub fn unavailable_because(
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { what: what.into(), source: Some(source.into()) }
    }

    /// A view refuses a unit, with a reason the command's caller understands.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    /// Its kind, as a label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Corrupt(_) => "corrupt",
            Self::Fenced(_) => "fenced",
            Self::Statement(_) => "statement",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the store or the log is out of order, so that the failure says nothing about the work it hit: that is
    /// done later, and nothing is parked for it.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Fenced(_))
    }

    /// This level and all causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Sorts a failure of PostgreSQL: a broken connection, a full disk, a read-only or restarting server pass; a wrong
/// statement does not. The same goes for SQLite below.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let transient = match &error {
            sqlx::Error::Database(it) => {
                it.kind() == ErrorKind::Other && it.code().is_some_and(|code| passes(&code))
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::BeginFailed => true,
            _ => false,
        };
        if transient {
            Self::unavailable_because("use the database", error)
        } else {
            Self::Statement(error.into())
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let transient = error.sqlite_error().is_some_and(|it| {
            matches!(
                it.code,
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::ReadOnly
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DiskFull
                    | ErrorCode::CannotOpen
            )
        });
        if transient {
            Self::unavailable_because("use the database", error)
        } else {
            Self::Statement(error.into())
        }
    }
}

/// Classes of its documentation, appendix A: 08 connection, 25006 read-only, 25P03 idle in transaction, 40 rollback,
/// 53 resources, 55P03 lock timeout, 57014 cancelled, 57P operator intervention, 58 system.
fn passes(code: &str) -> bool {
    ["08", "40", "53", "57P", "58"].iter().any(|class| code.starts_with(class))
        || ["25006", "25P02", "25P03", "55P03", "57014"].contains(&code)
}
