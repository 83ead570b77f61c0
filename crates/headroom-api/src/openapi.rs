//! The OpenAPI 3.1 document, made from the table of routes and the types they speak.

use std::sync::Arc;

use axum::routing::MethodRouter;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::App;
use crate::params::{FORMAT, Param, Shape};
use crate::problem::ProblemBody;
use crate::routes::{Operation, operations};

/// Makes the schema of a body or an answer.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a route answers with.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// JSON of this shape.
    Json(SchemaOf),
    /// Server-sent events whose `overview` has this shape.
    Events(SchemaOf),
    /// A line of text.
    Text,
    /// Nothing but that it is done.
    Nothing,
}

/// The schema of `T`, by reference where `T` has a name.
pub(crate) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A route that reads; the methods of [`Draft`] say what else there is to it.
pub(crate) fn read(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    query: &'static [Param],
) -> Draft {
    Draft { method: "get", path, id, about, query, body: None, answer: Answer::Nothing }
}

/// A route that is being described.
pub(crate) struct Draft {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    about: &'static str,
    query: &'static [Param],
    body: Option<SchemaOf>,
    answer: Answer,
}

impl Draft {
    pub(crate) fn post(self, body: SchemaOf) -> Self {
        Self { method: "post", body: Some(body), ..self }
    }

    pub(crate) fn post_empty(self) -> Self {
        Self { method: "post", ..self }
    }

    pub(crate) fn json(self, answer: SchemaOf) -> Self {
        Self { answer: Answer::Json(answer), ..self }
    }

    pub(crate) fn events(self, answer: SchemaOf) -> Self {
        Self { answer: Answer::Events(answer), ..self }
    }

    pub(crate) fn text(self) -> Self {
        Self { answer: Answer::Text, ..self }
    }

    pub(crate) fn nothing(self) -> Self {
        Self { answer: Answer::Nothing, ..self }
    }

    pub(crate) fn served_by(self, handler: MethodRouter<Arc<App>>) -> Operation {
        let Self { method, path, id, about, query, body, answer } = self;
        Operation { method, path, id, about, query, body, answer, handler }
    }
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|s| {
            s.definitions_path = "/components/schemas".into();
            s.meta_schema = None;
        })
    };
    let mut answers = settings().for_serialize().into_generator();
    let mut bodies = settings().for_deserialize().into_generator();
    let problem = answers.subschema_for::<ProblemBody>();
    let mut paths = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut answers, &mut bodies);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    let mut schemas = answers.take_definitions(true);
    // What may be left out of a body stands in every answer, so a type can have two shapes: bodies' get a name
    // of their own.
    for (name, mut schema) in bodies.take_definitions(true) {
        name_inputs(&mut schema);
        schemas.insert(format!("{name}Input"), schema);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "headroom",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the controller does and why, and a word in it. Reading needs nothing; every change \
                            needs the token. Requests under a foreign host name or from another site's page are \
                            refused.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Problem": {
                    "description": "It was not done: what failed, why, and what to do next.",
                    "content": { "application/json": { "schema": problem } }
                }
            }
        }
    })
}

fn describe(operation: &Operation, answers: &mut SchemaGenerator, bodies: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(operation.query.iter().map(query_parameter));
    let (status, done) = match operation.answer {
        Answer::Json(schema) => {
            let status = if operation.id == "push" { "202" } else { "200" };
            let mut content = json!({ "application/json": { "schema": schema(answers) } });
            if operation.query.contains(&FORMAT) {
                content["text/csv"] = json!({ "schema": { "type": "string" } });
            }
            (status, content)
        }
        Answer::Events(schema) => (
            "200",
            json!({ "text/event-stream": { "schema": { "type": "string" }, "x-overview": schema(answers) } }),
        ),
        Answer::Text => ("200", json!({ "text/plain": { "schema": { "type": "string" } } })),
        Answer::Nothing => ("204", Value::Null),
    };
    let mut success = json!({ "description": operation.about });
    if !done.is_null() {
        success["content"] = done;
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.about,
        "parameters": parameters,
        "responses": { status: success, "default": { "$ref": "#/components/responses/Problem" } }
    });
    if operation.method == "post" {
        described["security"] = json!([{ "token": [] }]);
    }
    if let Some(schema) = operation.body {
        let mut schema = schema(bodies).to_value();
        name_inputs(&mut schema);
        described["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    described
}

/// The names in braces of a path.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn query_parameter(param: &Param) -> Value {
    let schema = match param.shape {
        Shape::Language => json!({ "type": "string", "enum": ["en", "ko"], "default": "en" }),
        Shape::Format => json!({ "type": "string", "enum": ["json", "csv"], "default": "json" }),
        Shape::Flag => json!({ "type": "boolean", "default": false }),
        Shape::Count(most) => json!({ "type": "integer", "minimum": 1, "maximum": most }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Moment | Shape::Text => json!({ "type": "string" }),
    };
    json!({ "name": param.name, "in": "query", "description": param.about, "schema": schema })
}

/// Lets every reference point at the shape for bodies.
fn name_inputs(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(target) if name == "$ref" => target.push_str("Input"),
                    other => name_inputs(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(name_inputs),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(target) if name == "$ref" => drop(found.insert(target.clone())),
                        other => references(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
        }
    }

    #[test]
    fn every_route_stands_in_the_document_with_an_id_of_its_own() {
        let document = document();
        let mut ids = BTreeSet::new();
        for operation in operations() {
            let described = &document["paths"][operation.path][operation.method];
            assert_eq!(described["operationId"], operation.id, "{}", operation.path);
            assert!(ids.insert(operation.id), "{} twice", operation.id);
            assert!(described["responses"]["default"].is_object());
            let named: Vec<_> = described["parameters"].as_array().unwrap().iter().collect();
            let in_path = named.iter().filter(|p| p["in"] == "path").count();
            assert_eq!(in_path, path_parameters(operation.path).count(), "{}", operation.path);
            let is_change = operation.method == "post";
            assert_eq!(described["security"].is_array(), is_change, "{}", operation.path);
        }
    }
}
