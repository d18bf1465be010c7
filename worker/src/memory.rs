//! Memory: what this process has, has had, and may have.

use std::fs;

/// Bytes of this process that are in memory; 0 where the system does not tell.
pub fn resident() -> u64 {
    status("VmRSS:")
}

/// The most bytes that were in memory since the process began, or since that was forgotten.
pub fn peak() -> u64 {
    status("VmHWM:")
}

/// Has [`peak`] begin anew; false where the system refuses.
pub fn forget_peak() -> bool {
    let forgotten = fs::write("/proc/self/clear_refs", "5");
    if let Err(error) = &forgotten {
        tracing::debug!(%error, "peak of memory not reset");
    }
    forgotten.is_ok()
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The memory that the container of this process may take, if that is limited.
pub fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_within("/sys/fs/cgroup", &groups)
}

/// The least limit of the control group of a process and of those around it, below a mount of the control groups.
fn limit_within(mount: &str, groups: &str) -> Option<u64> {
    let of = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (folder, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            "memory" => (format!("{mount}/memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container, the group of the process is often mounted as the root.
        let mut path = path.trim_end_matches('/');
        let mut least: Option<u64> = None;
        loop {
            let found = fs::read_to_string(format!("{folder}{path}/{file}")).ok();
            let found = found.and_then(|text| text.trim().parse::<u64>().ok());
            // The first version writes the largest number of pages for no limit.
            let found = found.filter(|bytes| *bytes < 1 << 60);
            least = least.into_iter().chain(found).min();
            match path.rfind('/') {
                Some(end) => path = &path[..end],
                None => return least,
            }
        }
    };
    groups.lines().filter_map(of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_and_its_peak_is_no_less() {
        assert!(resident() > 1 << 20);
        assert!(peak() >= resident());
    }

    #[test]
    fn the_least_limit_of_all_groups_around_counts() {
        let mount = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = mount.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory.max", "max\n");
        write("pods/memory.max", "1000\n");
        write("pods/one/memory.max", "max\n");
        write("memory/old/memory.limit_in_bytes", "700\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let mount = mount.path().to_string_lossy().into_owned();
        let limit = |groups| limit_within(&mount, groups);
        assert_eq!(limit("0::/pods/one\n"), Some(1000));
        assert_eq!(limit("0::/\n"), None);
        assert_eq!(limit("5:memory:/old\n4:cpu:/old\n0::/pods\n"), Some(700));
        assert_eq!(limit("nonsense"), None);
    }
}
