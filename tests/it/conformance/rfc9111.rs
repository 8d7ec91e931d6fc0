//! The rules of RFC 9111 (HTTP Caching) for a shared cache, in the order of its sections.

use super::{Must, MustNot, Rule, Should, choice, holds, none};

pub const RULES: &[Rule] = &[
    holds(
        "1.2.2",
        Must,
        "A number of seconds too large to represent, or a sum that overflows, counts as 2^31 or the largest number at hand.",
        &[
            "rules::cache_control::how_long_a_response_is_fresh",
            "rules::cache_control::how_old_a_response_is_on_arrival",
            "rules::properties::ages_and_lifetimes_never_overflow_and_only_grow",
        ],
    ),
    holds(
        "3",
        MustNot,
        "Store the answer to a method that the cache does not understand.",
        &[
            "rules::storing::a_request_may_ask_not_to_be_stored",
            "methods::others::options_and_trace_are_passed_and_never_stored",
        ],
    ),
    holds(
        "3",
        MustNot,
        "Store a response whose status is not final.",
        &["rules::storing::what_may_be_stored"],
    ),
    holds(
        "3",
        MustNot,
        "Store a 304, or what has `must-understand`, as a response of its own where its status is not understood.",
        &[
            "rules::storing::what_may_be_stored",
            "freshness::storing::must_understand_stores_what_is_understood_despite_no_store",
        ],
    ),
    holds(
        "3",
        MustNot,
        "Store a response with `no-store`.",
        &["rules::storing::what_may_be_stored", "freshness::storing::what_the_origin_forbids_is_not_stored"],
    ),
    holds(
        "3",
        MustNot,
        "As a shared cache, store a response with `private`.",
        &["rules::storing::what_may_be_stored", "freshness::storing::what_the_origin_forbids_is_not_stored"],
    ),
    holds(
        "3",
        MustNot,
        "As a shared cache, store the answer to a request with `Authorization`, unless the response allows it.",
        &[
            "rules::storing::what_may_be_stored",
            "freshness::storing::an_answer_to_authorization_is_stored_only_where_it_is_said_to_be_shared",
        ],
    ),
    holds(
        "3",
        MustNot,
        "Store a response that has neither explicit freshness, nor `public`, nor a status that is cacheable by heuristics.",
        &["rules::storing::what_may_be_stored"],
    ),
    choice(
        "3.1",
        Must,
        "Store all header fields that were received, unknown ones as well.",
        "the fields that are named below are left out, and `Content-Length` and `Age`, which are made anew for each answer; everything else is stored (`rules::decisions::what_is_admitted`).",
    ),
    holds(
        "3.1",
        Must,
        "Remove `Connection`, the fields it names, and the other fields of one connection before storing or forwarding.",
        &[
            "proxy::fields::fields_of_the_origin_s_connection_stay_there",
            "rules::storing::what_concerns_one_connection_goes_no_further",
        ],
    ),
    holds(
        "3.1",
        MustNot,
        "Store `Proxy-Authenticate` and the other fields that are specific to one proxy.",
        &["proxy::fields::fields_of_the_origin_s_connection_stay_there"],
    ),
    holds(
        "3.1",
        MustNot,
        "Combine trailer fields with header fields.",
        &["proxy::streams::trailers_of_a_response_come_with_a_miss_and_with_a_hit"],
    ),
    holds(
        "3.2",
        Must,
        "On an update add each field of the new response, replacing values that are there; but not `Content-Length`, nor fields that the stored content depends on.",
        &[
            "rules::storing::a_304_replaces_what_it_brings_and_leaves_the_rest",
            "freshness::validate::a_304_to_an_etag_freshens",
        ],
    ),
    holds(
        "3.3",
        MustNot,
        "Store incomplete or partial responses without support for `Range` and `Content-Range`, or of unknown units.",
        &[
            "rules::partial::which_parts_can_be_combined",
            "ranges::parts::a_missing_range_is_asked_for_and_answers_what_lies_in_it",
        ],
    ),
    holds(
        "3.3",
        MustNot,
        "Answer from an incomplete response, unless it has been completed or the request is for a range that lies within.",
        &[
            "rules::decisions::what_is_done_where_there_are_only_parts",
            "ranges::parts::parts_that_are_all_there_are_the_whole",
        ],
    ),
    holds(
        "3.3",
        MustNot,
        "Send a partial response that is not marked with 206.",
        &[
            "ranges::parts::a_missing_range_is_asked_for_and_answers_what_lies_in_it",
            "ranges::answers::one_range_is_answered_from_the_store",
        ],
    ),
    holds(
        "3.5",
        MustNot,
        "As a shared cache, reuse the answer to a request with `Authorization`, unless it has `public`, `s-maxage` or `must-revalidate`.",
        &[
            "rules::storing::what_may_be_stored",
            "freshness::storing::an_answer_to_authorization_is_stored_only_where_it_is_said_to_be_shared",
        ],
    ),
    holds(
        "4",
        MustNot,
        "Reuse a stored response for another target URI.",
        &["freshness::storing::a_query_makes_another_response"],
    ),
    holds(
        "4",
        MustNot,
        "Reuse a stored response for a method that it does not answer.",
        &["rules::decisions::what_is_done_with_a_request", "methods::post::a_post_that_says_so_answers_get"],
    ),
    holds(
        "4",
        MustNot,
        "Reuse a stored response where the fields that `Vary` names do not match.",
        &["vary::variants::variants_are_kept_side_by_side", "rules::vary::which_requests_select_the_same"],
    ),
    holds(
        "4",
        MustNot,
        "Reuse a stored response with `no-cache` that has not been validated.",
        &["freshness::validate::no_cache_is_stored_and_validated_each_time"],
    ),
    holds(
        "4",
        MustNot,
        "Reuse a stored response that is neither fresh, nor allowed to be stale, nor validated.",
        &["rules::decisions::what_is_done_with_a_request"],
    ),
    holds(
        "4",
        Must,
        "Send `Age` with the current age where a stored response is used without validation.",
        &[
            "freshness::hit::a_fresh_response_answers_with_its_age",
            "freshness::storing::an_age_from_upstream_counts_on",
        ],
    ),
    holds(
        "4",
        Must,
        "Write requests with unsafe methods through to the origin, and answer only after it has.",
        &[
            "methods::post::success_invalidates_the_target_and_what_the_answer_names",
            "rules::decisions::what_is_done_with_a_request",
        ],
    ),
    none("4", MustNot, "Without a clock, reuse without validation.", "it has a clock."),
    holds(
        "4.1",
        MustNot,
        "Use a stored response without validation unless all fields that its `Vary` names match those of the original request.",
        &[
            "rules::vary::which_requests_select_the_same",
            "vary::variants::a_missing_field_matches_a_missing_field_only",
            "vary::variants::several_lines_of_vary_count_together",
        ],
    ),
    holds(
        "4.1",
        MustNot,
        "Let `Vary` with `*` match any request.",
        &["vary::variants::a_star_is_never_reused", "rules::vary::what_a_response_varies_on"],
    ),
    holds(
        "4.2",
        Should,
        "Read names of days, months and zones in dates without regard to letter case.",
        &["rules::dates::what_is_a_date_and_what_is_not"],
    ),
    holds(
        "4.2",
        MustNot,
        "Let local time zones influence ages and expirations.",
        &["rules::dates::what_is_a_date_and_what_is_not"],
    ),
    holds(
        "4.2",
        Should,
        "Take a date with a zone other than `GMT` for invalid.",
        &["rules::dates::what_is_a_date_and_what_is_not"],
    ),
    none(
        "4.2",
        Must,
        "With a clock coarser than a second, round `Expires` down.",
        "moments are kept in milliseconds.",
    ),
    holds(
        "4.2.2",
        MustNot,
        "Guess freshness where an explicit expiration is present.",
        &["rules::cache_control::how_long_a_response_is_fresh"],
    ),
    holds(
        "4.2.2",
        MustNot,
        "Guess freshness for a status that is not cacheable by heuristics and a response without `public`.",
        &[
            "rules::cache_control::how_long_a_response_is_fresh",
            "freshness::storing::without_freshness_the_age_of_the_content_says_how_long",
        ],
    ),
    holds(
        "4.2.4",
        MustNot,
        "Answer with stale where `no-cache`, `must-revalidate`, `proxy-revalidate` or `s-maxage` forbids it.",
        &["stale::on_error::what_forbids_stale_is_obeyed", "rules::cache_control::what_forbids_stale"],
    ),
    choice(
        "4.2.4",
        MustNot,
        "Answer with stale, unless disconnected or permitted by the client, the origin or a contract with it.",
        "stale answers where the origin fails (`stale_on_error`, replaced by the origin's own `stale-if-error`) and, if so configured, while it is refreshed (`grace`, 0 by default); the operator of both is the contract. Where the origin forbids stale it is never used, but for hidden routes on which the operator has set `serve_forbidden_stale` (off by default). With `stale_on_error = \"0s\"` only the origin's word counts. Shown by `stale::on_error::the_origins_own_stale_if_error_goes_before_the_operators`.",
    ),
    holds(
        "4.3.1",
        Must,
        "Send the entity tag of the stored response that is validated.",
        &[
            "rules::validators::validators_are_sent_verbatim",
            "freshness::validate::a_200_to_a_validation_replaces",
        ],
    ),
    holds(
        "4.3.1",
        Should,
        "Send its `Last-Modified` as `If-Modified-Since`, where a single whole response is validated.",
        &["rules::validators::validators_are_sent_verbatim", "freshness::validate::a_304_to_a_date_freshens"],
    ),
    holds(
        "4.3.2",
        Should,
        "Where a stored response has no `Last-Modified`, compare `If-Modified-Since` with its `Date`.",
        &["rules::validators::what_preconditions_make_of_a_request"],
    ),
    holds(
        "4.3.3",
        Must,
        "Answer with the full response where a validation brings one.",
        &["freshness::validate::a_200_to_a_validation_replaces"],
    ),
    holds(
        "4.3.4",
        MustNot,
        "Update anything from a 304 whose strong validator no stored response has.",
        &["freshness::validate::a_304_that_speaks_of_another_response_freshens_nothing"],
    ),
    holds(
        "4.3.4",
        Must,
        "Update the fields of each response that a 304 identifies.",
        &["freshness::validate::a_304_to_an_etag_freshens", "freshness::validate::a_304_to_a_date_freshens"],
    ),
    holds(
        "4.3.5",
        Should,
        "On a 200 to `HEAD`, update the stored answer to `GET` where validators and length agree.",
        &[
            "methods::head::head_freshens_the_same_content",
            "rules::storing::what_a_head_does_to_a_stored_get",
        ],
    ),
    holds(
        "4.3.5",
        Should,
        "Otherwise hold the stored answer for stale.",
        &["methods::head::head_outdates_other_content", "methods::head::head_outdates_what_is_still_fresh"],
    ),
    holds(
        "4.3.5",
        Must,
        "Update with the fields that the answer to `HEAD` has.",
        &["methods::head::head_freshens_the_same_content"],
    ),
    holds(
        "4.4",
        Must,
        "Invalidate the target on a non-error answer to an unsafe method, unknown methods included.",
        &[
            "methods::post::success_invalidates_the_target_and_what_the_answer_names",
            "methods::post::failure_and_safe_methods_invalidate_nothing",
        ],
    ),
    holds(
        "4.4",
        MustNot,
        "Invalidate what `Location` or `Content-Location` names on another origin.",
        &[
            "methods::post::what_is_named_elsewhere_is_left_alone",
            "rules::storing::what_an_unsafe_request_invalidates_beside_its_target",
        ],
    ),
    holds(
        "5.1",
        Should,
        "Of several values of `Age` use the first one.",
        &["rules::cache_control::how_old_a_response_is_on_arrival"],
    ),
    holds(
        "5.1",
        Should,
        "Ignore an `Age` that is no number of seconds.",
        &["rules::cache_control::how_old_a_response_is_on_arrival"],
    ),
    choice(
        "5.2.1.5",
        MustNot,
        "Store the answer to a request with `no-store`.",
        "request directives are advice that a cache may implement (5.2.1); `request_directives = \"all\"` honours it, by default it is ignored. Shown by `freshness::directives::with_all_no_store_in_a_request_keeps_the_answer_out`.",
    ),
    holds(
        "5.2.1.7",
        Should,
        "Answer `only-if-cached` from the store or with 504.",
        &["freshness::directives::only_if_cached_never_asks_the_origin"],
    ),
    holds(
        "5.2.2.2",
        MustNot,
        "Reuse a stale response with `must-revalidate` that has not been validated.",
        &["rules::decisions::what_is_done_with_a_request", "stale::on_error::what_forbids_stale_is_obeyed"],
    ),
    holds(
        "5.2.2.2",
        Must,
        "Answer with an error where the origin cannot be reached and `must-revalidate` forbids stale.",
        &["stale::on_error::what_forbids_stale_is_obeyed"],
    ),
    holds(
        "5.2.2.2",
        Should,
        "Let that error be 504, unless another one fits better: 502 where the origin has closed its connection.",
        &["stale::on_error::what_forbids_stale_is_obeyed"],
    ),
    holds(
        "5.2.2.3",
        Should,
        "Ignore `no-store` beside `must-understand` where the status is understood.",
        &[
            "freshness::storing::must_understand_stores_what_is_understood_despite_no_store",
            "rules::storing::what_may_be_stored",
        ],
    ),
    holds(
        "5.2.2.4",
        MustNot,
        "Reuse a response with `no-cache` without validating it.",
        &["freshness::validate::no_cache_is_stored_and_validated_each_time"],
    ),
    holds(
        "5.2.2.4",
        Must,
        "Leave out the fields that `no-cache` names, or validate.",
        &["freshness::storing::named_fields_are_withheld_from_later_clients"],
    ),
    holds(
        "5.2.2.5",
        MustNot,
        "Store a response with `no-store`, or use it for another request.",
        &["freshness::storing::what_the_origin_forbids_is_not_stored"],
    ),
    none(
        "5.2.2.6",
        MustNot,
        "Transform content that is marked `no-transform`.",
        "it transforms no content at all.",
    ),
    holds(
        "5.2.2.7",
        MustNot,
        "As a shared cache, store a response with `private`.",
        &["freshness::storing::what_the_origin_forbids_is_not_stored"],
    ),
    holds(
        "5.2.2.7",
        MustNot,
        "As a shared cache, store the fields that `private` names.",
        &[
            "rules::decisions::what_is_admitted",
            "freshness::storing::named_fields_are_withheld_from_later_clients",
        ],
    ),
    holds(
        "5.2.2.8",
        MustNot,
        "As a shared cache, reuse a stale response with `proxy-revalidate` that has not been validated.",
        &["stale::on_error::what_forbids_stale_is_obeyed", "rules::cache_control::what_forbids_stale"],
    ),
    holds(
        "5.2.2.10",
        MustNot,
        "As a shared cache, reuse a stale response with `s-maxage` that has not been validated.",
        &["stale::on_error::what_forbids_stale_is_obeyed", "rules::cache_control::what_forbids_stale"],
    ),
    holds(
        "5.2.3",
        Must,
        "Ignore directives that it does not know.",
        &["rules::cache_control::how_long_a_response_is_fresh"],
    ),
    holds(
        "5.3",
        Must,
        "Take an `Expires` that is no date, `0` above all, for a time in the past.",
        &[
            "rules::cache_control::how_long_a_response_is_fresh",
            "freshness::hit::expires_never_means_already_stale",
        ],
    ),
    holds(
        "5.3",
        Must,
        "Ignore `Expires` where there is `max-age`.",
        &[
            "rules::cache_control::how_long_a_response_is_fresh",
            "freshness::storing::s_maxage_goes_before_max_age_and_that_before_expires",
        ],
    ),
    holds(
        "5.3",
        Must,
        "As a shared cache, ignore `Expires` where there is `s-maxage`.",
        &["freshness::storing::s_maxage_goes_before_max_age_and_that_before_expires"],
    ),
    none("5.3", MustNot, "Send `Expires` without a clock.", "that is a rule for origin servers."),
];
