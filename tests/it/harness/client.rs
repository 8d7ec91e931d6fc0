//! A client that sends exact bytes and reads replies piece by piece.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Transcript;

/// A connection to the node.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    transcript: Transcript,
    name: String,
}

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// All field lines, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The content, decoded.
    pub body: Vec<u8>,
    /// The trailer section.
    pub trailers: Vec<(String, String)>,
    /// Whether the content came to its end.
    pub complete: bool,
}

impl Reply {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The content as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// This node's `Cache-Status`, without its name.
    pub fn cache_status(&self) -> &str {
        let (name, rest) =
            self.field("cache-status").expect("a Cache-Status").split_once("; ").expect("parameters");
        assert_eq!(name, "forebay");
        rest
    }

    /// Whether a fresh stored response answered.
    pub fn is_hit(&self) -> bool {
        self.field("cache-status")
            .is_some_and(|status| status.contains("; hit") && !status.contains("detail="))
    }
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr, transcript: Transcript, name: &str) -> Client {
        let stream = TcpStream::connect(address).await.expect("the node listens");
        Client { stream, buffer: Vec::new(), transcript, name: name.to_owned() }
    }

    /// Connects from this address of the machine's own.
    pub async fn connect_from(
        from: IpAddr,
        address: SocketAddr,
        transcript: Transcript,
        name: &str,
    ) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from, 0)).expect("an own address");
        let stream = socket.connect(address).await.expect("the node listens");
        Client { stream, buffer: Vec::new(), transcript, name: name.to_owned() }
    }

    /// Sends exactly these bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.transcript.note(&format!("{} >", self.name), bytes);
        // A node that has refused may have closed already; the reply says why.
        let _ = self.stream.write_all(bytes).await;
    }

    /// `GET` over this connection.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// `GET` with more fields.
    pub async fn get_with(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.ask("GET", path, fields, b"").await
    }

    /// Any request; content is sent with its length.
    pub async fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(&request(method, path, fields, body)).await;
        self.reply(method == "HEAD").await
    }

    /// Reads a whole reply.
    pub async fn reply(&mut self, to_head: bool) -> Reply {
        let mut reply = self.head().await;
        let transcript = self.transcript.clone();
        transcript.within("the rest of a reply", self.body(&mut reply, to_head)).await;
        let shown = String::from_utf8_lossy(&reply.body[..reply.body.len().min(200)]).into_owned();
        self.transcript.note(
            &format!("{} <", self.name),
            format!(
                "{} {:?} {} bytes, complete: {}\r\n{shown}",
                reply.status,
                reply.fields,
                reply.body.len(),
                reply.complete
            )
            .as_bytes(),
        );
        reply
    }

    /// `GET` over this connection; none if the reply breaks off, and with it the connection.
    pub async fn try_get(&mut self, path: &str) -> Option<Reply> {
        self.send(&request("GET", path, &[], b"")).await;
        let mut reply = self.read_head().await?;
        self.body(&mut reply, false).await;
        Some(reply).filter(|reply| reply.complete)
    }

    /// Reads the head of a reply only.
    pub async fn head(&mut self) -> Reply {
        let transcript = self.transcript.clone();
        let head = transcript.within("the head of a reply", self.read_head()).await;
        head.unwrap_or_else(|| transcript.fail(&format!("{}: closed before a reply", self.name)))
    }

    /// Reads exactly so many bytes of content as they are on the wire.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let transcript = self.transcript.clone();
        let wait = async {
            while self.buffer.len() < count {
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        };
        transcript.within(&format!("{count} bytes of content"), wait).await;
        self.buffer.drain(..count.min(self.buffer.len())).collect()
    }

    /// Whether the node has closed the connection, once everything is read.
    pub async fn is_closed(&mut self) -> bool {
        let transcript = self.transcript.clone();
        let end = async { self.stream.read_buf(&mut self.buffer).await };
        transcript.within("the connection to be closed", end).await.map_or(true, |count| count == 0)
    }

    async fn read_head(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status == 100 {
            return Box::pin(self.read_head()).await;
        }
        Some(Reply {
            status,
            fields: parse_lines(lines),
            body: Vec::new(),
            trailers: Vec::new(),
            complete: false,
        })
    }

    async fn body(&mut self, reply: &mut Reply, to_head: bool) {
        if to_head || matches!(reply.status, 101 | 204 | 304) {
            reply.complete = true;
        } else if let Some(length) = reply.field("content-length") {
            let length: usize = length.parse().expect("a number");
            reply.body = self.bytes(length).await;
            reply.complete = reply.body.len() == length;
        } else if reply.field("transfer-encoding").is_some() {
            match read_chunked(&mut self.stream, &mut self.buffer).await {
                Some((body, trailers)) => {
                    (reply.body, reply.trailers, reply.complete) = (body, trailers, true);
                }
                None => reply.complete = false,
            }
        } else {
            reply.complete = self.stream.read_to_end(&mut self.buffer).await.is_ok();
            reply.body = std::mem::take(&mut self.buffer);
        }
    }
}

/// A request in bytes; content is sent with its length.
pub fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: www.example.org\r\n");
    }
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn parse_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// Reads a chunked body and its trailer section; `None` when it breaks off.
pub async fn read_chunked(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Option<(Vec<u8>, Vec<(String, String)>)> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream, buffer).await?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            let mut trailers = Vec::new();
            loop {
                let line = read_line(stream, buffer).await?;
                if line.is_empty() {
                    return Some((body, parse_lines(trailers.iter().map(String::as_str))));
                }
                trailers.push(line);
            }
        }
        while buffer.len() < size + 2 {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|w| w == b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..at]).into_owned();
            buffer.drain(..at + 2);
            return Some(line);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
