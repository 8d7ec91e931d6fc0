//! Pages of HTML: any text is read to its end, and what a reference means is a URL that
//! can stand in a request.
#![no_main]

use forebay::repopulate::warm::{Url, links};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|html: &str| {
    let links = links::read(html, 50);
    assert!(links.pages.len() <= 50 && links.parts.len() <= 50);
    let Some(page) = Url::parse("http://www.example.org/a/b?c") else { return };
    for reference in links.pages.iter().chain(&links.parts).chain(&links.base) {
        if let Some(url) = page.join(reference) {
            assert!(url.is_beside(&page));
            assert!(url.target().starts_with('/') && url.target().bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(Url::parse(&url.to_string()), Some(url));
        }
    }
});
