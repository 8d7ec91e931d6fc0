//! stub
pub struct DemoOptions {
    pub listen: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    pub origin_listen: std::net::SocketAddr,
}
pub fn run(_o: DemoOptions) -> Result<(), String> {
    Ok(())
}
