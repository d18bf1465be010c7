//! Hardware: the name of the processor or the GPU that a model runs on.

use std::fs;

use crate::config::{Provider, SessionConfig};
use crate::processor;

/// Names the processor or the GPU, as a part of a file name.
pub fn name(config: &SessionConfig) -> String {
    match config.provider {
        Provider::Cpu => format!("cpu-{}", slug(&processor::name())),
        Provider::Openvino => format!("openvino-{}", slug(&processor::name())),
        Provider::Cuda => {
            let model = gpu(config.device_id).unwrap_or_default();
            format!("cuda-{}", slug(&model))
        }
    }
}

/// Model of a GPU. The driver lists them by their place on the bus, which is also how CUDA numbers those of one kind.
fn gpu(device_id: i32) -> Option<String> {
    let mut gpus: Vec<_> = fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .flatten()
        .collect();
    gpus.sort_by_key(fs::DirEntry::file_name);
    let gpu = gpus.get(usize::try_from(device_id).ok()?)?;
    processor::field(gpu.path().join("information"), "Model")
}

/// A name as part of a file name.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_names_of_files() {
        assert_eq!(
            slug("Intel(R) Xeon(R) CPU @ 2.20GHz"),
            "intel-r-xeon-r-cpu-2-20ghz"
        );
        assert_eq!(slug("../../NVIDIA H100 80GB"), "nvidia-h100-80gb");
    }
}
