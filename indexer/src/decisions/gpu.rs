//! GPU: what a worker runs on, and what that means for how fast it is and what it asks for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use contract::topology::{DEFAULT_CPU_BATCH_TOKENS, DEFAULT_CUDA_BATCH_TOKENS};
use serde::{Deserialize, Serialize};

use super::text::{NotReadable, as_text};

/// What a worker runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Gpu {
    /// Two cores of a CPU.
    #[default]
    None,
    /// A whole GPU of NVIDIA.
    Nvidia,
    /// A slice of one.
    Mig(MigProfile),
}

/// A slice of a GPU, as the device plugin offers it with the strategy `mixed`: `nvidia.com/mig-1g.10gb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigProfile {
    /// Its name, like `1g.10gb`.
    pub name: &'static str,
    /// How many of the compute slices of a GPU it has.
    pub slices: u32,
}

/// Profiles of the A30, the A100, the H100, H200 and GH200, the B200 and GB200, and the RTX PRO 6000, as NVIDIA's guide
/// to MIG lists them; those with media engines (`+me`) have nothing that a worker uses.
static PROFILES: [(u32, &[&str]); 5] = [
    (
        1,
        &[
            "1g.5gb", "1g.6gb", "1g.10gb", "1g.12gb", "1g.18gb", "1g.20gb", "1g.23gb", "1g.24gb",
            "1g.35gb", "1g.45gb", "1g.47gb",
        ],
    ),
    (
        2,
        &[
            "2g.10gb", "2g.12gb", "2g.20gb", "2g.24gb", "2g.35gb", "2g.45gb", "2g.47gb", "2g.48gb",
        ],
    ),
    (
        3,
        &[
            "3g.20gb", "3g.40gb", "3g.47gb", "3g.48gb", "3g.71gb", "3g.90gb", "3g.93gb",
        ],
    ),
    (
        4,
        &[
            "4g.20gb", "4g.24gb", "4g.40gb", "4g.47gb", "4g.48gb", "4g.71gb", "4g.90gb", "4g.93gb",
            "4g.96gb",
        ],
    ),
    (
        7,
        &[
            "7g.40gb", "7g.80gb", "7g.94gb", "7g.96gb", "7g.141gb", "7g.180gb", "7g.186gb",
        ],
    ),
];

/// Prefix of a MIG profile.
const MIG: &str = "mig-";

as_text!(
    Gpu,
    schemars::json_schema!({
        "type": "string",
        "description": "What a worker runs on",
        "enum": Gpu::all().map(|gpu| gpu.to_string()).collect::<Vec<_>>(),
    })
);

impl Gpu {
    pub fn all() -> impl Iterator<Item = Self> {
        let profiles = PROFILES.iter().flat_map(|(slices, names)| {
            let profile = move |name: &&'static str| MigProfile {
                name,
                slices: *slices,
            };
            names.iter().map(profile)
        });
        [Self::None, Self::Nvidia]
            .into_iter()
            .chain(profiles.map(Self::Mig))
    }

    /// The overlay of `deploy/overlays` that puts workers there.
    pub fn overlay(self) -> &'static str {
        match self {
            Self::None => "cpu",
            Self::Nvidia => "gpu",
            Self::Mig(_) => "gpu-mig",
        }
    }

    /// The resource that a worker asks for, one of it.
    pub fn resource(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Nvidia => Some("nvidia.com/gpu".to_owned()),
            Self::Mig(profile) => Some(format!("nvidia.com/{MIG}{}", profile.name)),
        }
    }

    /// Tokens that one worker embeds in a second, where nobody has measured it: of a model of the size of MiniLM-L6
    /// (10.6 million weights in its layers, 21 MFLOP a token).
    /// - CPU: measured with `cargo bench-ebb`, the whole way on two cores: 94.7 chunks of 140 tokens.
    /// - GPU: an estimate for the smallest card in use, with 8 TFLOPS in 32 bits (T4) at 30 %: 114,000, cut to 100,000.
    /// - MIG: an estimate for a seventh of an A100, with 19.5 TFLOPS, at 30 %: 39,800 for each slice.
    ///
    /// Too low a number starts workers earlier than needed and none more than `max_workers`; too high a number misses
    /// the drain target. So they are low, and a larger model has to be measured.
    pub fn tokens_per_second(self) -> u32 {
        match self {
            Self::None => 13_000,
            Self::Nvidia => 100_000,
            Self::Mig(profile) => 39_800 * profile.slices,
        }
    }

    /// Tokens that a pull of a worker aims at, the default of its `--batch-tokens`.
    pub fn batch_tokens(self) -> usize {
        match self {
            Self::None => DEFAULT_CPU_BATCH_TOKENS,
            Self::Nvidia | Self::Mig(_) => DEFAULT_CUDA_BATCH_TOKENS,
        }
    }

    /// From the decision to start a worker to its first pull, on a node that has the image. A small model is loaded on a
    /// CPU within a second; CUDA and a large model take 10 to 60 s. Scheduling and starting the pod come on top.
    pub fn start_time(self) -> Duration {
        match self {
            Self::None => Duration::from_secs(15),
            Self::Nvidia | Self::Mig(_) => Duration::from_secs(60),
        }
    }
}

impl FromStr for Gpu {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let found = Self::all().find(|gpu| gpu.to_string() == text);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::all().map(|gpu| gpu.to_string()).collect();
            let nearest = super::read::nearest(text, known.iter().map(String::as_str));
            let rule = match nearest {
                Some(nearest) => {
                    format!("`none`, `nvidia` or a MIG profile; `{nearest}` is the nearest")
                }
                None => format!("one of {}", known.join(", ")),
            };
            NotReadable::new(text, "a kind of GPU", rule)
        })
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Nvidia => f.write_str("nvidia"),
            Self::Mig(profile) => write!(f, "{MIG}{}", profile.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for gpu in Gpu::all() {
            assert_eq!(gpu.to_string().parse::<Gpu>().unwrap(), gpu);
        }
        let names: std::collections::BTreeSet<_> = Gpu::all().map(|gpu| gpu.to_string()).collect();
        assert_eq!(names.len(), Gpu::all().count());
    }

    #[test]
    fn the_slices_of_a_profile_are_those_of_its_name() {
        for gpu in Gpu::all() {
            if let Gpu::Mig(profile) = gpu {
                assert!(profile.name.starts_with(&format!("{}g.", profile.slices)));
            }
        }
    }

    #[test]
    fn an_unknown_profile_is_refused_with_the_nearest() {
        let error = "mig-1g.11gb".parse::<Gpu>().unwrap_err().to_string();
        assert!(
            error.contains("mig-1g.11gb") && error.contains("`mig-1g.1"),
            "{error}"
        );
        assert!("amd".parse::<Gpu>().is_err());
    }
}
