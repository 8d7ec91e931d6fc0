//! The settings of `[[origin]]`.

use super::super::typed::{
    self,
    Kind::{Bytes, Count, Plain, Text},
};
use super::super::units::{KIB, MIB};
use super::{DEADLINE, Origin, Setting, TIME};

/// What `[[origin]]` is about.
pub const ORIGIN_TEXT: &str = "An origin: a server that has the responses. There may be several; sites and routes name the one that \
     they ask.";

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
        |origin: &mut Origin| &mut origin.url,
        "Where it listens: http://host:port. Required.",
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
        // hyper reads into a buffer of at least this size.
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
