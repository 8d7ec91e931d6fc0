//! The settings of `[rules]`, which sites and routes may have of their own.

use std::time::Duration;

use super::super::typed::{
    self,
    Kind::{Bytes, Count, Plain, Text, Time},
};
use super::{DEADLINE, Setting, TIME};
use crate::policy::site::Rules;

/// What `[rules]` is about.
pub const RULES_TEXT: &str = "What holds for the requests of every route, unless its site says otherwise \
     in [site.rules], or the route itself in [site.route.rules].";

/// The rules of a route: `[rules]`, `[site.rules]`, `[site.route.rules]`.
pub static RULES: &[Setting<Rules>] = &[
    Setting::new(
        "cache",
        Plain,
        |rules: &mut Rules| &mut rules.cache,
        "Whether responses are cached at all. With false every request is passed to the origin.",
    ),
    Setting::new(
        "grace",
        TIME,
        |rules: &mut Rules| &mut rules.grace,
        "How long past its freshness a response is still served at once while it is refreshed in the \
         background: the operator's own stale-while-revalidate. Never where the response forbids it, as with \
         must-revalidate.",
    ),
    Setting::new(
        "stale_on_error",
        TIME,
        |rules: &mut Rules| &mut rules.stale_on_error,
        "How long past its freshness a response is still served when the origin fails: it is \
         unreachable, times out, breaks off, or answers with a 5xx. Never where the response forbids \
         it, as with must-revalidate.",
    ),
    Setting::new(
        "fallback",
        Plain,
        |rules: &mut Rules| &mut rules.fallback,
        "What clients get when nothing else is left: the origin fails, and nothing stale may answer. \"page\" is a \
         short page that forebay makes, HTML, JSON or text by `Accept`; \"file:PATH\" a file of your own (clients \
         that want JSON get it only if it is JSON); \"redirect:URL\" sends GET and HEAD elsewhere with 302. \
         Files are read with the configuration, and again on SIGHUP.",
    ),
    Setting::new(
        "intercept_errors",
        Plain,
        |rules: &mut Rules| &mut rules.intercept_errors,
        "Whether the fallback also takes the place of the origin's own answers of 5xx to GET and HEAD.",
    ),
    Setting::new(
        "proxy_status",
        Plain,
        |rules: &mut Rules| &mut rules.proxy_status,
        "Whether answers that forebay makes itself say in Proxy-Status (RFC 9209) what went wrong. No \
         origin is named there.",
    ),
    Setting::new(
        "cache_status_key",
        Plain,
        |rules: &mut Rules| &mut rules.cache_status_key,
        "Whether Cache-Status has the cache key, to find out why two URLs do or do not share a \
         response. `forebay explain` shows it in any case.",
    ),
    Setting::new(
        "keep",
        TIME,
        |rules: &mut Rules| &mut rules.keep,
        "How long past both a response is kept to be validated. It costs the origin a 304 in place of \
         a whole response.",
    ),
    Setting::new(
        "stale_deadline",
        TIME,
        |rules: &mut Rules| &mut rules.stale_deadline,
        "How long a client waits for the origin when a stale response could answer it. Then it gets \
         the stale one, and the fetch goes on.",
    ),
    Setting::new(
        "first_byte_timeout",
        DEADLINE,
        |rules: &mut Rules| &mut rules.first_byte_timeout,
        "How long the origin may take here from the end of a request to the head of its response. \"off\": as the origin has it.",
    ),
    Setting::new(
        "between_bytes_timeout",
        DEADLINE,
        |rules: &mut Rules| &mut rules.between_bytes_timeout,
        "How long a body may pause here between two pieces. \"off\": as the origin has it.",
    ),
    Setting::new(
        "total_timeout",
        DEADLINE,
        |rules: &mut Rules| &mut rules.total_timeout,
        "How long a request to the origin may take here, from its beginning to the end of its response. \"off\": as the origin has it.",
    ),
    Setting::new(
        "refresh_backoff",
        TIME,
        |rules: &mut Rules| &mut rules.refresh_backoff,
        "How long the origin is left alone with a response after a refresh of it failed. Doubles with \
         each further failure, up to 32 times as long.",
    ),
    Setting::new(
        "hit_for_miss",
        TIME,
        |rules: &mut Rules| &mut rules.hit_for_miss,
        "How long requests are not collapsed after an answer that cannot be cached.",
    ),
    Setting::new(
        "heuristic_percent",
        Count { least: 0, most: 100 },
        |rules: &mut Rules| &mut rules.heuristic_percent,
        "The freshness of a response that says nothing of it but has a `Last-Modified`, as percent of \
         the time since then.",
    ),
    Setting::new(
        "heuristic_max",
        TIME,
        |rules: &mut Rules| &mut rules.heuristic_max,
        "The most freshness that a response gets in this way.",
    ),
    Setting::new(
        "set_cookie",
        Plain,
        |rules: &mut Rules| &mut rules.set_cookie,
        "What happens to a response with `Set-Cookie`. \"pass\" delivers it and stores nothing; \
         \"store\" stores it with its cookies, which every client then gets.",
    ),
    Setting::new(
        "request_directives",
        Plain,
        |rules: &mut Rules| &mut rules.request_directives,
        "Which `Cache-Control` directives of a request count. With \"only-if-cached\" no client can \
         force a request to the origin where something fresh is stored, nor with If-Match or \
         If-Unmodified-Since; \"all\" honours every directive, `Pragma: no-cache`, and these conditions.",
    ),
    Setting::new(
        "targeted_fields",
        Plain,
        |rules: &mut Rules| &mut rules.targeted_fields,
        "Which fields of a response stand in for its `Cache-Control` and `Expires` (RFC 9213), the most \
         specific first. The first valid one counts alone.",
    ),
    Setting::new(
        "strip_targeted",
        Plain,
        |rules: &mut Rules| &mut rules.strip_targeted,
        "Whether those fields are kept from clients. Caches between here and them may go by \
         `CDN-Cache-Control`, too, so they are delivered unless this says otherwise.",
    ),
    Setting::new(
        "surrogate_control",
        Plain,
        |rules: &mut Rules| &mut rules.surrogate_control,
        "Whether `Surrogate-Control` of a response stands in for its `Cache-Control` and `Expires` where \
         no targeted field does, \
         and origins are told so in `Surrogate-Capability`.",
    ),
    Setting::new(
        "sort_accept_language",
        Plain,
        |rules: &mut Rules| &mut rules.sort_accept_language,
        "Whether the members of `Accept-Language` are sorted before they tell variants apart.",
    ),
    Setting::new(
        "max_ranges",
        Count { least: 0, most: 1000 },
        |rules: &mut Rules| &mut rules.max_ranges,
        "How many ranges of one request are answered. A request for more gets the whole response.",
    ),
    Setting::new(
        "range_miss",
        Plain,
        |rules: &mut Rules| &mut rules.range_miss,
        "What is asked for where a client wants a range that is not stored. \"range\" asks for the range alone \
         and stores that part, so that nobody waits for the beginning of a large response; \"whole\" asks for all \
         of it from the beginning; \"both\" for the range at once, and then for the whole in the background.",
    ),
    Setting::new(
        "range_slice",
        Bytes { least: 1, most: 1 << 40 },
        |rules: &mut Rules| &mut rules.range_slice,
        "To multiples of this a range is widened that is asked for, so that small ranges which are near each \
         other share one request. \"1B\" asks for just what the client does.",
    ),
    Setting::new(
        "max_parts",
        Count { least: 1, most: 65_536 },
        |rules: &mut Rules| &mut rules.max_parts,
        "The most parts that are kept of one response; beyond, those that came first go.",
    ),
    Setting::new(
        "tag_fields",
        Plain,
        |rules: &mut Rules| &mut rules.tag_fields,
        "In which fields a response says its tags (surrogate keys), by which it can be purged.",
    ),
    Setting::new(
        "strip_tags",
        Plain,
        |rules: &mut Rules| &mut rules.strip_tags,
        "Whether those fields are kept from clients.",
    ),
    Setting::new(
        "forwarded",
        Plain,
        |rules: &mut Rules| &mut rules.forwarded,
        "How the client's address, scheme and host are told to the origin. \"x-forwarded\" sends \
         `X-Forwarded-For`, `-Proto` and `-Host`, \"forwarded\" sends `Forwarded`, \"off\" nothing.",
    ),
    Setting::new(
        "origin_host",
        Plain,
        |rules: &mut Rules| &mut rules.origin_host,
        "The `Host` that the origin sees: \"client\" for the one that the client asked for, or a fixed \
         host, such as \"www.example.org\".",
    ),
    Setting::new(
        "mode",
        Plain,
        |rules: &mut Rules| &mut rules.mode,
        "What becomes of a miss. \"proxy\" asks the origin while the client waits. \"hidden\" never does: the \
         client is answered at once (503, or stale), and the cache is filled from behind; see [hidden].",
    ),
    Setting::new(
        "query",
        Plain,
        |rules: &mut Rules| &mut rules.query,
        "Which parameters of a query count: \"all\", or a list, in whose order they are brought; the others \
         are taken away. A cache-busting parameter then makes no new key.",
    ),
    Setting::new(
        "allow",
        Plain,
        |rules: &mut Rules| &mut rules.allow,
        "Hidden routes: regular expressions for the paths that there are; others get 404 and are not told. \
         Every path where there are none.",
    ),
    Setting::new(
        "vary_on",
        Text(typed::vary_field),
        |rules: &mut Rules| &mut rules.vary_on,
        "Hidden routes: the request fields by which responses may vary. The origin is sent these alone, in a \
         normal form; a response that varies on another one cannot be served.",
    ),
    Setting::new(
        "encodings",
        Plain,
        |rules: &mut Rules| &mut rules.encodings,
        "Hidden routes: the content codings that the origin is asked for, the best first. Each client gets the \
         first that it takes.",
    ),
    Setting::new(
        "wait",
        Time { least: Duration::ZERO, most: Duration::from_secs(2) },
        |rules: &mut Rules| &mut rules.wait,
        "Hidden routes: how long a client that missed waits for the fill before it is answered.",
    ),
    Setting::new(
        "serve_forbidden_stale",
        Plain,
        |rules: &mut Rules| &mut rules.serve_forbidden_stale,
        "Hidden routes: whether a stale response answers that forbids it, as with must-revalidate. Without, \
         clients get 504 until it is filled.",
    ),
];
