//! Bodies as SDKs send them: JSON under any content type, compressed or not, bounded either way.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};

use crate::answer::Refusal;

/// Bytes of a body, as it comes and as it is.
const MOST: usize = 4 << 20;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes, inflated.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let read = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, MOST)).await;
    let slow = || {
        let told = "The body did not come in time. Send the same again.";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", told)
    };
    let bytes = read.map_err(|_| slow())?.map_err(|_| too_large())?;
    match headers.get(header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Ok(bytes.to_vec()),
        Some(b"gzip" | b"x-gzip") => inflate(&bytes),
        Some(_) => {
            let told = "Send the body as it is or with Content-Encoding: gzip.";
            Err(Refusal::of_field("bad_encoding", "Content-Encoding", told))
        }
    }
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::new();
    let limit = MOST as u64 + 1;
    let read = flate2::read::GzDecoder::new(bytes).take(limit).read_to_end(&mut inflated);
    if read.is_err() {
        let told = "The body is not gzip as its Content-Encoding says.";
        return Err(Refusal::of_field("bad_encoding", "Content-Encoding", told));
    }
    if inflated.len() > MOST { Err(too_large()) } else { Ok(inflated) }
}

fn too_large() -> Refusal {
    let told = "The body is larger than 4 MB. Send smaller batches.";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", told)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compressed")
    }

    fn encoded(encoding: &'static str) -> HeaderMap {
        [(header::CONTENT_ENCODING, http::HeaderValue::from_static(encoding))].into_iter().collect()
    }

    #[tokio::test]
    async fn a_body_is_read_as_it_is_and_compressed() {
        let plain = read(&HeaderMap::new(), Body::from("{}")).await;
        let gzipped = read(&encoded("gzip"), Body::from(gzip(b"{}"))).await;
        assert_eq!((plain, gzipped), (Ok(b"{}".to_vec()), Ok(b"{}".to_vec())));
    }

    #[tokio::test]
    async fn a_bomb_is_refused_before_it_is_inflated() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < MOST);
        let refused = read(&encoded("gzip"), Body::from(bomb)).await.expect_err("refused");
        assert_eq!((refused.status, refused.code), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
        let large = read(&HeaderMap::new(), Body::from(vec![0; MOST + 1])).await;
        assert_eq!(large.expect_err("refused").code, "too_large");
    }

    #[tokio::test]
    async fn what_is_not_what_it_says_is_refused() {
        for (encoding, body) in [("gzip", "{}"), ("br", "{}")] {
            let refused = read(&encoded(encoding), Body::from(body)).await.expect_err("refused");
            assert_eq!(
                (refused.code, refused.field.as_str()),
                ("bad_encoding", "Content-Encoding")
            );
        }
    }
}
