//! Rules go from [rules] to [site.rules] to [site.route.rules]; sites and routes
//! that are left away are filled in.

use forebay::policy::site::{HostPattern, OriginId};
use std::time::Duration;

use super::{good, server};

#[test]
fn the_nearest_rule_holds() {
    let config = good(
        r#"
[rules]
grace = "1s"
keep = "1s"
max_ranges = 1

[[origin]]
name = "a"
url = "http://a"
[[origin]]
name = "b"
url = "http://[::1]:81"

[[site]]
name = "shop"
hosts = ["Shop.Example", "*.Shop.Example"]
origin = "b"
[site.rules]
keep = "2s"
max_ranges = 2

[[site.route]]
name = "images"
path = "/img/"
origin = "a"
[site.route.rules]
max_ranges = 3

[[site.route]]
match = '\.css$'
rules.grace = "4s"

[[site]]
origin = "a"
"#,
    );
    let site = config.sites.site("shop.example").expect("a site");
    assert_eq!(site.name, "shop");
    assert_eq!(
        site.hosts,
        [HostPattern::Exactly("shop.example".into()), HostPattern::Below(".shop.example".into())]
    );
    for (path, name, origin, grace, keep, ranges) in [
        ("/img/a.css", "images", 0, 1, 2, 3),
        ("/a.css", "\\.css$", 1, 4, 2, 2),
        ("/", "/", 1, 1, 2, 2),
        ("*", "/", 1, 1, 2, 2),
    ] {
        let route = site.route(path).expect("every path has a route");
        let seconds = Duration::from_secs;
        assert_eq!(route.name, name);
        assert_eq!(route.rules.origin, OriginId(origin), "{path}");
        assert_eq!((route.rules.grace, route.rules.keep), (seconds(grace), seconds(keep)), "{path}");
        assert_eq!(route.rules.max_ranges, ranges, "{path}");
    }
    let rest = config.sites.site("other.example").expect("a site for every host");
    assert_eq!(rest.name, "*");
    assert_eq!(rest.route("/img/").expect("a route").rules.max_ranges, 1);
    assert_eq!(config.origins[1].servers, [server("::1", 81)]);
}

#[test]
fn a_written_catch_all_is_the_last_route() {
    for catch_all in ["path = \"/\"", "match = '.*'", "name = \"rest\""] {
        let config =
            good(&format!("[[origin]]\nurl = \"http://a\"\n[[site]]\n[[site.route]]\n{catch_all}\n"));
        let routes: usize = config.sites.iter().map(|site| site.routes.len()).sum();
        assert_eq!(routes, 1, "{catch_all}");
    }
}

#[test]
fn every_route_may_name_its_own_origin() {
    good(
        "[[origin]]\nname = \"a\"\nurl = \"http://a\"\n[[origin]]\nname = \"b\"\nurl = \"http://b\"\n\
         [[site]]\n[[site.route]]\npath = \"/a\"\norigin = \"a\"\n[[site.route]]\norigin = \"b\"\n",
    );
}
