//! Pages for people: plain HTML without a script, everything that is not ours escaped.

use axum::response::{Html, IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// What a page may do: show itself and send its own form.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// A page with a title and a body that is HTML already.
pub(crate) fn page(status: StatusCode, language: &str, title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{}</title><style>{STYLE}</style></head>\
         <body><main><h1>{}</h1>\n{body}\n</main></body></html>\n",
        escape(language),
        escape(title),
        escape(title)
    );
    let mut response = (status, Html(text)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    let fixed = [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page that says one thing.
pub(crate) fn notice(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, "en", title, &format!("<p>{}</p>", escape(text)))
}

/// Text as HTML shows it, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "body{font:18px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1c2430}\
main{max-width:38rem;margin:2rem auto;padding:1.5rem 2rem;background:#fff;border-radius:.5rem}\
h1{font-size:1.4rem}fieldset{border:0;margin:0 0 1.5rem;padding:0}legend{font-weight:600;padding:0}\
label{display:inline-block;margin:.25rem .75rem .25rem 0}textarea{width:100%;min-height:6rem;font:inherit}\
button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.3rem;background:#0b5cad;color:#fff}\
.error{color:#a1121b}.hint{color:#56606e;font-size:.9em}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_taken_as_html() {
        assert_eq!(escape("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
    }
}
