//! The one table of everything that is counted.
//!
//! Each row is a field of [`Counters`]: its kind, its name and labels as
//! Prometheus sees them, and its help text, which is its only documentation.
//! Rows of one name stand together. Counting is one relaxed atomic addition; what every
//! request counts is counted by each thread in a place of its own, so that no two threads
//! write the same word for each request, and summed up when it is read.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::apart::{Apart, PLACES, place};

/// What a row measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by upper bound, with sum and count.
    Histogram,
}

/// A number that is counted: a counter or a gauge.
#[derive(Default, Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// One less; gauges only.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` less; gauges only.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// One more until the guard is dropped; gauges only.
    pub fn hold(&self) -> Held<'_> {
        self.up();
        Held(self)
    }

    /// Exactly `n`; gauges only.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that every request counts: a counter or a gauge.
#[derive(Default, Debug)]
pub struct Spread([Apart<Count>; PLACES]);

impl Spread {
    /// One more.
    pub fn up(&self) {
        self.here().up();
    }

    /// One less, which another thread may have counted; gauges only.
    pub fn down(&self) {
        self.here().down();
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.here().add(n);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        // What one thread has counted up and another one down wraps around in both.
        self.0.iter().fold(0, |sum, place| sum.wrapping_add(place.0.get()))
    }

    fn here(&self) -> &Count {
        &self.0[place()].0
    }
}

/// Durations that every request counts.
#[derive(Default, Debug)]
pub struct SpreadHistogram([Apart<Histogram>; PLACES]);

impl SpreadHistogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        self.0[place()].0.record(took);
    }

    /// All of them together, for now.
    pub fn sum(&self) -> Histogram {
        let sum = Histogram::default();
        for Apart(place) in &self.0 {
            sum.add(place);
        }
        sum
    }
}

/// Counts in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Held<'a>(&'a Count);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// Upper bounds of a [`Histogram`]'s buckets in microseconds; one more bucket
/// takes what is above them all.
pub const BOUNDS_MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// Durations, counted by bucket.
#[derive(Default, Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Clone for Histogram {
    fn clone(&self) -> Self {
        let copy = Histogram::default();
        copy.add(self);
        copy
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts all that the other one has counted.
    fn add(&self, other: &Histogram) {
        for (bucket, count) in self.buckets.iter().zip(other.buckets()) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(other.sum_micros.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// How many durations fell into each bucket (not cumulated).
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros.load(Ordering::Relaxed))
    }
}

/// The value of a row.
#[derive(Debug)]
pub enum Value<'a> {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram.
    Durations(Cow<'a, Histogram>),
}

/// One row of the table, as [`Counters::rows`] shows it.
#[derive(Debug)]
pub struct Row<'a> {
    /// What it measures.
    pub kind: Kind,
    /// Its Prometheus name; ends in its unit, and in `_total` for a counter.
    pub name: &'static str,
    /// Its Prometheus labels as written between braces, or empty.
    pub labels: &'static str,
    /// What it means.
    pub help: &'static str,
    /// How far it has come.
    pub value: Value<'a>,
}

macro_rules! cell {
    (Counter) => {
        Count
    };
    (Gauge) => {
        Count
    };
    (Histogram) => {
        Histogram
    };
    (Counter spread) => {
        Spread
    };
    (Gauge spread) => {
        Spread
    };
    (Histogram spread) => {
        SpreadHistogram
    };
}

macro_rules! value {
    (Histogram, $cell:expr) => {
        Value::Durations(Cow::Borrowed(&$cell))
    };
    (Histogram spread, $cell:expr) => {
        Value::Durations(Cow::Owned($cell.sum()))
    };
    ($kind:ident $($spread:ident)?, $cell:expr) => {
        Value::Number($cell.get())
    };
}

macro_rules! table {
    ($( $field:ident: $kind:ident $($spread:ident)? $name:literal {$labels:literal} $help:literal; )*) => {
        /// Everything that is counted; each field's text is its row's help.
        #[derive(Default, Debug)]
        pub struct Counters {
            $( #[doc = $help] pub $field: cell!($kind $($spread)?), )*
        }

        impl Counters {
            /// The whole table, rows of one name together.
            pub fn rows(&self) -> Vec<Row<'_>> {
                vec![$( Row {
                    kind: Kind::$kind,
                    name: $name,
                    labels: $labels,
                    help: $help,
                    value: value!($kind $($spread)?, self.$field),
                }, )*]
            }
        }
    };
}

table! {
    // Clients.
    client_connections: Counter "forebay_client_connections_total" {""} "Connections accepted from clients.";
    client_connections_open: Gauge "forebay_client_connections_open" {""} "Connections from clients that are open now.";
    client_connections_refused: Counter "forebay_client_connections_refused_total" {"reason=\"all\""} "Connections closed at once: listen.max_connections was reached, or listen.max_connections_per_address by their address.";
    client_connections_refused_address: Counter "forebay_client_connections_refused_total" {"reason=\"address\""} "Connections closed at once: listen.max_connections was reached, or listen.max_connections_per_address by their address.";
    client_timeout_header: Counter "forebay_client_timeouts_total" {"kind=\"header\""} "Client connections closed because the client was too slow, by what it was waited for; crowded: idle while nearly all places were taken.";
    client_timeout_idle: Counter "forebay_client_timeouts_total" {"kind=\"idle\""} "Client connections closed because the client was too slow, by what it was waited for; crowded: idle while nearly all places were taken.";
    client_timeout_crowded: Counter "forebay_client_timeouts_total" {"kind=\"crowded\""} "Client connections closed because the client was too slow, by what it was waited for; crowded: idle while nearly all places were taken.";
    client_timeout_body: Counter "forebay_client_timeouts_total" {"kind=\"body\""} "Client connections closed because the client was too slow, by what it was waited for; crowded: idle while nearly all places were taken.";
    client_timeout_send: Counter "forebay_client_timeouts_total" {"kind=\"send\""} "Client connections closed because the client was too slow, by what it was waited for; crowded: idle while nearly all places were taken.";
    client_timeout_tunnel: Counter "forebay_client_timeouts_total" {"kind=\"tunnel\""} "Client connections closed because the client was too slow, by what it was waited for; crowded: idle while nearly all places were taken.";

    client_accept_errors: Counter "forebay_client_accept_errors_total" {""} "Failed attempts to accept a connection, for want of file descriptors above all.";
    client_malformed: Counter "forebay_client_malformed_total" {""} "Connections that ended because a request could not be parsed.";

    // The door to the origins.
    shed_rate: Counter "forebay_shed_total" {"reason=\"rate\""} "Times that an origin was not asked because of a limit at the door: miss_rate, max_requests, max_buffered, or a refresh that was to leave room below these. Whoever waited got something stale, or 429 or 503.";
    shed_requests: Counter "forebay_shed_total" {"reason=\"requests\""} "Times that an origin was not asked because of a limit at the door: miss_rate, max_requests, max_buffered, or a refresh that was to leave room below these. Whoever waited got something stale, or 429 or 503.";
    shed_bytes: Counter "forebay_shed_total" {"reason=\"bytes\""} "Times that an origin was not asked because of a limit at the door: miss_rate, max_requests, max_buffered, or a refresh that was to leave room below these. Whoever waited got something stale, or 429 or 503.";
    shed_refreshes: Counter "forebay_shed_total" {"reason=\"refresh\""} "Times that an origin was not asked because of a limit at the door: miss_rate, max_requests, max_buffered, or a refresh that was to leave room below these. Whoever waited got something stale, or 429 or 503.";
    shed_places: Gauge "forebay_shed_places" {""} "Requests and refreshes under way that are not answered from the cache; shed.max_requests bounds them.";
    shed_clients: Gauge "forebay_shed_clients" {""} "Clients whose misses are remembered for shed.miss_rate; 50,000 at most.";

    // Requests, by the outcome named in Cache-Status (RFC 9211).
    requests_hit: Counter spread "forebay_requests_total" {"outcome=\"hit\""} "Requests, by outcome.";
    requests_stale: Counter spread "forebay_requests_total" {"outcome=\"stale\""} "Requests, by outcome.";
    requests_revalidated: Counter spread "forebay_requests_total" {"outcome=\"revalidated\""} "Requests, by outcome.";
    requests_miss: Counter spread "forebay_requests_total" {"outcome=\"miss\""} "Requests, by outcome.";
    requests_collapsed: Counter spread "forebay_requests_total" {"outcome=\"collapsed\""} "Requests, by outcome.";
    requests_pass: Counter spread "forebay_requests_total" {"outcome=\"pass\""} "Requests, by outcome.";
    requests_queued: Counter spread "forebay_requests_total" {"outcome=\"queued\""} "Requests, by outcome.";
    requests_own: Counter spread "forebay_requests_total" {"outcome=\"own\""} "Requests, by outcome.";
    requests_purge: Counter spread "forebay_requests_total" {"outcome=\"purge\""} "Requests, by outcome.";
    requests_refused: Counter spread "forebay_requests_total" {"outcome=\"refused\""} "Requests, by outcome.";
    requests_shed: Counter spread "forebay_requests_total" {"outcome=\"shed\""} "Requests, by outcome.";
    requests_failed: Counter spread "forebay_requests_total" {"outcome=\"failed\""} "Requests, by outcome.";
    requests_left: Counter spread "forebay_requests_total" {"outcome=\"left\""} "Requests, by outcome.";
    requests_under_way: Gauge spread "forebay_requests_under_way" {""} "Requests from clients whose answer is not complete.";
    replies_broken: Counter "forebay_replies_broken_total" {""} "Replies cut off because their body broke off on its way here.";
    reply_body_bytes: Counter spread "forebay_reply_body_bytes_total" {""} "Bytes of content handed to clients' connections.";
    stale_deadline: Counter "forebay_stale_deadline_total" {""} "Requests answered with stale because the origin did not answer within rules.stale_deadline.";
    request_seconds: Histogram spread "forebay_request_seconds" {""} "Time from a request's head to the end of its answer.";

    // Fetches, and requests that share them.
    flights_open: Gauge "forebay_flights_open" {""} "Fetches of cacheable responses under way, shared or not; collapse.max_flights bounds them.";
    followers_waiting: Gauge "forebay_followers_waiting" {""} "Requests waiting for the head of a fetch that another one began.";
    collapse_full: Counter "forebay_collapse_refused_total" {"reason=\"full\""} "Requests that could not wait for another one's fetch: collapse.max_followers or collapse.max_flights was reached, or collapse.follower_wait passed.";
    collapse_timeout: Counter "forebay_collapse_refused_total" {"reason=\"timeout\""} "Requests that could not wait for another one's fetch: collapse.max_followers or collapse.max_flights was reached, or collapse.follower_wait passed.";
    refreshes: Counter "forebay_refreshes_total" {""} "Refreshes begun in the background.";
    refresh_failed: Counter "forebay_refresh_failures_total" {""} "Fetches that were to replace a stored response and failed.";
    fetches_abandoned: Counter "forebay_fetches_abandoned_total" {""} "Fetches of responses too large to keep that ended because every reader had left.";
    loops: Counter "forebay_loops_total" {""} "Requests that had been here before and went round: answered with 508, or not refreshed in the background.";
    shield_behind: Counter "forebay_shield_responses_total" {"of=\"behind\""} "Responses of shields that count as older than when they were asked for, by why: the shield had not read all purges that hold here, or did not say how far it had read.";
    shield_silent: Counter "forebay_shield_responses_total" {"of=\"silent\""} "Responses of shields that count as older than when they were asked for, by why: the shield had not read all purges that hold here, or did not say how far it had read.";
    filling_bytes: Gauge "forebay_filling_bytes" {""} "Bytes held by bodies on their way from an origin.";

    // Origins.
    origin_requests: Counter "forebay_origin_requests_total" {""} "Requests to origins.";
    origin_retries: Counter "forebay_origin_retries_total" {""} "Requests sent once more because a reused connection had died.";
    interim_forwarded: Counter "forebay_interim_responses_total" {"result=\"forwarded\""} "Interim responses of origins that clients got, and those beyond what one request may have.";
    interim_dropped: Counter "forebay_interim_responses_total" {"result=\"dropped\""} "Interim responses of origins that clients got, and those beyond what one request may have.";
    dns_lookups: Counter "forebay_dns_lookups_total" {""} "Look-ups of the names of origins.";
    dns_failures: Counter "forebay_dns_failures_total" {""} "Look-ups of the names of origins that brought no answer.";
    dns_kept: Counter "forebay_dns_kept_total" {""} "Times that the last good answer was kept past its life, for there was no other.";
    dns_bad_addresses: Counter "forebay_dns_bad_addresses_total" {""} "Addresses in answers that no server can have.";
    dns_too_many: Counter "forebay_dns_too_many_total" {""} "Answers with more servers than dns.max_endpoints.";
    origin_retries_other: Counter "forebay_origin_attempts_total" {"kind=\"further\""} "Further attempts at requests whose first one failed, and those that were beyond the budget.";
    origin_retries_refused: Counter "forebay_origin_attempts_total" {"kind=\"beyond-budget\""} "Further attempts at requests whose first one failed, and those that were beyond the budget.";
    origin_waiting: Gauge "forebay_origin_waiting" {""} "Requests that wait for a place in the bulkhead of their origin.";
    origin_refused_full: Counter "forebay_origin_refused_total" {"reason=\"full\""} "Requests that no origin was asked for, by why: too many wait for its bulkhead, none of those under way ended in time, its breaker is open, none of its servers may be asked.";
    origin_refused_overdue: Counter "forebay_origin_refused_total" {"reason=\"overdue\""} "Requests that no origin was asked for, by why: too many wait for its bulkhead, none of those under way ended in time, its breaker is open, none of its servers may be asked.";
    origin_refused_open: Counter "forebay_origin_refused_total" {"reason=\"open\""} "Requests that no origin was asked for, by why: too many wait for its bulkhead, none of those under way ended in time, its breaker is open, none of its servers may be asked.";
    origin_refused_no_server: Counter "forebay_origin_refused_total" {"reason=\"no-server\""} "Requests that no origin was asked for, by why: too many wait for its bulkhead, none of those under way ended in time, its breaker is open, none of its servers may be asked.";
    origin_breaker_opened: Counter "forebay_origin_breaker_changes_total" {"to=\"open\""} "Breakers of origins and of their servers that opened and closed.";
    origin_breaker_closed: Counter "forebay_origin_breaker_changes_total" {"to=\"closed\""} "Breakers of origins and of their servers that opened and closed.";
    origin_ejected: Counter "forebay_origin_ejections_total" {""} "Servers that were left alone for a while because they failed several times in a row.";
    origin_probes: Counter "forebay_origin_probes_total" {""} "Probes of servers.";
    origin_probes_failed: Counter "forebay_origin_probes_failed_total" {""} "Probes of servers that were not answered as they should be.";
    origin_sick: Counter "forebay_origin_health_changes_total" {"to=\"sick\""} "Servers that became sick and healthy, as their probes say.";
    origin_healthy: Counter "forebay_origin_health_changes_total" {"to=\"healthy\""} "Servers that became sick and healthy, as their probes say.";
    origin_connections: Counter "forebay_origin_connections_total" {""} "Connections made to origins.";
    origin_connections_open: Gauge "forebay_origin_connections_open" {""} "Connections to origins that are open now.";
    origin_failed_connect: Counter "forebay_origin_failures_total" {"reason=\"connect\""} "Exchanges with origins that failed, by how.";
    origin_failed_tls: Counter "forebay_origin_failures_total" {"reason=\"tls\""} "Exchanges with origins that failed, by how.";
    origin_failed_closed: Counter "forebay_origin_failures_total" {"reason=\"closed\""} "Exchanges with origins that failed, by how.";
    origin_failed_malformed: Counter "forebay_origin_failures_total" {"reason=\"malformed\""} "Exchanges with origins that failed, by how.";
    origin_failed_body: Counter "forebay_origin_failures_total" {"reason=\"body\""} "Exchanges with origins that failed, by how.";
    origin_failed_request: Counter "forebay_origin_failures_total" {"reason=\"request\""} "Exchanges with origins that failed, by how.";
    origin_timeout_connect: Counter "forebay_origin_timeouts_total" {"kind=\"connect\""} "Exchanges with origins that ran into a timeout, by which.";
    origin_timeout_first_byte: Counter "forebay_origin_timeouts_total" {"kind=\"first_byte\""} "Exchanges with origins that ran into a timeout, by which.";
    origin_timeout_between_bytes: Counter "forebay_origin_timeouts_total" {"kind=\"between_bytes\""} "Exchanges with origins that ran into a timeout, by which.";
    origin_timeout_total: Counter "forebay_origin_timeouts_total" {"kind=\"total\""} "Exchanges with origins that ran into a timeout, by which.";

    // The store.
    store_keys: Gauge "forebay_store_keys" {""} "Cache keys under which something is stored.";
    store_bytes: Gauge "forebay_store_bytes" {""} "Gross bytes of what is stored.";
    store_spare: Gauge "forebay_store_spare_bytes" {""} "Bytes of blocks that are kept for the bodies of the next responses.";
    store_overhead: Gauge "forebay_store_overhead_permille" {""} "What the allocator takes for what is stored, holes included, for a thousand bytes that are needed.";
    store_limit_bytes: Gauge "forebay_store_limit_bytes" {""} "The most gross bytes that the store may hold (store.memory).";
    store_inserted: Counter "forebay_store_inserted_total" {""} "Responses stored.";
    store_evicted: Counter "forebay_store_evicted_total" {""} "Cache keys evicted, or not admitted, for want of room.";
    store_fenced: Counter "forebay_store_fenced_total" {""} "Responses not stored because an invalidation came after their request.";
    store_outdone: Counter "forebay_store_outdone_total" {""} "Responses not stored because something better is: a newer response, or a usable one where this is a 5xx.";
    store_no_room: Counter "forebay_store_no_room_total" {""} "Responses streamed and not kept because collapse.max_filling_bytes was reached.";
    store_too_large: Counter "forebay_store_too_large_total" {""} "Responses streamed and not kept because they were larger than store.max_response_percent allows.";
    parts_stored: Counter "forebay_parts_stored_total" {""} "Parts of responses stored: of a range that was asked for, or of a body that broke off.";
    parts_completed: Counter "forebay_parts_completed_total" {""} "Responses that were complete when the last of their parts had come.";
    parts_dropped: Counter "forebay_parts_dropped_total" {""} "Parts dropped because max_parts was reached, or what store.max_response_percent allows.";
    parts_refused: Counter "forebay_parts_refused_total" {""} "Parts not stored because they had no strong validator, did not say where they belong, or contradicted themselves.";
    parts_unfit: Counter "forebay_parts_unfit_total" {""} "Parts that were not what a client had asked for, so that the whole was.";
    store_marked: Counter "forebay_store_marked_total" {""} "Hit-for-miss markers left.";
    variants_chosen: Counter "forebay_variants_chosen_total" {""} "Variants stored for other requests that the origin has chosen by their entity tags, so that their content did not come again.";
    store_variants_dropped: Counter "forebay_store_variants_dropped_total" {""} "Variants dropped because store.max_variants was reached.";

    store_tags: Gauge "forebay_store_tags" {""} "Tags and cache groups that stored responses have.";
    store_untagged: Counter "forebay_store_tags_refused_total" {""} "Responses not stored because they had more than 64 KiB of tags.";
    bans: Gauge "forebay_bans" {""} "Bans and prefixes that have not been tested against everything stored; store.max_bans bounds them.";
    bans_merged: Counter "forebay_bans_merged_total" {""} "Bans dropped because a newer one says the same.";
    bans_refused: Counter "forebay_bans_refused_total" {""} "Bans refused because store.max_bans was reached.";
    ban_tests: Counter "forebay_ban_tests_total" {""} "Stored responses tested against new bans, at look-up or by the lurker.";
    lurker_passes: Counter "forebay_lurker_passes_total" {""} "Times that the lurker has tested everything stored.";

    // The cluster.
    cluster_connected: Gauge "forebay_cluster_connected" {""} "1 while this node is in touch with the cluster.";
    cluster_links_lost: Counter "forebay_cluster_links_lost_total" {""} "Links to the broker that broke after they had worked.";
    cluster_nodes: Gauge "forebay_cluster_nodes" {""} "Nodes of the cluster that are alive, this one among them.";
    cluster_position: Gauge "forebay_cluster_position" {""} "Offset of the last message of the cluster's stream that was applied.";
    cluster_told: Counter "forebay_cluster_purges_told_total" {""} "Purges of this node that the broker confirmed, again ones included.";
    cluster_applied: Counter "forebay_cluster_purges_applied_total" {""} "Purges of other nodes that were applied.";
    cluster_duplicates: Counter "forebay_cluster_duplicates_total" {""} "Purges of other nodes that had been applied before.";
    cluster_outbox: Gauge "forebay_cluster_outbox" {""} "Purges that the other nodes have not been told of for certain.";
    cluster_outbox_full: Counter "forebay_cluster_outbox_full_total" {""} "Purges that found no room to wait for the broker; the other nodes do not learn of them.";
    cluster_distrusted: Counter "forebay_cluster_distrusted_total" {""} "Times that everything held was taken for stale because purges may have been missed.";
    cluster_lost: Counter "forebay_cluster_lost_total" {""} "Times that the stream no longer had what this node had yet to read.";
    cluster_unread: Counter "forebay_cluster_unread_total" {""} "Messages of the cluster that were not understood.";

    // The broker, as far as hidden routes go.
    broker_connected: Gauge "forebay_broker_connected" {""} "1 while the queues of hidden routes are connected to the broker.";
    broker_blocked: Gauge "forebay_broker_blocked" {""} "1 while the broker takes no messages because it is short of memory or disk.";
    broker_reading: Gauge "forebay_broker_reading" {""} "Queues of hidden routes that this node reads at the broker.";
    broker_links_lost: Counter "forebay_broker_links_lost_total" {""} "Connections of hidden routes to the broker that broke after they had worked.";

    // Hidden origins: what is wanted.
    leases: Gauge "forebay_leases" {""} "Keys that are wanted, or held down because they cannot be filled; hidden.max_leases bounds them.";
    leases_full: Counter "forebay_leases_full_total" {""} "Misses that were not told because hidden.max_leases was reached.";
    leases_renewed: Counter "forebay_leases_renewed_total" {""} "Keys that were told once more, with the misses since.";
    leases_expired: Counter "forebay_leases_expired_total" {""} "Keys that were told and neither filled nor given up in time.";
    known_keys: Gauge "forebay_known_keys" {""} "About how many keys are known to exist.";
    oldest_wanted: Gauge "forebay_oldest_wanted_seconds" {""} "For how long the key has been wanted that has been wanted for longest.";
    misses_held_down: Counter "forebay_misses_held_down_total" {""} "Misses of keys that could not be filled and are left alone for a while.";
    hidden_refused_client: Counter "forebay_misses_refused_total" {"reason=\"client\""} "Misses that were not told because of a limit: hidden.client_rate of the client, or hidden.unknown_rate of all.";
    hidden_refused_unknown: Counter "forebay_misses_refused_total" {"reason=\"unknown\""} "Misses that were not told because of a limit: hidden.client_rate of the client, or hidden.unknown_rate of all.";
    events_published: Counter "forebay_miss_events_total" {"event=\"published\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_deduplicated: Counter "forebay_miss_events_total" {"event=\"deduplicated\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_nacked: Counter "forebay_miss_events_total" {"event=\"nacked\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_unconfirmed: Counter "forebay_miss_events_total" {"event=\"unconfirmed\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_dropped: Counter "forebay_miss_events_total" {"event=\"dropped\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_expired: Counter "forebay_miss_events_total" {"event=\"expired\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_merged: Counter "forebay_miss_events_total" {"event=\"merged\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_crowded_out: Counter "forebay_miss_events_total" {"event=\"crowded-out\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_released: Counter "forebay_miss_events_total" {"event=\"released\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_refused: Counter "forebay_miss_events_total" {"event=\"refused\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_retried: Counter "forebay_miss_events_total" {"event=\"retried\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_returned: Counter "forebay_miss_events_total" {"event=\"returned\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_dead: Counter "forebay_miss_events_total" {"event=\"dead\""} "Miss events, by what became of them; docs/hidden-origin.md explains each.";
    events_backlog: Gauge "forebay_miss_events_backlog" {""} "Miss events that wait to be published; hidden.backlog bounds them.";
    pacer_waiting: Gauge "forebay_pacer_waiting" {""} "Keys that wait for their turn at an origin.";
    pacer_wait_seconds: Histogram "forebay_pacer_wait_seconds" {""} "How long keys have waited for their turn.";

    // Hidden origins: what is got.
    worker_requests: Counter "forebay_worker_total" {"what=\"asked\""} "What workers did; docs/hidden-origin.md explains each.";
    worker_fills: Counter "forebay_worker_total" {"what=\"filled\""} "What workers did; docs/hidden-origin.md explains each.";
    worker_from_store: Counter "forebay_worker_total" {"what=\"from-store\""} "What workers did; docs/hidden-origin.md explains each.";
    worker_pushed: Counter "forebay_worker_total" {"what=\"pushed\""} "What workers did; docs/hidden-origin.md explains each.";
    worker_failures: Counter "forebay_worker_total" {"what=\"failed\""} "What workers did; docs/hidden-origin.md explains each.";
    worker_not_storable: Counter "forebay_worker_total" {"what=\"not-storable\""} "What workers did; docs/hidden-origin.md explains each.";
    fills_kept: Counter "forebay_fills_kept_total" {""} "Fills that were stored.";
    fills_refused_token: Counter "forebay_fills_refused_total" {"reason=\"token\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_malformed: Counter "forebay_fills_refused_total" {"reason=\"malformed\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_route: Counter "forebay_fills_refused_total" {"reason=\"route\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_status: Counter "forebay_fills_refused_total" {"reason=\"status\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_not_storable: Counter "forebay_fills_refused_total" {"reason=\"not-storable\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_fenced: Counter "forebay_fills_refused_total" {"reason=\"fenced\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_older: Counter "forebay_fills_refused_total" {"reason=\"older\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_broken: Counter "forebay_fills_refused_total" {"reason=\"broken\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fills_refused_busy: Counter "forebay_fills_refused_total" {"reason=\"busy\""} "Fills that were not stored, by why; docs/hidden-origin.md explains each.";
    fill_seconds: Histogram "forebay_fill_seconds" {""} "From the first miss of a key to its fill.";
    warm_jobs: Gauge "forebay_warm_jobs" {""} "Warm jobs that run.";
    warm_filled: Counter "forebay_warm_urls_total" {"result=\"filled\""} "URLs of warm jobs, by what became of them.";
    warm_fresh: Counter "forebay_warm_urls_total" {"result=\"fresh\""} "URLs of warm jobs, by what became of them.";
    warm_failed: Counter "forebay_warm_urls_total" {"result=\"failed\""} "URLs of warm jobs, by what became of them.";
    warm_disallowed: Counter "forebay_warm_urls_total" {"result=\"disallowed\""} "URLs of warm jobs, by what became of them.";

    // The journal of purges.
    journal_records: Counter "forebay_journal_records_total" {""} "Purges written to the journal.";
    journal_syncs: Counter "forebay_journal_syncs_total" {""} "Times that the journal was synced; one sync may take many purges.";
    journal_bytes: Counter "forebay_journal_bytes_total" {""} "Bytes written to the journal.";
    journal_errors: Counter "forebay_journal_errors_total" {""} "Writes to the journal that failed; their purges hold until a restart.";
    journal_full: Counter "forebay_journal_full_total" {""} "Purges that found the journal's queue full.";
    journal_torn_bytes: Counter "forebay_journal_torn_bytes_total" {""} "Bytes of the journal that could not be used at the start.";

    // Logs.
    log_dropped: Counter "forebay_log_dropped_total" {""} "Lines that are missing in the program's own log: nobody read it in time.";
    access_log_lines: Counter "forebay_access_log_lines_total" {""} "Lines written to the access log.";
    access_log_dropped: Counter "forebay_access_log_dropped_total" {"reason=\"buffer\""} "Lines that are missing in the access log: access_log.buffer was full, or a write failed.";
    access_log_lost: Counter "forebay_access_log_dropped_total" {"reason=\"write\""} "Lines that are missing in the access log: access_log.buffer was full, or a write failed.";
    access_log_errors: Counter "forebay_access_log_errors_total" {""} "Failed attempts to write the access log or to open it again.";

    // Authentication.
    auth_failures: Counter "forebay_auth_failures_total" {""} "Calls with a wrong token.";
    auth_limited: Counter "forebay_auth_limited_total" {""} "Calls not looked at, because too many wrong tokens came from their address.";
    auth_forgotten: Counter "forebay_auth_forgotten_total" {""} "Addresses with wrong tokens that were forgotten, for there were too many.";
    auth_reloads: Counter "forebay_auth_reloads_total" {"result=\"applied\""} "Files of tokens read again.";
    auth_reloads_refused: Counter "forebay_auth_reloads_total" {"result=\"refused\""} "Files of tokens read again.";

    // Operators.
    admin_requests: Counter "forebay_admin_requests_total" {""} "Requests on the admin port.";
    admin_refused: Counter "forebay_admin_refused_total" {""} "Requests and connections refused on the admin port.";
    purges_denied: Counter "forebay_purges_denied_total" {""} "Purges on the clients' port from whoever may not.";
    purges: Counter "forebay_purges_total" {""} "Purges by operators.";
    purged_responses: Counter "forebay_purged_responses_total" {""} "Stored responses that purges by operators hit.";
    invalidated_by_method: Counter "forebay_invalidated_by_method_total" {""} "Invalidations by successful requests with unsafe methods.";
    reloads: Counter "forebay_reloads_total" {"result=\"applied\""} "Configurations read again.";
    reloads_refused: Counter "forebay_reloads_total" {"result=\"refused\""} "Configurations read again.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_apart_is_one_number() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    counters.requests_under_way.up();
                    counters.reply_body_bytes.add(5);
                    counters.request_seconds.record(Duration::from_micros(300));
                });
            }
        });
        // One thread counts down what others have counted up.
        (0..19).for_each(|_| counters.requests_under_way.down());
        assert_eq!((counters.requests_under_way.get(), counters.reply_body_bytes.get()), (1, 100));
        let seconds = counters.request_seconds.sum();
        assert_eq!(seconds.buckets().collect::<Vec<_>>()[..3], [0, 0, 20]);
        assert_eq!(seconds.sum(), Duration::from_micros(6000));
    }
}
