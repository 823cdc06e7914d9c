//! `harmonybatch crds`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cli::print;

/// Prints the CustomResourceDefinitions of this version, for `kubectl apply --server-side -f -`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write one file per kind into this folder instead
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Prints or writes.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = harmonybatch_api::crd_yaml()?;
    let Some(folder) = &arguments.write else {
        let documents: Vec<String> = files.into_iter().map(|(_, text)| text).collect();
        print::output(&documents.join("---\n"))?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
    for (name, text) in files {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        print::error(&format!("wrote {}", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}
