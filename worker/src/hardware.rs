//! Hardware: the names of the processor and the GPU that a model runs on, and the instructions of the processor.

use std::fs;
use std::path::Path;

/// Name of the processor, or of its architecture where the system does not tell.
pub(crate) fn processor() -> String {
    let model = field("/proc/cpuinfo", "model name");
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Names of the sets of instructions that the processor has.
pub(crate) fn instructions() -> String {
    field("/proc/cpuinfo", "flags").unwrap_or_default()
}

/// Model of a GPU. The driver lists them by their place on the bus, which is also how CUDA numbers those of one kind.
pub(crate) fn gpu(device_id: i32) -> Option<String> {
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
