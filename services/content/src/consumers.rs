//! What `content` learns from others: which roles a country asks for, and who uses its modules.

use std::pin::Pin;
use std::sync::Arc;

use eventstore::{Consumer, Error, Handler, Recorded, Tx, View};

use crate::view::{plan_use, rule_pack};

/// The consumer's name.
pub(crate) const NAME: &str = "content";
/// The sources it reads.
pub(crate) const SOURCES: [&str; 2] = ["decisioning", "journeys"];

pub(crate) fn consumer() -> Consumer {
    Consumer {
        name: NAME.to_owned(),
        sources: SOURCES.map(str::to_owned).to_vec(),
        handler: Handler::View(Arc::new(Plans)),
    }
}

/// Rule packs, policies and journeys.
struct Plans;

type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl View for Plans {
    fn name(&self) -> &'static str {
        "content.plans"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["rule_pack", "plan_use"]
    }

    fn reads(&self, type_name: &str) -> bool {
        let names = ["decisioning.v1.RulePack", "decisioning.v1.Policy", "journeys.v1.Journey"];
        let name = type_name.strip_prefix("rapport.").unwrap_or_default();
        names.iter().any(|it| name.starts_with(it))
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            // These facts are rare among many others: one statement each is enough.
            for event in events {
                match event.aggregate() {
                    "rule_pack" => rule_pack::apply(tx, event).await?,
                    "policy" => plan_use::apply_policy(tx, event).await?,
                    "journey" => plan_use::apply_journey(tx, event).await?,
                    _ => {}
                }
            }
            Ok(())
        })
    }
}
