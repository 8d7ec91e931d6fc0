//! What a reload cannot change is said, and nothing else.

use forebay::config::reload::differences;

use super::good;

const ORIGIN: &str = "[[origin]]\nurl = \"http://a\"\n";

#[test]
fn only_what_waits_for_a_restart_is_named() {
    let old = good(ORIGIN);
    let new = good(&format!(
        "{ORIGIN}name = \"b\"\n[rules]\ngrace = \"1s\"\n[listen]\naddress = \"127.0.0.1:80\"\n\
         max_target_bytes = \"1KiB\"\n[store]\nmemory = \"1GiB\"\n[admin]\ntoken = \"hunter2\"\n"
    ));
    assert_eq!(differences(&old, &old), [""; 0]);
    assert_eq!(
        differences(&old, &new),
        [
            "listen.address stays \"127.0.0.1:8080\"; \"127.0.0.1:80\" takes effect at the next start",
            "admin.token changes at the next start",
            "store.memory stays \"512MiB\"; \"1GiB\" takes effect at the next start",
        ]
    );
}
