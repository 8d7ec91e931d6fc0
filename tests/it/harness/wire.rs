//! A wire between two ends that can be cut, and that can swallow what it is given.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// They arrive.
    Whole,
    /// Connections end, and new ones do as soon as they are made.
    Cut,
    /// Nothing arrives, and nobody is told.
    Silent,
}

/// A wire to somewhere; it goes with the test's runtime.
#[derive(Clone)]
pub struct Wire {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    state: Arc<watch::Sender<State>>,
}

impl Wire {
    /// A wire that is whole.
    pub async fn to(target: SocketAddr) -> Wire {
        let wire = Self::to_later().await;
        wire.lead_to(target);
        wire
    }

    /// A wire that leads nowhere yet.
    pub async fn to_later() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(watch::Sender::new(State::Whole));
        let target = Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], 0))));
        let (states, targets) = (Arc::clone(&state), Arc::clone(&target));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let target = *targets.lock().expect("no panic");
                tokio::spawn(carry(stream, target, states.subscribe()));
            }
        });
        Wire { address, target, state }
    }

    /// New connections lead here from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().expect("no panic") = target;
    }

    /// The near end.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and every new one.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets nothing through, in either direction, and tells nobody.
    pub fn swallow(&self) {
        self.state.send_replace(State::Silent);
    }

    /// Makes it whole again. What was swallowed is gone, and so is the connection.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let silent = *state.borrow_and_update() == State::Silent;
    let far = if silent { None } else { TcpStream::connect(target).await.ok() };
    let carrying = async {
        let Some(far) = far else { return };
        let _ = far.set_nodelay(true);
        let _ = near.set_nodelay(true);
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::join!(pass(near_in, far_out, state.clone()), pass(far_in, near_out, state.clone()));
    };
    // A connection that was silent once is not whole again: bytes are missing from it.
    let mut states = state.clone();
    let ended = async {
        let mut was_silent = silent;
        loop {
            match *states.borrow_and_update() {
                State::Cut => return,
                State::Whole if was_silent => return,
                State::Whole => {}
                State::Silent => was_silent = true,
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    };
    let carried = async {
        carrying.await;
        if silent {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = carried => {}
        () = ended => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 64 * 1024];
    // What comes after something that is missing never arrives on a real connection; this one
    // may be read from once more between the wire's mending and the connection's end.
    let mut lacks_some = false;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        lacks_some |= *state.borrow() != State::Whole;
        if !lacks_some && to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    // A silent wire does not tell that the far end has gone.
    if *state.borrow() == State::Silent {
        std::future::pending::<()>().await;
    }
    let _ = to.shutdown().await;
}

#[tokio::test]
async fn what_comes_after_something_that_was_swallowed_does_not_arrive_either() {
    let (mut near, wire_in) = tokio::io::duplex(1);
    let (wire_out, mut far) = tokio::io::duplex(64);
    let state = watch::Sender::new(State::Whole);
    let passing = tokio::spawn(pass(wire_in, wire_out, state.subscribe()));
    let mut arrived = [0; 2];
    near.write_all(b"ab").await.expect("it is taken");
    far.read_exact(&mut arrived).await.expect("it arrives");
    state.send_replace(State::Silent);
    // There is room for one byte: when the last is taken, all before it have been swallowed.
    near.write_all(b"swallowed").await.expect("it is taken");
    state.send_replace(State::Whole);
    near.write_all(b"late").await.expect("it is taken");
    drop(near);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.expect("an end");
    assert_eq!((&arrived, rest.as_slice()), (b"ab", &b""[..]));
    passing.await.expect("no panic");
}
