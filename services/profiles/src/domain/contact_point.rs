//! Addresses at which a party can be reached.

use rapport_proto::types::Channel;

use super::Invalid;

/// Schemes that the URL of a webhook may have.
pub(crate) type Schemes = &'static [&'static str];

/// An address in the one form under which it is kept and compared.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    channel: Channel,
    value: String,
}

impl Address {
    /// Normalises an address as its channel asks for; the domain of an e-mail address and of a URL is lower-cased, a
    /// telephone number is E.164, anything else is one line of text.
    pub(crate) fn parse(channel: Channel, value: &str, schemes: Schemes) -> Result<Self, Invalid> {
        let value = super::line(value, 1..=320)?.trim();
        let value = match channel {
            Channel::Unspecified => Err(Invalid::value("Choose a channel.")),
            Channel::Email => email(value),
            Channel::Sms | Channel::Phone => telephone(value),
            Channel::Webhook => webhook(value, schemes),
            Channel::Portal | Channel::FieldTask => Ok(value.to_owned()),
        }?;
        Ok(Self { channel, value })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

/// The form under which the same address is found again, however it was written: the local part of an e-mail address
/// may tell case apart (RFC 5321, section 2.4), but no mailbox that matters does.
pub(crate) fn matching(channel: Channel, value: &str) -> String {
    let value = value.trim();
    if channel == Channel::Email { value.to_lowercase() } else { value.to_owned() }
}

/// The address is personal: it is not printed.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({:?})", self.channel)
    }
}

/// `local@domain` with an unquoted local part (RFC 5321, section 4.1.2; letters beyond ASCII as in RFC 6531).
fn email(text: &str) -> Result<String, Invalid> {
    const REMEDY: Invalid = Invalid::value("Use an e-mail address of the form local@domain.");
    let (local, domain) = text.rsplit_once('@').ok_or(REMEDY)?;
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    let domain = domain.to_lowercase();
    let fits = local.len() <= 64
        && local.split('.').all(is_atom)
        && is_host(&domain)
        && domain.contains('.');
    fits.then(|| format!("{local}@{domain}")).ok_or(REMEDY)
}

/// E.164: `+`, then 7 to 15 digits, the first not 0. Spaces and the marks people write between digits are dropped.
fn telephone(text: &str) -> Result<String, Invalid> {
    const REMEDY: Invalid = Invalid::value(
        "Use the international form: + and 7 to 15 digits, for example +49301234567.",
    );
    let number: String = text.chars().filter(|c| !" -./()".contains(*c)).collect();
    let digits = number.strip_prefix('+').ok_or(REMEDY)?;
    let fits = (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    fits.then_some(number).ok_or(REMEDY)
}

/// `scheme://host[:port][/path][?query]` without user information or fragment.
fn webhook(text: &str, schemes: Schemes) -> Result<String, Invalid> {
    const REMEDY: Invalid = Invalid::value("Use an https URL without user name or fragment.");
    let shaped = text.is_ascii()
        && text.bytes().all(|b| b.is_ascii_graphic())
        && !text.contains(['#', '\\', '"', '<', '>']);
    let (scheme, rest) = text.split_once("://").filter(|_| shaped).ok_or(REMEDY)?;
    let scheme = scheme.to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        return Err(REMEDY);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) =
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let host = host.to_ascii_lowercase();
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    if !is_host(&host) || !port_fits {
        return Err(REMEDY);
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{host}{port}{path}"))
}

/// Labels of 1 to 63 letters, digits and inner hyphens, 253 characters in all (RFC 1035, section 2.3.1).
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HTTPS: Schemes = &["https"];

    #[test]
    fn addresses_are_normalised_per_channel() {
        let cases = [
            (Channel::Email, " Ada.Lovelace@Example.ORG ", "Ada.Lovelace@example.org"),
            (Channel::Email, "ada+rx@bücher.example", "ada+rx@bücher.example"),
            (Channel::Sms, "+49 (30) 123-45.67", "+49301234567"),
            (Channel::Phone, "+1 212 555 0100", "+12125550100"),
            (
                Channel::Webhook,
                "HTTPS://Hooks.Example.org:8443/In?x=1",
                "https://hooks.example.org:8443/In?x=1",
            ),
            (Channel::Webhook, "https://example.org?x=1", "https://example.org?x=1"),
            (Channel::Portal, " User 7 ", "User 7"),
            (Channel::FieldTask, "team-north", "team-north"),
        ];
        for (channel, text, normal) in cases {
            assert_eq!(Address::parse(channel, text, HTTPS).expect(text).value(), normal);
        }
    }

    #[test]
    fn a_webhook_has_a_scheme_that_is_let_through() {
        let parse = |text, schemes| Address::parse(Channel::Webhook, text, schemes);
        let local = parse("HTTP://127.0.0.1:8080/in", &["https", "http"]).expect("let through");
        assert_eq!(local.value(), "http://127.0.0.1:8080/in");
        assert!(parse("http://127.0.0.1:8080/in", HTTPS).is_err());
        assert!(parse("ftp://127.0.0.1/in", &["https", "http"]).is_err());
        assert!(parse("://127.0.0.1/in", &["https", "http"]).is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.org", "x".repeat(1 << 20));
        let cases = [
            (Channel::Unspecified, "a@example.org"),
            (Channel::Email, ""),
            (Channel::Email, "ada"),
            (Channel::Email, "@example.org"),
            (Channel::Email, "a@b"),
            (Channel::Email, "a..b@example.org"),
            (Channel::Email, "a b@example.org"),
            (Channel::Email, "a@-x.org"),
            (Channel::Email, "a@x..org"),
            (Channel::Email, "a\r\nBcc: b@example.org"),
            (Channel::Email, "a@ex\u{202e}ample.org"),
            (Channel::Email, &long),
            (Channel::Sms, "030 1234567"),
            (Channel::Sms, "+0123456789"),
            (Channel::Sms, "+1234567890123456"),
            (Channel::Sms, "+12345x7"),
            (Channel::Phone, "+"),
            (Channel::Webhook, "http://example.org"),
            (Channel::Webhook, "https://"),
            (Channel::Webhook, "https://u:p@example.org"),
            (Channel::Webhook, "https://example.org:0"),
            (Channel::Webhook, "https://example.org/#x"),
            (Channel::Webhook, "https://exa mple.org"),
            (Channel::Webhook, "https://[::1]/"),
            (Channel::Webhook, "httpsé://"),
            (Channel::Portal, "a\0"),
        ];
        for (channel, text) in cases {
            assert!(Address::parse(channel, text, HTTPS).is_err(), "{channel:?} {text:.40?}");
        }
    }

    #[test]
    fn the_same_mailbox_is_found_however_it_was_written() {
        assert_eq!(matching(Channel::Email, " Ada@Example.org "), "ada@example.org");
        assert_ne!(matching(Channel::Webhook, "https://x.org/A"), "https://x.org/a");
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(channel in 0..7_i32, text in any::<String>()) {
            let channel = Channel::try_from(channel).unwrap_or_default();
            if let Ok(once) = Address::parse(channel, &text, HTTPS) {
                prop_assert_eq!(Address::parse(channel, once.value(), HTTPS), Ok(once.clone()));
            }
        }
    }
}
