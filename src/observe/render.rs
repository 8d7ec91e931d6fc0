//! The table of counters as the outside reads it: Prometheus' text format (0.0.4)
//! and JSON.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::counters::{BOUNDS_MICROS, Counters, Histogram, Kind, Row, Value};

/// Prometheus' text format.
pub fn prometheus(counters: &Counters) -> String {
    let mut text = String::with_capacity(16 * 1024);
    let mut last_name = "";
    for row in counters.rows() {
        // Writing to a string does not fail.
        if row.name != last_name {
            last_name = row.name;
            let kind = match row.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", row.name, row.help, row.name);
        }
        match row.value {
            Value::Number(number) if row.labels.is_empty() => {
                let _ = writeln!(text, "{} {number}", row.name);
            }
            Value::Number(number) => {
                let _ = writeln!(text, "{}{{{}}} {number}", row.name, row.labels);
            }
            Value::Durations(ref histogram) => push_histogram(&mut text, &row, histogram),
        }
    }
    text
}

fn push_histogram(text: &mut String, row: &Row<'_>, histogram: &Histogram) {
    let mut total = 0;
    let (comma, labels) =
        if row.labels.is_empty() { ("", String::new()) } else { (",", format!("{{{}}}", row.labels)) };
    let bounds = BOUNDS_MICROS.iter().map(|&micros| (micros as f64 / 1e6).to_string());
    for (count, bound) in histogram.buckets().zip(bounds.chain(["+Inf".to_owned()])) {
        total += count;
        let _ = writeln!(text, "{}_bucket{{{}{comma}le=\"{bound}\"}} {total}", row.name, row.labels);
    }
    let _ = writeln!(text, "{}_sum{labels} {}", row.name, histogram.sum().as_secs_f64());
    let _ = writeln!(text, "{}_count{labels} {total}", row.name);
}

/// The same as JSON: an object from `name` or `name{labels}` to the number; a
/// histogram shows its count and sum.
pub fn json(counters: &Counters) -> Json {
    let mut all = Map::new();
    for row in counters.rows() {
        let name = if row.labels.is_empty() {
            row.name.to_owned()
        } else {
            format!("{}{{{}}}", row.name, row.labels)
        };
        let value = match row.value {
            Value::Number(number) => json!(number),
            Value::Durations(histogram) => {
                json!({ "count": histogram.buckets().sum::<u64>(), "sum_seconds": histogram.sum().as_secs_f64() })
            }
        };
        all.insert(name, value);
    }
    Json::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn rows_of_a_name_stand_together_and_share_kind_and_help() {
        let counters = Counters::default();
        let mut seen: HashSet<&str> = HashSet::new();
        let rows = counters.rows();
        for pair in rows.windows(2) {
            if pair[0].name == pair[1].name {
                assert_eq!((pair[0].kind, pair[0].help), (pair[1].kind, pair[1].help), "{}", pair[0].name);
                assert_ne!(pair[0].labels, pair[1].labels, "{}", pair[0].name);
            } else {
                assert!(seen.insert(pair[0].name), "{} stands apart", pair[0].name);
            }
        }
        for row in &rows {
            assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
            // The text format would need these escaped.
            assert!(!row.help.contains(['\\', '\n']), "{}", row.name);
        }
    }

    #[test]
    fn a_histogram_keeps_its_labels() {
        let histogram = Histogram::default();
        let row = Row {
            kind: Kind::Histogram,
            name: "x_seconds",
            labels: "origin=\"a\"",
            help: "",
            value: Value::Durations(std::borrow::Cow::Borrowed(&histogram)),
        };
        let mut text = String::new();
        push_histogram(&mut text, &row, &histogram);
        for line in [
            "x_seconds_bucket{origin=\"a\",le=\"+Inf\"} 0",
            "x_seconds_sum{origin=\"a\"} 0",
            "x_seconds_count{origin=\"a\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_histogram_is_cumulated() {
        let counters = Counters::default();
        counters.request_seconds.record(Duration::from_micros(100));
        counters.request_seconds.record(Duration::from_micros(101));
        counters.request_seconds.record(Duration::from_secs(60));
        let text = prometheus(&counters);
        for line in [
            "forebay_request_seconds_bucket{le=\"0.0001\"} 1",
            "forebay_request_seconds_bucket{le=\"0.00025\"} 2",
            "forebay_request_seconds_bucket{le=\"30\"} 2",
            "forebay_request_seconds_bucket{le=\"+Inf\"} 3",
            "forebay_request_seconds_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
