//! The rules of the smaller standards on caching, in the order of their sections.

use super::{Must, MustNot, Rule, Should, ShouldNot, choice, holds, none};

/// RFC 5861: stale content.
pub const STALE: &[Rule] = &[
    holds(
        "3",
        Should,
        "Validate in the background while stale is served under `stale-while-revalidate`.",
        &["stale::background::stale_while_revalidate_refreshes_once"],
    ),
    holds(
        "3",
        ShouldNot,
        "Answer with stale under `stale-while-revalidate` for longer than it says.",
        &[
            "rules::decisions::what_is_done_with_a_request",
            "rules::totals::nothing_is_served_past_fresh_and_allowed_stale",
            "stale::background::after_the_window_the_origin_is_asked_first",
        ],
    ),
    holds(
        "4",
        ShouldNot,
        "Answer with stale on errors for longer than `stale-if-error` says.",
        &[
            "rules::decisions::what_is_done_with_a_request",
            "rules::totals::nothing_is_served_past_fresh_and_allowed_stale",
            "stale::on_error::the_origins_own_stale_if_error_goes_before_the_operators",
        ],
    ),
    holds(
        "4",
        Should,
        "Let stale show in `Age`; `Warning`, which is named beside it, is obsolete (RFC 9111 5.5).",
        &["stale::on_error::what_is_stale_shows_in_its_age"],
    ),
];

/// RFC 8246: immutable responses.
pub const IMMUTABLE: &[Rule] = &[
    holds(
        "2",
        ShouldNot,
        "Validate an immutable response while it is fresh.",
        &[
            "freshness::directives::with_all_what_is_immutable_is_validated_only_where_the_client_insists",
            "freshness::directives::by_default_no_client_gets_past_the_cache",
        ],
    ),
    holds(
        "2",
        Should,
        "Validate a stale one as if the directive were not there.",
        &[
            "rules::decisions::what_a_client_may_say_where_it_is_honoured",
            "freshness::directives::with_all_what_is_immutable_is_validated_only_where_the_client_insists",
        ],
    ),
    holds(
        "2",
        Must,
        "Ignore arguments of the directive.",
        &["rules::decisions::what_a_client_may_say_where_it_is_honoured"],
    ),
    holds(
        "2.1",
        Should,
        "As a proxy, validate a fresh one only where a client gives a sign that it is to be: `no-cache`, where request directives count at all; its age (`max-age`) is no such sign.",
        &[
            "rules::decisions::what_a_client_may_say_where_it_is_honoured",
            "freshness::directives::with_all_what_is_immutable_is_validated_only_where_the_client_insists",
        ],
    ),
    none(
        "3",
        Should,
        "Ignore the directive where the context is not authenticated, where a reload is forced, or where the length of the response is not sure.",
        "those are rules for user agents; what has no sure length is stored only once it is known to be complete (`hostile::origins::a_body_that_breaks_off_is_cut_and_not_stored`), and `no-cache` is heeded.",
    ),
];

/// RFC 8586: loops.
pub const LOOP: &[Rule] = &[
    holds(
        "2",
        Should,
        "Add itself to `CDN-Loop` in each request that it sends.",
        &[
            "hidden::seen::the_origin_sees_the_worker_and_no_client",
            "origins::tiers::two_nodes_that_lead_to_each_other_end_it_at_once",
        ],
    ),
    holds(
        "2",
        ShouldNot,
        "Use `CDN-Loop` for anything else.",
        &[
            "origins::tiers::what_is_stored_answers_whoever_has_been_here",
            "src/policy/hop.rs::nothing_malformed_hides_a_loop",
        ],
    ),
];

/// RFC 9209: what a proxy says of an answer.
pub const PROXY: &[Rule] = &[
    holds(
        "2",
        Must,
        "Name itself by a token or a string.",
        &[
            "origins::degrade::a_page_comes_in_the_form_that_is_wanted_and_says_what_has_happened",
            "freshness::made_here::what_is_made_here_is_dated_and_says_nothing_of_a_cache",
        ],
    ),
    holds(
        "2",
        Should,
        "Keep the members that are there.",
        &["proxy::passage::what_other_caches_and_proxies_have_said_stands_before_our_own_word"],
    ),
    none(
        "2",
        MustNot,
        "As an origin server, make the field.",
        "it makes it as a gateway, on answers that it makes itself.",
    ),
    none(
        "2",
        ShouldNot,
        "Send it as a trailer field where it can be sent in the header section; it MUST NOT without a header field of the same member.",
        "it sends none as a trailer field.",
    ),
    none("2.1", Must, "Ignore parameters that are not known.", "it reads none."),
    holds(
        "2.1.1",
        Should,
        "Tell the most specific error that is right.",
        &[
            "origins::degrade::a_page_comes_in_the_form_that_is_wanted_and_says_what_has_happened",
            "origins::names::a_node_starts_with_a_name_that_nobody_knows_yet",
            "hidden::answers::a_miss_is_answered_at_once_and_the_next_request_is_a_hit",
        ],
    ),
    choice(
        "2.1.1",
        Should,
        "Send the status that is recommended for the error.",
        "so it does, with these exceptions: a loop is 508 as RFC 8586 wants it (`origins::tiers::two_nodes_that_lead_to_each_other_end_it_at_once`); who asks for too much gets 429, and what is not listed on a hidden route 404 (`hidden::budgets::a_client_that_asks_for_too_many_new_keys_gets_429_and_its_hits_still_flow`, `hidden::answers::what_is_not_on_the_list_is_not_there_and_not_told`); what is forbidden stale 504 (RFC 9111 5.2.2.2).",
    ),
];

/// RFC 9211: what a cache says of an answer.
pub const STATUS: &[Rule] = &[
    holds(
        "2",
        ShouldNot,
        "Add a member to answers that it makes itself and that are based on no stored response.",
        &[
            "freshness::made_here::what_is_made_here_is_dated_and_says_nothing_of_a_cache",
            "hostile::clients::a_host_that_is_none_is_refused",
        ],
    ),
    holds(
        "2",
        Should,
        "Keep the members that are there, and add its own behind them.",
        &["proxy::passage::what_other_caches_and_proxies_have_said_stands_before_our_own_word"],
    ),
    holds(
        "2",
        Must,
        "Name itself by a token or a string, in a structured list.",
        &[
            "rules::decisions::cache_status_is_a_structured_field",
            "rules::totals::cache_status_reads_as_what_was_said",
        ],
    ),
    holds(
        "2.2",
        Should,
        "Tell the most specific reason why a request went further.",
        &[
            "rules::decisions::what_is_done_with_a_request",
            "rules::decisions::what_is_done_where_there_are_only_parts",
            "vary::variants::variants_are_kept_side_by_side",
            "freshness::conditions::no_other_than_the_origin_says_that_a_condition_fails",
        ],
    ),
];

/// RFC 9213: targeted cache control.
pub const TARGETED: &[Rule] = &[
    none(
        "2.1",
        MustNot,
        "Make values of a type that a directive does not have; strings that begin with something else than a letter or `*` MUST be written as strings.",
        "it makes no targeted field.",
    ),
    holds(
        "2.1",
        ShouldNot,
        "Use values of a type that a directive does not have.",
        &["src/rfc/targeted.rs::values_of_the_wrong_type_are_ignored_and_what_cannot_be_parsed_is_absent"],
    ),
    holds(
        "2.1",
        Must,
        "Ignore a targeted field that is empty or cannot be parsed.",
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
    holds(
        "2.2",
        MustNot,
        "Let targeted fields that are not on the list change anything.",
        &[
            "proxy::passage::unknown_fields_of_a_response_go_on_in_their_order",
            "freshness::targeted::the_list_of_targeted_fields_is_configured_and_its_order_counts",
        ],
    ),
    holds(
        "2.2",
        Must,
        "Pass those through.",
        &["proxy::passage::unknown_fields_of_a_response_go_on_in_their_order"],
    ),
    holds(
        "2.2",
        Must,
        "Know `max-age`, `must-revalidate`, `no-store`, `no-cache` and `private` in them.",
        &[
            "src/rfc/targeted.rs::values_of_the_wrong_type_are_ignored_and_what_cannot_be_parsed_is_absent",
            "freshness::targeted::a_valid_targeted_field_replaces_cache_control",
            "freshness::targeted::stale_terms_are_its_own",
        ],
    ),
    holds(
        "2.2",
        Should,
        "Know in them the other directives that are known in `Cache-Control`.",
        &["src/rfc/targeted.rs::every_directive_is_known_in_a_targeted_field"],
    ),
];

/// RFC 9875: cache groups.
pub const GROUPS: &[Rule] = &[
    holds(
        "2",
        Must,
        "Read at least 32 groups of 32 characters in `Cache-Groups`, and in `Cache-Group-Invalidation` (section 3).",
        &["src/rfc/groups.rs::there_may_be_many_and_their_names_long"],
    ),
    holds(
        "3",
        Must,
        "Ignore `Cache-Group-Invalidation` in answers to safe methods.",
        &["purge::tags::a_group_belongs_to_its_origin_and_travels_on"],
    ),
];
