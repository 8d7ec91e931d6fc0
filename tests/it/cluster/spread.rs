//! What one node accepts holds on the others from the moment that they are listed.

use super::{Place, purge_tag, until_reached};
use crate::harness::rabbit::shared;
use crate::purge::{fill, left};

const PAGES: [(&str, &str); 2] = [("www.example.org", "/a"), ("www.example.org", "/b")];

#[tokio::test]
async fn a_purge_on_one_node_holds_on_all_as_soon_as_they_are_listed() {
    let nodes = Place::new(shared().await).three().await;
    for world in &nodes {
        fill(world, &PAGES[..1], &[("Surrogate-Key", "news")]).await;
        fill(world, &PAGES[1..], &[("Surrogate-Key", "sport")]).await;
        assert_eq!(left(world, &PAGES).await, [0, 1]);
    }
    let (sequence, answer) = purge_tag(&nodes[0], "news").await;
    assert_eq!((answer["purged"].as_u64(), answer["published"].as_bool()), (Some(1), Some(true)), "{answer}");
    assert_eq!(left(&nodes[0], &PAGES).await, [1], "it holds here from the answer on");
    until_reached(&nodes[0], sequence, 3).await;
    for world in &nodes[1..] {
        assert_eq!(left(world, &PAGES).await, [1], "and there as soon as they are listed");
    }
}
