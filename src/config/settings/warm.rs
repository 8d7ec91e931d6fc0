//! The settings of `[warm]`.

use super::super::Config;
use super::super::typed::{
    self,
    Kind::{Count, Plain, Text, Time},
};
use super::{LONGEST, Setting};
use std::time::Duration;

pub(super) const WARM: &[Setting<Config>] = &[
    Setting::new(
        "every",
        Time { least: Duration::from_secs(1), most: LONGEST },
        |config: &mut Config| &mut config.warm.every,
        "How often the node warms all of what is named below by itself, at its start first; \"off\" stands for \
         never. What is fresh is not asked for again.",
    ),
    Setting::new(
        "sitemaps",
        Text(typed::http_url),
        |config: &mut Config| &mut config.warm.sitemaps,
        "The URLs of sitemaps, as clients would ask for them. What they list is warmed.",
    ),
    Setting::new(
        "urls",
        Plain,
        |config: &mut Config| &mut config.warm.urls,
        "A file of URLs, one a line; it is read anew each time.",
    )
    .example("/etc/forebay/urls.txt"),
    Setting::new(
        "crawl",
        Text(typed::http_url),
        |config: &mut Config| &mut config.warm.crawl,
        "Pages. They are warmed with what they show, and so is what they link to on the same host.",
    ),
    Setting::new(
        "depth",
        Count { least: 0, most: 1000 },
        |config: &mut Config| &mut config.warm.depth,
        "How many links away from those pages is the furthest; also for jobs of operators that do not say it.",
    ),
    Setting::new(
        "max_urls",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.warm.max_urls,
        "The most URLs of one job, those of operators included. What is beyond is counted and not warmed.",
    ),
    Setting::new(
        "robots",
        Plain,
        |config: &mut Config| &mut config.warm.robots,
        "Whether the robots.txt of a site is obeyed: what it says to `forebay`, or else to `*`.",
    ),
];
