//! Signatures of tokens, made and checked by ring like those of TLS: one provider of cryptography for the process.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::error::Unspecified;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

/// The least length of an RSA key, in bytes (RFC 7518, section 3.3: 2,048 bits).
const RSA_BYTES: usize = 256;

/// Makes ring what tokens are signed and verified with. Repeating it is harmless.
pub(crate) fn install() {
    // An error says that it is installed already, which is what we want.
    let _ = PROVIDER.install_default();
}

/// Whether a key is long enough to be verified with.
pub(super) fn is_strong(key: &DecodingKey) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => number(n).len() >= RSA_BYTES,
        DecodingKeyKind::SecretOrDer(_) => true,
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        // Targets sign what they say to each other; everything else is signed elsewhere.
        Algorithm::HS256 if key.family() == algorithm.family() => {
            Ok(Box::new(Signing(key.clone())))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: verifying,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Signs by HMAC with SHA-256.
struct Signing(EncodingKey);

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(ring::hmac::sign(&secret(self.0.as_bytes()), message).as_ref().to_vec())
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// Verifies with a key that is of the algorithm's family.
struct Verifying {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn verifying(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // Whoever knows the issuer's public key must not be able to use it as a secret.
    if key.family() == algorithm.family() {
        Ok(Box::new(Verifying { algorithm: *algorithm, key: key.clone() }))
    } else {
        Err(ErrorKind::InvalidKeyFormat.into())
    }
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        verify(self.algorithm, self.key.kind(), message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// RFC 7518, section 3; RFC 8037 for EdDSA. An RSA key has 2,048 to 8,192 bits.
fn verify(
    algorithm: Algorithm,
    key: &DecodingKeyKind,
    message: &[u8],
    signature: &[u8],
) -> std::result::Result<(), Unspecified> {
    use Algorithm as A;
    let rsa = |parameters: &'static RsaParameters| match key {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKeyComponents { n: number(n), e: number(e) }
                .verify(parameters, message, signature)
        }
        DecodingKeyKind::SecretOrDer(_) => Err(Unspecified),
    };
    let point = |parameters: &'static dyn signature::VerificationAlgorithm| match key {
        DecodingKeyKind::SecretOrDer(bytes) => {
            UnparsedPublicKey::new(parameters, bytes).verify(message, signature)
        }
        DecodingKeyKind::RsaModulusExponent { .. } => Err(Unspecified),
    };
    match (algorithm, key) {
        (A::HS256, DecodingKeyKind::SecretOrDer(bytes)) => {
            ring::hmac::verify(&secret(bytes), message, signature)
        }
        (A::RS256, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        (A::RS384, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        (A::RS512, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        (A::PS256, _) => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        (A::PS384, _) => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        (A::PS512, _) => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        (A::ES256, _) => point(&signature::ECDSA_P256_SHA256_FIXED),
        (A::ES384, _) => point(&signature::ECDSA_P384_SHA384_FIXED),
        (A::EdDSA, _) => point(&signature::ED25519),
        _ => Err(Unspecified),
    }
}

fn secret(bytes: &[u8]) -> ring::hmac::Key {
    ring::hmac::Key::new(ring::hmac::HMAC_SHA256, bytes)
}

/// Some issuers write the sign of a number, which ring refuses.
fn number(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|it| **it == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rsa_key_is_as_long_as_its_number_without_a_sign() {
        let strong = |n: &[u8]| is_strong(&DecodingKey::from_rsa_raw_components(n, &[1, 0, 1]));
        assert!(strong(&[0x80; RSA_BYTES]));
        assert!(strong(&[&[0][..], &[0x80; RSA_BYTES]].concat()));
        assert!(!strong(&[0x80; RSA_BYTES - 1]));
        assert!(!strong(&[&[0][..], &[0x80; RSA_BYTES - 1]].concat()));
        assert!(!strong(&[]));
    }
}
