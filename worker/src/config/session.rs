//! Settings of a session: on which device a model runs, and how it uses that.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use contract::topology::{DEFAULT_CPU_BATCH_TOKENS, DEFAULT_CUDA_BATCH_TOKENS};
use runtime::settings::ConfigFault;
use serde::{Deserialize, Serialize};

use crate::hardware;
use crate::plan::Shapes;

/// Padded tokens of one call on a CPU: small tensors stay in its caches.
const CPU_TENSOR_TOKENS: usize = 512;
/// Padded tokens of one call on a GPU: large tensors keep its units busy.
const CUDA_TENSOR_TOKENS: usize = 16_384;

/// Lengths of a GPU's tensors are multiples of this: half of what its matrix units like best, with half the padding.
const CUDA_LENGTH_STEP: usize = 8;

/// No machine gains by more threads, and a mistyped number would use up all that the system allows.
const MAX_THREADS: usize = 512;

/// Most sessions: each has buffers of its own, and a thread of this process.
const MAX_SESSIONS: usize = 64;

/// Where the model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// ONNX Runtime's own CPU kernels
    Cpu,
    /// CUDA, or not at all: the worker refuses to start where CUDA is not what runs
    Cuda,
    /// OpenVINO on a CPU, or not at all: it computes in the 16 bits that many CPUs have
    Openvino,
}

/// In which numbers a model computes. Its weights and vectors stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits
    F32,
    /// 16 bits with the range of 32
    Bf16,
    /// 16 bits
    F16,
}

impl Precision {
    /// The name that options and OpenVINO give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Those in which the processor computes by instructions of its own. Others would be emulated, or silently be 32 bits.
    pub fn of_this_processor() -> Vec<Self> {
        let instructions = hardware::instructions();
        let all = Self::ALL.into_iter();
        all.filter(|precision| precision.is_among(&instructions))
            .collect()
    }

    fn is_among(self, instructions: &str) -> bool {
        let wanted: &[&str] = match self {
            Self::F32 => return true,
            Self::Bf16 => &["amx_bf16", "avx512_bf16"],
            Self::F16 => &["amx_fp16", "avx512_fp16"],
        };
        let mut instructions = instructions.split_whitespace();
        instructions.any(|it| wanted.contains(&it))
    }
}

impl Provider {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Openvino => "openvino",
        }
    }

    /// Tokens that a pull aims at, where nobody says otherwise.
    pub fn batch_tokens(self) -> usize {
        match self {
            Self::Cpu | Self::Openvino => DEFAULT_CPU_BATCH_TOKENS,
            Self::Cuda => DEFAULT_CUDA_BATCH_TOKENS,
        }
    }

    /// Padded tokens of one call of a model that nobody has measured.
    pub fn tensor_tokens(self) -> usize {
        match self {
            Self::Cpu | Self::Openvino => CPU_TENSOR_TOKENS,
            Self::Cuda => CUDA_TENSOR_TOKENS,
        }
    }

    /// Which shapes tensors of at most so many padded tokens have, for a model that takes rows of up to `longest`
    /// tokens.
    pub fn shapes(self, tokens: usize, longest: usize) -> Shapes {
        let step = match self {
            Self::Cpu | Self::Openvino => 1,
            Self::Cuda => CUDA_LENGTH_STEP,
        };
        Shapes {
            tokens,
            step,
            longest,
        }
    }
}

/// The device, and how it is used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct SessionConfig {
    /// ONNX Runtime's library; those of the CUDA and the OpenVINO provider must lie beside it
    #[arg(long, env = "ORT_DYLIB_PATH", default_value = "libonnxruntime.so")]
    pub onnxruntime: PathBuf,
    /// Where the model runs
    #[arg(long, env = "EBB_PROVIDER", value_enum, default_value_t = Provider::Cpu)]
    pub provider: Provider,
    /// In which numbers OpenVINO computes; by default as `worker calibrate` found best on this device, else f32
    #[arg(long, env = "EBB_PRECISION", value_enum)]
    pub precision: Option<Precision>,
    /// Which CUDA device
    #[arg(long, env = "EBB_DEVICE_ID", default_value_t = 0)]
    pub device_id: i32,
    /// Threads that compute; by default as many as the container's CPU quota allows, on CUDA one
    #[arg(long, env = "EBB_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Calls of the model that run side by side and divide the threads; by default one for each thread, on CUDA one
    #[arg(long, env = "EBB_SESSIONS")]
    pub sessions: Option<NonZeroUsize>,
}

impl SessionConfig {
    /// Threads that compute.
    pub fn threads(&self) -> usize {
        let default = match self.provider {
            // The standard library reads the cgroup's quota; ONNX Runtime would count the node's cores.
            Provider::Cpu | Provider::Openvino => {
                std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
            }
            Provider::Cuda => 1,
        };
        self.threads.map_or(default, NonZeroUsize::get)
    }

    /// Sessions that run side by side.
    pub fn sessions(&self) -> usize {
        let default = match self.provider {
            // As many threads each as keep their number within the bound.
            Provider::Cpu | Provider::Openvino => {
                self.threads() / self.threads().div_ceil(MAX_SESSIONS)
            }
            Provider::Cuda => 1,
        };
        self.sessions.map_or(default, NonZeroUsize::get)
    }

    /// Threads of each session.
    pub fn session_threads(&self) -> usize {
        (self.threads() / self.sessions()).max(1)
    }

    /// Everything that is wrong with these settings.
    pub fn faults(&self) -> Vec<ConfigFault> {
        let bounds = [
            ("--threads", self.threads(), MAX_THREADS),
            ("--sessions", self.sessions(), MAX_SESSIONS),
        ];
        let beyond = bounds.into_iter().filter(|(_, value, most)| value > most);
        let fault = |(setting, value, most)| {
            ConfigFault::new(setting, format!("{value} is more than {most}"))
        };
        let mut faults: Vec<_> = beyond.map(fault).collect();
        faults.extend(self.precision_fault());
        faults
    }

    fn precision_fault(&self) -> Option<ConfigFault> {
        let precision = self.precision?;
        let problem = if self.provider == Provider::Openvino {
            let here = Precision::of_this_processor();
            let names: Vec<_> = here.iter().map(|it| it.as_str()).collect();
            let advice = format!("this processor computes in {}", names.join(", "));
            (!here.contains(&precision)).then_some(advice)
        } else {
            Some("it is for --provider openvino".to_owned())
        };
        problem.map(|problem| ConfigFault::new("--precision", problem))
    }

    /// This configuration for one session alone.
    pub fn single(&self) -> Self {
        Self {
            sessions: Some(NonZeroUsize::MIN),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(provider: Provider, threads: usize, sessions: usize) -> SessionConfig {
        SessionConfig {
            onnxruntime: PathBuf::new(),
            provider,
            precision: None,
            device_id: 0,
            threads: NonZeroUsize::new(threads),
            sessions: NonZeroUsize::new(sessions),
        }
    }

    /// How many sessions, and with how many threads each.
    fn shares(session: &SessionConfig) -> (usize, usize) {
        (session.sessions(), session.session_threads())
    }

    #[test]
    fn a_precision_needs_instructions_of_the_processor() {
        let found = |instructions| {
            let all = Precision::ALL.into_iter();
            all.filter(|precision| precision.is_among(instructions))
                .collect::<Vec<_>>()
        };
        assert_eq!(found("sse avx512f"), [Precision::F32]);
        let zen = "avx512f avx512_bf16";
        assert_eq!(found(zen), [Precision::F32, Precision::Bf16]);
        assert_eq!(found("amx_bf16 avx512_fp16"), Precision::ALL);
    }

    #[test]
    fn sessions_divide_the_threads_and_their_number_stays_within_its_bound() {
        let by_default = [(1, (1, 1)), (64, (64, 1)), (65, (32, 2)), (512, (64, 8))];
        for (threads, expected) in by_default {
            assert_eq!(shares(&session(Provider::Cpu, threads, 0)), expected);
        }
        assert_eq!(shares(&session(Provider::Cuda, 4, 0)), (1, 4));
        assert_eq!(shares(&session(Provider::Cpu, 8, 3)), (3, 2));
        assert_eq!(shares(&session(Provider::Cpu, 2, 8)), (8, 1));
        assert_eq!(shares(&session(Provider::Cpu, 8, 3).single()), (1, 8));
    }

    #[test]
    fn all_numbers_beyond_their_bounds_are_reported_at_once() {
        let beyond = session(Provider::Cpu, MAX_THREADS + 1, MAX_SESSIONS + 1).faults();
        let settings: Vec<_> = beyond.iter().map(|it| it.setting).collect();
        assert_eq!(settings, ["--threads", "--sessions"]);
        let mut elsewhere = session(Provider::Cpu, 1, 1);
        elsewhere.precision = Some(Precision::Bf16);
        assert_eq!(elsewhere.faults()[0].setting, "--precision");
        let mut everywhere = session(Provider::Openvino, 1, 1);
        everywhere.precision = Some(Precision::F32);
        assert_eq!(everywhere.faults(), []);
        let most = session(Provider::Cpu, MAX_THREADS, MAX_SESSIONS);
        assert_eq!(most.faults(), []);
    }
}
