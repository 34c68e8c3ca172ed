//! # The contract
//!
//! Every message, event and RPC of Rapport, compiled from the one buf module in `rapport/` by
//! [protox](https://docs.rs/protox): no `protoc` is needed. The modules mirror the packages.
//!
//! From the descriptors the build derives:
//!
//! - [`ACCESS`]: the permission of every RPC. An RPC that declares none does not compile.
//! - [`BY_MARKET`], [`BY_BRAND`]: the RPCs that keep to the markets, or brands, a token is confined to.
//! - [`SCHEMAS`]: a hash over the shape of every message, written into each envelope.
//! - [`EventSet`] for each `oneof event`: how the facts of one aggregate are named, encoded, decoded, and
//!   which of their fields are [`Personal`].
//!
//! [`UPCASTERS`] lift released shapes of events to today's, for every reader alike.
//!
//! Feature `grpc` adds clients and servers. The event core uses the crate without it.

mod meaning;
mod personal;
mod upcast;

pub use meaning::{audience_of, is_market, market, purpose_of};
pub use personal::{CIPHER, Personal};
pub use upcast::{UPCASTERS, Upcaster};

/// The types shared by all services.
pub mod r#type {
    /// Version 1.
    pub mod v1 {
        #![allow(clippy::all, clippy::allow_attributes, unreachable_pub)]
        include!(concat!(env!("OUT_DIR"), "/rapport.r#type.v1.rs"));
    }
}
pub use self::r#type::v1 as types;

macro_rules! packages {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        pub mod $name {
            /// Version 1.
            pub mod v1 {
                #![allow(clippy::all, clippy::allow_attributes, unreachable_pub)]
                include!(concat!(env!("OUT_DIR"), "/rapport.", stringify!($name), ".v1.rs"));
            }
        }
    )*};
}

packages! {
    /// What happened: an index over every event.
    audit
    /// What may be said, to whom, where, until when, and who approved it.
    content
    /// What is best now, and why; what a country allows.
    decisioning
    /// The one door through which anything leaves.
    delivery
    /// Reading and following a source.
    eventlog
    /// What customers answered, and what must be done about it.
    feedback
    /// When something should happen.
    journeys
    /// Whether it works.
    kpis
    /// Who the customer is and what they allowed.
    profiles
    /// The simulated clock.
    simulation
}

mod derived {
    #![allow(clippy::all, clippy::allow_attributes)]
    include!(concat!(env!("OUT_DIR"), "/derived.rs"));
}
pub use derived::{ACCESS, BY_BRAND, BY_MARKET, SCHEMAS};

/// The compiled module, with comments and options, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rapport.binpb"));

/// The facts of one aggregate: implemented for every `oneof event` by the build.
pub trait EventSet: Clone + Send + Sync + Sized + 'static {
    /// Full protobuf names of the facts.
    const TYPES: &'static [&'static str];
    /// Full protobuf name of this fact.
    fn type_name(&self) -> &'static str;
    /// The bare message. Personal fields must be sealed before: a clear one is left out.
    fn encode(&self) -> Vec<u8>;
    /// Decodes a bare message; `None` when the set has no such fact.
    fn decode(type_name: &str, bytes: &[u8]) -> Result<Option<Self>, prost::DecodeError>;
    /// Visits every personal field that is present, with its path.
    fn personal(&mut self, visit: &mut dyn FnMut(&str, &mut Personal));
}

/// Schema hash of a message; empty when there is no such message.
pub fn schema_of(type_name: &str) -> &'static str {
    SCHEMAS
        .binary_search_by(|(name, _)| (*name).cmp(type_name))
        .map_or("", |index| SCHEMAS[index].1)
}

/// Permission of an RPC by its path, for example `/rapport.profiles.v1.PartyService/GetParty`.
pub fn permission_of(path: &str) -> Option<&'static str> {
    ACCESS.iter().find(|(known, _)| *known == path).map(|(_, permission)| *permission)
}
