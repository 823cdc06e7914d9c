//! Trained networks that others published. Nothing of them is in the repository: what PyPI distributes is fetched by pip into the
//! cache folder, and every file is checked against its digest.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::digest::sha256;
use crate::image::File;
use crate::python;

/// Package, file in it, and the file's SHA-256.
const TEXT_DIRECTION: [&str; 3] = [
    "rapidocr_onnxruntime",
    "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
];

/// PP-OCR's classifier of text lines (upright or upside down), a MobileNetV3 of 0.6 MB, as the file `path` of an image. It was trained on images
/// of 3x48x192 and takes others: at 3x48x96 it still tells most short words apart, at a height of 32 it guesses. Apache-2.0, from PyPI's
/// `rapidocr-onnxruntime`.
///
/// # Errors
/// Where pip cannot install the package, or its file is not the one that we know.
pub fn text_direction(path: &str) -> Result<File> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/text-direction.txt");
    let interpreter = python::data(&requirements)?;
    let [package, file, digest] = TEXT_DIRECTION;
    let file = python::packages(&interpreter, package)?.join(package).join(file);
    let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = sha256(&content);
    ensure!(
        found == digest,
        "{} has the digest {found}, not {digest}",
        file.display()
    );
    Ok(File {
        path: path.to_owned(),
        content,
    })
}
