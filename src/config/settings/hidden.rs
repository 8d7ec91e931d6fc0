//! The settings of `[hidden]`.

use super::super::Config;
use super::super::typed::{
    self,
    Kind::{Bytes, Count, Plain, Text},
};
use super::super::units::MIB;
use super::{DEADLINE, Setting};

pub(super) const HIDDEN: &[Setting<Config>] = &[
    Setting::new(
        "lease",
        DEADLINE,
        |config: &mut Config| &mut config.hidden.lease.duration,
        "How long a key that was told is not told again unless it is filled. The next miss after that tells \
         it once more, with the number of misses since.",
    )
    .at_restart(),
    Setting::new(
        "max_leases",
        Count { least: 1, most: 100_000_000 },
        |config: &mut Config| &mut config.hidden.lease.max,
        "The most keys that are wanted at once, those that cannot be filled included. Misses of more are \
         answered and not told.",
    )
    .at_restart(),
    Setting::new(
        "hold_down",
        DEADLINE,
        |config: &mut Config| &mut config.hidden.lease.hold_down,
        "How long a key is left alone that could not be filled: the origin failed, or its response may not \
         be stored. Doubles with each further time.",
    )
    .at_restart(),
    Setting::new(
        "max_hold_down",
        DEADLINE,
        |config: &mut Config| &mut config.hidden.lease.max_hold_down,
        "How long at most.",
    )
    .at_restart(),
    Setting::new(
        "event_ttl",
        DEADLINE,
        |config: &mut Config| &mut config.hidden.event_ttl,
        "How long a miss event is of use. What has not been got by then is told again by the next miss.",
    )
    .at_restart(),
    Setting::new(
        "backlog",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.hidden.backlog,
        "How many miss events wait for the broker at most. Clients never wait for it.",
    )
    .at_restart(),
    Setting::new(
        "attempts",
        Count { least: 1, most: 100 },
        |config: &mut Config| &mut config.hidden.attempts,
        "How often the origin is asked for a key before it is given up.",
    )
    .at_restart(),
    Setting::new(
        "retry_pause",
        DEADLINE,
        |config: &mut Config| &mut config.hidden.retry_pause,
        "The pause before the origin is asked again; four times as long with each further attempt. Rounded up \
         to 1 s, 4 s, 16 s and so on.",
    )
    .at_restart(),
    Setting::new(
        "inline_max",
        // RabbitMQ 4 takes no message of more than 16 MiB.
        Bytes { least: 0, most: 15 * MIB },
        |config: &mut Config| &mut config.hidden.inline_max,
        "Fills with larger bodies do not go through the broker to every node, but over HTTP to the one that \
         wants them.",
    )
    .at_restart(),
    Setting::new(
        "known_keys",
        Count { least: 1000, most: 1_000_000_000 },
        |config: &mut Config| &mut config.hidden.known_keys,
        "About how many keys are known to exist, from good fills; 5 bytes each. They are kept in node.state, \
         if that is set, and outlive the cache: after a loss they go before all others.",
    )
    .at_restart(),
    Setting::new(
        "unknown_rate",
        Plain,
        |config: &mut Config| &mut config.hidden.budget.unknown,
        "How many keys are told that nothing is known of, of all clients together. Whoever invents URLs delays \
         no known one.",
    ),
    Setting::new(
        "client_rate",
        Plain,
        |config: &mut Config| &mut config.hidden.budget.per_client,
        "How many keys that nothing is known of each client may ask for; more are answered with 429. Keys are \
         counted and not requests. \"off\" sets no limit.",
    ),
    Setting::new(
        "client_burst",
        Count { least: 1, most: 1_000_000 },
        |config: &mut Config| &mut config.hidden.budget.client_burst,
        "How many of them at once.",
    ),
    Setting::new(
        "client_v6_prefix",
        Count { least: 1, most: 128 },
        |config: &mut Config| &mut config.hidden.budget.v6_prefix,
        "Addresses of IPv6 that agree in so many bits are one client.",
    ),
    Setting::new(
        "secrets",
        Text(typed::shared_secret),
        |config: &mut Config| &mut config.hidden.secrets,
        "What edges and workers sign fills with. The first one signs, all of them are good: to change it, put \
         the new one behind the old one everywhere, then before it, then take the old one away. Needed where \
         there is a broker; without one it is made at each start.",
    )
    .secret()
    .at_restart(),
];
