//! `Surrogate-Control` (W3C Edge Architecture, 2001): what an origin says to the
//! caches that stand in for it, in place of what it says to everyone.
//!
//! Not a standard of the IETF, and off unless a route asks for it; some content
//! management systems still speak it.

use super::fields::Fields;

/// The name by which a directive may be meant for this kind of cache alone.
pub const DEVICE: &str = "forebay";

/// `Surrogate-Capability` of a request: which device this is, and what it can do.
pub fn capability() -> String {
    format!("{DEVICE}=\"Surrogate/1.0\"")
}

/// The fields that govern storing and freshness: where `Surrogate-Control` has
/// something to say to this device, it stands in for `Cache-Control` and
/// `Expires`. `None` where it has not.
pub fn governing(fields: &Fields) -> Option<Fields> {
    let mut directives: Vec<u8> = Vec::new();
    for member in fields.members("surrogate-control") {
        let mut parts = member.splitn(2, |&b| b == b';').map(<[u8]>::trim_ascii);
        let directive = parts.next().unwrap_or_default();
        let for_us = parts.next().is_none_or(|target| target.eq_ignore_ascii_case(DEVICE.as_bytes()));
        if for_us && !directive.is_empty() {
            if !directives.is_empty() {
                directives.extend_from_slice(b", ");
            }
            directives.extend_from_slice(directive);
        }
    }
    if directives.is_empty() {
        return None;
    }
    let mut governing = fields.clone();
    governing.retain(|name, _| name != b"cache-control" && name != b"expires");
    governing.push("cache-control", &directives).ok()?;
    Some(governing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_for_other_devices_do_not_count() {
        let governed_by = |value: &str| {
            let fields: Fields =
                [("cache-control", "no-store"), ("expires", "0"), ("surrogate-control", value)]
                    .into_iter()
                    .collect();
            governing(&fields).map(|fields| {
                assert!(!fields.contains("expires"));
                String::from_utf8_lossy(fields.get("cache-control").unwrap_or_default()).into_owned()
            })
        };
        assert_eq!(governed_by("max-age=60").as_deref(), Some("max-age=60"));
        assert_eq!(governed_by("max-age=60;forebay, no-store;other").as_deref(), Some("max-age=60"));
        assert_eq!(governed_by("max-age=60;other"), None);
        assert_eq!(governed_by(""), None);
    }
}
