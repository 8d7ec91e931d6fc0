//! What holds for any input: a verdict there always is, no stale beyond what is allowed, and
//! whatever is written reads the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::policy::admit::{Admission, Moments, admit};
use forebay::policy::decide::Stale;
use forebay::policy::site::{HonourRequest, Mode, RangeMiss, Rules};
use forebay::policy::{Decision, Presented, Received, decide, normalise};
use forebay::rfc::cache_control::{MOST_SECONDS, ResponseDirectives};
use forebay::rfc::cache_status::{CacheStatus, Fwd};
use forebay::rfc::content_range::ContentRange;
use forebay::rfc::fields::Fields;
use forebay::rfc::range::Spec;
use forebay::rfc::validator::EntityTag;
use forebay::stored::{StoredBody, StoredResponse, Variants};
use http::{Method, StatusCode, Version};
use proptest::collection::vec;
use proptest::prelude::*;

use super::NOW;

fn presented(method: Method, lines: &[(String, String)]) -> Option<Presented> {
    let mut fields = Fields::new();
    fields.add("host", "h");
    for (name, value) in lines {
        let _ = fields.push(name, value.as_bytes());
    }
    let received = Received {
        method,
        target: "/x".to_owned(),
        version: Version::HTTP_11,
        fields,
        has_body: false,
        peer: "10.0.0.9".parse().expect("an address"),
        encrypted: false,
    };
    normalise::normalise(received, &Default::default()).ok()
}

fn stored(
    request: &Presented,
    status: StatusCode,
    fields: Fields,
    at: Wall,
    rules: &Rules,
) -> Option<StoredResponse> {
    let moments = Moments { requested: at, received: at, sequence: 0 };
    match admit(request, status, fields, moments, rules) {
        Admission::Store { head, .. } => {
            Some(StoredResponse::new(Arc::new(head), StoredBody::copied(&[Bytes::from_static(b"x")]), None))
        }
        Admission::Refuse { .. } => None,
    }
}

fn variants(response: StoredResponse) -> Variants {
    Variants { key: "http://h:80/x".into(), responses: vec![Arc::new(response)].into(), marker: None }
}

/// Fields of a request that a verdict may depend on.
const ASKED: &str = "if-match|if-none-match|if-modified-since|if-unmodified-since|if-range|range|cache-control|pragma|authorization|accept-encoding|x";

/// Conditions, ranges and directives, good and bad.
fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        "[ -~]{0,30}",
        "(W/)?\"[a-c]{0,2}\"(, ?(W/)?\"[a-c]{0,2}\"){0,2}",
        "bytes=[0-9]{0,3}-[0-9]{0,3}",
        "Fri, 15 Jan 2027 0[0-9]:00:00 GMT",
        "(max-age|max-stale|min-fresh)=[0-9]{1,20}|no-cache|no-store|only-if-cached|max-stale|\\*",
    ];
    vec((ASKED, value), 0..6)
}

/// Fields of a response, good and bad.
fn response() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        "[ -~]{0,30}",
        "(max-age|s-maxage|stale-while-revalidate|stale-if-error)=[0-9]{1,20}(, (public|immutable|must-revalidate|no-cache))?",
        "(W/)?\"[a-c]{0,2}\"",
        "(Fri, 15 Jan 2027|Thu, 01 Jan 1970|Fri, 31 Dec 9999) [0-2][0-9]:00:00 GMT",
        "[0-9]{1,22}",
    ];
    vec(("cache-control|expires|date|age|etag|last-modified|vary", value), 0..7)
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<[bool; 5]>(), any::<[u32; 4]>()).prop_map(|([all, hidden, whole, forbidden, short], times)| {
        let [grace, on_error, keep, slice] = times.map(|time| if short { time % 100 } else { time });
        Rules {
            request_directives: if all { HonourRequest::All } else { Rules::default().request_directives },
            mode: if hidden { Mode::Hidden } else { Mode::Proxy },
            range_miss: if whole { RangeMiss::Whole } else { RangeMiss::Range },
            range_slice: u64::from(slice).max(1),
            serve_forbidden_stale: forbidden,
            grace: Duration::from_secs(grace.into()),
            stale_on_error: Duration::from_secs(on_error.into()),
            keep: Duration::from_secs(keep.into()),
            ..Rules::default()
        }
    })
}

proptest! {
    #[test]
    fn there_is_a_verdict_whatever_is_asked(
        method in "GET|HEAD|POST|OPTIONS|[A-Z]{1,8}",
        (first, second) in (lines(), lines()),
        said in response(),
        status in 200..=599u16,
        rules in rules(),
        (received, now) in any::<(u64, u64)>(),
    ) {
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        let (Some(first), Some(second)) = (presented(Method::GET, &first), presented(method, &second)) else {
            return Ok(());
        };
        let mut fields = Fields::new();
        for (name, value) in &said {
            let _ = fields.push(name, value.as_bytes());
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let found = stored(&first, status, fields, Wall::from_millis(received), &rules).map(variants);
        // That there is one at all is what is asked for.
        let decision = decide(&second, found.as_ref(), &rules, Wall::from_millis(now));
        let only_cached = second.fields.members("cache-control").any(|member| member == b"only-if-cached");
        let asks = matches!(decision, Decision::Fetch(_));
        prop_assert!(!(asks && only_cached), "only-if-cached asks nobody (RFC 9111 5.2.1.7)");
        prop_assert!(!asks || second.method == Method::GET);
    }

    #[test]
    fn nothing_is_served_past_fresh_and_allowed_stale(
        seconds in any::<[u16; 4]>(),
        flags in any::<[bool; 5]>(),
        rules in rules(),
        age in 0..200_000u64,
        asked in lines(),
    ) {
        let [max_age, while_revalidate, if_error, _] = seconds.map(u64::from);
        let [with_window, with_error, must, no_cache, error] = flags;
        let mut told = format!("max-age={max_age}");
        for (flag, directive) in [
            (with_window, format!(", stale-while-revalidate={while_revalidate}")),
            (with_error, format!(", stale-if-error={if_error}")),
            (must, ", must-revalidate".to_owned()),
            (no_cache, ", no-cache".to_owned()),
        ] {
            told.push_str(if flag { &directive } else { "" });
        }
        let fields: Fields = [("cache-control", told.as_str()), ("etag", "\"a\"")].into_iter().collect();
        let status = if error { StatusCode::NOT_FOUND } else { StatusCode::OK };
        let plain = presented(Method::GET, &[]).expect("a request");
        let response = stored(&plain, status, fields, NOW, &rules).expect("it has a tag");
        let Some(request) = presented(Method::GET, &asked) else { return Ok(()) };
        let honours = rules.request_directives == HonourRequest::All;
        let now = NOW.plus(Duration::from_secs(age));
        let stale_for = Duration::from_secs(age.saturating_sub(max_age));
        let own = if with_window { while_revalidate } else { 0 };
        let on_error = if with_error { Duration::from_secs(if_error) } else { rules.stale_on_error };
        match decide(&request, Some(&variants(response)), &rules, now) {
            Decision::Deliver(_) => prop_assert!(age < max_age && !no_cache, "{told} after {age} s"),
            Decision::DeliverStale(_, why) => {
                prop_assert!(age >= max_age && !must && !no_cache && !error, "{told} after {age} s: {why:?}");
                let allowed = match why {
                    Stale::WhileRevalidate => stale_for < Duration::from_secs(own).max(rules.grace),
                    Stale::BackOff => stale_for < on_error,
                    Stale::Accepted => honours,
                    _ => false,
                };
                prop_assert!(allowed, "{told} after {age} s: {why:?}");
            }
            Decision::Fetch(plan) => {
                let allowed = !must && !no_cache && !error && stale_for < on_error;
                prop_assert!(!plan.stale_on_error || allowed, "{told} after {age} s");
            }
            Decision::Pass(pass) => prop_assert!(!pass.stale_on_error),
            Decision::NotCached => {}
        }
    }

    #[test]
    fn a_response_grows_older_and_never_fresh_again(
        said in response(),
        received in any::<u64>(),
        times in any::<[u64; 2]>(),
    ) {
        let request = presented(Method::GET, &[]).expect("a request");
        let mut fields = Fields::new();
        for (name, value) in &said {
            let _ = fields.push(name, value.as_bytes());
        }
        let at = Wall::from_millis(received);
        let Some(response) = stored(&request, StatusCode::OK, fields, at, &Rules::default()) else { return Ok(()) };
        let [earlier, later] = [times[0].min(times[1]), times[0].max(times[1])].map(Wall::from_millis);
        let head = &response.head;
        prop_assert!(u64::from(head.lifetime.seconds) <= MOST_SECONDS, "{}", head.lifetime.seconds);
        prop_assert!(head.age_millis(earlier) <= head.age_millis(later));
        prop_assert!(head.freshness_left_millis(earlier) >= head.freshness_left_millis(later));
        prop_assert!(head.stale_for(earlier).is_none() || head.stale_for(later).is_some());
        prop_assert!(head.stale_for(earlier).unwrap_or_default() <= head.stale_for(later).unwrap_or_default());
        prop_assert!(head.generated() <= at);
    }

    #[test]
    fn directives_that_are_written_read_the_same(
        numbers in any::<[Option<u32>; 4]>(),
        flags in any::<[bool; 6]>(),
        names in vec("[a-z]{1,8}", 0..3),
        upper in any::<bool>(),
    ) {
        let most = |number: Option<u32>| number.map(|number| u64::from(number).min(MOST_SECONDS));
        let mut told: Vec<String> = Vec::new();
        for (name, number) in ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"].iter().zip(numbers) {
            told.extend(number.map(|number| format!("{name}={number}")));
        }
        let words = ["public", "must-revalidate", "proxy-revalidate", "no-store", "immutable", "must-understand"];
        told.extend(words.iter().zip(flags).filter(|(_, flag)| *flag).map(|(word, _)| (*word).to_owned()));
        if !names.is_empty() {
            told.push(format!("private=\"{}\"", names.join(", ")));
        }
        let text = told.join(" ,");
        let text = if upper { text.to_ascii_uppercase() } else { text };
        let fields: Fields = [("cache-control", text.as_str())].into_iter().collect();
        let read = ResponseDirectives::read(&fields);
        prop_assert_eq!(
            [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error],
            numbers.map(most)
        );
        prop_assert_eq!(
            [read.public, read.must_revalidate, read.proxy_revalidate, read.no_store, read.immutable, read.must_understand],
            flags
        );
        prop_assert_eq!(read.private.is_all(), false);
    }

    #[test]
    fn an_entity_tag_that_is_written_reads_the_same(weak in any::<bool>(), opaque in "[!#-~]{0,12}", other in "[!#-~]{0,12}") {
        let written = format!("{}\"{opaque}\"", if weak { "W/" } else { "" });
        let read = EntityTag::parse(written.as_bytes()).expect("a tag");
        prop_assert_eq!(read, EntityTag { weak, opaque: opaque.as_bytes() });
        let strong = EntityTag { weak: false, opaque: other.as_bytes() };
        prop_assert_eq!(read.matches_weakly(&strong), opaque == other);
        prop_assert_eq!(read.matches_strongly(&strong), opaque == other && !weak);
        prop_assert!(EntityTag::parse(opaque.as_bytes()).is_none(), "without quotes it is none");
    }

    #[test]
    fn ranges_that_are_written_read_the_same(first in any::<u64>(), last in any::<u64>(), complete in any::<Option<u64>>()) {
        let (start, end) = (first.min(last), first.max(last));
        for text in [format!("bytes={start}-{end}"), format!("bytes={start}-"), format!("bytes=-{end}")] {
            if let Some(spec) = Spec::parse(text.as_bytes()) {
                prop_assert_eq!(Spec::parse(spec.to_string().as_bytes()), Some(spec));
            }
        }
        if start < end && complete.is_none_or(|complete| end <= complete) {
            let part = ContentRange::Part { range: start..end, complete };
            prop_assert_eq!(ContentRange::parse(part.to_string().as_bytes()), Some(part));
        }
    }

    #[test]
    fn cache_status_reads_as_what_was_said(
        cache in "[ -~]{1,20}",
        (hit, stored, collapsed) in any::<(bool, bool, bool)>(),
        ttl in any::<Option<i64>>(),
        fwd_status in proptest::option::of(100..=599u16),
        (key, detail) in (proptest::option::of("[ -~]{0,20}"), proptest::option::of("[ -~]{1,20}")),
    ) {
        let said = CacheStatus {
            cache: &cache, hit, fwd: Some(Fwd::VaryMiss), fwd_status, ttl, stored, collapsed,
            key: key.as_deref(), detail: detail.as_deref(),
        };
        let text = said.write();
        let list = sfv::Parser::new(&text).parse::<sfv::List>().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let [sfv::ListEntry::Item(member)] = &list[..] else { return Err(TestCaseError::fail(text)) };
        let word = |item: &sfv::BareItem| {
            item.as_token().map(|token| token.as_str().to_owned()).or(item.as_string().map(|text| text.as_str().to_owned()))
        };
        prop_assert_eq!(word(&member.bare_item), Some(cache.clone()));
        let told = |name: &str| member.params.get(name);
        prop_assert_eq!(told("fwd").and_then(word), Some("vary-miss".to_owned()));
        prop_assert_eq!([told("hit").is_some(), told("stored").is_some(), told("collapsed").is_some()], [hit, stored, collapsed]);
        let most = 999_999_999_999_999;
        let number = |name: &str| told(name).and_then(sfv::BareItem::as_integer).map(i64::from);
        prop_assert_eq!(number("ttl"), ttl.map(|ttl| ttl.clamp(-most, most)));
        prop_assert_eq!(number("fwd-status"), fwd_status.map(i64::from));
        prop_assert_eq!(told("key").and_then(word), key);
        prop_assert_eq!(told("detail").and_then(word), detail);
    }
}
