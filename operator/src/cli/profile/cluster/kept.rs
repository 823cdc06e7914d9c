//! Samples files of one folder, one for each CPU limit: only what is of the image that runs is gone on with.

use std::path::PathBuf;

use anyhow::bail;
use harmonybatch_profiler::samples::{Header, Samples, SamplesFile};

use super::super::session::{Opened, Place};

/// A samples file, and what is in it already.
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) begun: Option<(Header, Samples)>,
}

impl Kept {
    /// A new samples file, or one to go on with if it is of the image that runs.
    pub(super) fn open(self, header: Header, earlier: Option<&str>) -> anyhow::Result<Opened> {
        let moved = |there: Option<&str>| match (there, header.image_digest.as_deref()) {
            (Some(there), Some(runs)) => there != runs,
            _ => false,
        };
        if let Some(there) = earlier
            && moved(Some(there))
        {
            bail!(
                "the pod runs the digest {} of the image, and limits before it were measured with {there}: the tag was moved meanwhile; begin anew in another \
             --folder",
                header.image_digest.unwrap_or_default()
            );
        }
        let Some((begun, samples)) = self.begun else {
            return Ok(Opened {
                header,
                place: Place::New(self.path),
            });
        };
        if moved(begun.image_digest.as_deref()) {
            bail!(
                "samples file {} is of another digest of the image than the pod runs ({}): move the file away, or give another --folder",
                self.path.display(),
                header.image_digest.unwrap_or_default()
            );
        }
        let (file, begun, _) = SamplesFile::resume(&self.path)?;
        Ok(Opened {
            header: begun,
            place: Place::Begun(file, samples),
        })
    }
}
