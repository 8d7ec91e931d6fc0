//! Each client gets the variant that its request selects.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::response;

/// A world in which `/v` varies on `name` and says which value it was asked with.
async fn varying(settings: &str, name: &'static str) -> World {
    let world = World::start(settings).await;
    world.origin.on("/v", move |seen, _| {
        let body = seen.field(&name.to_lowercase()).unwrap_or("nothing").to_owned();
        response("200 OK", &[("Cache-Control", "max-age=60"), ("Vary", name)], &body)
    });
    world
}

#[tokio::test]
async fn variants_are_kept_side_by_side() {
    let world = varying("", "X-Kind").await;
    for kind in ["a", "b", "c"] {
        let miss = world.get_with("/v", &[("X-Kind", kind)]).await;
        let reason = if kind == "a" { "uri-miss" } else { "vary-miss" };
        assert_eq!(miss.cache_status(), format!("fwd={reason}; ttl=60; stored"));
        world.settled().await;
    }
    for kind in ["c", "a", "b", "a"] {
        let hit = world.get_with("/v", &[("X-Kind", kind)]).await;
        assert_eq!((hit.text(), hit.is_hit()), (kind, true));
    }
    assert_eq!(world.origin.count("/v"), 3);
    world.settled().await;
    assert_eq!((world.counters().requests_miss.get(), world.counters().requests_hit.get()), (3, 4));
}

#[tokio::test]
async fn a_missing_field_matches_a_missing_field_only() {
    let world = varying("", "X-Kind").await;
    assert_eq!(world.get("/v").await.text(), "nothing");
    world.settled().await;
    assert_eq!(world.get_with("/v", &[("X-Kind", "")]).await.text(), "");
    world.settled().await;
    assert_eq!(world.get_with("/v", &[("X-Kind", "a")]).await.text(), "a");
    world.settled().await;
    assert!(world.get("/v").await.is_hit());
    assert_eq!(world.get("/v").await.text(), "nothing");
    assert_eq!(world.origin.count("/v"), 3);
}

#[tokio::test]
async fn white_space_between_members_means_nothing() {
    let world = varying("", "X-Kind").await;
    world.get_with("/v", &[("X-Kind", "a, b")]).await;
    world.settled().await;
    for same in ["a,b", "a ,  b", "a,\tb"] {
        assert!(world.get_with("/v", &[("X-Kind", same)]).await.is_hit(), "{same}");
    }
    let two_lines = [("X-Kind", "a"), ("X-Kind", "b")];
    assert!(world.get_with("/v", &two_lines).await.is_hit());
    for other in ["b, a", "a b", "A, b"] {
        assert!(!world.get_with("/v", &[("X-Kind", other)]).await.is_hit(), "{other}");
        world.settled().await;
    }
    assert_eq!(world.origin.count("/v"), 4);
}

#[tokio::test]
async fn accept_encoding_is_compared_without_order_and_case() {
    let world = varying("", "Accept-Encoding").await;
    world.get_with("/v", &[("Accept-Encoding", "gzip, br;q=0.5")]).await;
    world.settled().await;
    for same in ["br;q=0.5,gzip", "GZIP , br; q=0.5", "gzip;q=1, br;q=0.5", "gzip;q=1.0, br;q=0.5"] {
        assert!(world.get_with("/v", &[("Accept-Encoding", same)]).await.is_hit(), "{same}");
    }
    for other in ["gzip", "gzip, br", "gzip;q=0.5, br"] {
        assert!(!world.get_with("/v", &[("Accept-Encoding", other)]).await.is_hit(), "{other}");
        world.settled().await;
    }
    assert_eq!(world.origin.count("/v"), 4);
}

#[tokio::test]
async fn the_order_of_languages_counts_unless_the_rules_say_otherwise() {
    for (settings, expected) in [("", 2), ("[rules]\nsort_accept_language = true", 1)] {
        let world = varying(settings, "Accept-Language").await;
        world.get_with("/v", &[("Accept-Language", "de, en")]).await;
        world.settled().await;
        world.get_with("/v", &[("Accept-Language", "en, DE")]).await;
        world.settled().await;
        assert_eq!(world.origin.count("/v"), expected, "{settings}");
    }
}

#[tokio::test]
async fn a_star_is_never_reused() {
    let world = varying("", "Accept, *").await;
    for n in 1..=3 {
        assert_eq!(world.get("/v").await.cache_status(), "fwd=uri-miss; detail=vary-star");
        world.settled().await;
        assert_eq!(world.origin.count("/v"), n);
    }
}

#[tokio::test]
async fn several_lines_of_vary_count_together() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("Vary", "X-A"), ("Vary", "x-b")];
    world.origin.always("/two", response("200 OK", &fields, "content"));
    for (a, b, count) in [("1", "1", 1), ("2", "1", 2), ("1", "2", 3), ("1", "1", 3), ("2", "1", 3)] {
        world.get_with("/two", &[("X-A", a), ("X-B", b)]).await;
        world.settled().await;
        assert_eq!(world.origin.count("/two"), count, "{a} {b}");
    }
}

#[tokio::test]
async fn the_variant_used_longest_ago_makes_room() {
    let world = varying("[store]\nmax_variants = 2", "X-Kind").await;
    let ask = async |kind: &str| {
        world.advance(Duration::from_secs(1));
        let reply = world.get_with("/v", &[("X-Kind", kind)]).await;
        world.settled().await;
        reply.is_hit()
    };
    assert!(!ask("a").await && !ask("b").await);
    assert!(ask("a").await);
    assert_eq!(world.counters().store_variants_dropped.get(), 0);
    assert!(!ask("c").await);
    assert_eq!(world.counters().store_variants_dropped.get(), 1);
    assert!(ask("a").await && ask("c").await && !ask("b").await);
    assert_eq!((world.counters().store_variants_dropped.get(), world.origin.count("/v")), (2, 4));
}

#[tokio::test]
async fn a_new_answer_replaces_its_own_variant_only() {
    let world = World::start("").await;
    world.origin.on("/r", |seen, n| {
        let body = format!("{} {n}", seen.field("x-kind").unwrap_or_default());
        response("200 OK", &[("Cache-Control", "max-age=10, must-revalidate"), ("Vary", "X-Kind")], &body)
    });
    let ask = async |kind: &str| {
        let text = world.get_with("/r", &[("X-Kind", kind)]).await.text().to_owned();
        world.settled().await;
        text
    };
    assert_eq!(ask("a").await, "a 1");
    world.advance(Duration::from_secs(6));
    assert_eq!(ask("b").await, "b 2");
    world.advance(Duration::from_secs(6));
    assert_eq!(ask("a").await, "a 3");
    assert_eq!((ask("b").await, ask("a").await), ("b 2".to_owned(), "a 3".to_owned()));
    assert_eq!(world.origin.count("/r"), 3);
}

#[tokio::test]
async fn of_several_that_match_the_one_made_last_answers() {
    let world = World::start("").await;
    world.origin.on("/w", |_, n| {
        // What comes second was made before what came first.
        let (vary, date) = match n {
            1 => ("X-A", "Fri, 15 Jan 2027 07:59:50 GMT"),
            _ => ("X-B", "Fri, 15 Jan 2027 07:59:40 GMT"),
        };
        let fields = [("Cache-Control", "max-age=600"), ("Vary", vary), ("Date", date)];
        response("200 OK", &fields, &format!("answer {n}"))
    });
    let ask = async |a: &str, b: &str| {
        let reply = world.get_with("/w", &[("X-A", a), ("X-B", b)]).await;
        world.settled().await;
        (reply.text().to_owned(), reply.is_hit())
    };
    assert_eq!(ask("1", "1").await, ("answer 1".to_owned(), false));
    assert_eq!(ask("2", "2").await, ("answer 2".to_owned(), false));
    assert_eq!(ask("1", "2").await, ("answer 1".to_owned(), true));
    assert_eq!(ask("2", "2").await, ("answer 2".to_owned(), true));
}

#[tokio::test]
async fn one_with_vary_goes_before_one_that_has_forgotten_it() {
    let world = World::start("").await;
    world.origin.on("/f", |seen, _| {
        let kind = seen.field("x-kind").unwrap_or("any");
        let mut fields = vec![("Cache-Control", "max-age=600")];
        if kind != "any" {
            fields.push(("Vary", "X-Kind"));
        }
        response("200 OK", &fields, kind)
    });
    world.get_with("/f", &[("X-Kind", "a")]).await;
    world.settled().await;
    world.advance(Duration::from_secs(5));
    assert_eq!(world.get("/f").await.text(), "any");
    world.settled().await;
    for (kind, content) in [("a", "a"), ("b", "any")] {
        let hit = world.get_with("/f", &[("X-Kind", kind)]).await;
        assert_eq!((hit.is_hit(), hit.text()), (true, content), "{kind}");
    }
}
