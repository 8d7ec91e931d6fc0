//! Conditions for the origin on a hidden route, where nobody can be asked.

use super::{fills, hidden};
use crate::harness::origin::response;

#[tokio::test]
async fn conditions_for_the_origin_are_ignored_and_no_part_of_other_content_is_sent() {
    let world = hidden("", "").await;
    let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"v2\"")];
    world.origin.always("/a", response("200 OK", &fields, "0123456789"));
    world.get("/a").await;
    fills(&world, 1).await;
    for (condition, range, status, content) in [
        ("\"v1\"", None, 200, "0123456789"),
        ("\"v1\"", Some("bytes=2-3"), 200, "0123456789"),
        ("\"v2\"", Some("bytes=2-3"), 206, "23"),
    ] {
        let mut fields = vec![("If-Match", condition)];
        fields.extend(range.map(|range| ("Range", range)));
        let reply = world.get_with("/a", &fields).await;
        assert_eq!(
            (reply.status, reply.text(), reply.is_hit()),
            (status, content, true),
            "{condition} {range:?}"
        );
    }
    assert_eq!(world.origin.requests().len(), 1);
}
