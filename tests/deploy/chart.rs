//! `charts/rapport`: what it accepts, what it makes in every scenario, and that both are as written down.

mod alerts;
mod golden;
mod helm;
mod kubernetes;
mod network;
mod objects;
mod package;
mod pods;
mod policy;
mod refused;
mod scanners;
mod schema;
mod settings;
mod values;
mod yaml;
