//! What other services' events lead to: tables that decisions read, and the outcomes of decisions.

use std::sync::Arc;

use eventstore::{Consumer, Handler};

use crate::view::outside::{CONSUMER, Outside, SOURCES};

pub(crate) mod outcome;

/// Every consumer of this service.
pub(crate) fn all() -> [Consumer; 2] {
    [
        Consumer {
            name: CONSUMER.to_owned(),
            sources: SOURCES.map(str::to_owned).to_vec(),
            handler: Handler::View(Arc::new(Outside)),
        },
        Consumer {
            name: "decisioning.outcomes".to_owned(),
            sources: ["delivery", "profiles"].map(str::to_owned).to_vec(),
            handler: Handler::Reactor(Arc::<outcome::Outcomes>::default()),
        },
    ]
}
