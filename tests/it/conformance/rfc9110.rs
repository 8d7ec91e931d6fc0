//! The rules of RFC 9110 (HTTP Semantics) for a cache and gateway that answers and asks, in the
//! order of its sections: parts 5 to 9, and what parts 10 to 12 ask of who forwards.

use super::{Must, MustNot, Rule, Should, ShouldNot, choice, holds, none};

/// Parts 5 to 7: fields, messages and their routing.
pub const MESSAGES: &[Rule] = &[
    holds(
        "5.1",
        Must,
        "Forward fields that it does not know, unless `Connection` names them or it is configured otherwise.",
        &[
            "proxy::passage::unknown_fields_of_a_request_go_on_in_their_order",
            "proxy::passage::unknown_fields_of_a_response_go_on_in_their_order",
            "proxy::fields::fields_of_the_client_s_connection_stay_there",
        ],
    ),
    holds(
        "5.1",
        Should,
        "Ignore fields that it does not know.",
        &[
            "proxy::passage::unknown_fields_of_a_request_go_on_in_their_order",
            "rules::vary::which_requests_select_the_same",
        ],
    ),
    holds(
        "5.3",
        MustNot,
        "Change the order of lines of the same name.",
        &[
            "proxy::passage::unknown_fields_of_a_request_go_on_in_their_order",
            "proxy::passage::unknown_fields_of_a_response_go_on_in_their_order",
        ],
    ),
    holds(
        "5.3",
        MustNot,
        "Make several lines of one name, unless it is defined as a list.",
        &[
            "proxy::fields::via_tells_both_sides",
            "proxy::fields::a_request_id_is_kept_or_made_and_told_to_both_sides",
            "proxy::passage::what_other_caches_and_proxies_have_said_stands_before_our_own_word",
        ],
    ),
    holds(
        "5.3",
        MustNot,
        "Act on a request before its whole header section is there.",
        &[
            "proxy::http1::a_head_may_come_byte_by_byte_and_behind_empty_lines",
            "limits::timeouts::a_head_that_does_not_come_to_its_end_closes",
        ],
    ),
    holds(
        "5.4",
        Must,
        "Answer with a 4xx where fields are larger than it wants.",
        &[
            "hostile::clients::heads_and_targets_have_limits",
            "src/listen/http1/head.rs::what_is_too_large_is_refused_before_it_is_there",
        ],
    ),
    holds(
        "5.5",
        Should,
        "Leave octets beyond ASCII as they are.",
        &[
            "proxy::passage::octets_beyond_ascii_are_left_as_they_are",
            "src/listen/http1/head.rs::a_head_is_read_as_it_stands",
        ],
    ),
    holds(
        "5.5",
        Must,
        "Reject values with control characters, or put spaces in their place: it rejects them.",
        &[
            "hostile::clients::field_lines_that_are_none_are_refused",
            "hostile::origins::a_head_that_is_none_gets_502",
            "src/rfc/fields.rs::what_could_not_be_written_is_refused",
        ],
    ),
    holds(
        "5.6.1.1",
        MustNot,
        "Make lists with empty members.",
        &[
            "proxy::fields::via_tells_both_sides",
            "vary::choice::the_origin_chooses_among_all_that_are_stored",
        ],
    ),
    holds(
        "5.6.1.2",
        Must,
        "Pass over a reasonable number of empty members of a list.",
        &[
            "rules::vary::what_a_response_varies_on",
            "freshness::conditions::if_none_match_gets_304_where_a_tag_matches_weakly",
        ],
    ),
    holds(
        "5.6.3",
        Should,
        "Write white space that is optional or required as one space.",
        &["rules::decisions::cache_status_is_a_structured_field", "proxy::fields::via_tells_both_sides"],
    ),
    none(
        "5.6.3",
        Must,
        "Remove white space that is there for historical reasons only; and never make it.",
        "it interprets no field whose grammar has it.",
    ),
    holds(
        "5.6.4",
        Must,
        "Read a backslash in a quoted string as the octet behind it.",
        &[
            "rules::cache_control::what_a_response_says_of_fields",
            "src/rfc/fields.rs::commas_in_quotes_do_not_separate_members",
        ],
    ),
    holds("5.6.7", Must, "Read all three forms of dates.", &["rules::dates::what_is_a_date_and_what_is_not"]),
    holds(
        "5.6.7",
        Must,
        "Write dates in the preferred form.",
        &[
            "rules::dates::dates_are_written_in_the_preferred_form",
            "rules::properties::a_date_that_is_written_reads_the_same",
        ],
    ),
    holds(
        "5.6.7",
        MustNot,
        "Write more white space in a date than the grammar has.",
        &["rules::dates::dates_are_written_in_the_preferred_form"],
    ),
    holds(
        "5.6.7",
        Must,
        "Take a two-digit year that seems more than 50 years ahead for the last one in the past that ends with the same digits.",
        &["rules::dates::what_is_a_date_and_what_is_not"],
    ),
    holds(
        "6.2",
        Should,
        "Send the highest version that it conforms to within the major version of the other side.",
        &["proxy::passage::the_highest_version_is_spoken_whatever_the_other_side_says"],
    ),
    holds(
        "6.2",
        MustNot,
        "Send a version that it does not conform to.",
        &["proxy::streams::an_old_client_gets_the_end_of_the_connection_for_an_end"],
    ),
    holds(
        "6.2",
        Should,
        "Read a message of a higher minor version as of the highest that it knows.",
        &[
            "proxy::passage::the_highest_version_is_spoken_whatever_the_other_side_says",
            "src/listen/http1/head.rs::a_head_is_read_as_it_stands",
        ],
    ),
    holds(
        "6.5.1",
        MustNot,
        "Merge trailer fields into header fields.",
        &["proxy::streams::trailers_of_a_response_come_with_a_miss_and_with_a_hit"],
    ),
    holds(
        "6.5.1",
        MustNot,
        "Make trailer fields of what may not stand in a trailer.",
        &[
            "proxy::streams::a_trailer_section_is_the_end_of_a_message",
            "proxy::streams::chunks_and_trailers_of_a_request_go_on",
        ],
    ),
    none(
        "6.5.1",
        ShouldNot,
        "Make trailer fields that user agents need to receive.",
        "it makes none of its own.",
    ),
    holds(
        "6.6.1",
        Must,
        "Note when a response without `Date` was received, and send it with that date.",
        &[
            "freshness::fields::what_has_no_date_is_dated_when_it_is_received",
            "rules::decisions::what_is_admitted",
        ],
    ),
    holds(
        "6.6.1",
        Must,
        "Send `Date` in 2xx, 3xx and 4xx responses that it makes itself.",
        &["freshness::made_here::what_is_made_here_is_dated_and_says_nothing_of_a_cache"],
    ),
    holds(
        "6.6.2",
        Should,
        "Tell in `Trailer` which trailer fields come, as its origin did.",
        &["proxy::streams::trailers_of_a_response_come_with_a_miss_and_with_a_hit"],
    ),
    holds(
        "7.2",
        Must,
        "Send `Host` with each request, as given by the target.",
        &[
            "proxy::forwarding::the_origin_sees_the_host_that_the_rules_say",
            "proxy::targets::the_absolute_form_goes_before_host",
        ],
    ),
    holds(
        "7.2",
        Must,
        "Refuse a request without `Host`, with several, or with one that is none (RFC 9112 3.2).",
        &["hostile::clients::a_host_that_is_none_is_refused", "rules::requests::which_requests_are_refused"],
    ),
    holds(
        "7.4",
        Must,
        "Refuse an `https` target over a connection that is not secured, unless a trusted gateway vouches for it.",
        &[
            "rules::requests::which_requests_are_refused",
            "proxy::forwarding::a_trusted_proxy_tells_https_and_http_apart",
        ],
    ),
    choice(
        "7.5",
        Should,
        "As a client, go on sending a request whose response has begun.",
        "it goes on, but not for ever: where the answer is there, a client that is slow with the rest is left as an idle one would be, and the connection to the origin carries no other request. Shown by `proxy::streams::a_connection_whose_request_is_not_whole_yet_carries_no_other` and `limits::timeouts::content_that_comes_after_the_answer_does_not_keep_a_connection_for_ever`.",
    ),
    holds(
        "7.6",
        Must,
        "Implement `Connection`, and keep back fields that are for one connection alone.",
        &[
            "proxy::fields::fields_of_the_client_s_connection_stay_there",
            "proxy::fields::fields_of_the_origin_s_connection_stay_there",
        ],
    ),
    holds(
        "7.6",
        MustNot,
        "Forward a message to itself without protection from an endless loop.",
        &[
            "origins::tiers::two_nodes_that_lead_to_each_other_end_it_at_once",
            "origins::tiers::a_site_whose_origin_is_another_site_of_the_same_node_works_and_ends",
            "src/policy/hop.rs::only_the_same_node_and_the_same_target_are_a_loop",
        ],
    ),
    holds(
        "7.6.1",
        Must,
        "Remove the fields that `Connection` names, and itself, before a message is forwarded.",
        &[
            "proxy::fields::fields_of_the_client_s_connection_stay_there",
            "proxy::fields::fields_of_the_origin_s_connection_stay_there",
            "rules::storing::what_concerns_one_connection_goes_no_further",
        ],
    ),
    holds(
        "7.6.1",
        Should,
        "Remove `Proxy-Connection`, `Keep-Alive`, `TE`, `Transfer-Encoding` and `Upgrade`, whether named or not.",
        &[
            "proxy::fields::fields_of_the_client_s_connection_stay_there",
            "rules::storing::what_concerns_one_connection_goes_no_further",
        ],
    ),
    choice(
        "7.6.1",
        Should,
        "Remove `Trailer`.",
        "trailer fields are forwarded, and it tells which ones come. Shown by `proxy::streams::trailers_of_a_response_come_with_a_miss_and_with_a_hit`.",
    ),
    holds(
        "7.6.1",
        Must,
        "Name fields of its own for one connection in `Connection`.",
        &["proxy::streams::an_upgrade_becomes_a_tunnel"],
    ),
    holds(
        "7.6.1",
        MustNot,
        "Name fields in `Connection` that are for all on the way; and where others do, `Via` and `CDN-Loop` go on all the same.",
        &["origins::tiers::nobody_hides_a_loop"],
    ),
    holds(
        "7.6.2",
        Must,
        "Check `Max-Forwards` of `TRACE` and `OPTIONS` before passing them on, and pass on one less.",
        &[
            "methods::others::max_forwards_ends_trace_and_options_here",
            "src/rfc/max_forwards.rs::it_counts_down_and_what_is_no_number_says_nothing",
        ],
    ),
    holds(
        "7.6.2",
        MustNot,
        "Pass on a request whose `Max-Forwards` is zero.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "7.6.2",
        Must,
        "Answer it as the one it was meant for.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "7.6.3",
        Must,
        "Add itself to `Via` in each request that it sends to an origin.",
        &["proxy::fields::via_tells_both_sides", "proxy::fields::a_node_goes_by_its_own_name"],
    ),
    none(
        "7.6.3",
        ShouldNot,
        "As a portal through a firewall, forward names of hosts behind it; a pseudonym SHOULD take their place.",
        "it is no such portal, and its own member of `Via` is a pseudonym.",
    ),
    holds(
        "7.6.3",
        MustNot,
        "Combine members of `Via` with different protocols; SHOULD NOT combine others.",
        &["proxy::fields::via_tells_both_sides"],
    ),
    choice(
        "7.7",
        MustNot,
        "As a proxy, change the host name of the target.",
        "it is a gateway, and whose name the origin gets to see is configured (`origin_host`, the client's own by default). Shown by `proxy::forwarding::the_origin_sees_the_host_that_the_rules_say`.",
    ),
    choice(
        "7.7",
        MustNot,
        "As a proxy, modify path and query of the target.",
        "it is a gateway, and path and query go on in their normal form (RFC 3986 6.2.2), so that the origin is asked for what the response is stored under. Shown by `proxy::targets::dot_segments_and_needless_triplets_go`.",
    ),
    none(
        "7.7",
        MustNot,
        "Transform content that is marked `no-transform`.",
        "it transforms no content at all.",
    ),
    choice(
        "7.7",
        ShouldNot,
        "Modify fields about the ends of the way, the resource or the representation.",
        "they are passed as they are, but for what an operator has for caches alone: tags (`strip_tags`) and, if so configured, targeted fields. Shown by `proxy::passage::unknown_fields_of_a_response_go_on_in_their_order` and `purge::tags::every_convention_is_read_and_kept_from_clients`.",
    ),
    holds(
        "7.8",
        Should,
        "Compare names of protocols without regard to letter case.",
        &[
            "proxy::passage::a_protocol_is_the_same_in_any_letter_case",
            "freshness::alone::another_version_of_http_is_not_switched_to_and_the_cache_answers",
        ],
    ),
    holds(
        "7.8",
        Must,
        "Send `Upgrade` in a 101, and `Connection` with it.",
        &["proxy::streams::an_upgrade_becomes_a_tunnel"],
    ),
    holds(
        "7.8",
        MustNot,
        "Switch to a protocol that the client has not named.",
        &["proxy::streams::a_switch_to_what_nobody_asked_for_is_no_answer"],
    ),
    none("7.8", Must, "Send `Upgrade` in a 426.", "it makes none."),
    holds(
        "7.8",
        Must,
        "Send `Connection: upgrade` with `Upgrade`.",
        &["proxy::streams::an_upgrade_becomes_a_tunnel"],
    ),
    holds(
        "7.8",
        Must,
        "Ignore `Upgrade` in a request of HTTP/1.0.",
        &[
            "proxy::passage::an_old_client_s_wish_for_another_protocol_is_no_wish",
            "proxy::streams::an_upgrade_is_for_whoever_speaks_the_version_that_has_it_and_sends_no_content",
        ],
    ),
    none(
        "7.8",
        MustNot,
        "Switch to a protocol that cannot honour the request.",
        "that is for the origin to judge, which switches.",
    ),
    none(
        "7.8",
        Must,
        "Send 100 before 101 to whoever expects it.",
        "whoever brings content is not switched (`proxy::streams::an_upgrade_is_for_whoever_speaks_the_version_that_has_it_and_sends_no_content`).",
    ),
];

/// Parts 8 and 9, and what parts 10 to 12 ask of who forwards: representations and methods.
pub const CONTENT: &[Rule] = &[
    holds(
        "8.3",
        Should,
        "Send `Content-Type` with content that it makes itself.",
        &["origins::degrade::a_page_comes_in_the_form_that_is_wanted_and_says_what_has_happened"],
    ),
    holds(
        "8.3.3",
        Must,
        "Write CRLF alone between parts of a multipart body.",
        &["ranges::answers::several_ranges_come_in_parts"],
    ),
    none("8.4", Must, "Name the codings that it has applied in `Content-Encoding`.", "it applies none."),
    none(
        "8.4.1.1",
        Should,
        "Read `x-compress` as `compress`, and `x-gzip` (8.4.1.3) as `gzip`.",
        "it decodes nothing; in requests they are other names, which costs a variant at most.",
    ),
    holds(
        "8.6",
        MustNot,
        "Send `Content-Length` beside `Transfer-Encoding`.",
        &[
            "proxy::streams::trailers_of_a_response_come_with_a_miss_and_with_a_hit",
            "hostile::clients::framing_that_is_ambiguous_is_refused",
        ],
    ),
    holds(
        "8.6",
        MustNot,
        "Send another `Content-Length` in answer to `HEAD` than to `GET`.",
        &["freshness::fields::head_has_the_fields_of_get", "methods::head::a_stored_get_answers_head"],
    ),
    holds(
        "8.6",
        MustNot,
        "Send another `Content-Length` in a 304 than in a 200: it sends none.",
        &[
            "freshness::fields::a_304_has_what_a_200_would_tell_a_cache_and_nothing_of_the_content",
            "freshness::conditions::a_304_that_is_passed_on_says_nothing_of_the_length",
        ],
    ),
    holds(
        "8.6",
        MustNot,
        "Send `Content-Length` in a 1xx or 204.",
        &[
            "freshness::fields::a_204_has_no_length",
            "proxy::interim::what_is_between_two_neighbours_stays_there",
        ],
    ),
    holds(
        "8.6",
        Must,
        "Read large numbers without an overflow.",
        &["hostile::clients::framing_that_is_ambiguous_is_refused"],
    ),
    holds(
        "8.6",
        Must,
        "Reject a message with several lengths, or take them for one where they are the same.",
        &[
            "hostile::clients::framing_that_is_ambiguous_is_refused",
            "hostile::origins::a_head_that_is_none_gets_502",
        ],
    ),
    holds(
        "8.6",
        MustNot,
        "Forward a message with a length that is known to be wrong.",
        &[
            "hostile::origins::a_body_that_breaks_off_is_cut_and_not_stored",
            "hostile::origins::what_follows_a_response_is_never_an_answer",
        ],
    ),
    none(
        "8.7",
        Must,
        "Treat `Content-Location` of a request as passing context.",
        "that is a rule for origin servers.",
    ),
    none(
        "8.8.2.1",
        Should,
        "Send `Last-Modified`; and the other rules on making it.",
        "that is a rule for origin servers.",
    ),
    none(
        "8.8.3",
        Must,
        "Mark a weak entity tag as weak; SHOULD send one (8.8.3.1).",
        "that is a rule for origin servers. Tags are stored, told and compared as they came.",
    ),
    holds(
        "8.8.4",
        Must,
        "Send the entity tag in each validation where the origin has sent one.",
        &[
            "rules::validators::validators_are_sent_verbatim",
            "freshness::validate::a_200_to_a_validation_replaces",
        ],
    ),
    holds(
        "8.8.4",
        Should,
        "Send `Last-Modified` in a validation of the whole where the origin has sent nothing else.",
        &["freshness::validate::a_304_to_a_date_freshens"],
    ),
    holds(
        "8.8.4",
        Should,
        "Send both where it has sent both.",
        &["rules::validators::validators_are_sent_verbatim"],
    ),
    holds(
        "9.1",
        Must,
        "Support `GET` and `HEAD`.",
        &[
            "freshness::hit::a_fresh_response_answers_with_its_age",
            "methods::head::a_stored_get_answers_head",
        ],
    ),
    holds(
        "9.2.2",
        MustNot,
        "Repeat a request by itself that is not idempotent.",
        &[
            "limits::connections::what_may_be_repeated_is_repeated_once",
            "origins::closing::what_may_not_be_sent_twice_is_not_sent_to_an_origin_that_has_just_closed",
            "origins::groups::what_fails_at_one_server_is_asked_of_another_and_only_what_may_be",
        ],
    ),
    holds(
        "9.2.2",
        ShouldNot,
        "Repeat a request by itself whose repetition has failed: what is asked of another server of the origin has a budget.",
        &[
            "limits::connections::what_may_be_repeated_is_repeated_once",
            "origins::groups::further_attempts_do_not_multiply_an_outage",
        ],
    ),
    holds(
        "9.3.1",
        ShouldNot,
        "As a client, send content with `GET`, unless its own client did.",
        &["methods::others::a_get_with_content_stays_away_from_the_cache"],
    ),
    holds(
        "9.3.2",
        MustNot,
        "Send content in answer to `HEAD`.",
        &["methods::head::a_stored_get_answers_head", "freshness::fields::head_has_the_fields_of_get"],
    ),
    holds(
        "9.3.2",
        Should,
        "Send the same fields in answer to `HEAD` as to `GET`.",
        &["freshness::fields::head_has_the_fields_of_get"],
    ),
    none(
        "9.3.3",
        Should,
        "Answer a `POST` that has made something with 201; and the other rules on doing what `POST`, `PUT` (9.3.4) and `DELETE` (9.3.5) ask for.",
        "that is a rule for origin servers. They are passed on, and only a `POST` that says so is stored (`methods::post::a_post_that_says_so_answers_get`, `methods::post::other_posts_are_not_stored`).",
    ),
    none(
        "9.3.6",
        Should,
        "Restrict `CONNECT` to known targets; and the other rules on tunnels.",
        "it refuses `CONNECT` (`hostile::clients::nobody_tunnels_through`).",
    ),
    holds(
        "9.3.7",
        Should,
        "Send what says which optional features there are, such as `Allow`, in an answer of its own to `OPTIONS`.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "9.3.7",
        MustNot,
        "Send `Max-Forwards` in a request that came without it.",
        &["proxy::passage::unknown_fields_of_a_request_go_on_in_their_order"],
    ),
    holds(
        "9.3.8",
        Should,
        "As the last recipient of a `TRACE`, send it back as `message/http`.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "9.3.8",
        Should,
        "Leave out of that what is likely to be secret.",
        &["methods::others::max_forwards_ends_trace_and_options_here"],
    ),
    holds(
        "10.1.1",
        Must,
        "Send 100, or a final status, before it waits for content of a client that expects it.",
        &[
            "proxy::streams::the_client_is_told_to_continue",
            "proxy::http1::whoever_asks_before_it_sends_is_told_once_and_only_if_it_is_wanted",
        ],
    ),
    holds(
        "10.1.1",
        Must,
        "Ignore that expectation in a request of HTTP/1.0.",
        &["freshness::made_here::an_old_client_is_not_told_to_continue"],
    ),
    choice(
        "10.1.1",
        Must,
        "As a proxy, answer a request that expects 100 with a final status, or forward it with its expectation.",
        "it is a gateway, and says 100 itself as soon as it wants the content, which goes on to the origin as it comes; so no client waits for two others. Shown by `proxy::streams::the_client_is_told_to_continue` and `proxy::http1::whoever_asks_before_it_sends_is_told_once_and_only_if_it_is_wanted`.",
    ),
    holds(
        "10.1.4",
        Must,
        "Send `TE` only together with `Connection: TE`: it sends none.",
        &["proxy::fields::fields_of_the_client_s_connection_stay_there"],
    ),
    holds(
        "11.6.1",
        MustNot,
        "Modify `WWW-Authenticate` of a response that is forwarded.",
        &["proxy::passage::unknown_fields_of_a_response_go_on_in_their_order"],
    ),
    holds(
        "11.6.2",
        MustNot,
        "Modify `Authorization` of a request that is forwarded.",
        &["proxy::passage::unknown_fields_of_a_request_go_on_in_their_order"],
    ),
    none("12.5.5", MustNot, "Make a `Vary` with `*`.", "it makes no `Vary`."),
];
