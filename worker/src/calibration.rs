//! Calibration: how large tensors should be for a model on a device, and in which numbers it should compute there, as
//! measured there.
//!
//! It lies beside the staged model, in `calibration/<device>.json`, and is no part of its manifest, because it changes no
//! vector by more than the golden texts allow for. A worker on a device that nobody has measured uses the defaults of its provider.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::Manifest;
use serde::{Deserialize, Serialize};

use crate::config::{BatchConfig, Precision, Provider, SessionConfig};
use crate::hardware;
use crate::plan::Shapes;

/// Folder of a staged model that holds its calibrations.
const FOLDER: &str = "calibration";
/// No device gains by larger tensors, and a number in a damaged file could take all memory.
const MAX_TENSOR_TOKENS: usize = 1 << 20;

/// What was measured for one model on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub fingerprint: Digest,
    /// The device, as [`device`] names it.
    pub device: String,
    /// Padded tokens of one call of the model.
    pub tensor_tokens: usize,
    /// In which numbers it computed then; nothing where the provider has no choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Tokens per second with this size.
    pub tokens_per_second: f64,
    /// The speed of each size and precision that was tried.
    pub measured: Vec<TensorSpeed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorSpeed {
    /// Padded tokens of one call of the model.
    pub tensor_tokens: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Tokens per second.
    pub tokens_per_second: f64,
}

impl Calibration {
    /// Finds the calibration of a model for a device. One that cannot be read is logged and ignored.
    pub fn find(model: &Path, fingerprint: &Digest, device: &str) -> Option<Self> {
        let path = path(model, device);
        let json = fs::read(&path).ok()?;
        let found: Self = serde_json::from_slice(&json)
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "calibration not read"),
            )
            .ok()?;
        let sound = (1..=MAX_TENSOR_TOKENS).contains(&found.tensor_tokens);
        (sound && found.fingerprint == *fingerprint && found.device == device).then_some(found)
    }

    /// Writes it beside the model. A reader sees all of it, or what was there before.
    ///
    /// # Errors
    /// If the model's directory cannot be written.
    pub fn keep(&self, model: &Path) -> anyhow::Result<PathBuf> {
        let path = path(model, &self.device);
        let failed = || format!("failed to write `{}`", path.display());
        let folder = model.join(FOLDER);
        fs::create_dir_all(&folder).with_context(failed)?;
        // Workers that run as other users read the file.
        let mut new = tempfile::Builder::new();
        let new = new
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(&folder);
        let mut new = new.with_context(failed)?;
        let json = serde_json::to_vec_pretty(self)?;
        let written = new.write_all(&json).and_then(|()| new.as_file().sync_all());
        written.with_context(failed)?;
        new.persist(&path).with_context(failed)?;
        Ok(path)
    }
}

/// The shapes of tensors that were measured as the best for a model on this device, unless `batch` says otherwise.
pub fn shapes(
    model: &Path,
    manifest: &Manifest,
    batch: &BatchConfig,
    session: &SessionConfig,
) -> Shapes {
    let device = device(session);
    let found = Calibration::find(model, &manifest.fingerprint, &device);
    let calibrated = found.map(|found| found.tensor_tokens);
    let tokens = batch.tensor_tokens(session.provider, calibrated);
    let calibrated = calibrated.is_some();
    tracing::debug!(tokens, device, calibrated, "size of tensors");
    session
        .provider
        .shapes(tokens, manifest.identity.max_tokens)
}

/// The settings of a session with the precision that was measured as the best for a model on this device, unless they name
/// one.
pub fn settled(model: &Path, manifest: &Manifest, session: &SessionConfig) -> SessionConfig {
    let found = || {
        let found = Calibration::find(model, &manifest.fingerprint, &device(session));
        let precision = found.and_then(|found| found.precision);
        precision.filter(|precision| Precision::of_this_processor().contains(precision))
    };
    let precision = match (session.provider, session.precision) {
        (Provider::Openvino, None) => found(),
        (Provider::Openvino | Provider::Cpu | Provider::Cuda, named) => named,
    };
    SessionConfig {
        precision,
        ..session.clone()
    }
}

/// Names a device by all that decides how fast it is: the processor, the sessions and the threads of each, or the
/// GPU.
pub fn device(config: &SessionConfig) -> String {
    let threads = || format!("{}x{}", config.sessions(), config.session_threads());
    let on_processor = |kind| format!("{kind}-{}-{}", slug(&hardware::processor()), threads());
    match config.provider {
        Provider::Cpu => on_processor("cpu"),
        Provider::Openvino => on_processor("openvino"),
        Provider::Cuda => {
            let model = hardware::gpu(config.device_id).unwrap_or_default();
            format!("cuda-{}", slug(&model))
        }
    }
}

/// A name as part of a file name.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

fn path(model: &Path, device: &str) -> PathBuf {
    model.join(FOLDER).join(format!("{device}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(device: &str) -> Calibration {
        Calibration {
            fingerprint: Digest::of(b"model"),
            device: device.to_owned(),
            tensor_tokens: 2048,
            precision: Some(Precision::Bf16),
            tokens_per_second: 7000.5,
            measured: Vec::new(),
        }
    }

    #[test]
    fn names_of_devices_are_names_of_files() {
        assert_eq!(
            slug("Intel(R) Xeon(R) CPU @ 2.20GHz"),
            "intel-r-xeon-r-cpu-2-20ghz"
        );
        assert_eq!(slug("../../NVIDIA H100 80GB"), "nvidia-h100-80gb");
    }

    #[test]
    fn what_is_kept_is_found_by_the_same_device_and_model_only() {
        let model = tempfile::tempdir().unwrap();
        let kept = calibration("cpu-a-2");
        kept.keep(model.path()).unwrap();
        let find = |fingerprint: &[u8], device| {
            Calibration::find(model.path(), &Digest::of(fingerprint), device)
        };
        assert_eq!(find(b"model", "cpu-a-2"), Some(kept));
        assert_eq!(find(b"other", "cpu-a-2"), None);
        assert_eq!(find(b"model", "cpu-a-4"), None);
    }

    #[test]
    fn what_is_damaged_counts_for_nothing() {
        let model = tempfile::tempdir().unwrap();
        let find = || Calibration::find(model.path(), &Digest::of(b"model"), "cpu-a-2");
        let mut huge = calibration("cpu-a-2");
        huge.tensor_tokens = usize::MAX;
        let path = huge.keep(model.path()).unwrap();
        assert_eq!(find(), None);
        fs::write(path, "{").unwrap();
        assert_eq!(find(), None);
    }
}
