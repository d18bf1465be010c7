//! Report: what the verbs of the worker print on standard output, for people or as one JSON object on one line. The schema
//! of these objects is published as `outcomes.schema.json`.

use std::path::Path;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use crate::calibration::{Calibration, TensorSpeed};
use crate::check::Finding;
use crate::config::Precision;
use crate::stage::Staged;

/// `worker stage --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StagedModel<'a> {
    model: &'a str,
    /// Digest of all that changes a vector.
    fingerprint: &'a str,
    /// The directory in which workers find the model.
    directory: &'a Path,
    /// Values of a vector; 0 for a rescorer.
    dimensions: usize,
    /// Whether it was staged before.
    existed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<StagedImage<'a>>,
}

/// The image that `--layout oci` makes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StagedImage<'a> {
    directory: &'a Path,
    /// Digest by which it is mounted, as `sha256:...`.
    digest: &'a str,
}

/// `worker calibrate --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Calibrated<'a> {
    fingerprint: &'a str,
    device: &'a str,
    /// The speed at the size and precision that workers take from now on.
    taken: Speed,
    /// The speed of each size and precision that was tried.
    measured: Vec<Speed>,
}

/// Speed at one size of tensors.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Speed {
    /// Padded tokens of one call of the model.
    tensor_tokens: usize,
    /// The numbers it computes in; nothing where the provider has no choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<&'static str>,
    tokens_per_second: f64,
}

/// `worker check --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Findings<'a> {
    findings: Vec<CheckedSubject<'a>>,
}

/// The result of the check of one thing.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckedSubject<'a> {
    subject: &'a str,
    is_good: bool,
    /// What was found, or what is wrong.
    text: &'a str,
}

/// Prints what was staged: the path alone as text, for scripts; the rest is in the log.
pub fn print_staged(staged: &Staged, json: bool) -> anyhow::Result<()> {
    let (manifest, directory) = (&staged.manifest, staged.directory.as_path());
    tracing::info!(
        target: "worker",
        model = %manifest.name,
        fingerprint = manifest.fingerprint.as_str(),
        dimensions = manifest.identity.dimensions,
        existed = staged.existed,
        "staged"
    );
    if let Some(image) = &staged.image {
        let directory = image.directory.display();
        tracing::info!(
            target: "worker",
            digest = image.digest,
            "push it with `crane push {directory} REGISTRY/NAME` or `skopeo copy --all oci:{directory} \
             docker://REGISTRY/NAME`, and mount it by this digest"
        );
    }
    if json {
        return print_json(&StagedModel {
            model: manifest.name.as_str(),
            fingerprint: manifest.fingerprint.as_str(),
            directory,
            dimensions: manifest.identity.dimensions,
            existed: staged.existed,
            image: staged.image.as_ref().map(|image| StagedImage {
                directory: &image.directory,
                digest: &image.digest,
            }),
        });
    }
    let made = staged.image.as_ref().map(|image| image.directory.as_path());
    println!("{}", made.unwrap_or(directory).display());
    Ok(())
}

/// Prints what was measured.
pub fn print_calibration(calibration: &Calibration, json: bool) -> anyhow::Result<()> {
    let is_taken = |speed: &TensorSpeed| {
        speed.tensor_tokens == calibration.tensor_tokens && speed.precision == calibration.precision
    };
    if json {
        return print_json(&Calibrated {
            fingerprint: calibration.fingerprint.as_str(),
            device: &calibration.device,
            taken: Speed {
                tensor_tokens: calibration.tensor_tokens,
                precision: calibration.precision.map(Precision::as_str),
                tokens_per_second: calibration.tokens_per_second,
            },
            measured: calibration.measured.iter().map(Speed::of).collect(),
        });
    }
    println!("{}", calibration.device);
    for speed in &calibration.measured {
        println!(
            "{:>5} {:>8} tokens a tensor {:>12.0} tokens/s{}",
            speed.precision.map_or("", Precision::as_str),
            speed.tensor_tokens,
            speed.tokens_per_second,
            if is_taken(speed) { "  <- taken" } else { "" }
        );
    }
    Ok(())
}

/// Prints what was found; gives the exit code that it means.
pub fn print_findings(findings: &[Finding], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print_json(&Findings {
            findings: findings.iter().map(CheckedSubject::of).collect(),
        })?;
    } else {
        for finding in findings {
            match &finding.result {
                Ok(found) => println!("ok    {}: {found}", finding.subject),
                Err(problem) => println!("FAIL  {}: {problem}", finding.subject),
            }
        }
    }
    let good = findings.iter().all(|finding| finding.result.is_ok());
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_json(outcome: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(outcome)?);
    Ok(())
}

impl Speed {
    fn of(speed: &TensorSpeed) -> Self {
        Self {
            tensor_tokens: speed.tensor_tokens,
            precision: speed.precision.map(Precision::as_str),
            tokens_per_second: speed.tokens_per_second,
        }
    }
}

impl<'a> CheckedSubject<'a> {
    fn of(finding: &'a Finding) -> Self {
        let (is_good, text) = match &finding.result {
            Ok(found) => (true, found),
            Err(problem) => (false, problem),
        };
        Self {
            subject: &finding.subject,
            is_good,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published;

    /// One property for each verb: the object that it prints on one line. What is added later is optional; what is there
    /// keeps its name and its meaning until a major version.
    #[expect(dead_code, reason = "its fields name types for their schemas")]
    #[derive(JsonSchema)]
    #[schemars(title = "What the verbs of worker print with --json")]
    struct Outcomes {
        calibrate: Calibrated<'static>,
        check: Findings<'static>,
        stage: StagedModel<'static>,
    }

    #[test]
    fn the_published_schema_is_current() {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        let schema = schemars::SchemaGenerator::new(settings).into_root_schema_for::<Outcomes>();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/outcomes.schema.json");
        published::is_current(path, &published::text(&schema));
    }
}
