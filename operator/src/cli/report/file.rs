//! Where the page goes: looked at before anything is planned, written whole or not at all.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// How a page of ours begins; an older one may be replaced, anything else is somebody's work.
pub(super) const FIRST_LINE: &str = "<!DOCTYPE html><!-- harmonybatch plan --report -->\n";

/// A place to which a page can be written.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it was given, for messages.
    given: PathBuf,
    /// With links followed: a link goes on pointing to its file.
    file: PathBuf,
}

impl Target {
    /// Checks that the page can take this place.
    pub(crate) fn at(given: &Path) -> anyhow::Result<Self> {
        let shown = given.display();
        let file = match given.metadata() {
            Ok(found) if found.is_dir() => {
                bail!("--report {shown}: it is a folder: name a file in it")
            }
            Ok(found) if !found.is_file() => {
                bail!("--report {shown}: it is no regular file: name a file that can be replaced")
            }
            Ok(_) => {
                let file = given
                    .canonicalize()
                    .with_context(|| format!("--report {shown}"))?;
                if !is_page(&file).with_context(|| format!("--report {shown}"))? {
                    bail!("--report {shown}: it exists and is no report: remove it or choose another name");
                }
                file
            }
            Err(error) if error.kind() == ErrorKind::NotFound => given.to_owned(),
            Err(error) => return Err(error).with_context(|| format!("--report {shown}")),
        };
        let folder = folder(&file);
        if !folder.is_dir() {
            bail!(
                "--report {shown}: there is no folder {}: make it first",
                folder.display()
            );
        }
        Ok(Self {
            given: given.to_owned(),
            file,
        })
    }

    /// As it was given.
    pub(crate) fn given(&self) -> &Path {
        &self.given
    }

    /// Writes beside the place and renames, so that a browser never loads half a page.
    pub(crate) fn write(&self, page: &str) -> anyhow::Result<()> {
        let written = || -> std::io::Result<()> {
            let mut builder = tempfile::Builder::new();
            #[cfg(unix)]
            let builder = {
                use std::os::unix::fs::PermissionsExt;
                // What the umask leaves of it, as for any file.
                builder.permissions(std::fs::Permissions::from_mode(0o666))
            };
            let mut beside = builder
                .prefix(".harmonybatch-report")
                .tempfile_in(folder(&self.file))?;
            beside.write_all(page.as_bytes())?;
            beside.persist(&self.file).map_err(|error| error.error)?;
            Ok(())
        };
        written().with_context(|| format!("cannot write the report {}", self.given.display()))
    }
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => file,
    }
}

/// Whether a file begins as our pages do, or is empty, as one made by `mktemp` is.
fn is_page(file: &Path) -> std::io::Result<bool> {
    let mut start = String::new();
    let limit = FIRST_LINE.len() as u64;
    match std::fs::File::open(file)?.take(limit).read_to_string(&mut start) {
        Ok(_) => Ok(start.is_empty() || start == FIRST_LINE),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error),
    }
}
