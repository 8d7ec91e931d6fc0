//! Bans in Varnish's grammar: what they say, what they match, what is refused.

use forebay::stored::ban::{Ban, Described, anchored_tag_list, tag_list};
use http::StatusCode;
use proptest::prelude::*;

use super::fields;

fn matches(ban: &str, lines: &str) -> bool {
    let fields = fields(lines);
    let described = Described {
        host: "www.example.org",
        url: "/news/1?page=2",
        status: StatusCode::OK,
        fields: &fields,
        age: 90,
        ttl: -30,
        last_hit: 10,
    };
    Ban::parse(ban).unwrap_or_else(|why| panic!("{ban}: {why}")).matches(&described)
}

#[test]
fn what_a_ban_matches() {
    let html = "content-type: text/html\nx-cache-tags: a, b\nx-cache-tags: c";
    for (ban, verdict) in [
        ("req.url ~ ^/news/", true),
        ("req.url == /news/1", false),
        ("req.url == /news/1?page=2", true),
        ("req.url !~ \\.png$", true),
        ("REQ.URL ~ page", true),
        ("req.http.Host == WWW.example.ORG", true),
        ("req.http.host ~ example", true),
        ("req.http.host != www.example.org", false),
        ("obj.status == 200", true),
        ("obj.status >= 400", false),
        ("obj.status != 404", true),
        ("obj.http.Content-Type == text/html", true),
        ("obj.http.content-type ~ ^image/", false),
        ("obj.http.x-cache-tags ~ \"a, b, c\"", true),
        ("obj.http.missing ~ .", false),
        ("obj.http.missing == \"\"", false),
        ("obj.http.missing != x", true),
        ("obj.http.missing !~ x", true),
        ("obj.age > 1m", true),
        ("obj.age >= 90", true),
        ("obj.age < 90s", false),
        ("obj.age == 1.5m", true),
        ("obj.ttl < 0", true),
        ("obj.ttl > -31s", true),
        ("obj.last_hit > 5s", true),
        ("req.url ~ news && obj.status == 200", true),
        ("req.url ~ news && obj.status == 404", false),
        ("req.url ~ \"(?i)NEWS\"", true),
        // What preg_quote escapes is meant literally.
        ("req.url ~ \"^\\\\/news\\\\/1\\\\?page\\\\=2$\"", true),
    ] {
        assert_eq!(matches(ban, html), verdict, "{ban}");
    }
}

#[test]
fn what_is_refused_and_why() {
    for (ban, why) in [
        ("", "an empty ban"),
        ("req.url ~", "condition 1 is not complete"),
        ("req.url ~ a && ", "condition 2 is not complete"),
        ("req.url ~ a b c", "`b` after condition 1"),
        ("req.url ~ a || req.url ~ b", "`||` after condition 1"),
        ("req.url ~ \"a", "condition 1: the quoted argument"),
        ("req.url ~ \"\\q\"", "condition 1: the quoted argument"),
        ("req.http.cookie ~ a", "`req.http.cookie` is not kept"),
        ("obj.grace > 1s", "`obj.grace` is not kept"),
        ("obj.body ~ a", "there is no field `obj.body`"),
        ("obj.http. ~ a", "there is no field `obj.http.`"),
        ("req.url > a", "cannot be asked with `>`; use ==, !=, ~ or !~"),
        ("obj.status ~ 200", "cannot be asked with `~`; use ==, !=, >, >=, < or <="),
        ("obj.status == 20", "`20` is not a status"),
        ("obj.age > soon", "`soon` is not a time"),
        ("req.url ~ a(?!b)", "look-ahead cannot be run in linear time"),
        ("req.url ~ (?<=a)b", "look-behind"),
        ("req.url ~ (?>a)", "an atomic group"),
        ("req.url ~ \"(a)\\\\1\"", "a back-reference"),
        ("req.url ~ (a", "unclosed group"),
        ("req.url ~ (a{1000}){1000}", "too large when compiled"),
    ] {
        let said = Ban::parse(ban).expect_err(ban).to_string();
        assert!(said.contains(why), "{ban}: {said}");
    }
    let many = vec!["obj.status == 200"; 65].join(" && ");
    assert!(Ban::parse(&many).expect_err("too many").to_string().contains("split the ban"));
}

#[test]
fn which_patterns_are_lists_of_tags() {
    for (pattern, anchored, tags) in [
        ("(^|,)(a|b)(,|$)", true, Some(vec!["a", "b"])),
        ("((^|,)cat_p_1(,|$))|((^|,)cat_p_2(,|$))", true, Some(vec!["cat_p_1", "cat_p_2"])),
        ("(^|,)one\\-two\\<three(,|$)", true, Some(vec!["one-two<three"])),
        ("(/greetings|/books/1)($|\\,)", false, Some(vec!["/greetings", "/books/1"])),
        ("a|b", false, Some(vec!["a", "b"])),
        ("node:1", false, Some(vec!["node:1"])),
        ("a.*", false, None),
        ("^a", false, None),
        ("[ab]", false, None),
        ("(^|,)a+(,|$)", false, None),
        ("(^|,)(\\d+)(,|$)", false, None),
        ("(a", false, None),
        ("", false, None),
        ("a||b", false, None),
        (".*", false, None),
    ] {
        let wanted = tags.map(|tags| tags.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(tag_list(pattern), wanted, "{pattern}");
        assert_eq!(anchored_tag_list(pattern), wanted.filter(|_| anchored), "{pattern}");
    }
    let ban = Ban::parse("obj.http.X-Tags ~ (^|,)(a|b)(,|$)").expect("good");
    assert_eq!(ban.as_tags(), Some(("x-tags", vec!["a".to_owned(), "b".to_owned()])));
    assert_eq!(Ban::parse("obj.http.x-tags ~ foo").expect("good").as_tags(), None, "it is in foobar as well");
    assert_eq!(Ban::parse("obj.http.x-tags !~ (^|,)(a)(,|$)").expect("good").as_tags(), None);
}

proptest! {
    #[test]
    fn a_bans_text_is_its_normal_form(
        field in "(req\\.url|req\\.http\\.host|obj\\.http\\.[a-z-]{1,8})",
        operator in "(==|!=|~|!~)",
        argument in "[ -~\\n\\t]{1,20}",
    ) {
        let written = format!("{field} {operator} {}", forebay::stored::ban::argument(&argument));
        if let Ok(ban) = Ban::parse(&written) {
            let again = Ban::parse(ban.text()).expect("its own text");
            prop_assert_eq!(again.text(), ban.text());
        }
    }
}
