//! `Proxy-Status` (RFC 9209): what went wrong between a gateway and an origin, in one member.

use super::cache_status::{push_name, push_number, push_string};

/// This gateway's member of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProxyStatus<'a> {
    /// The gateway's name.
    pub proxy: &'a str,
    /// The type of the error (RFC 9209 2.3), a token.
    pub error: Option<&'a str>,
    /// The status that the next server answered with.
    pub received_status: Option<u16>,
    /// What else there is to say.
    pub details: Option<&'a str>,
}

impl ProxyStatus<'_> {
    /// The member as written, in ASCII.
    pub fn write(&self) -> String {
        let mut text = Vec::with_capacity(64);
        push_name(&mut text, self.proxy);
        if let Some(error) = self.error {
            text.extend_from_slice(b"; error=");
            push_name(&mut text, error);
        }
        if let Some(status) = self.received_status {
            text.extend_from_slice(b"; received-status=");
            push_number(&mut text, status.into());
        }
        if let Some(details) = self.details {
            text.extend_from_slice(b"; details=");
            push_string(&mut text, details);
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_quoted() {
        let status = ProxyStatus { error: Some("dns_error"), ..ProxyStatus::default() };
        for (proxy, written) in [
            ("edge-1", "edge-1; error=dns_error"),
            ("edge 1", "\"edge 1\"; error=dns_error"),
            ("1a", "\"1a\"; error=dns_error"),
            ("a\"b", "\"a\\\"b\"; error=dns_error"),
        ] {
            assert_eq!(ProxyStatus { proxy, ..status }.write(), written);
        }
        let more = ProxyStatus {
            proxy: "a",
            received_status: Some(503),
            details: Some("so \"it\" is"),
            ..ProxyStatus::default()
        };
        assert_eq!(more.write(), "a; received-status=503; details=\"so \\\"it\\\" is\"");
    }
}
