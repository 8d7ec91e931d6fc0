//! The calls of the admin port: one table, from which requests are told apart and
//! the OpenAPI document, its page and the list at `/` are made.

use http::Method;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::auth::Scope;
use super::origins::{Breaker, Changed, Origins};
use super::purge::{Bans, PurgeShown, Purges};
use super::queue::{Dead, Replay, Replayed};
use super::warm::Jobs;
use crate::cluster::View;
use crate::invalidate::wire::{Body, METHODS, Refusal, Told};
use crate::repopulate::QueueView;
use crate::repopulate::warm::{Spec, View as WarmView};
use crate::serve::explain::{Explained, Question};

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Does {
    List,
    Page,
    OpenApi,
    AsyncApi,
    Live,
    Ready,
    Metrics,
    Config,
    Stats,
    Origins,
    Force,
    Purge,
    Purges,
    PurgeOf,
    Nodes,
    Bans,
    Explain,
    Fill,
    Queue,
    Dead,
    Replay,
    Reload,
    Warm,
    WarmJobs,
    WarmJob,
    WarmCancel,
}

/// A call as it is documented.
pub(super) struct Described {
    pub does: Does,
    /// `GET` stands for `HEAD` as well.
    pub method: Method,
    /// A part in braces stands for one segment.
    pub path: &'static str,
    /// What it needs; a purge needs what its selectors need.
    pub scope: Option<Scope>,
    pub text: &'static str,
    /// What it answers, beside the refusals that any call may be answered with.
    answers: &'static [(u16, &'static str)],
}

const fn call(
    does: Does,
    method: Method,
    path: &'static str,
    scope: Option<Scope>,
    text: &'static str,
    answers: &'static [(u16, &'static str)],
) -> Described {
    Described { does, method, path, scope, text, answers }
}

/// All calls but those by the [methods](METHODS) of purge clients.
pub(super) static CALLS: [Described; 26] = [
    call(
        Does::Purge,
        Method::POST,
        "/v1/purge",
        None,
        "Purge what is named, as one: URLs, prefixes, hosts, a site, tags, a ban, or everything; soft or hard.",
        &[
            (200, "Done; also when nothing matched."),
            (202, "Done here; the other nodes of the cluster learn of it later."),
            (400, "It is not clear what is meant."),
            (413, "The content is too large."),
            (415, "The content is not JSON."),
            (500, "It holds, and is not on disk."),
            (503, "It holds here, and the other nodes do not learn of it."),
        ],
    ),
    call(
        Does::Purges,
        Method::GET,
        "/v1/purges",
        Some(Scope::Read),
        "The last purges, newest first.",
        &[(200, "A list."), (400, "A parameter is not understood.")],
    ),
    call(
        Does::PurgeOf,
        Method::GET,
        "/v1/purges/{sequence}",
        Some(Scope::Read),
        "One purge by its number, and the nodes of the cluster on which it holds.",
        &[(200, "The purge."), (404, "No purge of this number is remembered.")],
    ),
    call(
        Does::Nodes,
        Method::GET,
        "/v1/nodes",
        Some(Scope::Read),
        "The nodes of the cluster, as this one sees them.",
        &[(200, "A list."), (404, "This node belongs to no cluster.")],
    ),
    call(
        Does::Bans,
        Method::GET,
        "/v1/bans",
        Some(Scope::Read),
        "Bans and prefixes that have not been tested against everything stored.",
        &[(200, "A list.")],
    ),
    call(
        Does::Explain,
        Method::POST,
        "/v1/explain",
        Some(Scope::Read),
        "How a request would be answered now, and why, step by step, each with its section of the standard. \
         Nothing is changed by that, and no origin is asked.",
        &[
            (200, "The steps and the verdict; also where that is to refuse the request."),
            (400, "It is not clear what is meant."),
            (404, "This node has no clients."),
            (413, "The content is too large."),
            (415, "The content is not JSON."),
        ],
    ),
    call(
        Does::Fill,
        Method::PUT,
        "/v1/fill",
        Some(Scope::Fill),
        "Fill the cache of a hidden route: `url=URL` with a whole response as content of the type \
         `application/http`, or the content alone with `Forebay-Fill-Status` and `Forebay-Fill-NAME`. The \
         `Forebay-Fill-Token` of a miss event stands for the URL and for the right.",
        &[
            (200, "It is stored."),
            (400, "It is not understood, or broke off."),
            (404, "No hidden route answers for the URL."),
            (409, "It was purged meanwhile, or something newer is stored."),
            (422, "It may not be stored."),
            (503, "Too much is under way."),
        ],
    ),
    call(
        Does::Origins,
        Method::GET,
        "/v1/origins",
        Some(Scope::Read),
        "How the origins stand that this node asks: requests under way, breakers, servers, and why.",
        &[(200, "The state.")],
    ),
    call(
        Does::Force,
        Method::POST,
        "/v1/origins/{origin}/breaker",
        Some(Scope::Operate),
        "Open or close a breaker by hand, for maintenance, or give it back to itself.",
        &[
            (200, "How many breakers were meant."),
            (400, "The content is not understood."),
            (404, "No such origin is asked, or it has no such server."),
            (415, "The content is not JSON."),
        ],
    ),
    call(
        Does::Queue,
        Method::GET,
        "/v1/queue",
        Some(Scope::Read),
        "How hidden origins stand: what is wanted, what waits, and how fast they are asked.",
        &[(200, "The state."), (404, "No route of this node is hidden.")],
    ),
    call(
        Does::Dead,
        Method::GET,
        "/v1/queue/{origin}/dead",
        Some(Scope::Read),
        "The miss events of an origin that were given up, the oldest first.",
        &[(200, "A list."), (404, "No route of this node is hidden."), (502, "The broker did not answer.")],
    ),
    call(
        Does::Replay,
        Method::POST,
        "/v1/queue/{origin}/replay",
        Some(Scope::Operate),
        "Tell them once more: those of these ids, or all.",
        &[
            (200, "How many were told."),
            (400, "The content is not understood."),
            (404, "No route of this node is hidden."),
            (415, "The content is not JSON."),
            (502, "The broker did not answer."),
        ],
    ),
    call(
        Does::Reload,
        Method::POST,
        "/v1/reload",
        Some(Scope::Operate),
        "Read the configuration again.",
        &[
            (200, "Done."),
            (400, "It has content that says something."),
            (415, "The content is not JSON."),
            (422, "It has faults; the old one stays in force."),
        ],
    ),
    call(
        Does::Warm,
        Method::POST,
        "/v1/warm",
        Some(Scope::Operate),
        "Fill the cache before anybody asks: with URLs, with what sitemaps list, with pages and what they link \
         to. Nobody waits for it, so it comes after everything else, within the rate that was agreed with the \
         origin's owner.",
        &[
            (202, "The job has begun."),
            (400, "It is not clear what is meant."),
            (409, "This node has no hidden route, or enough jobs run already."),
            (413, "The content is too large."),
            (415, "The content is not JSON."),
        ],
    ),
    call(
        Does::WarmJobs,
        Method::GET,
        "/v1/warm",
        Some(Scope::Read),
        "The warm jobs that are remembered, newest first.",
        &[(200, "A list.")],
    ),
    call(
        Does::WarmJob,
        Method::GET,
        "/v1/warm/{id}",
        Some(Scope::Read),
        "How far a warm job has come.",
        &[(200, "The job."), (404, "No job of this id is remembered.")],
    ),
    call(
        Does::WarmCancel,
        Method::DELETE,
        "/v1/warm/{id}",
        Some(Scope::Operate),
        "End a warm job. What it has asked for already still comes.",
        &[(200, "The job as it was."), (404, "No job of this id is remembered.")],
    ),
    call(
        Does::Config,
        Method::GET,
        "/v1/config",
        Some(Scope::Read),
        "The configuration in force, without secrets.",
        &[(200, "Every setting by section.")],
    ),
    call(
        Does::Stats,
        Method::GET,
        "/v1/stats",
        Some(Scope::Read),
        "All counters.",
        &[(200, "Numbers by name.")],
    ),
    call(
        Does::Metrics,
        Method::GET,
        "/metrics",
        Some(Scope::Read),
        "All counters in Prometheus' text format.",
        &[(200, "Text.")],
    ),
    call(
        Does::Live,
        Method::GET,
        "/livez",
        None,
        "Whether the process runs. Needs no token.",
        &[(200, "It does.")],
    ),
    call(
        Does::Ready,
        Method::GET,
        "/readyz",
        Some(Scope::Read),
        "Whether requests are welcome.",
        &[(200, "They are."), (503, "They are not, and why.")],
    ),
    call(
        Does::OpenApi,
        Method::GET,
        "/openapi.json",
        Some(Scope::Read),
        "This description, as OpenAPI 3.1.",
        &[(200, "The document.")],
    ),
    call(
        Does::AsyncApi,
        Method::GET,
        "/asyncapi.yaml",
        Some(Scope::Read),
        "What goes through the broker for hidden routes, as AsyncAPI 3.0.",
        &[(200, "The document.")],
    ),
    call(
        Does::Page,
        Method::GET,
        "/docs",
        Some(Scope::Read),
        "This description, as a page.",
        &[(200, "HTML.")],
    ),
    call(Does::List, Method::GET, "/", Some(Scope::Read), "The calls there are.", &[(200, "A list.")]),
];

/// The call that is meant, or the methods that its path takes; neither where there
/// is no such path.
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Described, Option<String>> {
    let of_path = || CALLS.iter().filter(|call| is_path(call.path, path));
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    of_path().find(|call| call.method == *wanted).ok_or_else(|| {
        let name = |call: &Described| match call.method.as_str() {
            "GET" => "GET, HEAD".to_owned(),
            name => name.to_owned(),
        };
        let allow: Vec<String> = of_path().map(name).collect();
        (!allow.is_empty()).then(|| allow.join(", "))
    })
}

/// Whether a path is one that a call describes.
fn is_path(described: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let fits = described.split('/').all(|part| {
        let segment = segments.next();
        segment.is_some_and(|segment| segment == part || (part.starts_with('{') && !segment.is_empty()))
    });
    fits && segments.next().is_none()
}

/// The list at `/`.
pub(super) fn list() -> Value {
    let mut calls: Vec<Value> = CALLS
        .iter()
        .map(|call| json!({ "call": format!("{} {}", call.method, call.path), "what": call.text }))
        .collect();
    let methods = METHODS.join(", ");
    calls.push(json!({ "call": methods, "what": "Purges, as the clients of other caches say them." }));
    json!({ "forebay": env!("CARGO_PKG_VERSION"), "documentation": "/docs", "calls": calls })
}

/// The OpenAPI document.
pub(super) fn openapi() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for call in &CALLS {
        let mut answers = Map::new();
        for (status, text) in call.answers {
            let mut answer = json!({ "description": text });
            if let Some((kind, schema)) = content(call, *status, &mut schemas) {
                answer["content"] = json!({ kind: { "schema": schema } });
            }
            answers.insert(status.to_string(), answer);
        }
        if call.does != Does::Live {
            for (status, text) in [
                (401, "No token, or one that is not known."),
                (403, "The caller may not, or the request comes from a page."),
                (429, "Too much that was wrong came from this address, or too many bans are waiting."),
            ] {
                let schema = schema::<Refusal>(&mut schemas);
                answers.insert(
                    status.to_string(),
                    json!({ "description": text, "content": { "application/json": { "schema": schema } } }),
                );
            }
        }
        let scope = call.scope.map_or("", Scope::name);
        let mut operation = json!({
            "operationId": format!("{:?}", call.does),
            "summary": call.text,
            "responses": answers,
            "security": if call.does == Does::Live { json!([]) } else { json!([{ "token": [] }, {}]) },
        });
        if !scope.is_empty() {
            operation["x-scope"] = json!(scope);
        }
        match call.does {
            Does::Purge => {
                let schema = schema::<Body>(&mut schemas);
                operation["requestBody"] = json!({
                    "required": true,
                    "content": { "application/json": {
                        "schema": schema,
                        "example": { "tags": ["product-17"], "soft": true },
                    } },
                });
            }
            Does::Explain => {
                let schema = schema::<Question>(&mut schemas);
                operation["requestBody"] = json!({
                    "required": true,
                    "content": { "application/json": {
                        "schema": schema,
                        "example": { "url": "http://www.example.org/news", "headers": ["Accept-Encoding: gzip"] },
                    } },
                });
            }
            Does::Reload => {
                operation["requestBody"] = json!({
                    "required": false,
                    "content": { "application/json": { "schema": { "type": "object", "maxProperties": 0 } } },
                });
            }
            Does::Purges => {
                let number = |name: &str, text: &str, most: u64| {
                    json!({
                        "name": name, "in": "query", "required": false, "description": text,
                        "schema": { "type": "integer", "minimum": 0, "maximum": most },
                    })
                };
                operation["parameters"] = json!([
                    number("before", "Only those with a lower number.", u64::MAX),
                    number("count", "At most so many.", 1000),
                ]);
            }
            Does::Warm => {
                let schema = schema::<Spec>(&mut schemas);
                operation["requestBody"] = json!({
                    "required": true,
                    "content": { "application/json": {
                        "schema": schema,
                        "example": { "sitemaps": ["https://www.example.org/sitemap.xml"] },
                    } },
                });
            }
            Does::WarmJob | Does::WarmCancel => {
                operation["parameters"] = json!([{
                    "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
                }]);
            }
            Does::Replay => {
                let schema = schema::<Replay>(&mut schemas);
                operation["requestBody"] =
                    json!({ "required": false, "content": { "application/json": { "schema": schema } } });
                operation["parameters"] = json!([origin()]);
            }
            Does::Force => {
                let schema = schema::<Breaker>(&mut schemas);
                operation["requestBody"] =
                    json!({ "required": true, "content": { "application/json": { "schema": schema } } });
                operation["parameters"] = json!([origin()]);
            }
            Does::Dead => operation["parameters"] = json!([origin()]),
            Does::Fill => {
                operation["requestBody"] = json!({ "required": true, "content": {
                    "application/http": { "schema": { "type": "string", "format": "binary" } },
                    "*/*": { "schema": { "type": "string", "format": "binary" } },
                } });
                operation["parameters"] = json!([
                    { "name": "url", "in": "query", "required": false, "schema": { "type": "string" },
                      "description": "The URL as clients ask for it." },
                    { "name": "vary", "in": "query", "required": false, "schema": { "type": "string" },
                      "description": "NAME:VALUE of a request field that the route varies on." },
                    { "name": "Forebay-Fill-Token", "in": "header", "required": false,
                      "schema": { "type": "string" }, "description": "The token of the miss event." },
                ]);
            }
            Does::PurgeOf => {
                operation["parameters"] = json!([{
                    "name": "sequence", "in": "path", "required": true,
                    "schema": { "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 },
                }]);
            }
            _ => {}
        }
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "forebay's admin port",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": format!(
                "Purge, look, warm, reload. The methods {} do what the clients of other caches mean by them.",
                METHODS.join(", ")
            ),
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": Value::Object(schemas.take_definitions(true)),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// The parameter that names an origin.
fn origin() -> Value {
    json!({ "name": "origin", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
}

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!(schemas.subschema_for::<T>())
}

/// The media type and schema of an answer.
fn content(call: &Described, status: u16, schemas: &mut SchemaGenerator) -> Option<(&'static str, Value)> {
    let object = json!({ "type": "object" });
    let schema = match (call.does, status) {
        (Does::Metrics, _) => return Some(("text/plain", json!({ "type": "string" }))),
        (Does::AsyncApi, 200) => return Some(("application/yaml", object)),
        (Does::Page, _) => return Some(("text/html", json!({ "type": "string" }))),
        (Does::Purge, 200 | 202 | 500 | 503) => schema::<Told>(schemas),
        (Does::Purges, 200) => schema::<Purges>(schemas),
        (Does::PurgeOf, 200) => schema::<PurgeShown>(schemas),
        (Does::Nodes, 200) => schema::<View>(schemas),
        (Does::Bans, 200) => schema::<Bans>(schemas),
        (Does::Explain, 200) => schema::<Explained>(schemas),
        (Does::Warm, 202) | (Does::WarmJob | Does::WarmCancel, 200) => schema::<WarmView>(schemas),
        (Does::WarmJobs, 200) => schema::<Jobs>(schemas),
        (Does::Origins, 200) => schema::<Origins>(schemas),
        (Does::Force, 200) => schema::<Changed>(schemas),
        (Does::Queue, 200) => schema::<QueueView>(schemas),
        (Does::Dead, 200) => schema::<Dead>(schemas),
        (Does::Replay, 200) => schema::<Replayed>(schemas),
        (Does::Reload, 422) | (Does::Ready, 503) | (_, 200) => object,
        _ => schema::<Refusal>(schemas),
    };
    Some(("application/json", schema))
}

/// The description as a page, for people.
pub(super) fn page() -> String {
    let mut rows = String::new();
    for call in &CALLS {
        let scope = call.scope.map_or("", Scope::name);
        let answers: String = call
            .answers
            .iter()
            .map(|(status, text)| format!("<li><b>{status}</b> {}</li>", escaped(text)))
            .collect();
        rows.push_str(&format!(
            "<section><h2><code>{} {}</code></h2><p>{}</p><p>Scope: <code>{scope}</code></p><ul>{answers}</ul></section>\n",
            call.method,
            escaped(call.path),
            escaped(call.text),
        ));
    }
    let body = serde_json::to_string_pretty(&schemars::schema_for!(Body)).unwrap_or_default();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>forebay: the admin port</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px/1.5 system-ui;max-width:50em;\
         margin:2em auto;padding:0 1em;color:#123}}h2{{font-size:1.1em;margin-bottom:0}}pre{{background:#eef3f6;\
         padding:1em;overflow:auto}}section{{border-top:1px solid #cdd}}</style>\
         <h1>forebay {}: the admin port</h1><p>The same as <a href=\"/openapi.json\">OpenAPI 3.1</a>; what goes \
         through the broker is in <a href=\"/asyncapi.yaml\">AsyncAPI 3.0</a>. What changes something is JSON, with <code>Content-Type: application/json</code>. The methods {} do what the clients of \
         other caches mean by them.</p>\n{rows}<h2>What <code>POST /v1/purge</code> takes</h2><pre>{}</pre></html>\n",
        env!("CARGO_PKG_VERSION"),
        METHODS.join(", "),
        escaped(&body),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = openapi();
        let mut references = Vec::new();
        fn collect(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|value| collect(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
                _ => {}
            }
        }
        collect(&document, &mut references);
        assert!(references.len() > 5, "{references:?}");
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn a_path_is_found_with_its_method_or_says_which() {
        let does = |method: Method, path: &str| find(&method, path).map(|call| call.does);
        assert_eq!(does(Method::HEAD, "/metrics"), Ok(Does::Metrics));
        assert_eq!(does(Method::GET, "/v1/purges/17"), Ok(Does::PurgeOf));
        assert_eq!(does(Method::GET, "/v1/purges/"), Err(None));
        assert_eq!(does(Method::GET, "/v1/purges/1/2"), Err(None));
        assert_eq!(does(Method::GET, "/v1/purge"), Err(Some("POST".to_owned())));
        assert_eq!(does(Method::DELETE, "/"), Err(Some("GET, HEAD".to_owned())));
        assert_eq!(does(Method::PUT, "/v1/warm/x"), Err(Some("GET, HEAD, DELETE".to_owned())));
        assert_eq!(does(Method::DELETE, "/v1/warm/x"), Ok(Does::WarmCancel));
    }
}
