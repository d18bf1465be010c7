//! OCI: writes a staged model as an image in the layout of the Open Container Initiative.
//!
//! A volume of Kubernetes can be such an image, which nodes pull and keep like any other, read-only and by its digest. Each file
//! is a layer of its own, so that two models which share a file share its layer; of a model with very many files several share one,
//! because image stores take no more than about 127 layers. Nothing is added that depends on a clock or a
//! machine: the same staged directory gives the same digest. There is no program in it, so that it serves all platforms.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::{MANIFEST, Manifest, SIGNATURE};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::{StageConfig, Staged};
use crate::staging_dir::{StagingDir, write_durably};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Most layers with files of the model, the manifest and its signature aside.
const MOST_LAYERS: usize = 100;
/// Platforms of the nodes that may mount it.
const PLATFORMS: [&str; 2] = ["amd64", "arm64"];

/// An image layout that was written.
#[derive(Clone, Debug)]
pub struct Image {
    pub directory: PathBuf,
    /// Digest by which it is mounted, as `sha256:...`.
    pub digest: String,
}

/// Writes the image of a staged model beside it, unless it is there.
pub(super) fn write_image(config: &StageConfig, staged: &Staged) -> anyhow::Result<Image> {
    let name = staged.directory.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let directory = config.models.join(format!("{name}.oci"));
    let staging = StagingDir::open(&config.models, &config.name)?;
    let layout = Blobs::create(&staging.model())?;
    let layers = layers(&layout, &staged.directory, &staged.manifest, &name)?;
    let images = PLATFORMS.map(|platform| layout.image(platform, &layers, &staged.manifest));
    let images = images.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
    let mut index = layout.json(&index, INDEX)?;
    let digest = index["digest"].as_str().unwrap_or_default().to_owned();
    index["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [index] });
    let top = serde_json::to_vec(&top)?;
    layout.write("index.json", &top)?;
    layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    replace(&directory, &top, &staging)
        .with_context(|| format!("failed to write `{}`", directory.display()))?;
    Ok(Image { directory, digest })
}

/// Puts a layout into place, unless the same one is there: somebody may be reading it. Another one, such as that of before a
/// signature was added, goes aside as a whole.
fn replace(directory: &Path, index: &[u8], staging: &StagingDir) -> io::Result<()> {
    /// How often an image is put into place while others do the same.
    const TRIES: usize = 8;
    let mut tried = 0;
    loop {
        if fs::read(directory.join("index.json")).is_ok_and(|there| there == index) {
            return Ok(());
        }
        let aside = staging.source().join(format!("replaced-{tried}"));
        match fs::rename(directory, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match fs::rename(staging.model(), directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tried < TRIES => {}
            done => return done,
        }
        tried += 1;
    }
}

/// A layer and the digest of what is in it, which is the same where nothing is compressed.
struct Layer {
    descriptor: Value,
    digest: String,
}

/// The layers of the model, with each file at `<name>/<file>`, as on a shared volume.
fn layers(
    layout: &Blobs,
    model: &Path,
    manifest: &Manifest,
    name: &str,
) -> anyhow::Result<Vec<Layer>> {
    let signed = model.join(SIGNATURE).is_file().then_some(SIGNATURE);
    let files: Vec<_> = manifest.identity.files.keys().map(String::as_str).collect();
    // What changes most often comes last.
    let last = [MANIFEST].into_iter().chain(signed);
    let groups = files
        .chunks(files_of_a_layer(files.len()))
        .map(<[_]>::to_vec);
    groups
        .chain(last.map(|file| vec![file]))
        .map(|files| {
            let paths = files
                .iter()
                .map(|file| (model.join(file), format!("{name}/{file}")));
            let layer = layout.layer(&paths.collect::<Vec<_>>());
            layer.with_context(|| format!("failed to pack `{}`", files.join("`, `")))
        })
        .collect()
}

/// How many files share a layer.
fn files_of_a_layer(files: usize) -> usize {
    files.div_ceil(MOST_LAYERS).max(1)
}

/// The folder with all parts of a layout by their digests.
struct Blobs {
    root: PathBuf,
}

impl Blobs {
    fn create(root: &Path) -> anyhow::Result<Self> {
        let root = root.to_owned();
        fs::create_dir_all(root.join("blobs/sha256"))
            .with_context(|| format!("failed to write to `{}`", root.display()))?;
        Ok(Self { root })
    }

    fn write(&self, file: &str, content: &[u8]) -> anyhow::Result<()> {
        write_durably(&self.root.join(file), content)
    }

    fn json(&self, content: &Value, kind: &str) -> anyhow::Result<Value> {
        let bytes = serde_json::to_vec(content)?;
        let digest = Digest::of(&bytes);
        self.write(&format!("blobs/sha256/{digest}"), &bytes)?;
        let size = bytes.len();
        Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size }))
    }

    fn image(
        &self,
        platform: &str,
        layers: &[Layer],
        manifest: &Manifest,
    ) -> anyhow::Result<Value> {
        let contents: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
        let config = json!({
            "architecture": platform,
            "os": "linux",
            "config": { "Labels": {
                "ebb.model": manifest.name.as_str(), "ebb.fingerprint": manifest.fingerprint.as_str()
            } },
            "rootfs": { "type": "layers", "diff_ids": contents },
        });
        let config = self.json(&config, CONFIG)?;
        let layers: Vec<_> = layers.iter().map(|layer| &layer.descriptor).collect();
        let image =
            json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers });
        let mut descriptor = self.json(&image, IMAGE)?;
        descriptor["platform"] = json!({ "architecture": platform, "os": "linux" });
        Ok(descriptor)
    }

    /// Packs files into one archive, each at its path.
    fn layer(&self, files: &[(PathBuf, String)]) -> anyhow::Result<Layer> {
        let packed = self.root.join("blobs/layer");
        let mut writer = BufWriter::new(File::create(&packed)?);
        pack(&mut writer, files)?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        let size = fs::metadata(&packed)?.len();
        let digest = Digest::of_reader(File::open(&packed)?)?;
        fs::rename(packed, self.root.join(format!("blobs/sha256/{digest}")))?;
        let digest = format!("sha256:{digest}");
        let descriptor = json!({ "mediaType": LAYER, "digest": digest, "size": size });
        Ok(Layer { descriptor, digest })
    }
}

/// Writes the folders and the files. All users may read them, and nothing tells when and where they were made.
fn pack(writer: impl Write, files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(writer);
    let parents = files
        .iter()
        .flat_map(|(_, path)| Path::new(path).ancestors().skip(1));
    // A folder is in order before all that is in it.
    let parents: BTreeSet<_> = parents.filter(|it| !it.as_os_str().is_empty()).collect();
    for parent in parents {
        let mut folder = header(EntryType::Directory, 0o755, 0);
        archive.append_data(&mut folder, parent, io::empty())?;
    }
    for (file, path) in files {
        let content = File::open(file)?;
        let bytes = content.metadata()?.len();
        archive.append_data(&mut header(EntryType::Regular, 0o644, bytes), path, content)?;
    }
    archive.into_inner()?;
    Ok(())
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The content of an archive: path, mode and bytes.
    fn unpacked(archive: &Path) -> Vec<(String, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (path, entry.header().mode().unwrap(), content)
        });
        entries.collect()
    }

    #[test]
    fn a_file_is_packed_with_its_folders_and_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights");
        fs::write(&file, b"weights").unwrap();
        let pack = |at: &str| {
            let layout = Blobs::create(&folder.path().join(at)).unwrap();
            let files = [(file.clone(), "m-1/onnx/model.onnx".to_owned())];
            let layer = layout.layer(&files).unwrap();
            let digest = layer.digest.replace("sha256:", "");
            (layout.root.join("blobs/sha256").join(&digest), digest)
        };
        let (one, digest) = pack("one");
        let (_, other) = pack("other");
        assert_eq!(digest, other);
        assert_eq!(Digest::of(&fs::read(&one).unwrap()).as_str(), digest);
        let expected = [
            ("m-1", 0o755, &b""[..]),
            ("m-1/onnx", 0o755, b""),
            ("m-1/onnx/model.onnx", 0o644, b"weights"),
        ];
        let found = unpacked(&one);
        let found: Vec<_> = found
            .iter()
            .map(|(path, mode, content)| (path.trim_end_matches('/'), *mode, &content[..]))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn very_many_files_share_layers_and_few_do_not() {
        for (files, each) in [(0, 1), (3, 1), (100, 1), (101, 2), (1_000, 10), (1_001, 11)] {
            assert_eq!(files_of_a_layer(files), each);
            assert!(files.div_ceil(each) <= MOST_LAYERS, "{files}");
        }
        let folder = tempfile::tempdir().unwrap();
        let layout = Blobs::create(&folder.path().join("image")).unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).unwrap();
            (path, format!("m-1/{name}"))
        };
        let layer = layout.layer(&[file("a"), file("b")]).unwrap();
        let blob = layer.digest.replace("sha256:", "");
        let found = unpacked(&layout.root.join("blobs/sha256").join(blob));
        let paths: Vec<_> = found
            .iter()
            .map(|(path, ..)| path.trim_end_matches('/'))
            .collect();
        assert_eq!(paths, ["m-1", "m-1/a", "m-1/b"]);
    }

    #[test]
    fn every_part_of_an_image_is_there_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Blobs::create(folder.path()).unwrap();
        let content = json!({ "a": BTreeMap::from([("b", 1)]) });
        let descriptor = layout.json(&content, CONFIG).unwrap();
        let digest = descriptor["digest"]
            .as_str()
            .unwrap()
            .replace("sha256:", "");
        let bytes = fs::read(folder.path().join("blobs/sha256").join(&digest)).unwrap();
        assert_eq!(Digest::of(&bytes).as_str(), digest);
        assert_eq!(descriptor["size"], bytes.len());
    }
}
