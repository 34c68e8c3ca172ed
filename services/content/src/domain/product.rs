//! A medicine or service that content speaks about.

use eventstore::{Decider, Timestamp};
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::product_event::Event;
use rapport_proto::is_market;

use super::text;
use super::wrong::Findings;

/// The aggregate; stream `product/<id>`.
pub(crate) enum Product {}

/// A product exists, or is described anew.
#[derive(Clone, Debug)]
pub(crate) struct Register(pub(crate) proto::Product);

/// A product can always be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// The product as it was last described.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) product: Option<proto::Product>,
}

impl Decider for Product {
    const AGGREGATE: &'static str = "product";
    type Command = Register;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(
        state: &State,
        Register(product): Register,
        _at: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        if state.product.as_ref() == Some(&product) {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Registered(proto::ProductRegistered { product: Some(product) })])
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Registered(it) => state.product.clone_from(&it.product),
        }
        state
    }
}

/// What is wrong with a product.
pub(crate) fn check(product: &proto::Product) -> Findings {
    let mut found = Findings::default();
    found.keep(chassis::name::authored_id("product.product_id", &product.product_id));
    found.keep(chassis::text::line("product.brand", &product.brand, 1..=200));
    let indication = |it: &String| chassis::text::line("", it, 1..=200).is_ok();
    found.list(
        "product.indications",
        &product.indications,
        50,
        indication,
        "Use one line of 1 to 200 characters.",
    );
    found.list("product.markets", &product.markets, 249, |it| is_market(it), text::MARKET);
    found
}

#[cfg(test)]
mod tests {
    use eventstore::testing::given;

    use super::*;

    fn aspera(brand: &str) -> proto::Product {
        proto::Product { product_id: "aspera".into(), brand: brand.into(), ..Default::default() }
    }

    #[test]
    fn a_product_can_be_described_anew() {
        let registered =
            |brand| Event::Registered(proto::ProductRegistered { product: Some(aspera(brand)) });
        let known = || given::<Product>(vec![registered("Aspera")]);
        given::<Product>(vec![]).when(Register(aspera("Aspera"))).then(vec![registered("Aspera")]);
        known().when(Register(aspera("Aspera"))).then(vec![]);
        known().when(Register(aspera("Aspera Plus"))).then(vec![registered("Aspera Plus")]);
    }
}
