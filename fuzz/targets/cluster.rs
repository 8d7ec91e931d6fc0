//! What other nodes say: read without a panic, and what is read is written so that it is read
//! as the same.
#![no_main]

use forebay::cluster::message::{Announcement, Message, Says};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::read(bytes) {
        assert_eq!(Message::read(&message.to_bytes()).expect("its own words"), message);
        if let Says::Purges { purges } = message.says {
            for purge in purges {
                let entry = purge.clone().into_entry();
                assert_eq!(forebay::cluster::message::Purge::of(&entry), Some(purge));
                // Bans of others are parsed where they are applied.
                let _ = forebay::store::Meant::by(&entry.what);
            }
        }
    }
    if let Ok(announcement) = Announcement::read(bytes) {
        assert_eq!(Announcement::read(&announcement.to_bytes()).expect("its own words"), announcement);
    }
});
