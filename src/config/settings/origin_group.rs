//! The settings of `[[origin]]`.

use super::super::typed::{
    self,
    Kind::{Bytes, Count, Plain, Text},
};
use super::super::units::{KIB, MIB};
use super::{DEADLINE, Origin, Setting, TIME};

/// What `[[origin]]` is about.
pub const ORIGIN_TEXT: &str = "An origin: a server, or several that have the same responses. There may be several origins; sites and \
     routes name the one that they ask. None of them shares anything with another: one that is slow or dead \
     costs the others nothing.";

/// The settings of an `[[origin]]`.
pub static ORIGIN: &[Setting<Origin>] = &[
    Setting::new(
        "name",
        Text(typed::any_text),
        |origin: &mut Origin| &mut origin.settings.name,
        "What sites and routes call it. Clients never see it.",
    ),
    Setting::new(
        "url",
        Plain,
        |origin: &mut Origin| &mut origin.settings.servers,
        "Where it listens: http://host:port or https://host:port, or a list of such where it has several servers, each perhaps with \
         a weight: \"http://a:8080 weight=2\". A name that has several addresses stands for a server each; \
         srv://NAME (srv+https://NAME for TLS) asks DNS for the servers of a service, with their ports, weights \
         and priorities. Required.",
    ),
    Setting::new(
        "tls_ca",
        Plain,
        |origin: &mut Origin| &mut origin.tls.ca,
        "TLS, for servers with an https:// URL: a file of certificates in PEM that alone are trusted. Without one \
         those are that this system trusts. Read again on SIGHUP, like all of these files.",
    )
    .example("/etc/forebay/origin-ca.pem"),
    Setting::new(
        "tls_name",
        Text(typed::any_text),
        |origin: &mut Origin| &mut origin.tls.name,
        "The name that a server has to prove, and is told (SNI). Without one it is the host of its URL.",
    )
    .example("origin.example.org"),
    Setting::new(
        "tls_certificate",
        Plain,
        |origin: &mut Origin| &mut origin.tls.certificate,
        "A file with the certificate that servers are shown that ask for one, in PEM, with those it was issued with.",
    )
    .example("/etc/forebay/client.pem"),
    Setting::new(
        "tls_key",
        Plain,
        |origin: &mut Origin| &mut origin.tls.key,
        "A file with its private key.",
    )
    .example("/etc/forebay/client.key"),
    Setting::new(
        "tls_verify",
        Plain,
        |origin: &mut Origin| &mut origin.tls.verify,
        "Whether servers have to prove who they are. With false anybody on the way to them can read and change \
         everything; that is said at each start.",
    ),
    Setting::new(
        "connect_timeout",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.connect_timeout,
        "How long connecting may take, the look-up of its name included.",
    ),
    Setting::new(
        "first_byte_timeout",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.first_byte_timeout,
        "How long it may take from the end of a request to the head of its response.",
    ),
    Setting::new(
        "between_bytes_timeout",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.between_bytes_timeout,
        "How long a body may pause between two pieces, whichever way it goes.",
    ),
    Setting::new(
        "total_timeout",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.total_timeout,
        "How long a request may take, from its beginning to the end of its response.",
    ),
    Setting::new(
        "max_requests",
        Count { least: 1, most: 1_000_000 },
        |origin: &mut Origin| &mut origin.settings.bulkhead.max_requests,
        "The bulkhead: how many requests may be under way at it, from when they are sent to the last byte of \
         their response.",
    ),
    Setting::new(
        "max_uploads_percent",
        Count { least: 1, most: 100 },
        |origin: &mut Origin| &mut origin.settings.bulkhead.uploads_percent,
        "How many percent of these places requests may hold whose content is still on its way: clients that \
         send slowly do not get them all.",
    ),
    Setting::new(
        "max_line",
        Count { least: 0, most: 1_000_000 },
        |origin: &mut Origin| &mut origin.settings.bulkhead.max_waiting,
        "How many requests may wait for one of these places. One more gets a stale response or 503 at once.",
    ),
    Setting::new(
        "line_wait",
        TIME,
        |origin: &mut Origin| &mut origin.settings.bulkhead.max_wait,
        "How long one of them waits at most. Who has waited for so long gets a stale response or 503.",
    ),
    Setting::new(
        "failure_statuses",
        Plain,
        |origin: &mut Origin| &mut origin.settings.failure_statuses,
        "Which statuses speak against a server, as timeouts and broken connections do.",
    ),
    Setting::new(
        "breaker_percent",
        Count { least: 1, most: 100 },
        |origin: &mut Origin| &mut origin.settings.breaker.failure_percent,
        "The breakers: each server has one, and all of them together have one. It opens when so many of a \
         hundred requests fail; then nothing is sent there, and clients get a stale response or 503 at once.",
    ),
    Setting::new(
        "breaker_window",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.breaker.window,
        "Within which time.",
    ),
    Setting::new(
        "breaker_min_requests",
        Count { least: 1, most: u32::MAX as u64 },
        |origin: &mut Origin| &mut origin.settings.breaker.min_requests,
        "Fewer requests than this within that time open no breaker.",
    ),
    Setting::new(
        "breaker_open",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.breaker.open_for,
        "How long it stays open before the server is tried again. Twice as long after each trial that fails.",
    ),
    Setting::new(
        "breaker_max_open",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.breaker.max_open,
        "How long at most.",
    ),
    Setting::new(
        "breaker_trials",
        Count { least: 1, most: 1000 },
        |origin: &mut Origin| &mut origin.settings.breaker.trials,
        "How many requests it is tried with; all of them have to be answered.",
    ),
    Setting::new(
        "retries",
        Count { least: 0, most: 10 },
        |origin: &mut Origin| &mut origin.settings.retries,
        "How many further attempts a request may have that failed, each at another server of the origin, and \
         within the time that is left of it. Only requests that may be sent twice have any: those of idempotent methods, \
         without content, before the first byte of a response.",
    ),
    Setting::new(
        "retry_percent",
        Count { least: 0, most: 100 },
        |origin: &mut Origin| &mut origin.settings.retry_budget.percent,
        "How many further attempts there may be for a hundred requests, so that they do not multiply an outage.",
    ),
    Setting::new(
        "balance",
        Plain,
        |origin: &mut Origin| &mut origin.settings.balance,
        "Which of several servers is asked: \"round-robin\" one after the other, \"least-busy\" that with fewer \
         requests under way of two that are drawn, \"hash\" always the same for the same request as long as it \
         is not busier than the others. Each by its weight.",
    ),
    Setting::new(
        "hash_on",
        Plain,
        |origin: &mut Origin| &mut origin.settings.hash_on,
        "What \"hash\" tells requests apart by: \"key\" (scheme, host, path and query), \"path\", or \
         \"header:NAME\".",
    ),
    Setting::new(
        "slow_start",
        TIME,
        |origin: &mut Origin| &mut origin.settings.slow_start,
        "For how long a server that has come back, or is new, gets less than its part.",
    ),
    Setting::new(
        "eject_after",
        Count { least: 0, most: 1_000_000 },
        |origin: &mut Origin| &mut origin.settings.outlier.consecutive,
        "After how many failures in a row one of several servers is left alone for a while; 0 for never.",
    ),
    Setting::new(
        "eject_for",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.outlier.eject_for,
        "For how long, the first time; longer each further time.",
    ),
    Setting::new(
        "max_eject_for",
        DEADLINE,
        |origin: &mut Origin| &mut origin.settings.outlier.max_eject_for,
        "For how long at most.",
    ),
    Setting::new(
        "max_ejected_percent",
        Count { least: 0, most: 100 },
        |origin: &mut Origin| &mut origin.settings.outlier.max_ejected_percent,
        "How many of its servers may be left alone so at once; never the only one.",
    ),
    Setting::new(
        "probe",
        Text(typed::path_prefix),
        |origin: &mut Origin| &mut origin.probed,
        "The path that every server is asked for again and again, to see whether it is well. Without one \
         only live traffic tells.",
    )
    .example("/health"),
    Setting::new(
        "probe_method",
        Plain,
        |origin: &mut Origin| &mut origin.probe.method,
        "The method of a probe.",
    ),
    Setting::new(
        "probe_host",
        Text(typed::any_text),
        |origin: &mut Origin| &mut origin.probe.host,
        "The `Host` of a probe; that of the server if it is not set.",
    )
    .example("www.example.org"),
    Setting::new(
        "probe_statuses",
        Plain,
        |origin: &mut Origin| &mut origin.probe.statuses,
        "The statuses of a server that is well.",
    ),
    Setting::new(
        "probe_body",
        Plain,
        |origin: &mut Origin| &mut origin.probe.body,
        "A regular expression that finds a match in the first 64 KiB of its answer.",
    )
    .example("ok"),
    Setting::new(
        "probe_interval",
        DEADLINE,
        |origin: &mut Origin| &mut origin.probe.interval,
        "Between two probes of a server.",
    ),
    Setting::new(
        "probe_timeout",
        DEADLINE,
        |origin: &mut Origin| &mut origin.probe.timeout,
        "How long one may take.",
    ),
    Setting::new(
        "probe_window",
        Count { least: 1, most: 64 },
        |origin: &mut Origin| &mut origin.probe.health.window,
        "How many of the last probes count.",
    ),
    Setting::new(
        "probe_threshold",
        Count { least: 1, most: 64 },
        |origin: &mut Origin| &mut origin.probe.health.threshold,
        "How many of these have to be good; with fewer the server is sick, and is not asked.",
    ),
    Setting::new(
        "shield",
        Plain,
        |origin: &mut Origin| &mut origin.settings.shield,
        "Whether its servers are shields: nodes of the same cluster, which alone ask the application. A purge then \
         reaches them first: what a shield sends that has not read it yet is not kept. docs/tiers.md tells more.",
    ),
    Setting::new(
        "max_idle",
        Count { least: 0, most: 1_000_000 },
        |origin: &mut Origin| &mut origin.settings.max_idle,
        "The most idle connections that are kept for further requests.",
    ),
    Setting::new(
        "idle_timeout",
        TIME,
        |origin: &mut Origin| &mut origin.settings.idle_timeout,
        "How long an idle connection is kept. Best a little less than the origin keeps it.",
    ),
    Setting::new(
        "max_header_bytes",
        Bytes { least: 8 * KIB, most: 16 * MIB },
        |origin: &mut Origin| &mut origin.settings.max_header_bytes,
        "The most bytes of a response's header section. More make a 502.",
    ),
    Setting::new(
        "max_header_lines",
        Count { least: 1, most: 10_000 },
        |origin: &mut Origin| &mut origin.settings.max_header_lines,
        "The most lines of a response's header section. More make a 502.",
    ),
    Setting::new(
        "rate",
        Plain,
        |origin: &mut Origin| &mut origin.agreed.rate,
        "Hidden routes: how many requests were agreed with its owner, such as \"50/s\" or \"30/m\". It is asked \
         for no more, however many clients there are and however much is missing. While it is slow, fails or \
         says 429 it is asked for less.",
    ),
    Setting::new(
        "concurrency",
        Count { least: 1, most: 10_000 },
        |origin: &mut Origin| &mut origin.agreed.concurrency,
        "Hidden routes: how many requests may be under way at once.",
    ),
    Setting::new(
        "slow",
        TIME,
        |origin: &mut Origin| &mut origin.agreed.slow,
        "Hidden routes: when its answers take longer on average, it is asked for less.",
    ),
    Setting::new(
        "max_waiting",
        Count { least: 1, most: 1_000_000 },
        |origin: &mut Origin| &mut origin.agreed.max_waiting,
        "Hidden routes: how many keys wait for their turn at most. When there are more, the least wanted go.",
    ),
];
