//! The OCI image layout as a tar archive (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
//!
//! One uncompressed layer that holds one program and the files that it reads. Everything is written in a fixed order, with no time and no owner of this machine, so the
//! same program and files give the same bytes.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::digest::sha256;

/// Runs the program; a number, since the image has no `/etc/passwd` and Kubernetes must see that it is not root's.
const USER: &str = "65532:65532";
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// A file that a program of an image reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is in the image, from the root: `/models/digits.onnx`.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// An image of one static program and its files.
#[derive(Debug)]
pub struct Image {
    /// Full names, each with its tag.
    pub names: Vec<String>,
    /// Name of the program in the image's root folder, which is its entry point.
    pub program: String,
    /// The program.
    pub content: Vec<u8>,
    /// What the program reads.
    pub files: Vec<File>,
}

/// A blob of the archive, named by its digest.
struct Blob {
    media_type: &'static str,
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest = sha256(&bytes);
        Self {
            media_type,
            bytes,
            digest,
        }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    /// What others call it by.
    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": format!("sha256:{}", self.digest), "size": self.bytes.len() })
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }
}

impl Image {
    /// The archive's bytes.
    ///
    /// # Errors
    /// Where a name is longer than tar can say, or the path of a file is not one below the root, or is that of the program or of another file.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", tar(&self.layer()?)?);
        let config = Blob::json(
            "application/vnd.oci.image.config.v1+json",
            &self.configuration(&layer),
        );
        let manifest = Blob::json(
            "application/vnd.oci.image.manifest.v1+json",
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config.descriptor(),
                "layers": [layer.descriptor()],
            }),
        );
        let index = self.index(&manifest).to_string();
        let blobs = [&config, &layer, &manifest];
        let mut files: Vec<Entry<'_>> = blobs
            .iter()
            .map(|blob| (blob.path(), blob.bytes.as_slice(), FILE_MODE))
            .collect();
        files.push(("index.json".to_owned(), index.as_bytes(), FILE_MODE));
        files.push((
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            FILE_MODE,
        ));
        files.sort_by(|left, right| left.0.cmp(&right.0));
        tar(&files)
    }

    /// Program, folders and files; a folder comes before what is in it.
    fn layer(&self) -> Result<Vec<Entry<'_>>> {
        let mut entries = BTreeMap::from([(self.program.clone(), (self.content.as_slice(), PROGRAM_MODE))]);
        for File { path, content } in &self.files {
            let names = path.strip_prefix('/').unwrap_or_default();
            let proper = names.split('/').all(|name| !["", ".", ".."].contains(&name));
            ensure!(proper, "{path:?} is not the path of a file from the root");
            for (end, _) in names.match_indices('/') {
                // The trailing slash makes it a folder.
                entries.insert(names[..=end].to_owned(), (&[], FOLDER_MODE));
            }
            let before = entries.insert(names.to_owned(), (content, FILE_MODE));
            ensure!(before.is_none(), "the image has {path:?} twice");
        }
        let clash = entries.keys().find(|path| {
            path.strip_suffix('/')
                .is_some_and(|file| entries.contains_key(file))
        });
        ensure!(
            clash.is_none(),
            "the image has both a file and a folder {clash:?}"
        );
        Ok(entries
            .into_iter()
            .map(|(path, (bytes, mode))| (path, bytes, mode))
            .collect())
    }

    fn configuration(&self, layer: &Blob) -> Value {
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        json!({
            "architecture": architecture,
            "os": "linux",
            // The root folder is the search path, so that `command: [harmonybatch]` works as well as the entry point.
            "config": { "User": USER, "Entrypoint": [format!("/{}", self.program)], "Env": ["PATH=/"], "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)] },
            "history": [{ "created_by": "harmonybatch e2e image" }],
        })
    }

    /// One entry a name. containerd takes the first annotation as it is; other tools read the second.
    fn index(&self, manifest: &Blob) -> Value {
        let entry = |name: &String| {
            let mut entry = manifest.descriptor();
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            entry["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag });
            entry
        };
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.names.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}

/// Path, content and mode; a folder's path ends with a slash.
type Entry<'a> = (String, &'a [u8], u32);

/// A tar archive of entries that belong to root and have no time.
fn tar(files: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, path, *bytes)?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use serde_json::Value;

    use super::{File, Image};
    use crate::digest::sha256;

    fn image() -> Image {
        let names = vec![
            "dev.local/thing:1-abc".to_owned(),
            "dev.local/thing:dev".to_owned(),
        ];
        Image {
            names,
            program: "thing".to_owned(),
            content: b"\x7fELF and so on".to_vec(),
            files: Vec::new(),
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("a tar archive") {
            let mut entry = entry.expect("an entry");
            assert_eq!(entry.header().mtime().expect("a time"), 0);
            let path = entry.path().expect("a path").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            files.insert(path, bytes);
        }
        files
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"]
            .as_str()
            .expect("a digest")
            .trim_start_matches("sha256:");
        let bytes = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(sha256(bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn every_descriptor_leads_to_its_blob_and_the_layer_holds_the_program() {
        let files = files(&image().archive().expect("an archive"));
        assert_eq!(json(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
        let index = json(&files["index.json"]);
        let manifest = json(blob(&files, &index["manifests"][0]));
        let config = json(blob(&files, &manifest["config"]));
        let layer = blob(&files, &manifest["layers"][0]);
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", sha256(layer))
        );
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"][0], "/thing");
        assert_eq!(super::tests::files(layer)["thing"], image().content);
    }

    fn with_files(paths: &[&str]) -> Image {
        let file = |&path: &&str| File {
            path: path.to_owned(),
            content: path.as_bytes().to_vec(),
        };
        Image {
            files: paths.iter().map(file).collect(),
            ..image()
        }
    }

    #[test]
    fn files_lie_in_the_layer_behind_their_folders() {
        let image = with_files(&["/models/b/c.onnx", "/models/a.onnx", "/etc/thing"]);
        let files = files(&image.archive().expect("an archive"));
        let index = json(&files["index.json"]);
        let manifest = json(blob(&files, &index["manifests"][0]));
        let mut layer = tar::Archive::new(blob(&files, &manifest["layers"][0]));
        let mut found = Vec::new();
        for entry in layer.entries().expect("a tar archive") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mode = entry.header().mode().expect("a mode");
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("its text");
            found.push((path, entry.header().entry_type().is_dir(), mode, content));
        }
        let folder = |path: &str| (path.to_owned(), true, 0o755, String::new());
        let file = |path: &str| (path.to_owned(), false, 0o644, format!("/{path}"));
        let program = ("thing".to_owned(), false, 0o755, "\x7fELF and so on".to_owned());
        let expected = [
            folder("etc/"),
            file("etc/thing"),
            folder("models/"),
            file("models/a.onnx"),
            folder("models/b/"),
            file("models/b/c.onnx"),
            program,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_that_leave_the_image_or_clash_are_refused() {
        for paths in [
            &["a"][..],
            &["/"],
            &["/../a"],
            &["/a//b"],
            &["/a/"],
            &["/thing"],
            &["/a", "/a"],
            &["/a", "/a/b"],
            &["/thing/a"],
        ] {
            assert!(with_files(paths).archive().is_err(), "{paths:?}");
        }
    }

    #[test]
    fn every_name_is_in_the_index() {
        let files = files(&image().archive().expect("an archive"));
        let index = json(&files["index.json"]);
        let names: Vec<&str> = index["manifests"]
            .as_array()
            .expect("manifests")
            .iter()
            .map(|entry| {
                entry["annotations"]["io.containerd.image.name"]
                    .as_str()
                    .expect("a name")
            })
            .collect();
        assert_eq!(names, ["dev.local/thing:1-abc", "dev.local/thing:dev"]);
        assert_eq!(
            index["manifests"][1]["annotations"]["org.opencontainers.image.ref.name"],
            "dev"
        );
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        assert_eq!(
            image().archive().expect("an archive"),
            image().archive().expect("an archive")
        );
    }
}
