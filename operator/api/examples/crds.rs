//! Writes the definitions of all kinds to `crds/*.yaml` of the repository: `cargo run -p harmonybatch-api --example crds`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in harmonybatch_api::crd_yaml()? {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
