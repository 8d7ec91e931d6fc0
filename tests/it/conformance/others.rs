//! The rules of the smaller standards on caching, in the order of their sections.

use super::{Must, MustNot, Rule, Should, ShouldNot, choice, holds};

/// RFC 5861: stale content.
pub const STALE: &[Rule] = &[
    holds(
        "3",
        ShouldNot,
        "Answer with stale under `stale-while-revalidate` for longer than it says.",
        &["rules::decisions::what_is_done_with_a_request"],
    ),
    holds(
        "3",
        Should,
        "Validate in the background meanwhile.",
        &["stale::background::stale_while_revalidate_refreshes_once"],
    ),
    holds(
        "4",
        ShouldNot,
        "Answer with stale on errors for longer than `stale-if-error` says.",
        &[
            "rules::decisions::what_is_done_with_a_request",
            "stale::on_error::the_origins_own_stale_if_error_goes_before_the_operators",
        ],
    ),
];

/// RFC 8246: immutable responses.
pub const IMMUTABLE: &[Rule] = &[choice(
    "2",
    ShouldNot,
    "Validate an immutable response while it is fresh.",
    "a fresh response is not validated, immutable or not (`freshness::directives::by_default_no_client_gets_past_the_cache`); with `request_directives = \"all\"` a client may insist.",
)];

/// RFC 9213: targeted cache control.
pub const TARGETED: &[Rule] = &[
    holds(
        "2.1",
        MustNot,
        "Let a targeted field that cannot be parsed count: it is as if it were absent.",
        &[
            "src/rfc/targeted.rs::values_of_the_wrong_type_are_ignored_and_what_cannot_be_parsed_is_absent",
            "freshness::targeted::a_valid_targeted_field_replaces_cache_control",
        ],
    ),
    holds(
        "2.2",
        Must,
        "Use the first valid and not empty field of the target list, and ignore `Cache-Control` and `Expires` beside it.",
        &[
            "src/rfc/targeted.rs::the_first_valid_field_of_the_list_governs_alone",
            "freshness::targeted::the_list_of_targeted_fields_is_configured_and_its_order_counts",
        ],
    ),
];

/// RFC 9211: what a cache says of an answer.
pub const STATUS: &[Rule] = &[holds(
    "2",
    Must,
    "Write `Cache-Status` as a structured list whose member names the cache by a token or a string.",
    &["rules::decisions::cache_status_is_a_structured_field"],
)];

/// RFC 9875: cache groups.
pub const GROUPS: &[Rule] = &[
    holds(
        "2",
        Should,
        "Ignore parameters of groups.",
        &["src/rfc/groups.rs::a_list_of_strings_and_nothing_else"],
    ),
    holds(
        "3",
        Must,
        "Ignore `Cache-Group-Invalidation` in answers to safe methods.",
        &["purge::tags::a_group_belongs_to_its_origin_and_travels_on"],
    ),
];
