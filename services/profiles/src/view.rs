//! The tables that lists and look-ups read, written from events in the transaction that appends them.
//!
//! One file per table. `apply` takes a batch, loads the rows it touches, folds in order, and writes each table with one
//! statement; live, on rebuild and on import alike. What names one thing (a party with its attributes, a consent with
//! its statements) is not copied here: it is folded from its stream, where personal values are sealed.

use std::pin::Pin;
use std::sync::OnceLock;

use eventstore::{Error, Keyring, Recorded, TimerOp, Timestamp, Tx, View};
use rapport_proto::profiles::v1::consent_event;

pub(crate) mod activity;
pub(crate) mod consent;
pub(crate) mod contact_point;
pub(crate) mod definition;
pub(crate) mod identifier;
pub(crate) mod interaction;
pub(crate) mod membership;
pub(crate) mod pack;
pub(crate) mod party;
pub(crate) mod relation;
pub(crate) mod revision;
pub(crate) mod segments;
pub(crate) mod source;
pub(crate) mod uses;

/// What fires when a grant runs out.
pub(crate) const CONSENT_EXPIRY: &str = "consent.expiry";

/// The one view of the service.
#[derive(Default)]
pub(crate) struct Profiles {
    /// By which values are indexed; there once the store is open.
    keys: OnceLock<Keyring>,
}

type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl View for Profiles {
    fn name(&self) -> &'static str {
        "profiles"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["party", "identifier", "contact_point", "consent", "relation", "source", "interaction"]
    }

    fn opened(&self, keys: &Keyring) {
        // A view belongs to one store, so the first keys are the only ones.
        let _ = self.keys.set(keys.clone());
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let keys = self.keys.get().ok_or_else(|| Error::corrupt("the view has no keys"))?;
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            let parties = of("party");
            party::apply(tx, &parties).await?;
            identifier::apply(tx, keys, &parties).await?;
            contact_point::apply(tx, keys, &parties).await?;
            consent::apply(tx, &of("consent")).await?;
            relation::apply(tx, &of("relation")).await?;
            source::apply(tx, &of("source")).await?;
            interaction::apply(tx, &of("interaction")).await
        })
    }

    /// A grant that runs out states its timer. Each end has its own, so that a later statement moves none.
    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        if event.envelope.r#type != "rapport.profiles.v1.ConsentGranted" {
            return Ok(Vec::new());
        }
        let Some(consent_event::Event::Granted(granted)) = event.decode()? else {
            return Ok(Vec::new());
        };
        let effective_at = granted.proof.as_ref().and_then(|it| instant(it.effective_at.as_ref()));
        let (Some(effective_at), Some(due_at)) =
            (effective_at, instant(granted.expires_at.as_ref()))
        else {
            return Ok(Vec::new());
        };
        Ok(vec![TimerOp::Set {
            id: consent::Expiry { consent_id: event.id(), granted_at: effective_at, due_at }
                .timer_id(),
            kind: CONSENT_EXPIRY,
            stream: event.envelope.stream.clone(),
            due_at,
        }])
    }
}

fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(crate::domain::instant)
}
