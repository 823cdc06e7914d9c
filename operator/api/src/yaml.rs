//! YAML in and out: the one module that knows its library.
//!
//! A file may hold several documents. An error says the file, the document and the line, so that a person can go there.

use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

/// One document of a file, not yet a kind.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file it stands in; `-` for standard input.
    pub file: PathBuf,
    /// Its number in the file, from 1.
    pub number: usize,
    /// Line of the file in which it starts, from 1.
    pub line: usize,
    /// Its place in the document's `items`, from 0, if that is a list.
    item: Option<usize>,
    text: String,
    value: serde_yaml::Value,
}

/// Why YAML could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}, document {document}{}: {source}", .file.display(), .line.map_or(String::new(), |line| format!(", line {line}")))]
pub struct ReadError {
    /// The file.
    pub file: PathBuf,
    /// The document in it, from 1.
    pub document: usize,
    /// The line in it, from 1, where it is known.
    pub line: Option<usize>,
    /// What was wrong there.
    pub source: ReadProblem,
}

/// What was wrong in a document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadProblem {
    /// It is not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// It is YAML, but not of the wanted form.
    #[error("{0}")]
    Form(String),
}

/// Why a value could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot be written as YAML: {0}")]
pub struct WriteError(#[from] serde_yaml::Error);

/// The documents of a file's text; empty ones are left out.
pub fn read(file: &Path, text: &str) -> Result<Vec<Document>, ReadError> {
    let mut documents = Vec::new();
    for (index, (first_line, part)) in split(text).into_iter().enumerate() {
        let number = index + 1;
        // With the lines before it left empty, every error has the line of the file.
        let text = "\n".repeat(first_line - 1) + part;
        let value: serde_yaml::Value = serde_yaml::from_str(&text).map_err(|error| ReadError {
            file: file.to_owned(),
            document: number,
            line: error.location().map(|at| at.line()),
            source: ReadProblem::Syntax(without_location(&error)),
        })?;
        if !value.is_null() {
            let line = first_line
                + part
                    .lines()
                    .take_while(|line| is_bare(line) || is_marker(line))
                    .count();
            documents.push(Document {
                file: file.to_owned(),
                number,
                line,
                item: None,
                text,
                value,
            });
        }
    }
    Ok(documents)
}

impl Document {
    /// The value of a string field at the top, such as `kind`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.value.get(name)?.as_str()
    }

    /// The objects of a list as `kubectl get -o yaml` writes it (`kind: List`), or the document itself.
    pub fn objects(self) -> Result<Vec<Self>, ReadError> {
        if self.field("kind") != Some("List") {
            return Ok(vec![self]);
        }
        let Some(items) = self.value.get("items").and_then(serde_yaml::Value::as_sequence) else {
            return Err(self.error("a List has its objects in items".to_owned()));
        };
        let items = items.iter().enumerate().map(|(item, value)| {
            let text = serde_yaml::to_string(value).map_err(|error| self.error(error.to_string()))?;
            Ok(Self {
                item: Some(item),
                text,
                value: value.clone(),
                ..self.clone()
            })
        });
        items.collect()
    }

    /// The document as a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        // From the text once more, because only then an error knows its field and line. Unions are maps of one key here, as in the API, where
        // serde_yaml's own form is a tag (`!cpu`).
        let input = serde_yaml::Deserializer::from_str(&self.text);
        serde_yaml::with::singleton_map_recursive::deserialize(input).map_err(|error: serde_yaml::Error| {
            let known = self.error(without_location(&error));
            ReadError {
                // Of an item, only the list's line is known.
                line: error
                    .location()
                    .filter(|_| self.item.is_none())
                    .map_or(known.line, |at| Some(at.line())),
                ..known
            }
        })
    }

    /// The document as JSON.
    pub fn to_json(&self) -> Result<serde_json::Value, ReadError> {
        serde_json::to_value(&self.value).map_err(|error| self.error(error.to_string()))
    }

    /// An error in this document.
    pub fn error(&self, problem: String) -> ReadError {
        ReadError {
            file: self.file.clone(),
            document: self.number,
            line: Some(self.line),
            source: ReadProblem::Form(match self.item {
                Some(item) => format!("items[{item}]: {problem}"),
                None => problem,
            }),
        }
    }
}

/// One value as a YAML document.
pub fn write<T: Serialize>(value: &T) -> Result<String, WriteError> {
    let mut text = Vec::new();
    let mut serializer = serde_yaml::Serializer::new(&mut text);
    serde_yaml::with::singleton_map_recursive::serialize(value, &mut serializer)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// One value of YAML that is a single document.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ReadError> {
    match read(file, text)?.as_slice() {
        [document] => document.parse(),
        documents => Err(ReadError {
            file: file.to_owned(),
            document: 1,
            line: None,
            source: ReadProblem::Form(format!("one document is expected, {} found", documents.len())),
        }),
    }
}

/// The documents of a text, each with its first line, from 1. A marker at the start of a line always begins a document, even in a block of text
/// (YAML 1.2, 9.1.2).
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) && offset > start {
            let before = &text[start..offset];
            // What stands before the first marker is a document only where it says something.
            if !parts.is_empty() || !before.lines().all(is_bare) {
                parts.push((start_line, before));
            }
            (start, start_line) = (offset, index + 1);
        }
        offset += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts
}

/// Whether a line begins a document.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line says nothing.
fn is_bare(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn without_location(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    match text.find(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::InferenceApp;

    const APP: &str = "kind: InferenceApp\napiVersion: harmonybatch.dev/v1alpha1\nmetadata: {name: a}\nspec: {modelRef: {name: m}, slo: {latency: 1s}, rate: 1/s}\n";

    #[test]
    fn documents_know_their_number_and_line() {
        let text = format!("# a comment\n---\n\n{APP}---\n# nothing\n---\n{APP}");
        let documents = read(Path::new("apps.yaml"), &text).unwrap();
        let found: Vec<_> = documents
            .iter()
            .map(|document| (document.number, document.line, document.field("kind")))
            .collect();
        assert_eq!(
            found,
            [(1, 4, Some("InferenceApp")), (3, 11, Some("InferenceApp"))]
        );
        let app: InferenceApp = documents[1].parse().unwrap();
        assert_eq!(
            (app.spec.slo.latency.as_str(), app.spec.slo.percentile.as_str()),
            ("1s", "99")
        );
    }

    #[test]
    fn a_list_is_its_objects_and_an_error_says_which() {
        let text = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n",
            APP.trim_end().replace('\n', "\n  "),
            APP.trim_end()
                .replace('\n', "\n  ")
                .replace("latency", "latencies")
        );
        let documents = read(Path::new("apps.yaml"), &text).unwrap();
        let objects = documents[0].clone().objects().unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0].parse::<InferenceApp>().unwrap().spec.rate, "1/s");
        let error = objects[1].parse::<InferenceApp>().unwrap_err().to_string();
        assert_eq!(
            error,
            "apps.yaml, document 1, line 1: items[1]: spec.slo: missing field `latency`"
        );
    }

    #[test]
    fn an_error_names_file_document_line_and_field() {
        let text = format!("{APP}---\n{}", APP.replace("latency", "latencies"));
        let error = read(Path::new("apps.yaml"), &text).unwrap()[1]
            .parse::<InferenceApp>()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "apps.yaml, document 2, line 9: spec.slo: missing field `latency`"
        );
        let error = read(Path::new("apps.yaml"), "a: b\nc: [\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("apps.yaml, document 1, line 3: not YAML: "),
            "{error}"
        );
    }

    #[test]
    fn one_document_is_one_document() {
        let two = format!("{APP}---\n{APP}");
        assert!(parse::<InferenceApp>(Path::new("a"), APP).is_ok());
        assert_eq!(
            parse::<InferenceApp>(Path::new("a"), &two)
                .unwrap_err()
                .to_string(),
            "a, document 1: one document is expected, 2 found"
        );
    }

    #[test]
    fn an_application_is_written_as_it_is_read() {
        let app: InferenceApp = parse(Path::new("a"), APP).unwrap();
        assert_eq!(
            parse::<InferenceApp>(Path::new("a"), &write(&app).unwrap()).unwrap(),
            app
        );
    }
}
