//! Private keys of an issuer of tokens, for each algorithm that the platform accepts.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaPublicKeyComponents};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct SigningKey {
    /// By its name in RFC 7518.
    pub(super) algorithm: &'static str,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Ed25519(Ed25519KeyPair),
    Ec { curve: &'static str, pair: EcdsaKeyPair },
    Rsa { padding: &'static dyn signature::RsaEncoding, pair: RsaKeyPair },
}

impl SigningKey {
    /// A new key; panics where there is no such algorithm. One for RSA is made by `openssl`.
    pub(super) fn new(algorithm: &str) -> Self {
        let random = SystemRandom::new();
        let ec = |curve, way| {
            let der = EcdsaKeyPair::generate_pkcs8(way, &random).expect("a key");
            let pair = EcdsaKeyPair::from_pkcs8(way, der.as_ref(), &random).expect("a key");
            Pair::Ec { curve, pair }
        };
        let rsa = |padding| Pair::Rsa { padding, pair: rsa() };
        let (algorithm, pair) = match algorithm {
            "EdDSA" => {
                let der = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                ("EdDSA", Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key")))
            }
            "ES256" => ("ES256", ec("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING)),
            "ES384" => ("ES384", ec("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING)),
            "RS256" => ("RS256", rsa(&signature::RSA_PKCS1_SHA256)),
            "RS384" => ("RS384", rsa(&signature::RSA_PKCS1_SHA384)),
            "RS512" => ("RS512", rsa(&signature::RSA_PKCS1_SHA512)),
            "PS256" => ("PS256", rsa(&signature::RSA_PSS_SHA256)),
            "PS384" => ("PS384", rsa(&signature::RSA_PSS_SHA384)),
            "PS512" => ("PS512", rsa(&signature::RSA_PSS_SHA512)),
            other => panic!("no key is made for {other}"),
        };
        Self { algorithm, pair }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Ec { pair, .. } => pair.sign(&random, message).expect("signed").as_ref().to_vec(),
            Pair::Rsa { padding, pair } => {
                let mut made = vec![0; pair.public().modulus_len()];
                pair.sign(*padding, &random, message, &mut made).expect("signed");
                made
            }
        }
    }

    /// The public half as a JSON Web Key (RFC 7517).
    pub(super) fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Pair::Ec { curve, pair } => {
                // A byte that says "not compressed", and both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Rsa { pair, .. } => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": text(&n), "e": text(&e)})
            }
        };
        key["alg"] = json!(self.algorithm);
        key
    }
}

fn rsa() -> RsaKeyPair {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .args(["-outform", "DER"])
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Which of the two forms it writes depends on its version.
    let pair = RsaKeyPair::from_pkcs8(&made.stdout);
    pair.or_else(|_| RsaKeyPair::from_der(&made.stdout)).expect("an RSA key")
}
