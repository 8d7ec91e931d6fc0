//! forebay: a caching HTTP accelerator.
//!
//! A *forebay* is the pool in front of a dam: what the city drinks from, so that
//! the river behind it may rest. This one stands in front of HTTP origins,
//! answers from its cache as RFC 9111 allows, shares one origin request among all
//! who ask for the same thing, keeps serving when the origin fails, and can be
//! purged.
//!
//! This page is the picture of the code: what stands where, who may know whom,
//! and how one request walks through.
//!
//! # Floors
//!
//! All arrows point down. A module imports from lower floors only, never from
//! above and never from a neighbour on its own floor; the comments between the
//! `mod` lines below name the floors, and a test holds the code to them.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 12 | [`cli`] | the command line |
//! | 11 | [`demo`] | a sample origin with a cache in front, to try things on |
//! | 10 | [`node`] | assembly; one path for start and reload |
//! | 9 | [`config`] | the only place that knows the file format |
//! | 8 | [`admin`], [`listen`] | the edges: the operators' port, the clients' port |
//! | 7 | [`serve`] | the walk of one request |
//! | 6 | [`cluster`], [`repopulate`] | what the nodes tell each other; hide the origin: miss event, worker, fill |
//! | 5 | [`fetch`], [`invalidate`] | acts: get a response; make responses unusable |
//! | 4 | [`broker`], [`origin`], [`policy`], [`shed`], [`store`] | passes on, fetches, decides, turns away, keeps; none knows another |
//! | 3 | [`stored`] | the nouns: a stored response, its variants, its body |
//! | 2 | [`message`] | messages under way, and how HTTP/1.1 is read on both sides |
//! | 1 | [`observe`], [`rfc`] | counting and logs; the standard, in pure functions |
//! | 0 | [`apart`], [`clock`] | what threads have apart from each other; time |
//!
//! `rfc` and `policy` are pure: they get `now` and everything else as arguments
//! and return a verdict with a named reason. They never read the clock, count,
//! lock, spawn or do I/O.
//!
//! Each part owns its settings as a plain struct; `config` alone fills them, so
//! that no part knows the file.
//!
//! # The walk of a request
//!
//! `listen` reads a request off a socket, strictly ([`listen::http1`]), and hands it to
//! [`serve::Server::begin`]: what the store can answer is answered there and then, without an
//! await, and written in one call. What has to wait [goes on](serve::Server::go_on) in a
//! future of its own. Together they are the whole story on one screen:
//!
//! 1. *canonical*: [`policy::normalise`] turns it into the presented request, or
//!    refuses it;
//! 2. *rules and key*: [`policy::site`] yields the route's rules,
//!    [`stored::CacheKey`] the key;
//! 3. *look up*: [`store::Store::look`], without await, shows what is stored where it stands;
//! 4. *decide*: [`policy::decide()`] says there what is to be done and why, and takes along the
//!    response that answers;
//! 5. *act*: deliver, deliver stale (and refresh in the background), fetch
//!    together with others ([`fetch`]), pass, or refuse, where the [door](shed) is shut; on a hidden route deliver, or
//!    tell what is wanted ([`repopulate`]) and answer at once;
//! 6. *deliver*: preconditions, ranges, `Age`, `Cache-Status`, a reader of the body;
//! 7. *record*: once, when the body ends or the client leaves.
//!
//! # What always holds
//!
//! - **A head is one buffer** with an offset table ([`rfc::fields::Fields`]), from
//!   the socket to the store and back: cleaned once, ready to be written. A stored head
//!   goes out as it stands, and what this node adds stands behind it.
//! - **A connection that waits has next to nothing**: no buffer, and no walk.
//! - **Whoever waits for an origin drives the connection to it**, and closes it before the
//!   place in the bulkhead is given up: an origin sees no request more than its cap.
//! - **A response lives in one place**: filling ones in [`fetch::Flights`],
//!   complete ones in the [`store`]. It is put into the store before its flight
//!   ends, and whoever begins a flight has looked into the store again under the
//!   flight's lock. So no second request slips through between the two.
//! - **Parts are never mixed.** An incomplete response is a stored response like any other, with
//!   [parts](stored::parts) in place of a body; they are combined only under the same strong
//!   validator, and [answer](policy::partial) nothing but ranges that they cover.
//! - **No client owns a fetch.** A fetch that may be shared is carried on by whoever leads it,
//!   and by a task of its own once they wait for it no more: mostly it is done by then. Only a
//!   pass dies with its client.
//! - **No purge is undone.** Every invalidation has a number; a fetch notes the
//!   last one before the origin is asked, and the store tests every later one
//!   under the key's lock before it keeps anything. A client that comes after an
//!   invalidation does not join a flight from before it, nor keeps what one
//!   brings once its head shows a tag that was purged.
//! - **A purge reaches responses, not keys.** Every stored response has a place in
//!   the [index](stored::index) and a word there that says whether it is valid;
//!   names lead to these words. Patterns are tested at look-up, and by a lurker
//!   until everything has been.
//! - **A purge is told in order, until it is known to have been told.** What a node
//!   of a [`cluster`] accepts waits in its outbox until it has been read back from
//!   the stream that all nodes read; it is known by its node and its number there,
//!   so that it is applied once however often it comes.
//! - **Hidden by construction.** On a hidden route the walk holds no fetcher, and a node
//!   whose every route is hidden has none at all. It knows an
//!   [announcer](repopulate::Announcer) alone: what is wanted goes to a queue, and comes
//!   back as a fill. So no client can make the origin be asked, but for one event a key
//!   while its [lease](repopulate::lease) lives.
//! - **The agreed rate.** One [pacer](repopulate::pacer) an origin at a time releases work,
//!   the most wanted first; workers take only what it has released.
//! - **A fill is as old as what its worker knew.** Whoever gets a response for an edge
//!   says how far it had read that stream, and which moment of the edge it was told of
//!   ([`invalidate::Moment`]); what the edge has invalidated since counts as later.
//! - **An origin costs only itself.** Each [`origin`] has its own connections, bulkhead
//!   and breakers; a request is under way from its place in the bulkhead to the last byte of
//!   its response. What judges servers (breaker, health, outlier, balance, budget of further
//!   attempts) is pure, and is told the time; one lock an origin is held for it, never over an
//!   await. Nothing is sent twice that is not idempotent, or whose response has begun.
//! - **A better answer is never replaced by a worse one**: a 5xx, a timeout or a
//!   broken body leaves what is stored as it is, and the origin is left alone for
//!   a while.
//! - **What is stored weighs what it takes**, as the allocator rounds it and with the holes that
//!   it leaves. Bodies lie in blocks of a few sizes, which go from thread to thread, and have no
//!   memory behind them while nobody has them. A key is
//!   looked up in a table of the store's own; moka is asked who may stay only where room is scarce.
//! - **A hit writes one word that others write**: the count of handles of the response that it
//!   chooses, and once in a second when that was used. What all requests read (rules, counters,
//!   the store's locks, the access log) threads have [apart]; what was looked for stands on a
//!   list of the thread until whoever brings something tells moka of it; and a body is sent from
//!   where it stands.
//! - **Interim responses are one client's**: whoever led the fetch gets them, and nobody else.
//! - **A request is [explained](serve::explain) by the functions that would answer it**, on copies
//!   of what is stored, and nothing is changed by that.
//! - **Nobody waits for whoever reads a log**: lines wait in bounded buffers, and what is missing
//!   is counted.
//! - **Everything that can grow has a limit** and a counter that says when it was
//!   reached.
//! - **Two clocks**: ages use wall time and saturate at zero, deadlines use
//!   monotonic time.
//!
//! # Cancel safety
//!
//! A client's task may be dropped at any await. A fetch that it leads goes on without it;
//! seats in a flight, readers of a body, places among the connections and the
//! record of a request are given up when they are dropped. No lock is held over
//! an await.

// Floor 0: the ground.
pub mod apart;
pub mod clock;
// Floor 1: counting, and the standard.
pub mod observe;
pub mod rfc;
// Floor 2: messages under way.
pub mod message;
// Floor 3: the nouns.
pub mod stored;
// Floor 4: passes on, fetches, decides, turns away, keeps.
pub mod broker;
pub mod origin;
pub mod policy;
pub mod shed;
pub mod store;
// Floor 5: acts.
pub mod fetch;
pub mod invalidate;
// Floor 6: the other nodes, and what is behind the cache.
pub mod cluster;
pub mod repopulate;
// Floor 7: the walk of one request.
pub mod serve;
// Floor 8: the edges.
pub mod admin;
pub mod listen;
// Floor 9: the file format.
pub mod config;
// Floor 10: assembly.
pub mod node;
// Floor 11: programs.
pub mod demo;
// Floor 12: the command line.
pub mod cli;
