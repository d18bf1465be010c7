//! Calibrate: finds how large tensors should be for a model on this device, and in which numbers it should compute there, by
//! running it.
//!
//! Small tensors fit the caches of a CPU, large ones keep a GPU busy, and where the best size lies depends on both the
//! device and the model. Rows of lengths as corpora have them are planned for each size and run, round after round, so
//! that what disturbs one round disturbs all sizes alike; the best round of each size counts.
//!
//! A precision counts if the golden texts keep the vectors that they had when the model was staged, within a bound, and the
//! documents of a golden set are found as well as in 32 bits, within another: then workers of one lane may compute in several of
//! them, and the fingerprint of the model, which says what vectors mean, is the same for all.

mod bounds;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use contract::digest::Digest;
use runtime::settings::ConfigFault;

use crate::batch::{Reading, RowKey, Tensor};
use crate::calibration::{Calibration, TensorSpeed, device};
use crate::config::{ModelConfig, Precision, Provider, SessionConfig};
use crate::error::EmbedError;
use crate::load::{Loaded, load};
use crate::plan::{Row, plan};
use crate::session::Engine;
use bounds::{Quality, close_enough};

/// Sizes that are tried on a CPU, in padded tokens of a tensor.
const CPU_SIZES: [usize; 4] = [256, 512, 1_024, 2_048];
const CUDA_SIZES: [usize; 5] = [4_096, 8_192, 16_384, 32_768, 65_536];
/// Most rounds; fewer are run when the time is over before.
const ROUNDS: usize = 4;
/// With so many tensors for each engine on average, the time that it waits for the others does not matter.
const SEVERAL: usize = 4;
/// How much faster than the default another size must be: less may be the noise of a short measurement.
const CLEARLY_BETTER: f64 = 1.05;
/// Of sizes that are within this of the best, the smallest is taken: it takes least memory.
const AS_GOOD: f64 = 0.98;
/// Median length of a row in tokens.
const MEDIAN_TOKENS: f64 = 110.0;
/// Standard deviation of the logarithm of the length.
const LENGTH_SPREAD: f64 = 0.7;

/// Settings of `worker calibrate`.
#[derive(Args, Clone, Debug)]
pub struct CalibrateConfig {
    /// About how long to measure; a few sizes are run in any case
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Least cosine of a golden text to its vector when the model was staged; a precision that comes less close is left out
    #[arg(long, default_value_t = Self::LEAST_COSINE)]
    pub least_cosine: f32,
    /// Most nDCG@10 that a precision of 16 bits may lose against 32; one that loses more is left out
    #[arg(long, default_value_t = Self::MAX_NDCG_LOSS)]
    pub max_ndcg_loss: f64,
    /// What that is measured with, in the shape of BEIR: a directory with corpus.jsonl, queries.jsonl and one qrels/*.tsv; by
    /// default 37 questions about Ebb's own documents, in English
    #[arg(long)]
    pub golden_set: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelConfig,
    #[command(flatten)]
    pub session: SessionConfig,
}

impl CalibrateConfig {
    /// MiniLM-L6 in bf16 comes to 0.99995.
    pub const LEAST_COSINE: f32 = 0.9999;
    /// The most nDCG@10 that 16 bits may lose, and that a smaller graph may lose when it is staged.
    pub const MAX_NDCG_LOSS: f64 = 0.01;

    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.model.faults(&self.session);
        if !(0.0..=1.0).contains(&self.least_cosine) {
            let problem = format!("{} is not between 0 and 1", self.least_cosine);
            faults.push(ConfigFault::new("--least-cosine", problem));
        }
        if !(0.0..=1.0).contains(&self.max_ndcg_loss) {
            let problem = format!("{} is not between 0 and 1", self.max_ndcg_loss);
            faults.push(ConfigFault::new("--max-ndcg-loss", problem));
        }
        if let Some(set) = self.golden_set.as_ref().filter(|set| !set.is_dir()) {
            let problem = format!("`{}` is not a directory", set.display());
            faults.push(ConfigFault::new("--golden-set", problem));
        }
        faults
    }

    /// The precisions that are tried; nothing where the provider has no choice.
    fn precisions(&self) -> Vec<Option<Precision>> {
        match (self.session.provider, self.session.precision) {
            (Provider::Openvino, None) => Precision::of_this_processor()
                .into_iter()
                .map(Some)
                .collect(),
            (Provider::Openvino | Provider::Cpu | Provider::Cuda, named) => vec![named],
        }
    }
}

/// Measures, and keeps what was found beside the model.
///
/// # Errors
/// If the model does not load or run in any precision, or its directory cannot be written.
pub fn calibrate(config: &CalibrateConfig) -> anyhow::Result<Calibration> {
    let precisions = config.precisions();
    let duration = config.duration / u32::try_from(precisions.len()).unwrap_or(u32::MAX).max(1);
    let (mut fingerprint, mut measured, mut best) = (None, Vec::new(), None::<TensorSpeed>);
    let mut quality = Quality::new(config, precisions.len() > 1);
    for (number, precision) in precisions.iter().enumerate() {
        let tried = try_in(config, *precision, duration, &mut quality);
        let (found, of) = match tried {
            Ok(tried) => tried,
            // The others may do; the last one is the only one that is left.
            Err(error) if number + 1 < precisions.len() || best.is_some() => {
                let precision = precision.map_or("", Precision::as_str);
                tracing::warn!(error = format!("{error:#}"), precision, "left out");
                continue;
            }
            Err(error) => return Err(error),
        };
        let chosen = choose(&found, config.session.provider.tensor_tokens());
        let is_better =
            |best: TensorSpeed| chosen.tokens_per_second > best.tokens_per_second * CLEARLY_BETTER;
        if best.is_none_or(is_better) {
            best = Some(chosen);
        }
        fingerprint = Some(of);
        measured.extend(found);
    }
    let (Some(fingerprint), Some(best)) = (fingerprint, best) else {
        anyhow::bail!("the model runs in no precision of this processor");
    };
    let calibration = Calibration {
        fingerprint,
        device: device(&config.session),
        tensor_tokens: best.tensor_tokens,
        precision: best.precision,
        tokens_per_second: best.tokens_per_second,
        measured,
    };
    calibration.keep(&config.model.staged.model)?;
    Ok(calibration)
}

/// Measures all sizes of tensors in one precision; gives the fingerprint of the model as well.
fn try_in(
    config: &CalibrateConfig,
    precision: Option<Precision>,
    duration: Duration,
    quality: &mut Quality<'_>,
) -> anyhow::Result<(Vec<TensorSpeed>, Digest)> {
    let mut loaded = load_in(config, precision)?;
    close_enough(&loaded, precision, config.least_cosine)?;
    quality.check(precision, &mut loaded)?;
    let session = &config.session;
    let trial = Trial {
        provider: session.provider,
        precision,
        longest: loaded.manifest.identity.max_tokens,
        padding_id: loaded.texts.tokenizer.padding_id(),
        duration,
    };
    let others = (1..session.sessions()).map(|_| loaded.factory.load());
    let mut engines = others.collect::<anyhow::Result<Vec<_>>>()?;
    engines.push(loaded.session);
    Ok((trial.measure(&mut engines)?, loaded.manifest.fingerprint))
}

fn load_in(config: &CalibrateConfig, precision: Option<Precision>) -> anyhow::Result<Loaded> {
    let session = SessionConfig {
        precision,
        ..config.session.clone()
    };
    Ok(load(&config.model, &session, Instant::now())?)
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    provider: Provider,
    precision: Option<Precision>,
    longest: usize,
    padding_id: u32,
    duration: Duration,
}

impl Trial {
    /// Measures the best rate of each size that the device can take.
    fn measure(self, engines: &mut [impl Engine + Send]) -> Result<Vec<TensorSpeed>, EmbedError> {
        let deadline = Instant::now() + self.duration;
        let tokens = self.affordable(engines)?;
        let sizes = self.sizes().iter().copied().filter(|size| *size <= tokens);
        let mut sizes: Vec<_> = sizes
            .map(|size| (size, self.tensors(size, tokens), 0.0_f64))
            .collect();
        for round in 0..ROUNDS {
            if round > 0 && Instant::now() > deadline {
                break;
            }
            let mut kept = Vec::new();
            for (size, tensors, best) in sizes {
                match rate(engines, &tensors) {
                    Ok(rate) => kept.push((size, tensors, best.max(rate))),
                    // Too large for its memory; the smaller sizes have shown that the model runs.
                    Err(_) if !kept.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
            sizes = kept;
        }
        let measured = sizes
            .into_iter()
            .map(|(tensor_tokens, _, best)| TensorSpeed {
                tensor_tokens,
                precision: self.precision,
                tokens_per_second: best,
            });
        Ok(measured.collect())
    }

    /// Tokens that can be run once in each size within the duration: at most as many for each engine as a worker pulls at a
    /// time, because fewer would be sorted into tensors less well than its own are, and at least one tensor of a middling
    /// size, however slow the model is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate times seconds, clamped to sizes of tensors"
    )]
    fn affordable(self, engines: &mut [impl Engine + Send]) -> Result<usize, EmbedError> {
        let sizes = self.sizes();
        let smallest = self.tensors(sizes[0], sizes[0]);
        // The first run also pays for memory.
        rate(engines, &smallest)?;
        let rate = rate(engines, &smallest)?;
        let each = rate * self.duration.as_secs_f64() / sizes.len() as f64;
        let most = self.provider.batch_tokens() * engines.len();
        Ok((each as usize).clamp(sizes[sizes.len() / 2], most))
    }

    fn sizes(self) -> &'static [usize] {
        match self.provider {
            Provider::Cpu | Provider::Openvino => &CPU_SIZES,
            Provider::Cuda => &CUDA_SIZES,
        }
    }

    /// Rows with so many tokens together, the same for each size.
    fn tensors(self, size: usize, tokens: usize) -> Vec<Tensor> {
        let row = |(row, tokens)| Row {
            key: RowKey { job: 0, row },
            token_ids: vec![self.padding_id; tokens],
            type_ids: Vec::new(),
            reading: Reading::default(),
        };
        let lengths = lengths(tokens, self.longest).into_iter().enumerate();
        let shapes = self.provider.shapes(size, self.longest);
        plan(lengths.map(row).collect(), shapes, self.padding_id)
    }
}

/// Lengths of rows with about so many tokens together: the quantiles of a log-normal distribution, so that each call
/// returns the same.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "lengths are between 3 and the longest row, and there are far fewer than 2^52"
)]
fn lengths(tokens: usize, longest: usize) -> Vec<usize> {
    let rows = (tokens as f64 / (MEDIAN_TOKENS * 1.2)).ceil().max(2.0) as usize;
    let quantile = |at: usize| (2 * at + 1) as f64 / (2 * rows) as f64;
    // The logistic distribution is close to the normal one and has a closed inverse.
    let deviation = |share: f64| (share / (1.0 - share)).ln() * 0.55;
    let length = |share: f64| MEDIAN_TOKENS * (LENGTH_SPREAD * deviation(share)).exp();
    let all = (0..rows).map(|at| length(quantile(at)) as usize);
    all.map(|length| length.clamp(3, longest.max(3))).collect()
}

/// Tokens per second.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(engines: &mut [impl Engine + Send], tensors: &[Tensor]) -> Result<f64, EmbedError> {
    let run = |engine: &mut _, tensor: &Tensor| Engine::run(engine, tensor).map(drop);
    let spent = run_all(engines, tensors, run)?;
    let tokens: usize = tensors.iter().map(Tensor::useful_tokens).sum();
    Ok(tokens as f64 / spent.as_secs_f64())
}

/// Runs tensors, each on the engine that is free first, and returns the time for which the device was needed. Where each
/// engine has run several, that leaves out their wait for the last one, because in a worker the next batch begins then.
///
/// # Errors
/// [`EmbedError`] of a tensor that failed.
pub fn run_all<E: Send>(
    engines: &mut [E],
    tensors: &[Tensor],
    run: impl Fn(&mut E, &Tensor) -> Result<(), EmbedError> + Sync,
) -> Result<Duration, EmbedError> {
    let next = AtomicUsize::new(0);
    let work = |engine: &mut E| -> Result<Duration, EmbedError> {
        let mut spent = Duration::ZERO;
        while let Some(tensor) = tensors.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = Instant::now();
            run(engine, tensor)?;
            spent += started.elapsed();
        }
        Ok(spent)
    };
    let (count, started) = (engines.len(), Instant::now());
    let spent: Duration = thread::scope(|scope| {
        let engines = engines.iter_mut();
        let working: Vec<_> = engines.map(|it| scope.spawn(|| work(it))).collect();
        let spent = working
            .into_iter()
            .map(|it| it.join().expect("an engine panicked"));
        spent.sum::<Result<_, EmbedError>>()
    })?;
    if tensors.len() < SEVERAL * count {
        return Ok(started.elapsed());
    }
    Ok(spent / u32::try_from(count).unwrap_or(u32::MAX))
}

/// Chooses the default, unless another size is clearly better; then the smallest that is about as good as the best.
fn choose(measured: &[TensorSpeed], default: usize) -> TensorSpeed {
    let best = measured.iter().map(|it| it.tokens_per_second);
    let best = best.fold(0.0, f64::max);
    let default = measured.iter().find(|it| it.tensor_tokens == default);
    if let Some(default) = default.filter(|it| it.tokens_per_second * CLEARLY_BETTER >= best) {
        return *default;
    }
    let good = measured
        .iter()
        .find(|it| it.tokens_per_second >= best * AS_GOOD);
    *good.expect("something was measured")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::limited_engine::LimitedEngine;

    fn trial() -> Trial {
        Trial {
            provider: Provider::Cpu,
            precision: None,
            longest: 200,
            padding_id: 0,
            duration: Duration::from_secs(1),
        }
    }

    #[test]
    fn sizes_that_the_device_cannot_take_are_left_out() {
        let measured = trial().measure(&mut [LimitedEngine(1_100)]).unwrap();
        let sizes: Vec<_> = measured.iter().map(|it| it.tensor_tokens).collect();
        assert_eq!(sizes, [256, 512, 1_024]);
        assert!(measured.iter().all(|it| it.tokens_per_second > 0.0));
        assert!(
            trial()
                .measure(&mut [LimitedEngine(100), LimitedEngine(100)])
                .is_err()
        );
    }

    #[test]
    fn every_size_is_measured_with_the_same_rows() {
        let rows = |size| {
            let tensors = trial().tensors(size, 4_096);
            let mut lengths: Vec<_> = tensors.iter().flat_map(|it| it.lengths.clone()).collect();
            lengths.sort_unstable();
            lengths
        };
        assert_eq!(rows(256), rows(4_096));
        let tokens: usize = rows(256).iter().sum();
        assert!((3_500..5_500).contains(&tokens), "{tokens}");
    }

    #[test]
    fn of_sizes_that_are_as_good_the_smallest_is_taken() {
        let of = |rates: [f64; 3]| {
            let sizes = [256, 512, 1_024].into_iter().zip(rates);
            let measured = sizes.map(|(tensor_tokens, tokens_per_second)| TensorSpeed {
                tensor_tokens,
                precision: None,
                tokens_per_second,
            });
            choose(&measured.collect::<Vec<_>>(), 1_024).tensor_tokens
        };
        assert_eq!(of([90.0, 99.0, 90.0]), 512);
        assert_eq!(of([100.0, 99.0, 90.0]), 256);
        assert_eq!(of([50.0, 60.0, 100.0]), 1_024);
        assert_eq!(
            of([100.0, 104.0, 100.0]),
            1_024,
            "the default is about as good"
        );
    }
}
