//! `charts/rapport`: what it accepts, what it makes in every scenario, and that both are as written down.

mod alerts;
mod examples;
mod golden;
pub(crate) mod helm;
mod kubernetes;
mod log;
mod network;
mod notes;
pub(crate) mod objects;
mod package;
pub(crate) mod pods;
mod policy;
mod references;
mod refused;
mod scaling;
mod scanners;
mod schema;
mod settings;
mod values;
pub(crate) mod yaml;
