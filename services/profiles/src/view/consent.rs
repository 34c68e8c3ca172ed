//! Which consents a party has, and the timers of grants that run out.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use rapport_proto::profiles::v1::{ConsentKey, consent_event::Event};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    // A consent's key never changes, so its first statement says whose it is.
    for event in events.iter().filter(|event| event.envelope.version == 1) {
        if let Some(key) = key_of(event.decode()?) {
            rows.push(values![&event.envelope.tenant, &key.party_id, event.id()]);
        }
    }
    tx.insert_many(
        "INSERT INTO consent (tenant, party_id, consent_id)",
        rows,
        "ON CONFLICT (tenant, party_id, consent_id) DO NOTHING",
    )
    .await
    .map(drop)
}

fn key_of(event: Option<Event>) -> Option<ConsentKey> {
    match event? {
        Event::Granted(it) => it.key,
        Event::Denied(it) => it.key,
        Event::Withdrawn(it) => it.key,
        Event::Expired(it) => it.key,
    }
}

/// Ids of a party's consents after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    party_id: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT consent_id
             FROM consent
             WHERE tenant = $1 AND party_id = $2 AND consent_id > $3
             ORDER BY consent_id
             LIMIT $4",
            values![tenant, party_id, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// The end of one grant: what its timer is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry<'a> {
    pub(crate) consent_id: &'a str,
    pub(crate) granted_at: Timestamp,
    pub(crate) due_at: Timestamp,
}

impl<'a> Expiry<'a> {
    /// `<consent id>/<granted at>/<due at>`, in microseconds.
    pub(crate) fn timer_id(&self) -> String {
        format!("{}/{}/{}", self.consent_id, self.granted_at.0, self.due_at.0)
    }

    /// Reads what [`timer_id`](Self::timer_id) wrote.
    pub(crate) fn parse(timer_id: &'a str) -> Option<Self> {
        let mut parts = timer_id.splitn(3, '/');
        let consent_id = parts.next()?;
        let mut time = || parts.next()?.parse().ok().map(Timestamp);
        Some(Self { consent_id, granted_at: time()?, due_at: time()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_names_the_grant_it_ends() {
        let expiry =
            Expiry { consent_id: "con_1", granted_at: Timestamp(-5), due_at: Timestamp(7) };
        assert_eq!(Expiry::parse(&expiry.timer_id()), Some(expiry));
        for nonsense in ["", "con_1", "con_1/5", "con_1/x/7", "con_1/5/7/9"] {
            assert_eq!(Expiry::parse(nonsense), None, "{nonsense}");
        }
    }
}
