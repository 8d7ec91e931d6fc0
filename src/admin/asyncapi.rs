//! What goes through the broker for hidden routes, as AsyncAPI describes it: the file
//! `docs/asyncapi.yaml`, whose generated parts a test keeps equal to the program.

/// The document.
pub(super) const DOCUMENT: &str = include_str!("../../docs/asyncapi.yaml");

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::broker::Topology;
    use crate::clock::Wall;
    use crate::invalidate::Moment;
    use crate::repopulate::pace::WORK_TTL;
    use crate::repopulate::worker::PAUSES;
    use crate::repopulate::{Class, MissEvent, Reason, Wanted, event, fill};

    /// An event with everything in it.
    fn example() -> Value {
        let time = Wall::from_millis(1_800_000_000_000);
        let event = MissEvent {
            id: "01a3185c5000c4d1f0e2ab7795d1".to_owned(),
            source: "/forebay/edge-1".to_owned(),
            time,
            expires: time.plus(std::time::Duration::from_secs(120)),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            wanted: Wanted {
                scheme: "https".to_owned(),
                host: "shop.example".to_owned(),
                port: 443,
                target: "/p/42?size=l".to_owned(),
                vary: vec![("accept-encoding".to_owned(), "gzip".to_owned())],
            },
            reason: Reason::Stale,
            class: Class::Refresh,
            misses: 17,
            moment: Moment { node: "edge-1-19f2c7d41be".to_owned(), number: 88_121, ..Moment::default() },
            etag: Some("\"v1\"".to_owned()),
            last_modified: None,
            fill: "10.0.0.7:6090".to_owned(),
            token: "eyJ3YW50ZWQiOnt9fQ.c2lnbmF0dXJl".to_owned(),
            attempts: 0,
            release: None,
        };
        serde_json::from_slice(&event.to_json()).expect("JSON")
    }

    /// Everything in the document that comes from the program, by the line after which
    /// it stands.
    fn generated() -> Vec<(String, Value)> {
        let mut all = vec![("payload: # generated: Example".to_owned(), example())];
        let schemas = [("MissEvent", MissEvent::schema())].into_iter().chain(fill::schemas());
        all.extend(schemas.map(|(name, schema)| (format!("{name}: # generated"), schema)));
        all
    }

    /// The document with those parts made anew.
    fn renewed() -> String {
        let generated = generated();
        let mut text = String::new();
        let mut within = None;
        for line in DOCUMENT.lines() {
            let depth = line.len() - line.trim_start().len();
            if within.is_some_and(|outer| depth > outer && !line.trim().is_empty()) {
                continue;
            }
            within = None;
            text.push_str(line);
            text.push('\n');
            if let Some((_, value)) = generated.iter().find(|(before, _)| before == line.trim()) {
                within = Some(depth);
                write(value, depth + 2, &mut text);
            }
        }
        text
    }

    /// A value as YAML writes it in blocks.
    fn write(value: &Value, depth: usize, text: &mut String) {
        let in_a_line = |value: &Value| match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.iter().all(|item| !item.is_object() && !item.is_array()),
            _ => true,
        };
        let indent = " ".repeat(depth);
        let mut put = |start: &str, value: &Value| {
            if in_a_line(value) {
                text.push_str(&format!("{indent}{start} {value}\n"));
            } else {
                text.push_str(&format!("{indent}{start}\n"));
                write(value, depth + 2, text);
            }
        };
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| put(&format!("{name}:"), value)),
            Value::Array(list) => list.iter().for_each(|item| put("-", item)),
            scalar => text.push_str(&format!("{indent}{scalar}\n")),
        }
    }

    #[test]
    fn the_schemas_of_the_document_are_those_of_the_program() {
        let renewed = renewed();
        if std::env::var_os("FOREBAY_RENEW").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/asyncapi.yaml");
            std::fs::write(file, &renewed).expect("written");
            return;
        }
        let behind = "docs/asyncapi.yaml is behind: `FOREBAY_RENEW=1 cargo test --lib asyncapi` renews it";
        assert!(renewed == DOCUMENT, "{behind}");
        for (before, _) in generated() {
            assert!(DOCUMENT.contains(&before), "{before}");
        }
        for said in [event::MISS, event::MEDIA_TYPE, fill::FILL, fill::NOTICE, fill::HEADER] {
            assert!(DOCUMENT.contains(said), "{said}");
        }
    }

    #[test]
    fn the_names_of_the_document_are_those_that_are_declared() {
        let topology = Topology {
            name: "forebay".to_owned(),
            origins: vec!["{origin}".to_owned()],
            pauses: PAUSES.to_vec(),
            work_ttl: WORK_TTL,
        };
        let pauses: Vec<String> = PAUSES.iter().map(|pause| format!("{}s", pause.as_secs())).collect();
        let of_any_pause = |name: String| match name.rsplit_once('.') {
            Some((before, last)) if pauses.iter().any(|pause| pause == last) => format!("{before}.{{pause}}"),
            _ => name,
        };
        let declared = topology.parts().into_iter().map(|part| of_any_pause(part.name));
        // What goes through this exchange is described with the queue behind it.
        let mut declared: Vec<String> = declared.filter(|name| name != "forebay.dead").collect();
        declared.sort();
        declared.dedup();
        let said = |before: &str| {
            let after = DOCUMENT.lines().filter_map(|line| line.trim().strip_prefix(before));
            let mut all: Vec<String> =
                after.filter(|name| name.starts_with("forebay.")).map(str::to_owned).collect();
            all.sort();
            all
        };
        assert_eq!(said("address: "), declared);
        assert_eq!(said("name: "), declared);
        assert!(DOCUMENT.contains(&format!("enum: [{}]", pauses.join(", "))), "{pauses:?}");
        assert!(DOCUMENT.contains(&format!("expiration: {}\n", WORK_TTL.as_millis())));
    }
}
