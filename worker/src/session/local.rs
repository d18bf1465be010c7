//! Local: file systems whose files can be read for as long as the machine runs.

use std::io;
use std::path::Path;

/// Types of local file systems, by their numbers in Linux's `magic.h` and in OpenZFS: ext, XFS, Btrfs, F2FS, ZFS, EROFS,
/// SquashFS, overlayfs, tmpfs and ramfs. Of all others a part may be elsewhere.
const LOCAL: [u64; 10] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xE0F5_E1E2,
    0x7371_7368,
    0x794C_7630,
    0x0102_1994,
    0x8584_58F6,
];

/// Refuses a folder that may be on another machine.
pub(super) fn check_local(folder: &Path) -> anyhow::Result<()> {
    let kind = kind(folder)
        .map_err(|error| anyhow::anyhow!("no file system of `{}`: {error}", folder.display()))?;
    anyhow::ensure!(
        kind.is_none_or(|kind| LOCAL.contains(&kind)),
        "`{}` is on a file system (type {:x}) that is not known to be local; what is mapped from it would end the \
         worker when its server is lost",
        folder.display(),
        kind.unwrap_or_default()
    );
    Ok(())
}

#[cfg(target_os = "linux")]
fn kind(folder: &Path) -> io::Result<Option<u64>> {
    // The kernel extends the sign of 32 bits.
    let kind = rustix::fs::statfs(folder)?.f_type & 0xFFFF_FFFF;
    Ok(Some(u64::try_from(kind).unwrap_or_default()))
}

#[cfg(not(target_os = "linux"))]
fn kind(_folder: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_local_is_taken() {
        check_local(&std::env::temp_dir()).unwrap();
        #[cfg(target_os = "linux")]
        {
            let error = check_local(Path::new("/proc")).unwrap_err().to_string();
            assert!(
                error.contains("`/proc`") && error.contains("9fa0"),
                "{error}"
            );
        }
        assert!(check_local(Path::new("/nowhere")).is_err());
    }
}
