//! Which claims and modules name which parts.

use eventstore::{Database, Error, Tx, Value, values};
use prost::Message as _;
use rapport_proto::content::v1::assembly_rule::Rule;
use rapport_proto::content::v1::{ClaimContent, ModuleContent, SlotKind, State};

use super::review::{Move, OVER};
use crate::domain::review::Fact;

/// A part and where it is named.
struct Named {
    part: String,
    place: String,
    prints: bool,
}

pub(super) async fn apply(tx: &mut Tx, moves: &[Move<'_>]) -> Result<(), Error> {
    // Runs of drafts are written at once; what moves versions on goes in between.
    let mut rows = Vec::new();
    for it in moves {
        match (&it.fact, it.leads_to()) {
            (Fact::Drafted { version, content, .. }, _) => {
                rows.extend(rows_of(it, *version, content))
            }
            (_, Some((version, state))) => {
                insert(tx, std::mem::take(&mut rows)).await?;
                stand(tx, it, version, state).await?;
            }
            (_, None) => {}
        }
    }
    insert(tx, rows).await
}

fn rows_of(of: &Move<'_>, version: u32, content: &[u8]) -> Vec<Vec<Value>> {
    let named = if of.kind == "claim" { by_claim(content) } else { by_module(content) };
    let state = State::Draft as i32;
    let row = |it: Named| {
        values![of.tenant, it.part, of.kind, of.id, version, it.place, it.prints, state]
    };
    named.into_iter().map(row).collect()
}

fn by_claim(content: &[u8]) -> Vec<Named> {
    let content = ClaimContent::decode(content).unwrap_or_default();
    let named = |id: String| Named {
        part: format!("reference/{id}"),
        place: "reference_ids".into(),
        prints: true,
    };
    content.reference_ids.into_iter().map(named).collect()
}

fn by_module(content: &[u8]) -> Vec<Named> {
    let content = ModuleContent::decode(content).unwrap_or_default();
    let mut named = Vec::new();
    for slot in &content.slots {
        let kind = match slot.kind() {
            SlotKind::Claim => "claim",
            SlotKind::Module => "module",
            SlotKind::Unspecified
            | SlotKind::Text
            | SlotKind::Number
            | SlotKind::Date
            | SlotKind::Link
            | SlotKind::PartyField => continue,
        };
        named.push(Named {
            part: format!("{kind}/{}", slot.of),
            place: format!("slots.{}", slot.name),
            prints: true,
        });
    }
    for (n, rule) in content.rules.iter().enumerate() {
        named.extend(rule.rule.iter().flat_map(|rule| by_rule(n, rule)));
    }
    let shown = |id: String| Named {
        part: format!("asset/{id}"),
        place: "asset_ids".into(),
        prints: false,
    };
    named.extend(content.asset_ids.into_iter().map(shown));
    named
}

fn by_rule(n: usize, rule: &Rule) -> Vec<Named> {
    let named = |part: String, what: &str| Named {
        part,
        place: format!("rules[{n}].{what}"),
        prints: false,
    };
    // An id in these rules may be a module's or a claim's.
    let either = |id: &str, what: &str| {
        vec![named(format!("module/{id}"), what), named(format!("claim/{id}"), what)]
    };
    match rule {
        Rule::Requires(id) => either(id, "requires"),
        Rule::Excludes(id) => either(id, "excludes"),
        Rule::Order(order) => order.ids.iter().flat_map(|id| either(id, "order")).collect(),
        Rule::MaxLength(_) => Vec::new(),
        Rule::MustAccompany(it) if it.claim_id.is_empty() => {
            vec![named(format!("module/{}", it.module_id), "must_accompany")]
        }
        Rule::MustAccompany(it) => vec![named(format!("claim/{}", it.claim_id), "must_accompany")],
    }
}

async fn insert(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.insert_many(
        "INSERT INTO part_use (tenant, part, kind, id, version, place, prints, state)",
        rows,
        "ON CONFLICT (tenant, part, kind, id, version, place) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Notes where a version stands now; 0 is all of them that are not over.
async fn stand(tx: &mut Tx, of: &Move<'_>, version: u32, state: State) -> Result<(), Error> {
    let [one, two, three] = OVER.map(|it| it as i32);
    tx.exec(
        "UPDATE part_use SET state = $5
         WHERE tenant = $1 AND kind = $2 AND id = $3 AND ($4 = 0 OR version = $4) AND state NOT IN ($6, $7, $8)",
        values![of.tenant, of.kind, of.id, version, state as i32, one, two, three],
    )
    .await
    .map(drop)
}

pub(crate) const PRINTING: &str = "SELECT DISTINCT id
     FROM part_use
     WHERE tenant = $1 AND part = $2 AND kind = $3 AND prints = 1 AND state = $4 AND id > $5
     ORDER BY id
     LIMIT $6";

/// Ids of the claims or modules (`kind`) with an approved version that prints or cites a part, after one, in their
/// order.
pub(crate) async fn printing(
    database: &Database,
    tenant: &str,
    part: &str,
    kind: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let wanted = values![tenant, part, kind, State::Approved as i32, after, limit];
    let rows = database.query(PRINTING, wanted).await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// A use of a part by a claim, a module, a policy or a journey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) place: String,
    /// Unspecified for policies and journeys, and where a page went on from.
    pub(crate) state: State,
}

/// Where a page of uses went on from: `kind`, `id`, `version`, `place`, with spaces between.
impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.kind, self.id, self.version, self.place)
    }
}

impl Use {
    /// Before every use.
    pub(crate) const START: Self = Self {
        kind: String::new(),
        id: String::new(),
        version: 0,
        place: String::new(),
        state: State::Unspecified,
    };

    /// Reads what was printed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ').map(str::to_owned);
        let (kind, id, version) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        Some(Self { kind, id, version, place: parts.next()?, state: State::Unspecified })
    }
}

pub(crate) const LIST: &str = "SELECT kind, id, version, place, state FROM (
         SELECT kind, id, version, place, state FROM part_use
         WHERE tenant = $1 AND part = $2 AND (kind, id, version, place) > ($3, $4, $5, $6)
         ORDER BY kind, id, version, place LIMIT $7) parts
     UNION ALL
     SELECT kind, id, version, place, 0 FROM (
         SELECT kind, id, version, place FROM plan_use
         WHERE tenant = $1 AND part = $2 AND (kind, id, version, place) > ($3, $4, $5, $6)
         ORDER BY kind, id, version, place LIMIT $7) plans
     ORDER BY kind, id, version, place
     LIMIT $7";

/// Uses of a part after one, in their order: by kind, id, version and place.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    part: &str,
    after: &Use,
    limit: u32,
) -> Result<Vec<Use>, Error> {
    let wanted = values![tenant, part, &after.kind, &after.id, after.version, &after.place, limit];
    let rows = database.query(LIST, wanted).await?;
    let use_of = |row: &eventstore::Row| {
        Ok(Use {
            kind: row.text(0)?.to_owned(),
            id: row.text(1)?.to_owned(),
            version: u32::try_from(row.count(2)?).unwrap_or(u32::MAX),
            place: row.text(3)?.to_owned(),
            state: super::state(row.int(4)?),
        })
    };
    rows.iter().map(use_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_reads_back() {
        let one = Use {
            kind: "policy".into(),
            id: "default".into(),
            version: 3,
            place: "actions.a b".into(),
            state: State::Unspecified,
        };
        assert_eq!(Use::parse(&one.to_string()), Some(one));
        assert_eq!(Use::parse(&Use::START.to_string()), Some(Use::START));
        for nonsense in ["", "a b", "a b c d"] {
            assert_eq!(Use::parse(nonsense), None, "{nonsense}");
        }
    }
}
