//! Container images without a container engine: one static program each.
//!
//! `archive` knows the format, `programs` builds what goes in, [`Images`] holds the finished archives that the node imports.

mod archive;
mod programs;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::digest;
use crate::parts::{self, Parts};
use crate::progress::Progress;

pub use archive::Image;
pub(crate) use programs::repository;

/// Where images of this machine claim to come from. Knative never asks a registry for the digests of such names.
pub const REGISTRY: &str = "dev.local";
/// Tag under which the newest build can always be found; the samples use it.
pub const NEWEST: &str = "dev";

/// One image as an archive on disk.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Name with registry, without tag.
    pub repository: String,
    /// Tag that changes with the content.
    pub tag: String,
    /// The OCI archive.
    pub file: PathBuf,
}

impl Archive {
    /// `repository:tag`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// The archives that need nothing but the parts: what every pod and every name look-up rests on.
///
/// # Errors
/// Where a program cannot be built or the cache cannot be written.
pub fn of_the_node(cache: &Cache, parts: &Parts) -> Result<Vec<Archive>> {
    let coredns = parts.program(&parts::COREDNS, "coredns");
    Ok(vec![
        archived(cache, "pause", "1", &programs::pause(cache)?)?,
        archived(
            cache,
            "coredns",
            parts::COREDNS.version().trim_start_matches('v'),
            &coredns,
        )?,
    ])
}

/// The product's image.
///
/// # Errors
/// Cargo's, with the end of its output.
pub fn of_the_product(cache: &Cache, progress: &Progress) -> Result<Archive> {
    of_a_package(cache, progress, "harmonybatch", "harmonybatch")
}

/// The product's program itself, as it is in its image.
///
/// # Errors
/// Cargo's, with the end of its output.
pub(crate) fn program_of_the_product(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    program(cache, progress, "harmonybatch", "harmonybatch")
}

/// The image of the inference server that the samples run.
///
/// # Errors
/// Cargo's, with the end of its output.
pub fn of_the_demo_runtime(cache: &Cache, progress: &Progress) -> Result<Archive> {
    of_a_package(cache, progress, "e2e-runtime", "harmonybatch-demo-runtime")
}

/// The image `name` of a workspace package with one program, which has the package's name.
///
/// # Errors
/// Cargo's, with the end of its output.
pub fn of_a_package(cache: &Cache, progress: &Progress, package: &str, name: &str) -> Result<Archive> {
    let program = program(cache, progress, package, name)?;
    archived(cache, name, env!("CARGO_PKG_VERSION"), &program)
}

fn program(cache: &Cache, progress: &Progress, package: &str, name: &str) -> Result<PathBuf> {
    progress.long_step(
        &format!("Building the program of image {name}"),
        "release build, static",
        || programs::cargo(cache, package, package),
    )
}

/// Writes the archive of `program` unless the same one is there.
fn archived(cache: &Cache, name: &str, version: &str, program: &std::path::Path) -> Result<Archive> {
    let content = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let repository = format!("{REGISTRY}/{name}");
    let tag = format!("{version}-{}", &digest::sha256(&content)[..12]);
    let file = cache.images().join(format!("{name}-{tag}.tar"));
    let archive = Archive {
        repository,
        tag,
        file,
    };
    if !archive.file.is_file() {
        std::fs::create_dir_all(cache.images()).context("cannot make the folder for images")?;
        let names = vec![archive.name(), format!("{}:{NEWEST}", archive.repository)];
        let unfinished = archive.file.with_extension("unfinished");
        let bytes = Image {
            names,
            program: name.to_owned(),
            content,
        }
        .archive()
        .with_context(|| format!("cannot make the image {name}"))?;
        std::fs::write(&unfinished, bytes)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        std::fs::rename(&unfinished, &archive.file)
            .with_context(|| format!("cannot write {}", archive.file.display()))?;
    }
    Ok(archive)
}
