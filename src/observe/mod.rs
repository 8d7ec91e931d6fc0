//! stub
pub mod counters;
pub mod access_log {
    use super::counters::Counters;
    use std::path::PathBuf;
    use std::sync::Arc;
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Settings {
        pub output: Output,
        pub format: Format,
        pub queue: usize,
    }
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum Output {
        Off,
        Stdout,
        File(PathBuf),
    }
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Format {
        Json,
        Combined,
    }
    #[derive(Clone)]
    pub struct AccessLog;
    impl AccessLog {
        pub fn start(_s: &Settings, _c: Arc<Counters>) -> std::io::Result<Self> {
            Ok(AccessLog)
        }
        pub fn is_on(&self) -> bool {
            false
        }
        pub fn record(&self, _e: Entry) {}
        pub fn reopen(&self) {}
        pub async fn close(&self) {}
    }
    pub struct Entry {
        pub at: crate::clock::Wall,
        pub client: std::net::IpAddr,
        pub method: http::Method,
        pub host: String,
        pub target: String,
        pub version: http::Version,
        pub status: u16,
        pub body_bytes: u64,
        pub took: std::time::Duration,
        pub time_to_head: std::time::Duration,
        pub cache_status: String,
        pub request_id: String,
        pub referer: Option<String>,
        pub user_agent: Option<String>,
        pub complete: bool,
        pub detail: Option<String>,
    }
}
pub mod request_id {
    pub fn accept_or_new(_v: Option<&[u8]>) -> String {
        format!("{:032x}", fastrand::u128(..))
    }
}
pub mod render {
    use super::counters::*;
    pub fn prometheus(_c: &Counters) -> String {
        _c.rows().iter().map(|r| format!("{}{{{}}} {:?}\n", r.name, r.labels, r.value)).collect()
    }
    pub fn json(_c: &Counters) -> serde_json::Value {
        serde_json::Value::Null
    }
}
pub mod trace {
    pub fn start(_l: &str) {}
}
