//! Parts of a response.

mod answers;
mod changes;
mod cold;
mod flights;
mod model;
mod odd_origins;
mod parts;
mod policy;

use crate::harness::origin::{Script, Seen, response};

/// What there is at the origin.
const CONTENT: &str = "0123456789abcdefghij";

/// The ranges that the origin was asked for, in order.
fn asked(world: &crate::harness::World) -> Vec<String> {
    let requests = world.origin.requests();
    requests.iter().map(|seen| seen.field("range").unwrap_or("whole").to_owned()).collect()
}

/// Answers as an origin does that knows ranges, with these fields beside those of a range.
fn ranged(seen: &Seen, content: &str, fields: &[(&str, &str)]) -> Script {
    let len = content.len();
    let Some(range) = seen.field("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return response("200 OK", fields, content);
    };
    let (first, last) = range.split_once('-').expect("a range");
    let (start, end) = match (first, last) {
        ("", suffix) => (len.saturating_sub(suffix.parse().expect("a number")), len),
        (first, "") => (first.parse().expect("a number"), len),
        (first, last) => {
            (first.parse().expect("a number"), len.min(last.parse::<usize>().expect("a number") + 1))
        }
    };
    if start >= end {
        let unsatisfied = format!("bytes */{len}");
        return response("416 Range Not Satisfiable", &[("Content-Range", &unsatisfied)], "");
    }
    let place = format!("bytes {start}-{}/{len}", end - 1);
    let fields = [fields, &[("Content-Range", &place)]].concat();
    response("206 Partial Content", &fields, &content[start..end])
}

/// As [`ranged`], of content that may be kept for a minute and has this entity tag.
fn tagged(seen: &Seen, content: &str, etag: &str) -> Script {
    let fields = [("Cache-Control", "max-age=60"), ("ETag", etag), ("Content-Type", "text/plain")];
    if seen.field("if-none-match") == Some(etag) {
        return response("304 Not Modified", &fields, "");
    }
    ranged(seen, content, &fields)
}
