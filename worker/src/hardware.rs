//! Hardware: the name of the processor or the GPU that a model runs on.

use std::fs;
use std::path::Path;

use crate::config::{Precision, Provider, SessionConfig};

/// Names the processor or the GPU, as a part of a file name.
pub fn name(config: &SessionConfig) -> String {
    match config.provider {
        Provider::Cpu => format!("cpu-{}", slug(&processor())),
        Provider::Openvino => format!("openvino-{}", slug(&processor())),
        Provider::Cuda => {
            let model = gpu(config.device_id).unwrap_or_default();
            format!("cuda-{}", slug(&model))
        }
    }
}

fn processor() -> String {
    let model = field("/proc/cpuinfo", "model name");
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// In which numbers the processor computes by instructions of its own. Others would be emulated, or silently be 32 bits.
pub fn precisions() -> Vec<Precision> {
    let flags = field("/proc/cpuinfo", "flags").unwrap_or_default();
    Precision::ALL
        .into_iter()
        .filter(|precision| has_instructions(&flags, *precision))
        .collect()
}

fn has_instructions(flags: &str, precision: Precision) -> bool {
    let wanted: &[&str] = match precision {
        Precision::F32 => return true,
        Precision::Bf16 => &["amx_bf16", "avx512_bf16"],
        Precision::F16 => &["amx_fp16", "avx512_fp16"],
    };
    flags.split_whitespace().any(|flag| wanted.contains(&flag))
}

/// Model of a GPU. The driver lists them by their place on the bus, which is also how CUDA numbers those of one kind.
fn gpu(device_id: i32) -> Option<String> {
    let mut gpus: Vec<_> = fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .flatten()
        .collect();
    gpus.sort_by_key(fs::DirEntry::file_name);
    let gpu = gpus.get(usize::try_from(device_id).ok()?)?;
    field(gpu.path().join("information"), "Model")
}

/// Value of the first line `name : value` of a file.
fn field(path: impl AsRef<Path>, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
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
    fn a_precision_needs_instructions_of_the_processor() {
        let found = |flags| {
            let has = |precision: &Precision| has_instructions(flags, *precision);
            Precision::ALL.into_iter().filter(has).collect::<Vec<_>>()
        };
        assert_eq!(found("sse avx512f"), [Precision::F32]);
        let zen = "avx512f avx512_bf16";
        assert_eq!(found(zen), [Precision::F32, Precision::Bf16]);
        assert_eq!(found("amx_bf16 avx512_fp16"), Precision::ALL);
    }

    #[test]
    fn names_of_devices_are_names_of_files() {
        assert_eq!(
            slug("Intel(R) Xeon(R) CPU @ 2.20GHz"),
            "intel-r-xeon-r-cpu-2-20ghz"
        );
        assert_eq!(slug("../../NVIDIA H100 80GB"), "nvidia-h100-80gb");
    }
}
