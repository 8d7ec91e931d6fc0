//! The rules of RFC 9110 (HTTP Semantics) for a cache that answers and asks, in the order of
//! its sections.

use super::{Must, MustNot, Rule, Should, holds};

pub const RULES: &[Rule] = &[
    holds(
        "7.6.2",
        Must,
        "Check and count down `Max-Forwards` of `TRACE` and `OPTIONS` before passing them on.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "7.6.2",
        MustNot,
        "Pass on a request whose `Max-Forwards` is zero; answer it as the one it was meant for.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "9.3.2",
        MustNot,
        "Send content in answer to `HEAD`.",
        &["methods::head::a_stored_get_answers_head"],
    ),
    holds(
        "13.1.2",
        Must,
        "Compare `If-None-Match` weakly.",
        &[
            "rules::validators::what_preconditions_make_of_a_request",
            "freshness::conditions::if_none_match_gets_304_where_a_tag_matches_weakly",
        ],
    ),
    holds(
        "13.1.3",
        Must,
        "Ignore `If-Modified-Since` where there is `If-None-Match`.",
        &[
            "rules::validators::what_preconditions_make_of_a_request",
            "freshness::conditions::if_modified_since_gets_304_unless_changed",
        ],
    ),
    holds(
        "13.1.3",
        Must,
        "Ignore an `If-Modified-Since` that is no date.",
        &[
            "rules::validators::what_preconditions_make_of_a_request",
            "freshness::conditions::if_modified_since_gets_304_unless_changed",
        ],
    ),
    holds(
        "13.1.5",
        Must,
        "Ignore `Range` where `If-Range` does not hold.",
        &[
            "ranges::answers::if_range_lets_a_part_through_only_for_the_same_content",
            "rules::validators::when_a_range_may_be_answered",
        ],
    ),
    holds(
        "13.1.5",
        Must,
        "Compare the tag of `If-Range` strongly, and its date exactly.",
        &["rules::validators::when_a_range_may_be_answered"],
    ),
    holds(
        "13.2.1",
        Must,
        "Ignore preconditions where the answer without them is neither a success nor 412.",
        &[
            "rules::validators::preconditions_count_for_successes_only",
            "freshness::conditions::an_error_is_answered_whatever_the_condition",
        ],
    ),
    holds(
        "13.2.2",
        Must,
        "Evaluate `If-None-Match` before `If-Modified-Since`, and `If-Range` after both.",
        &[
            "rules::validators::what_preconditions_make_of_a_request",
            "ranges::answers::a_condition_goes_before_a_range",
        ],
    ),
    holds(
        "14.2",
        Must,
        "Ignore `Range` for methods without range handling, such as `HEAD`.",
        &["ranges::answers::a_range_means_nothing_for_head"],
    ),
    holds(
        "14.2",
        Must,
        "Ignore a `Range` whose unit is not understood.",
        &["ranges::answers::one_range_is_answered_from_the_store"],
    ),
    holds(
        "14.4",
        MustNot,
        "Combine a part whose `Content-Range` is invalid.",
        &[
            "src/rfc/content_range.rs::what_a_content_range_says",
            "rules::partial::which_parts_can_be_combined",
        ],
    ),
    holds(
        "14.4",
        Should,
        "Tell the complete length in `Content-Range`, where it is known.",
        &["ranges::answers::one_range_is_answered_from_the_store"],
    ),
    holds(
        "15.2",
        MustNot,
        "Send an interim response to an HTTP/1.0 client.",
        &["proxy::interim::http_1_0_has_none_of_them"],
    ),
    holds(
        "15.2",
        Must,
        "Forward interim responses, other than those it has asked for itself.",
        &[
            "proxy::interim::they_come_before_the_final_response_and_in_order",
            "proxy::interim::unsafe_requests_and_those_with_a_body_get_them_too",
        ],
    ),
    holds(
        "15.3.7.1",
        Must,
        "Send `Content-Range` in a 206 with one part.",
        &["ranges::answers::one_range_is_answered_from_the_store"],
    ),
    holds(
        "15.3.7.2",
        MustNot,
        "Send `Content-Range` in the header section of a 206 with several parts.",
        &["ranges::answers::several_ranges_come_in_parts"],
    ),
    holds(
        "15.3.7.2",
        Must,
        "Send `Content-Range` in each of several parts.",
        &["ranges::answers::several_ranges_come_in_parts"],
    ),
    holds(
        "15.3.7.2",
        MustNot,
        "Answer a request for a single range in the form for several.",
        &["ranges::answers::one_range_is_answered_from_the_store"],
    ),
    holds(
        "15.3.7.2",
        Should,
        "Send several parts in the order in which they were asked for.",
        &["ranges::answers::several_ranges_come_in_parts"],
    ),
    holds(
        "15.3.7.3",
        MustNot,
        "Combine parts that do not share a strong validator.",
        &[
            "rules::partial::which_parts_can_be_combined",
            "ranges::changes::parts_of_other_content_take_the_place_of_all",
        ],
    ),
    holds(
        "15.5.17",
        Should,
        "Tell the length of the content in a 416 for bytes.",
        &["ranges::answers::a_range_outside_gets_416_with_the_length"],
    ),
];
