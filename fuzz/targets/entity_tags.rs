//! Lists of entity tags: a tag matches where another, slow reader of the list finds it, in
//! whatever line and behind whatever comma; conditions for the origin never make a 304.
#![no_main]

use forebay::clock::Wall;
use forebay::rfc::fields::Fields;
use forebay::rfc::validator::{
    EntityTag, Precondition, evaluate, has_origin_condition, may_be_parted, meets_origin_conditions,
};
use http::{Method, StatusCode};
use libfuzzer_sys::fuzz_target;

/// The members of a list, where a comma between quotes separates nothing.
fn members(list: &[u8]) -> Vec<Vec<u8>> {
    let (mut members, mut member, mut quoted) = (Vec::new(), Vec::new(), false);
    for &byte in list {
        quoted ^= byte == b'"';
        if byte == b',' && !quoted {
            members.push(std::mem::take(&mut member));
        } else {
            member.push(byte);
        }
    }
    members.push(member);
    members.into_iter().map(|member| member.trim_ascii().to_vec()).collect()
}

/// Whether the list names the tag `"a"`.
fn names(lines: &[Vec<u8>], weakly: bool) -> bool {
    let all = lines.iter().flat_map(|line| members(line.trim_ascii()));
    all.into_iter().any(|member| member == b"*" || member == b"\"a\"" || weakly && member == b"W/\"a\"")
}

fuzz_target!(|lines: Vec<Vec<u8>>| {
    let now = Wall::from_secs(1_800_000_000);
    let response: Fields = [("etag", "\"a\"")].into_iter().collect();
    let (mut none, mut own) = (Fields::new(), Fields::new());
    let mut accepted = Vec::new();
    for line in lines {
        if none.push("if-none-match", &line).is_ok() && own.push("if-match", &line).is_ok() {
            accepted.push(line);
        }
    }
    let said = |request: &Fields| evaluate(&Method::GET, request, StatusCode::OK, &response, now, now);
    let matches = names(&accepted, true);
    assert_eq!(said(&none) == Precondition::NotModified, matches, "{accepted:?}");
    assert_eq!(said(&own), Precondition::Proceed, "that is for the origin (RFC 9111 4.3.2)");
    let meets = accepted.is_empty() || names(&accepted, false);
    assert_eq!(meets_origin_conditions(&own, &response, now), meets, "{accepted:?}");
    assert_eq!(may_be_parted(&own, &response, now), meets);
    assert_eq!(has_origin_condition(&own), !accepted.is_empty());
    for member in accepted.iter().flat_map(|line| members(line)) {
        let Some(tag) = EntityTag::parse(&member) else { continue };
        let written = [if tag.weak { &b"W/"[..] } else { b"" }, b"\"", tag.opaque, b"\""].concat();
        assert_eq!(written, member, "a tag reads as it is written");
    }
});
