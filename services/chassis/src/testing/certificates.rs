//! A certificate authority of a test's own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::settings;

/// An authority that vouches for servers and callers on this machine.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut about = CertificateParams::default();
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = about.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(about, key), pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A new certificate for this machine, and its key.
    pub fn leaf(&self) -> (String, String) {
        self.leaf_for(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
    }

    /// A new certificate for these names, and its key.
    pub fn leaf_for(&self, names: Vec<String>) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let about = CertificateParams::new(names).expect("names");
        let certificate = about.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a new certificate with its key and the authority's own beside each other, and names them: what a target
    /// needs to call and to be called, each by who can show a certificate.
    pub fn issue(&self, folder: &Path) -> settings::Tls {
        let (certificate, key) = self.leaf();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        settings::Tls {
            cert_file: write("tls.crt", &certificate),
            key_file: write("tls.key", &key),
            client_ca_file: write("ca.crt", self.pem()),
            ca_file: folder.join("ca.crt"),
        }
    }
}
