//! The programs of Kubernetes and around it, built from pinned Go modules.
//!
//! Each part has a recipe under `e2e/parts`: a `go.mod` with `tool` lines and the `go.sum` that pins every byte. The parts are apart because
//! their dependencies want different versions. What is built lies in a folder named after the recipe's content, so that a changed recipe
//! is built anew and an unchanged one never again.

mod recipe;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::command;
use crate::digest;
use crate::progress::Progress;

pub use recipe::{COREDNS, ETCD, HELM, KUBERNETES, Recipe};

/// Every recipe, those of the node first.
pub const RECIPES: [&Recipe; 4] = [&ETCD, &KUBERNETES, &COREDNS, &HELM];

/// Where the built programs are.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// Builds what is not built yet.
    ///
    /// # Errors
    /// The Go toolchain's, with the end of its output.
    pub fn build(cache: &Cache, progress: &Progress) -> Result<Self> {
        let parts = Self {
            folder: cache.parts(),
        };
        for recipe in RECIPES {
            if !parts.is_built(recipe) {
                build(recipe, &parts.folder_of(recipe), progress)?;
            }
        }
        Ok(parts)
    }

    /// The programs as an earlier [`Self::build`] left them.
    ///
    /// # Errors
    /// Where some part has not been built.
    pub fn built(cache: &Cache) -> Result<Self> {
        let parts = Self {
            folder: cache.parts(),
        };
        match RECIPES.iter().find(|recipe| !parts.is_built(recipe)) {
            Some(recipe) => bail!(
                "{} has not been built yet: run `cargo run --release -p e2e -- up`",
                recipe.name
            ),
            None => Ok(parts),
        }
    }

    /// The program `name`, as its recipe calls it.
    pub fn program(&self, recipe: &Recipe, name: &str) -> PathBuf {
        self.folder_of(recipe).join("bin").join(name)
    }

    fn folder_of(&self, recipe: &Recipe) -> PathBuf {
        self.folder
            .join(format!("{}-{}", recipe.name, &recipe.content_hash()[..12]))
    }

    /// Finished folders only ever appear by rename, so being there is being complete.
    fn is_built(&self, recipe: &Recipe) -> bool {
        self.folder_of(recipe).is_dir()
    }
}

fn build(recipe: &Recipe, folder: &Path, progress: &Progress) -> Result<()> {
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot clear {}", unfinished.display()))?;
    }
    std::fs::create_dir_all(unfinished.join("bin"))
        .with_context(|| format!("cannot make {}", unfinished.display()))?;
    std::fs::write(unfinished.join("go.mod"), recipe.go_mod).context("cannot write go.mod")?;
    std::fs::write(unfinished.join("go.sum"), recipe.go_sum).context("cannot write go.sum")?;
    for (program, package) in recipe.programs {
        let name = format!("Building {program} {}", recipe.version());
        progress.long_step(&name, "Go", || go_build(recipe, package, &unfinished, program))?;
    }
    std::fs::rename(&unfinished, folder)
        .with_context(|| format!("cannot put {} in its place", folder.display()))
}

fn go_build(recipe: &Recipe, package: &str, folder: &Path, program: &str) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .args(["build", "-trimpath", "-ldflags", &recipe.link_flags(), "-o"])
        .arg(Path::new("bin").join(program))
        .arg(package);
    command::run(program, &mut go).map(drop)
}

impl Recipe {
    /// Changes whenever the programs could.
    fn content_hash(&self) -> String {
        digest::sha256(
            [self.go_mod, self.go_sum, &self.link_flags()]
                .join("\0")
                .as_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_pins_its_module_and_names_its_programs_as_tools() {
        for recipe in RECIPES {
            let pinned = format!("{} {}", recipe.module, recipe.version());
            assert!(
                recipe.go_mod.contains(&pinned),
                "{} does not require {pinned}",
                recipe.name
            );
            assert!(
                recipe.go_sum.contains(&format!("{pinned} h1:")),
                "{} does not pin {pinned}",
                recipe.name
            );
            for (program, package) in recipe.programs {
                let tool = recipe
                    .go_mod
                    .lines()
                    .any(|line| line.trim().trim_start_matches("tool ") == *package);
                assert!(tool, "{program}: {package} is no tool of {}", recipe.name);
            }
        }
    }

    #[test]
    fn staging_modules_have_the_release_of_kubernetes() {
        let release = KUBERNETES.version().trim_start_matches("v1");
        let replaced: Vec<&str> = KUBERNETES
            .go_mod
            .lines()
            .filter(|line| line.contains(" => "))
            .collect();
        assert_eq!(replaced.len(), 31);
        assert!(
            replaced
                .iter()
                .all(|line| line.ends_with(&format!("v0{release}"))),
            "{replaced:?}"
        );
    }

    #[test]
    fn kubernetes_says_its_version() {
        let flags = KUBERNETES.link_flags();
        assert!(
            flags.contains("version.gitVersion=v1.34.4") && flags.contains("version.gitMinor=34"),
            "{flags}"
        );
        assert_eq!(ETCD.link_flags(), "-s -w");
    }

    #[test]
    fn another_recipe_has_another_folder() {
        let hashes: std::collections::BTreeSet<String> =
            RECIPES.iter().map(|recipe| recipe.content_hash()).collect();
        assert_eq!(hashes.len(), RECIPES.len());
    }
}
