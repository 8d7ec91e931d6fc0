//! What a hit costs, counted: allocations and system calls. Unlike time, the counts are the same
//! on every machine, so a change that makes hits dearer is seen here.
//!
//! The system calls are those by which a node waits, reads and writes: their functions in the C
//! library are taken by these here, which count and then do the same.
//!
//! The ceilings are what a hit takes now. One is raised only with a reason.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use forebay::clock::Clock;
use forebay::config::{self, Flags};
use forebay::node::Node;

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is the load, and not what is measured.
    static IS_LOAD: Cell<bool> = const { Cell::new(false) };
}

fn count(what: &AtomicU64) {
    if !IS_LOAD.get() {
        what.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&ALLOCATIONS);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes the place of functions of the C library that do nothing but a system call.
macro_rules! counted {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty = $number:ident($($more:expr),*);)*) => {
        $(
            // SAFETY: it is the library's signature, and its meaning.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
                count(&CALLS);
                // SAFETY: the caller answers for what the arguments point to.
                unsafe { libc::syscall(libc::$number, $($argument,)* $($more,)*) as $result }
            }
        )*
    };
}

const NULL: *const c_void = std::ptr::null();

counted! {
    recv(socket: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize = SYS_recvfrom(NULL, NULL);
    send(socket: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize = SYS_sendto(NULL, 0);
    read(file: c_int, buffer: *mut c_void, length: usize) -> isize = SYS_read();
    write(file: c_int, buffer: *const c_void, length: usize) -> isize = SYS_write();
    readv(file: c_int, slices: *const c_void, count: c_int) -> isize = SYS_readv();
    writev(file: c_int, slices: *const c_void, count: c_int) -> isize = SYS_writev();
    epoll_wait(poll: c_int, events: *mut c_void, most: c_int, millis: c_int) -> c_int
        = SYS_epoll_pwait(NULL, 8 as c_long);
}

/// Answers every request with so many bytes as its path says.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            std::thread::spawn(move || {
                while let Some(head) = head(&mut socket) {
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let size: usize = path.trim_start_matches('/').parse().expect("a size");
                    let reply = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nCache-Control: max-age=3600\r\n\
                         Content-Type: text/html; charset=utf-8\r\nETag: \"{size}\"\r\n\
                         Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nServer: test\r\n\r\n{}",
                        "x".repeat(size)
                    );
                    socket.write_all(reply.as_bytes()).expect("sent");
                }
            });
        }
    });
    address
}

/// The next head on this connection, if another one comes.
fn head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Sends a request and reads its whole reply. Returns its status.
fn ask(socket: &mut TcpStream, request: &str) -> u16 {
    socket.write_all(request.as_bytes()).expect("sent");
    let head = head(socket).expect("a reply").to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let length: usize = length.map_or(0, |digits| digits.parse().expect("a length"));
    let has_body = !request.starts_with("HEAD") && !head.starts_with("http/1.1 304");
    let mut body = vec![0; if has_body { length } else { 0 }];
    socket.read_exact(&mut body).expect("the body");
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

/// How many allocations and system calls one such request takes, when it has been asked often
/// before.
fn costs(socket: &mut TcpStream, request: &str, status: u16) -> [u64; 2] {
    const ROUNDS: u64 = 500;
    for _ in 0..100 {
        assert_eq!(ask(socket, request), status);
    }
    let counts = || [&ALLOCATIONS, &CALLS].map(|count| count.load(Ordering::Relaxed));
    let before = counts();
    for _ in 0..ROUNDS {
        ask(socket, request);
    }
    // What goes on in the background beside it is less than one for each request.
    let after = counts();
    [0, 1].map(|what| (after[what] - before[what]) / ROUNDS)
}

#[test]
fn a_hit_takes_no_more_than_it_did() {
    IS_LOAD.set(true);
    let origin = origin();
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"o\"\nurl = \"http://{origin}\"\n[[site]]\nhosts = [\"*\"]\norigin = \"o\"\n"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let config = config::read("test", &text, &Flags::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let node = runtime.block_on(Node::start(config, Clock::System)).expect("the node starts");
    let mut socket = TcpStream::connect(node.address()).expect("a connection");
    socket.set_nodelay(true).expect("set");
    let get = |method: &str, path: &str, more: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: test/1.0\r\nAccept: */*\r\n{more}\r\n"
        )
    };
    for size in ["/1024", "/102400"] {
        ask(&mut socket, &get("GET", size, ""));
    }
    // To wait, to read and to write.
    let rows = [
        ("1 KiB", get("GET", "/1024", ""), 200, [7, 3]),
        ("HEAD", get("HEAD", "/1024", ""), 200, [7, 3]),
        ("304", get("GET", "/1024", "If-None-Match: \"1024\"\r\n"), 304, [9, 3]),
        ("100 KiB", get("GET", "/102400", ""), 200, [7, 3]),
        ("a range", get("GET", "/1024", "Range: bytes=1-9\r\n"), 206, [14, 3]),
    ];
    let mut wrong = Vec::new();
    for (name, request, status, most) in rows {
        let taken = costs(&mut socket, &request, status);
        println!("{name}: {taken:?} allocations and system calls, of {most:?} at most");
        if taken[0] > most[0] || taken[1] > most[1] {
            wrong.push(name);
        }
        assert!(taken[1] >= 2, "one reads and one writes; otherwise they are not counted");
    }
    assert!(wrong.is_empty(), "dearer than they were: {wrong:?}");
}
