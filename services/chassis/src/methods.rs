//! What the contract says about each RPC: its permission, whether it streams, which target serves it.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::auth::edges::target_of;

/// One RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// `rapport.profiles.v1.PartyService/RegisterParty`: the name of its span and its metrics' label.
    pub name: &'static str,
    pub permission: &'static str,
    /// Whether it keeps to the markets that a caller is confined to.
    pub by_market: bool,
    /// Whether it keeps to the brands that a caller is confined to.
    pub by_brand: bool,
    /// True when the answer is a stream, which may outlast any request timeout of ours.
    pub streams: bool,
    /// The target whose API it is; `None` for what every target serves.
    pub target: Option<&'static str>,
}

/// Every RPC that declares a permission. A method that is not here cannot be called.
#[derive(Clone, Debug)]
pub struct Methods {
    by_path: HashMap<&'static str, Method>,
    /// Every method of every service in the descriptors, permission or not.
    declared: HashMap<String, Vec<String>>,
}

/// A service that may not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("read the contract's descriptors")]
    Descriptors(#[from] prost::DecodeError),
    #[error("{0} is not in the contract's descriptors")]
    Undescribed(String),
    #[error("{0} declares no permission: add option (rapport.type.v1.access)")]
    NoPermission(String),
}

impl Methods {
    /// The contract of `rapport-proto`.
    pub fn of_contract() -> Result<Self, Error> {
        Self::of(rapport_proto::ACCESS, rapport_proto::FILE_DESCRIPTOR_SET)
    }

    /// A contract given as its access table (path, permission) and its descriptors.
    pub fn of(access: &[(&'static str, &'static str)], descriptors: &[u8]) -> Result<Self, Error> {
        let set = FileDescriptorSet::decode(descriptors)?;
        let mut declared: HashMap<String, Vec<String>> = HashMap::new();
        let mut streams = HashMap::new();
        for file in &set.file {
            for service in &file.service {
                let service_name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let path = format!("/{service_name}/{}", method.name());
                    streams.insert(path.clone(), method.server_streaming());
                    declared.entry(service_name.clone()).or_default().push(path);
                }
            }
        }
        let method = |(path, permission): &(&'static str, &'static str)| {
            let name = &path[1..];
            let service = name.split('/').next().unwrap_or_default();
            let streams = streams.get(*path).copied().unwrap_or_default();
            let by_market = rapport_proto::BY_MARKET.contains(path);
            let by_brand = rapport_proto::BY_BRAND.contains(path);
            let target = target_of(service);
            (*path, Method { name, permission, by_market, by_brand, streams, target })
        };
        Ok(Self { by_path: access.iter().map(method).collect(), declared })
    }

    pub fn find(&self, path: &str) -> Option<Method> {
        self.by_path.get(path).copied()
    }

    /// Services of the targets that are wanted, each with its target.
    pub(crate) fn services(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (String, &str)> {
        let mut found: Vec<_> = self
            .declared
            .keys()
            .filter_map(|service| {
                let (service, target) = (service.clone(), target_of(service)?);
                wanted(target).then_some((service, target))
            })
            .collect();
        found.sort();
        found.into_iter()
    }

    /// Refuses a service with an RPC that nobody gave a permission: such a process does not start.
    pub fn check(&self, service: &str) -> Result<(), Error> {
        let paths = self.declared.get(service).ok_or_else(|| Error::Undescribed(service.into()))?;
        match paths.iter().find(|path| !self.by_path.contains_key(path.as_str())) {
            None => Ok(()),
            Some(path) => Err(Error::NoPermission(path[1..].into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "/rapport.eventlog.v1.EventLogService/TailEvents";

    #[test]
    fn the_contract_tells_permission_and_streaming() {
        let methods = Methods::of_contract().expect("decodes");
        let tail = methods.find(TAIL).expect("declared");
        assert!(tail.streams && tail.target.is_none());
        assert_eq!(tail.permission, "eventlog.events.read");
        assert_eq!(methods.check("rapport.eventlog.v1.EventLogService"), Ok(()));
    }

    #[test]
    fn a_service_with_an_undeclared_permission_is_refused() {
        let access: Vec<_> =
            rapport_proto::ACCESS.iter().copied().filter(|(path, _)| *path != TAIL).collect();
        let methods = Methods::of(&access, rapport_proto::FILE_DESCRIPTOR_SET).expect("decodes");
        assert_eq!(
            methods.check("rapport.eventlog.v1.EventLogService"),
            Err(Error::NoPermission(TAIL[1..].into()))
        );
        assert_eq!(methods.check("some.Service"), Err(Error::Undescribed("some.Service".into())));
    }
}
