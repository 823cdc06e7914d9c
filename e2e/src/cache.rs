//! Where the harness keeps what it builds and runs: one folder outside the repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Names the cache folder; without it the folder is `harmonybatch` in the user's cache.
pub const CACHE_VARIABLE: &str = "HARMONYBATCH_CACHE";

/// Folders that the node covers with file systems of its own (see [`crate::node`]), so that nothing below them is visible inside.
const COVERED_IN_THE_NODE: &[&str] = &["/run", "/var/run", "/sys", "/proc", "/var/lib", "/var/log"];

/// The cache folder and the places in it.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The folder named by `HARMONYBATCH_CACHE`, else `$XDG_CACHE_HOME/harmonybatch`, else `~/.cache/harmonybatch`; made if absent.
    ///
    /// # Errors
    /// Where none of the three variables is set, the folder cannot be made, or it lies where the node could not see it.
    pub fn locate() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = variable(CACHE_VARIABLE)
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("harmonybatch")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/harmonybatch")))
            .with_context(|| {
                format!("no place for the cache: set {CACHE_VARIABLE} to a folder with 12 GB of room")
            })?;
        Self::at(&root)
    }

    fn at(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)
            .with_context(|| format!("cannot make the cache folder {}", root.display()))?;
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", root.display()))?;
        if let Some(covered) = COVERED_IN_THE_NODE
            .iter()
            .find(|covered| root.starts_with(covered))
        {
            bail!(
                "the cache folder {} is below {covered}, which the node replaces by its own: choose another with {CACHE_VARIABLE}",
                root.display()
            );
        }
        Ok(Self { root })
    }

    /// Programs built from Go modules, one folder for each recipe.
    pub fn parts(&self) -> PathBuf {
        self.root.join("parts")
    }

    /// Cargo's target folder for the static programs that go into images.
    pub fn static_target(&self) -> PathBuf {
        self.root.join("target-static")
    }

    /// Image archives, and what they are made of.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Virtual environments of Python, in which tests run what others wrote.
    pub fn python(&self) -> PathBuf {
        self.root.join("python")
    }

    /// All state of the running cluster; `down` removes it.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// Held while the cluster is brought up or taken down, so that test programs in parallel share one cluster.
    pub fn cluster_lock(&self) -> PathBuf {
        self.root.join("cluster.lock")
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn a_cache_that_the_node_would_not_see_is_refused() {
        let error = Cache::at(std::path::Path::new("/proc/self")).expect_err("below /proc");
        assert!(error.to_string().contains("HARMONYBATCH_CACHE"), "{error}");
    }
}
