//! `forebay warm` as it is typed.

use std::process::Output;

use tokio::process::Command;

use super::{Directory, HIDDEN, pages, robots, sitemap, url};
use crate::harness::World;

async fn forebay(world: &World, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .arg("warm")
        .args(arguments)
        .args(["--admin", &world.node.admin_address().to_string()])
        .env_remove("FOREBAY_ADMIN_TOKEN")
        .stdin(std::process::Stdio::null())
        .output();
    world.transcript.within("the program to end", output).await.expect("the program starts")
}

#[tokio::test]
async fn it_ends_well_when_all_was_warmed_and_lists_what_was_not() {
    let world = World::start(HIDDEN).await;
    robots(&world, "");
    sitemap(&world, "/sitemap.xml", &["/a", "/b"]);
    pages(&world, &["/a", "/b"]);
    let output = forebay(&world, &["--sitemap", &url("/sitemap.xml")]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "warmed 3 of 3 URLs: 3 filled, 0 were there already, 0 failed\n");
    assert_eq!(output.status.code(), Some(0));

    let directory = Directory::new("program");
    std::fs::create_dir_all(&directory.0).expect("a directory");
    let file = directory.0.join("urls.txt");
    std::fs::write(&file, format!("# all\n\n{}\n{}\n", url("/a"), url("/none"))).expect("a file");
    let file = file.display().to_string();
    let output = forebay(&world, &["--urls", &file]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let why = "http://www.example.org/none  the response may not be stored: no-store";
    assert_eq!(text, format!("warmed 1 of 2 URLs: 0 filled, 1 were there already, 1 failed\n  {why}\n"));
    assert_eq!(output.status.code(), Some(1));

    let output = forebay(&world, &["--urls", &file, "--json"]).await;
    let job: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((job["failed"].as_u64(), output.status.code()), (Some(1), Some(1)), "{job}");
    assert_eq!(forebay(&world, &["--depth", "1"]).await.status.code(), Some(2));
}
