//! Sitemaps: what is read is bounded, and its URLs are parsed without trouble.
#![no_main]

use forebay::repopulate::warm::{Url, sitemap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(listed) = sitemap::read(bytes, 10) else { return };
    assert!(listed.urls.len() + listed.sitemaps.len() <= 10);
    for text in listed.urls.iter().chain(&listed.sitemaps) {
        assert!(!text.is_empty());
        if let Some(url) = Url::parse(text) {
            assert_eq!(Url::parse(&url.to_string()), Some(url));
        }
    }
});
