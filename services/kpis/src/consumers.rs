//! Every source, whole: what each event adds to each series.

use std::sync::Arc;

use eventstore::{Consumer, Handler};

use crate::view::outside::{CONSUMER, Outside, sources};
use crate::view::series::Cache;

/// The consumer of this service.
pub(crate) fn consumer(cache: &Cache) -> Consumer {
    Consumer {
        name: CONSUMER.to_owned(),
        sources: sources(),
        handler: Handler::View(Arc::new(Outside::new(cache.clone()))),
    }
}
