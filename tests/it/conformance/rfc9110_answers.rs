//! The rules of RFC 9110 (HTTP Semantics) for a cache and gateway, further on: conditions and
//! ranges (parts 13 and 14) and status codes (part 15).

use super::{Must, MustNot, Rule, Should, ShouldNot, choice, holds, none};

/// Parts 13 and 14: conditional requests and ranges.
pub const CONDITIONS: &[Rule] = &[
    none(
        "13.1.1",
        Must,
        "Judge `If-Match`, compare its tags strongly, and answer 412 where it fails.",
        "that is a rule for origin servers. A cache may ignore it, or asks the origin (RFC 9111 4.3.2): `freshness::conditions::no_other_than_the_origin_says_that_a_condition_fails`.",
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
        "13.1.2",
        Should,
        "As a client, list the tags of all stored responses that are to be updated.",
        &[
            "vary::choice::the_origin_chooses_among_all_that_are_stored",
            "freshness::validate::a_304_to_an_etag_freshens",
        ],
    ),
    holds(
        "13.1.2",
        Must,
        "Answer `GET` and `HEAD` with 304 where it fails.",
        &[
            "freshness::conditions::if_none_match_gets_304_where_a_tag_matches_weakly",
            "rules::validators::preconditions_count_for_successes_only",
        ],
    ),
    none(
        "13.1.2",
        Must,
        "Answer other methods with 412 where it fails.",
        "that is a rule for origin servers. They are passed on with it.",
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
        "Ignore an `If-Modified-Since` that is no date, or several, or comes with another method than `GET` and `HEAD`.",
        &[
            "rules::validators::what_preconditions_make_of_a_request",
            "rules::validators::preconditions_count_for_successes_only",
            "freshness::conditions::if_modified_since_gets_304_unless_changed",
        ],
    ),
    holds(
        "13.1.3",
        Must,
        "Read its date by the clock of the origin: it is compared with the origin's own dates.",
        &["rules::validators::what_preconditions_make_of_a_request"],
    ),
    holds(
        "13.1.3",
        Should,
        "Answer 304 where the content has not changed since.",
        &["freshness::conditions::if_modified_since_gets_304_unless_changed"],
    ),
    choice(
        "13.1.3",
        Must,
        "Ignore `If-Modified-Since` where no date of modification is known.",
        "RFC 9111 4.3.2 has a cache compare with `Date` then, or with the moment of receipt. Shown by `rules::validators::what_preconditions_make_of_a_request`.",
    ),
    holds(
        "13.1.4",
        Must,
        "Ignore `If-Unmodified-Since` where there is `If-Match`, and where it is no date.",
        &["rules::validators::which_responses_are_sure_to_meet_the_conditions_for_the_origin"],
    ),
    none(
        "13.1.4",
        MustNot,
        "Do what is asked for where it fails.",
        "that is a rule for origin servers. See 13.1.1.",
    ),
    holds(
        "13.1.5",
        MustNot,
        "Send `If-Range` without `Range`, or with a weak tag, or with a date that is no strong validator.",
        &[
            "ranges::changes::the_whole_is_made_by_what_it_lacks",
            "rules::partial::which_parts_can_be_combined",
        ],
    ),
    holds(
        "13.1.5",
        Must,
        "Ignore `If-Range` without `Range`.",
        &["ranges::answers::if_range_lets_a_part_through_only_for_the_same_content"],
    ),
    holds(
        "13.1.5",
        Must,
        "Judge `If-Range` of a request for a range: its tag strongly, and its date by equality and only where it is a strong validator.",
        &[
            "rules::validators::when_a_range_may_be_answered",
            "ranges::parts::if_range_of_a_client_is_held_to_the_parts",
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
        Should,
        "Process `Range` where it does.",
        &["ranges::answers::if_range_lets_a_part_through_only_for_the_same_content"],
    ),
    holds(
        "13.2.1",
        Must,
        "Judge conditions after the ordinary checks of a request, and before it is acted on.",
        &[
            "freshness::conditions::an_error_is_answered_whatever_the_condition",
            "hidden::answers::ranges_and_conditions_are_answered_from_what_is_stored",
        ],
    ),
    holds(
        "13.2.1",
        Must,
        "Ignore conditions where the answer without them is neither a success nor 412.",
        &[
            "rules::validators::preconditions_count_for_successes_only",
            "freshness::conditions::an_error_is_answered_whatever_the_condition",
        ],
    ),
    holds(
        "13.2.1",
        MustNot,
        "Judge conditions where it cannot act as a cache; it MUST forward them.",
        &[
            "freshness::conditions::a_304_that_is_passed_on_says_nothing_of_the_length",
            "freshness::conditions::what_is_not_stored_is_asked_for_with_the_conditions_for_the_origin",
        ],
    ),
    holds(
        "13.2.1",
        Must,
        "Ignore conditions of methods that select nothing, such as `OPTIONS` and `TRACE`.",
        &["rules::validators::preconditions_count_for_successes_only"],
    ),
    holds(
        "13.2.2",
        Must,
        "Judge `If-None-Match` before `If-Modified-Since`, and `If-Range` after both.",
        &[
            "rules::validators::what_preconditions_make_of_a_request",
            "ranges::answers::a_condition_goes_before_a_range",
        ],
    ),
    holds(
        "14.1.2",
        Must,
        "Read large numbers in ranges without an overflow.",
        &["rules::ranges::what_a_range_asks_for", "src/rfc/content_range.rs::what_a_content_range_says"],
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
        "14.2",
        Should,
        "Answer ranges that can be satisfied with 206, after all conditions.",
        &[
            "ranges::answers::one_range_is_answered_from_the_store",
            "ranges::answers::a_condition_goes_before_a_range",
        ],
    ),
    holds(
        "14.2",
        Should,
        "Answer ranges that cannot with 416.",
        &["ranges::answers::a_range_outside_gets_416_with_the_length"],
    ),
    holds(
        "14.2",
        ShouldNot,
        "As a client, ask for ranges that are less efficient than one that has them all; SHOULD ask for them in order.",
        &[
            "rules::partial::what_is_asked_for_where_nothing_is_known",
            "ranges::parts::what_is_asked_for_is_widened_to_slices",
        ],
    ),
    holds(
        "14.4",
        MustNot,
        "Combine a part whose `Content-Range` has a unit that is not understood.",
        &[
            "src/rfc/content_range.rs::what_a_content_range_says",
            "rules::partial::which_parts_can_be_combined",
        ],
    ),
    holds(
        "14.4",
        Should,
        "As a proxy, forward such a part.",
        &[
            "ranges::odd_origins::a_part_that_contradicts_itself_is_passed_on_and_never_kept",
            "rules::partial::what_of_a_part_for_one_client_it_gets",
        ],
    ),
    none(
        "14.4",
        Must,
        "Ignore `Content-Range` in a request whose method does not define it.",
        "such requests are passed on as they are, and none is answered by it.",
    ),
    holds(
        "14.4",
        Should,
        "Tell the complete length in `Content-Range`, where it is known.",
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
        "Tell the complete length in a 416.",
        &["ranges::answers::a_range_outside_gets_416_with_the_length"],
    ),
    none(
        "14.5",
        Should,
        "Answer 400 to a `PUT` of a part where that is not supported.",
        "that is a rule for origin servers.",
    ),
];

/// Part 15: status codes.
pub const STATUS: &[Rule] = &[
    holds(
        "15",
        Must,
        "Take a status that is not known for the first of its class.",
        &[
            "freshness::storing::must_understand_stores_what_is_understood_despite_no_store",
            "rules::storing::what_may_be_stored",
        ],
    ),
    choice(
        "15",
        Should,
        "As a client, take an invalid status for a 5xx.",
        "a status of other than three digits is no response, and is answered with 502; one from 600 on is passed on as it is, and never stored without explicit freshness. Shown by `hostile::origins::a_head_that_is_none_gets_502` and `freshness::made_here::a_status_that_nobody_has_is_passed_on_and_nothing_is_guessed_about_it`.",
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
        "Read interim responses before a final one, even where it expects none.",
        &[
            "proxy::interim::they_are_not_stored",
            "proxy::interim::an_origin_that_does_not_stop_is_not_followed",
        ],
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
    holds("15.2.2", Must, "Send `Upgrade` in a 101.", &["proxy::streams::an_upgrade_becomes_a_tunnel"]),
    none("15.3.6", MustNot, "Make content in a 205.", "it makes none."),
    holds(
        "15.3.7",
        Must,
        "As a client, look at what a 206 has in fact.",
        &[
            "ranges::odd_origins::another_range_than_asked_for_is_kept_and_the_whole_is_got",
            "ranges::odd_origins::less_than_asked_for_is_what_there_is_for_now",
            "ranges::odd_origins::several_parts_in_one_message_are_not_kept",
        ],
    ),
    holds(
        "15.3.7",
        Must,
        "Send in a 206 what a 200 would have had of `Date`, `Cache-Control`, `ETag`, `Expires`, `Content-Location` and `Vary`.",
        &["freshness::fields::a_206_has_all_fields_of_a_200_and_the_length_of_the_part"],
    ),
    holds(
        "15.3.7",
        Must,
        "Send in a 206 without `If-Range` all fields of the representation that a 200 would have had, but those about the bytes of one message.",
        &[
            "freshness::fields::a_206_has_all_fields_of_a_200_and_the_length_of_the_part",
            "ranges::parts::the_digest_of_a_message_is_not_told_of_another_one",
        ],
    ),
    choice(
        "15.3.7",
        ShouldNot,
        "Send more of them than is required in a 206 after `If-Range`.",
        "they are sent: caches on the way need not have the response that the client has, and could store none without them. Shown by `freshness::fields::a_206_has_all_fields_of_a_200_and_the_length_of_the_part`.",
    ),
    holds(
        "15.3.7.1",
        Must,
        "Send `Content-Range` in a 206 with one part.",
        &["ranges::answers::one_range_is_answered_from_the_store"],
    ),
    holds(
        "15.3.7.2",
        Must,
        "Send several parts as `multipart/byteranges`, with its boundary in `Content-Type`.",
        &["ranges::answers::several_ranges_come_in_parts"],
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
        Should,
        "Send the `Content-Type` that a 200 would have had in each part.",
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
        "15.3.7.2",
        MustNot,
        "As a client, ask for several ranges where it cannot read the answer.",
        &[
            "rules::partial::what_is_asked_for_where_nothing_is_known",
            "ranges::cold::several_ranges_of_a_cold_response_get_the_whole",
        ],
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
        "15.3.7.3",
        Must,
        "Put the fields of a new part, but `Content-Range`, in place of the stored ones.",
        &["ranges::changes::a_missing_part_of_stale_ones_freshens_them"],
    ),
    holds(
        "15.3.7.3",
        Must,
        "Take parts that are all there for a complete 200, with the complete length.",
        &[
            "ranges::parts::parts_that_are_all_there_are_the_whole",
            "ranges::changes::the_whole_is_made_by_what_it_lacks",
        ],
    ),
    holds(
        "15.3.7.3",
        Must,
        "Take other parts for an incomplete response, or for responses of one range each.",
        &["ranges::parts::parts_answer_nothing_but_ranges"],
    ),
    holds(
        "15.4.5",
        Must,
        "Send in a 304 what a 200 would have had of `Content-Location`, `Date`, `ETag`, `Vary`, `Cache-Control` and `Expires`.",
        &["freshness::fields::a_304_has_what_a_200_would_tell_a_cache_and_nothing_of_the_content"],
    ),
    holds(
        "15.4.5",
        ShouldNot,
        "Send other fields of the representation in a 304, unless they guide the update of a cache: `Last-Modified` is sent.",
        &["freshness::fields::a_304_has_what_a_200_would_tell_a_cache_and_nothing_of_the_content"],
    ),
    holds(
        "15.4.5",
        Should,
        "As a proxy without a stored response for it, forward a 304 to the client whose condition it answers.",
        &[
            "freshness::conditions::a_304_that_is_passed_on_says_nothing_of_the_length",
            "methods::head::an_answer_to_a_head_s_own_condition_says_nothing_of_the_content",
        ],
    ),
    holds(
        "15.5",
        Should,
        "Explain an error of the client in the content of the answer, but for `HEAD`.",
        &[
            "hidden::answers::the_page_comes_in_the_form_that_is_wanted",
            "freshness::made_here::what_is_made_here_is_dated_and_says_nothing_of_a_cache",
        ],
    ),
    holds(
        "15.5.6",
        Must,
        "Send `Allow` in a 405 that it makes itself.",
        &[
            "hidden::answers::nothing_is_written_through_a_hidden_route",
            "freshness::made_here::what_is_made_here_is_dated_and_says_nothing_of_a_cache",
        ],
    ),
    holds(
        "15.5.17",
        Should,
        "Tell the length of the content in a 416 for bytes.",
        &["ranges::answers::a_range_outside_gets_416_with_the_length"],
    ),
    none(
        "15.5.20",
        MustNot,
        "As a proxy, make a 421.",
        "it is a gateway on behalf of its origins, which may (`proxy::sites::nobody_s_host_gets_421`).",
    ),
    holds(
        "15.6",
        Should,
        "Explain an error of its own in the content of the answer, and whether it will pass, but for `HEAD`.",
        &["hidden::answers::the_page_comes_in_the_form_that_is_wanted"],
    ),
    holds(
        "15.6.6",
        Should,
        "Say in a 505 why, and which versions there are.",
        &["freshness::made_here::what_is_made_here_is_dated_and_says_nothing_of_a_cache"],
    ),
];
