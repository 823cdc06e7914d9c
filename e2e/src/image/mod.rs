//! Container images without a container engine: one static program each, with the files that it reads where it reads any.
//!
//! `archive` knows the format, `programs` builds what goes in, [`Images`] holds the finished archives that the node imports.

mod archive;
mod programs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::digest;
use crate::parts::{self, Parts};
use crate::progress::Progress;

pub use archive::{File, Image};
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
    built(cache, progress, "harmonybatch", "harmonybatch")
}

/// The image of the inference server that the samples run.
///
/// # Errors
/// Cargo's, with the end of its output.
pub fn of_the_demo_runtime(cache: &Cache, progress: &Progress) -> Result<Archive> {
    of_a_package(cache, progress, "e2e-runtime", "harmonybatch-demo-runtime")
}

/// The same with files that the server reads, under a name of its own: the samples go on running the image without them.
///
/// # Errors
/// Cargo's, with the end of its output; and where the path of a file is not one below the image's root.
pub fn of_the_demo_runtime_with(cache: &Cache, progress: &Progress, files: &[File]) -> Result<Archive> {
    let program = "harmonybatch-demo-runtime";
    let built = built(cache, progress, "e2e-runtime", program)?;
    archived_with(
        cache,
        "harmonybatch-demo-runtime-with-files",
        program,
        env!("CARGO_PKG_VERSION"),
        &built,
        files,
    )
}

/// The image `name` of a workspace package with one program, which has the package's name.
///
/// # Errors
/// Cargo's, with the end of its output.
pub fn of_a_package(cache: &Cache, progress: &Progress, package: &str, name: &str) -> Result<Archive> {
    let program = built(cache, progress, package, name)?;
    archived(cache, name, env!("CARGO_PKG_VERSION"), &program)
}

fn built(cache: &Cache, progress: &Progress, package: &str, name: &str) -> Result<PathBuf> {
    progress.long_step(
        &format!("Building the program of image {name}"),
        "release build, static",
        || programs::cargo(cache, package, package),
    )
}

/// Writes the archive of `program`, which has the image's name, unless the same one is there.
fn archived(cache: &Cache, name: &str, version: &str, program: &Path) -> Result<Archive> {
    archived_with(cache, name, name, version, program, &[])
}

/// Writes the archive of `program` and its files unless the same one is there.
fn archived_with(
    cache: &Cache,
    name: &str,
    program: &str,
    version: &str,
    built: &Path,
    files: &[File],
) -> Result<Archive> {
    let content = std::fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    let repository = format!("{REGISTRY}/{name}");
    let tag = format!("{version}-{}", &fingerprint(&content, files)[..12]);
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
            program: program.to_owned(),
            content,
            files: files.to_vec(),
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

/// The digest of the program, or of the list of digests where there are files.
fn fingerprint(program: &[u8], files: &[File]) -> String {
    let program = digest::sha256(program);
    if files.is_empty() {
        return program;
    }
    let list = files.iter().fold(program, |list, File { path, content }| {
        format!("{list}\n{} {path}", digest::sha256(content))
    });
    digest::sha256(list.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{File, fingerprint};
    use crate::digest::sha256;

    #[test]
    fn the_tag_changes_with_the_program_and_every_file() {
        let file = |path: &str, content: &[u8]| File {
            path: path.to_owned(),
            content: content.to_vec(),
        };
        let found = [
            fingerprint(b"program", &[]),
            fingerprint(b"other", &[]),
            fingerprint(b"program", &[file("/a", b"1")]),
            fingerprint(b"program", &[file("/a", b"2")]),
            fingerprint(b"program", &[file("/b", b"1")]),
            fingerprint(b"other", &[file("/a", b"1")]),
            fingerprint(b"program", &[file("/a", b"1"), file("/b", b"1")]),
        ];
        let different = found.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(different.len(), found.len());
        assert_eq!(found[0], sha256(b"program"));
    }
}
