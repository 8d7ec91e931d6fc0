//! The settings of `[shed]`.

use super::super::Config;
use super::super::typed::Kind::{Bytes, Count, Plain};
use super::super::units::MIB;
use super::Setting;

pub(super) const SHED: &[Setting<Config>] = &[
    Setting::new(
        "miss_rate",
        Plain,
        |config: &mut Config| &mut config.shed.miss_rate,
        "How many requests of each client go to an origin, in the long run; more get something stale, where \
         they may, or 429 with `Retry-After`. What goes to an origin while its client waits counts: misses, \
         what is never stored, unsafe methods, and validation. Hits do not, nor do refreshes in the \
         background, nor requests that share the fetch of another one, nor those for which no server was asked \
         because a breaker is open or the bulkhead full. With \"20/s\" somebody who tries random URLs has 20 of \
         them a second fetched, and a reader notices nothing: a page and its pictures cost nobody anything \
         once they are stored. But all readers behind one address (an office, a carrier's NAT) are one \
         client, and so is a crawler, which comes again after `Retry-After`. Proxies in front have to stand in \
         `listen.trusted_proxies`, or all their clients are one. Hidden routes have `hidden.client_rate` \
         instead; here only their unsafe requests count. \"off\" sets no limit.",
    ),
    Setting::new(
        "miss_burst",
        Count { least: 1, most: 1_000_000 },
        |config: &mut Config| &mut config.shed.miss_burst,
        "How many of them at once, with miss_rate set: what a reader needs who comes to pages of which nothing \
         is stored.",
    ),
    Setting::new(
        "miss_v4_prefix",
        Count { least: 1, most: 32 },
        |config: &mut Config| &mut config.shed.prefixes.v4,
        "Addresses of IPv4 that agree in so many bits are one client.",
    ),
    Setting::new(
        "miss_v6_prefix",
        Count { least: 1, most: 128 },
        |config: &mut Config| &mut config.shed.prefixes.v6,
        "Addresses of IPv6 that agree in so many bits are one client. A subscriber has a network of 64 bits to \
         draw addresses from, or a larger one.",
    ),
    Setting::new(
        "max_requests",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.shed.max_requests,
        "The most requests under way at once that are not answered from the cache: misses, passed ones, and \
         those that wait for another one's response. One more gets something stale, where it may, or 503 with \
         `Retry-After`. Refreshes in the background count as well, and are begun up to 80 % of this only.",
    ),
    Setting::new(
        "max_buffered",
        Bytes { least: MIB, most: 1 << 50 },
        |config: &mut Config| &mut config.shed.max_buffered,
        "From so many bytes of bodies on their way from origins, misses are refused as with max_requests, and \
         refreshes from 80 % of it. From collapse.max_filling_bytes on bodies are streamed and not kept, but each \
         still holds up to collapse.window; this is the cap on both together. What is under way then is read \
         from the origin as slowly as its clients take it. Passed requests hold nothing and are not refused for \
         it.",
    ),
];
