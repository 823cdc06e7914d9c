//! The samples file: a header of what is measured, then one JSON line a batch, written as it is measured.
//!
//! A process that is killed leaves at most half a line at the end, which is cut off when the file is opened again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::quantity::Cpu;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::design::Grid;

/// Of the files that this version writes and reads.
const FORMAT: u32 = 1;

/// What was measured on one device: latencies in seconds by batch size, of batches that follow each other, and those after pauses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    by_size: BTreeMap<u32, Vec<f64>>,
    /// In their order.
    pub after_pauses: Vec<AfterPause>,
}

/// A batch that found the endpoint idle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterPause {
    /// Its rows.
    pub batch: u32,
    /// Its latency in seconds.
    pub seconds: f64,
    /// For how long nothing had been sent, in seconds.
    pub idle: f64,
    /// What batches of as many rows took that followed each other just before, in seconds.
    pub busy: f64,
}

impl Samples {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl std::ops::Deref for Samples {
    type Target = BTreeMap<u32, Vec<f64>>;

    fn deref(&self) -> &Self::Target {
        &self.by_size
    }
}

impl std::ops::DerefMut for Samples {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.by_size
    }
}

impl FromIterator<(u32, Vec<f64>)> for Samples {
    fn from_iter<I: IntoIterator<Item = (u32, Vec<f64>)>>(sizes: I) -> Self {
        Self {
            by_size: sizes.into_iter().collect(),
            after_pauses: Vec::new(),
        }
    }
}

impl<const SIZES: usize> From<[(u32, Vec<f64>); SIZES]> for Samples {
    fn from(sizes: [(u32, Vec<f64>); SIZES]) -> Self {
        sizes.into_iter().collect()
    }
}

/// What the endpoint runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Device {
    /// A CPU limit.
    Cpu {
        /// Such as 500m.
        #[serde(serialize_with = "write_cpu", deserialize_with = "read_cpu")]
        limit: Cpu,
    },
    /// A whole GPU.
    Gpu {
        /// Kind of device, as the platform's gpuPools name it.
        device: String,
        /// Memory that the model takes there, and that each row adds.
        memory: String,
        /// Memory that each row adds.
        memory_per_row: String,
    },
}

impl std::fmt::Display for Device {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu { limit } => write!(out, "cpu {limit}"),
            Self::Gpu { device, .. } => out.write_str(device),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn write_cpu<S: Serializer>(cpu: &Cpu, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(cpu)
}

fn read_cpu<'de, D: Deserializer<'de>>(input: D) -> Result<Cpu, D::Error> {
    String::deserialize(input)?.parse().map_err(de::Error::custom)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_json(protocol: &Protocol) -> bool {
    *protocol == Protocol::OipV2Json
}

/// What is measured, and where: enough to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The server's address.
    pub endpoint: String,
    /// The model's name in the protocol.
    pub model: String,
    /// What the server speaks.
    #[serde(default, skip_serializing_if = "is_json")]
    pub protocol: Protocol,
    /// Batch sizes are those from 1 to this.
    pub max_batch: u32,
    /// What it runs on.
    pub device: Device,
    /// Whether all batch sizes were to be measured in full.
    #[serde(default, skip_serializing_if = "Grid::is_full")]
    pub grid: Grid,
    /// Dimensions past the batch that the model leaves open, by input.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// File of the given rows; random ones where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<PathBuf>,
    /// Of random rows and of the order of batch sizes.
    pub seed: u64,
    /// Day on which it was begun, such as 2026-03-31.
    pub date: String,
    /// The endpoint's machine, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// The kernel of that machine, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The image that was run for it; none where somebody else runs the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Digest of that image, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct First<H> {
    harmonybatch_samples: u32,
    header: H,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    batch: u32,
    seconds: f64,
    /// With `busy`, of a batch after a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    busy: Option<f64>,
}

/// Why samples could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The file cannot be used.
    #[error("samples file {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new measurement would overwrite an old one.
    #[error("samples file {} exists: go on with it by --resume, or name another with --samples", .0.display())]
    Exists(PathBuf),
    /// A line is not what it should be.
    #[error("samples file {}, line {line}: {problem}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// An open samples file.
#[derive(Debug)]
pub struct SamplesFile {
    path: PathBuf,
    file: File,
}

impl SamplesFile {
    /// Begins a file, which must not be there yet.
    pub fn create(path: &Path, header: &Header) -> Result<Self, SamplesError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => SamplesError::Exists(path.to_owned()),
            _ => failed(path, source),
        })?;
        let mut created = Self {
            path: path.to_owned(),
            file,
        };
        created.write(&First {
            harmonybatch_samples: FORMAT,
            header,
        })?;
        Ok(created)
    }

    /// Opens a file to go on with it.
    pub fn resume(path: &Path) -> Result<(Self, Header, Samples), SamplesError> {
        let text = load(path)?;
        let (header, samples) = parse(path, &text)?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|source| failed(path, source))?;
        file.set_len(whole(&text).len() as u64)
            .map_err(|source| failed(path, source))?;
        let path = path.to_owned();
        Ok((Self { path, file }, header, samples))
    }

    /// Keeps a sample.
    pub fn append(&mut self, batch: u32, seconds: f64) -> Result<(), SamplesError> {
        self.write(&Sample {
            batch,
            seconds,
            idle: None,
            busy: None,
        })
    }

    /// Keeps a batch after a pause.
    pub fn append_after_pause(&mut self, sample: &AfterPause) -> Result<(), SamplesError> {
        self.write(&Sample {
            batch: sample.batch,
            seconds: sample.seconds,
            idle: Some(sample.idle),
            busy: Some(sample.busy),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), SamplesError> {
        let written = serde_json::to_string(line).map_err(io::Error::other);
        written
            .and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .map_err(|source| failed(&self.path, source))
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<(Header, Samples), SamplesError> {
    parse(path, &load(path)?)
}

fn load(path: &Path) -> Result<String, SamplesError> {
    std::fs::read_to_string(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> SamplesError {
    SamplesError::Io {
        file: path.to_owned(),
        source,
    }
}

/// The text up to its last whole line.
fn whole(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..=end])
}

fn parse(path: &Path, text: &str) -> Result<(Header, Samples), SamplesError> {
    let wrong = |line: usize, problem: String| SamplesError::Line {
        file: path.to_owned(),
        line,
        problem,
    };
    let mut lines = (1..).zip(whole(text).lines());
    let (_, first) = lines
        .next()
        .ok_or_else(|| wrong(1, "no header: this is not a samples file".to_owned()))?;
    let first: First<Header> =
        serde_json::from_str(first).map_err(|error| wrong(1, format!("not a header: {error}")))?;
    if first.harmonybatch_samples != FORMAT {
        let problem = format!(
            "format {}, this version knows {FORMAT}",
            first.harmonybatch_samples
        );
        return Err(wrong(1, problem));
    }
    let mut samples = Samples::new();
    for (number, line) in lines {
        let sample: Sample = serde_json::from_str(line).map_err(|error| wrong(number, error.to_string()))?;
        if !(1..=first.header.max_batch).contains(&sample.batch) {
            return Err(wrong(
                number,
                format!(
                    "a batch of {}, the header has 1 to {}",
                    sample.batch, first.header.max_batch
                ),
            ));
        }
        let times = [Some(sample.seconds), sample.idle, sample.busy];
        if let Some(time) = times
            .into_iter()
            .flatten()
            .find(|&time| !(time.is_finite() && time > 0.0))
        {
            return Err(wrong(number, format!("{time} seconds is no latency")));
        }
        match (sample.idle, sample.busy) {
            (None, None) => samples.entry(sample.batch).or_default().push(sample.seconds),
            (Some(idle), Some(busy)) => samples.after_pauses.push(AfterPause {
                batch: sample.batch,
                seconds: sample.seconds,
                idle,
                busy,
            }),
            _ => return Err(wrong(number, "idle and busy go together".to_owned())),
        }
    }
    Ok((first.header, samples))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::points;

    fn header() -> Header {
        let limit = Cpu::from_millis(500);
        Header {
            protocol: Protocol::OipV2Grpc,
            max_batch: 4,
            shapes: BTreeMap::from([("image".to_owned(), vec![3, 224, 224])]),
            ..points::tests::header("mlp", Device::Cpu { limit })
        }
    }

    #[test]
    fn what_was_written_is_read_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut file = SamplesFile::create(&path, &header()).unwrap();
        file.append(3, 0.1).unwrap();
        file.append(1, 1.0 / 3.0).unwrap();
        drop(file);
        assert!(matches!(
            SamplesFile::create(&path, &header()),
            Err(SamplesError::Exists(_))
        ));
        let (mut file, found, _) = SamplesFile::resume(&path).unwrap();
        file.append(3, 0.2).unwrap();
        let after_pause = AfterPause {
            batch: 1,
            seconds: 0.4,
            idle: 0.02,
            busy: 0.3,
        };
        file.append_after_pause(&after_pause).unwrap();
        assert_eq!(found, header());
        let (_, samples) = read(&path).unwrap();
        let mut expected = Samples::from([(1, vec![1.0 / 3.0]), (3, vec![0.1, 0.2])]);
        expected.after_pauses.push(after_pause);
        assert_eq!(samples, expected);
    }

    #[test]
    fn half_a_line_at_the_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        SamplesFile::create(&path, &header())
            .unwrap()
            .append(2, 0.5)
            .unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"batch\":2,\"seco")).unwrap();
        assert_eq!(read(&path).unwrap().1, Samples::from([(2, vec![0.5])]));
        let (mut file, ..) = SamplesFile::resume(&path).unwrap();
        file.append(1, 0.25).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{whole}{{\"batch\":1,\"seconds\":0.25}}\n")
        );
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        SamplesFile::create(&path, &header()).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for (text, part) in [
            (
                format!("{good}{{\"batch\":5,\"seconds\":1}}\n"),
                "line 2: a batch of 5, the header has 1 to 4",
            ),
            (
                format!("{good}{{\"batch\":1,\"seconds\":0}}\n"),
                "line 2: 0 seconds is no latency",
            ),
            (
                format!("{good}{{\"batch\":1,\"seconds\":1,\"idle\":1}}\n"),
                "line 2: idle and busy go together",
            ),
            (format!("{good}nothing\n"), "line 2: expected"),
            (good.replace(":1,", ":2,"), "format 2, this version knows 1"),
            ("a,b\n".to_owned(), "line 1: not a header"),
            (String::new(), "line 1: no header"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
