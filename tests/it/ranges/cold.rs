//! Several ranges of a response that is still arriving are answered with the whole.

use crate::harness::World;
use crate::harness::origin::ok;

#[tokio::test]
async fn several_ranges_of_a_cold_response_get_the_whole() {
    let world = World::start("").await;
    world.origin.always("/x", ok("max-age=60", "0123456789"));
    let cold = world.get_with("/x", &[("Range", "bytes=0-1,5-6")]).await;
    assert_eq!((cold.status, cold.text(), cold.field("content-range")), (200, "0123456789", None));
    world.settled().await;
    let stored = world.get_with("/x", &[("Range", "bytes=0-1,5-6")]).await;
    assert_eq!(stored.status, 206);
    assert!(stored.field("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges")));
}
