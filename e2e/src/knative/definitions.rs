//! Knative's own definitions of kinds, out of its Go module: real ones, so that what they refuse here they refuse everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cache::Cache;
use crate::command;
use crate::digest;

/// The version of `knative.dev/serving` whose definitions and behaviour are used.
pub const MODULE_VERSION: &str = "v0.51.0";
const MODULE: &str = "knative.dev/serving";
const GO_MOD: &str = include_str!("../../parts/knative/go.mod");
const GO_SUM: &str = include_str!("../../parts/knative/go.sum");
/// The kinds that the stand-in knows what to do with: what would pile up of the others, nobody would look at.
const KINDS: [&str; 2] = [
    "config/core/300-resources/service.yaml",
    "config/core/300-resources/revision.yaml",
];
/// The settings that tell which fields of a Pod may be used.
const SETTINGS: [&str; 2] = [
    "config/core/100-namespace.yaml",
    "config/core/configmaps/features.yaml",
];

/// The files that make a cluster one that knows Knative's kinds, fetched if they are not in the cache.
///
/// # Errors
/// The Go client's, or where the module has no such files.
pub(super) fn files(cache: &Cache) -> Result<Vec<PathBuf>> {
    let folder = cache.parts().join(format!(
        "knative-{}",
        &digest::sha256(
            [GO_MOD, GO_SUM, &KINDS.concat(), &SETTINGS.concat()]
                .concat()
                .as_bytes()
        )[..12]
    ));
    if !folder.is_dir() {
        fetch(&folder)?;
    }
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    Ok(files)
}

/// Finished folders only ever appear by rename, so being there is being complete.
fn fetch(folder: &Path) -> Result<()> {
    let unfinished = folder.with_extension("unfinished");
    std::fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    std::fs::write(unfinished.join("go.mod"), GO_MOD).context("cannot write go.mod")?;
    std::fs::write(unfinished.join("go.sum"), GO_SUM).context("cannot write go.sum")?;
    let mut go = Command::new("go");
    go.current_dir(&unfinished)
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
        .args(["mod", "download", "-json", MODULE]);
    let said = command::run("Knative's definitions", &mut go)?;
    let said: Value = serde_json::from_str(&said).context("the Go client's answer")?;
    let module = Path::new(
        said["Dir"]
            .as_str()
            .with_context(|| format!("the Go client has no folder for {MODULE}: {said}"))?,
    );
    for file in KINDS.iter().chain(&SETTINGS).map(|file| module.join(file)) {
        let name = file
            .file_name()
            .with_context(|| format!("{} is no file", file.display()))?;
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        std::fs::write(unfinished.join(name), text)
            .with_context(|| format!("cannot keep {}", file.display()))?;
    }
    std::fs::rename(&unfinished, folder)
        .with_context(|| format!("cannot put {} in its place", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_pins_the_module() {
        assert!(
            GO_MOD.contains(&format!("{MODULE} {MODULE_VERSION}")),
            "go.mod does not require it"
        );
        assert!(
            GO_SUM.contains(&format!("{MODULE} {MODULE_VERSION} h1:")),
            "go.sum does not pin it"
        );
    }
}
