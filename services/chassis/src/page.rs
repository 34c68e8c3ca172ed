//! Paging (AIP-158): a clamped size, and an opaque token that only continues the query it came from.
//!
//! The token is the cursor with a digest over the cursor and the other arguments. The digest catches a token pasted
//! into another query; it is no secret, because a forged cursor shows nothing the caller's tenant and permission do
//! not show anyway, and so every replica reads every other's tokens without sharing a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::status::{PAGE_TOKEN_INVALID, Problem};

/// Page size when a request asks for none.
pub const DEFAULT_SIZE: u32 = 50;
/// The largest page; a larger wish gets this many.
pub const MAX_SIZE: u32 = 1000;

const DIGEST_BYTES: usize = 12;

/// What a List method needs to know about the page it was asked for.
///
/// ```
/// use chassis::page::Page;
/// let first = Page::parse(0, "", &["acme", "parties", "kind=HCP"]).unwrap();
/// assert_eq!((first.size, first.cursor::<&str>()), (50, None));
/// let token = first.next_token("pty_7");
/// let second = Page::parse(10, &token, &["acme", "parties", "kind=HCP"]).unwrap();
/// assert_eq!(second.cursor(), Some("pty_7"));
/// assert!(Page::parse(10, &token, &["acme", "parties", "kind=HCO"]).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows to return, 1 to [`MAX_SIZE`].
    pub size: u32,
    after: Option<String>,
    bound: [u8; 32],
}

impl Page {
    /// Reads `page_size` and `page_token`. `arguments` are all other arguments of the query, tenant first; the token
    /// is refused when they differ from those it was made with.
    pub fn parse(size: i32, token: &str, arguments: &[&str]) -> Result<Self, Problem> {
        let size = u32::try_from(size)
            .map_err(|_| Problem::field("page_size", "Use 0 for the default, or 1 to 1000."))?;
        let size = if size == 0 { DEFAULT_SIZE } else { size.min(MAX_SIZE) };
        let bound = digest_of(arguments);
        if token.is_empty() {
            return Ok(Self { size, after: None, bound });
        }
        let after = open(token, &bound).ok_or_else(|| {
            Problem::of(PAGE_TOKEN_INVALID).violation(
                "page_token",
                "Use the token of the previous page with the same arguments.",
            )
        })?;
        Ok(Self { size, after: Some(after), bound })
    }

    /// The place to go on after, as [`next_token`](Self::next_token) was given it; `None` on the first page, and for
    /// a cursor that does not parse.
    pub fn cursor<'a, T: Cursor<'a>>(&'a self) -> Option<T> {
        self.after.as_deref().and_then(T::read)
    }

    /// The token for the page after the row with this cursor.
    pub fn next_token(&self, cursor: &(impl ToString + ?Sized)) -> String {
        let cursor = cursor.to_string();
        let mut bytes = tag(&self.bound, &cursor).to_vec();
        bytes.extend_from_slice(cursor.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Cuts rows read with a limit of `size + 1` to the page, and makes the token if there was one more.
    pub fn cut<T, C: ToString>(&self, rows: &mut Vec<T>, cursor: impl Fn(&T) -> C) -> String {
        if rows.len() <= self.size as usize {
            return String::new();
        }
        rows.truncate(self.size as usize);
        rows.last().map(|row| self.next_token(&cursor(row))).unwrap_or_default()
    }
}

/// What a cursor can be: text, or the number of a position.
pub trait Cursor<'a>: Sized {
    fn read(text: &'a str) -> Option<Self>;
}

impl<'a> Cursor<'a> for &'a str {
    fn read(text: &'a str) -> Option<Self> {
        Some(text)
    }
}

impl<'a> Cursor<'a> for i64 {
    fn read(text: &'a str) -> Option<Self> {
        text.parse().ok()
    }
}

fn digest_of(arguments: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for argument in arguments {
        hash.update((argument.len() as u64).to_be_bytes());
        hash.update(argument.as_bytes());
    }
    hash.finalize().into()
}

fn tag(bound: &[u8; 32], cursor: &str) -> [u8; DIGEST_BYTES] {
    let digest: [u8; 32] = Sha256::new().chain_update(bound).chain_update(cursor).finalize().into();
    let mut tag = [0; DIGEST_BYTES];
    tag.copy_from_slice(&digest[..DIGEST_BYTES]);
    tag
}

fn open(token: &str, bound: &[u8; 32]) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (seal, cursor) = bytes.split_at_checked(DIGEST_BYTES)?;
    let cursor = std::str::from_utf8(cursor).ok()?;
    (tag(bound, cursor) == seal).then(|| cursor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_continues_only_the_query_it_came_from() {
        let page = Page::parse(2, "", &["acme", "HCP"]).expect("first page");
        let token = page.next_token(&42);
        assert_eq!(
            Page::parse(2, &token, &["acme", "HCP"]).expect("same query").cursor(),
            Some(42_i64)
        );
        for other in [&["acme", "HCO"][..], &["umbrella", "HCP"], &["acmeHCP"], &[]] {
            let problem = Page::parse(2, &token, other).expect_err("another query");
            assert_eq!(problem.reason, PAGE_TOKEN_INVALID);
            assert_eq!(problem.violations[0].field, "page_token");
        }
    }

    #[test]
    fn sizes_are_clamped_and_negative_ones_refused() {
        let size = |wish| Page::parse(wish, "", &[]).map(|page| page.size);
        assert_eq!(size(0), Ok(50));
        assert_eq!(size(7), Ok(7));
        assert_eq!(size(1_000_000), Ok(1000));
        assert_eq!(size(-1).expect_err("negative").violations[0].field, "page_size");
    }

    #[test]
    fn the_last_page_has_no_token() {
        let page = Page::parse(2, "", &[]).expect("page");
        let mut rows = vec![1, 2];
        assert_eq!(page.cut(&mut rows, |row| *row), "");
        let mut rows = vec![1, 2, 3];
        let token = page.cut(&mut rows, |row| *row);
        assert_eq!(rows, [1, 2]);
        assert_eq!(Page::parse(2, &token, &[]).expect("next").cursor(), Some(2_i64));
    }

    proptest! {
        #[test]
        fn no_token_panics(token in any::<String>()) {
            let _ = Page::parse(1, &token, &["acme"]);
        }
    }
}
