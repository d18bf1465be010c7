//! Render: decisions become an overlay of kustomize on top of `deploy/` and `keda/`.
//!
//! ```text
//! decisions.yaml -> read -> derive -> rules -> DIR/kustomization.yaml, DIR/keda/kustomization.yaml
//!                     of each further model: DIR/models/NAME/..., DIR/keda/NAME/...
//! ```
//! The same decisions make the same files, byte for byte. A file that somebody else wrote, or changed, is never
//! overwritten.

#[cfg(test)]
mod chart;
mod overlay;
mod relative;
mod write;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decisions::{Decisions, Fault, Serving, read};
use crate::fleet::{Broken, Derived, broken, derive};
use crate::outcome::Outcome;
use overlay::Part;
pub use write::{State, Written};

#[derive(Args, Clone, Debug)]
pub struct RenderConfig {
    /// File with the decisions, YAML; deploy/decisions.yaml is one
    pub decisions: PathBuf,
    /// Directory of the overlay; `kubectl apply --kustomize` takes it
    #[arg(long)]
    pub out: PathBuf,
    /// The directory `deploy` of Ebb, beside which `keda` lies
    #[arg(long, default_value = "deploy")]
    pub deploy: PathBuf,
    /// Write nothing; exit with 1 if anything would change
    #[arg(long)]
    pub check: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rendered {
    /// The numbers that follow from the decisions about the first model.
    #[serde(flatten)]
    pub derived: Derived,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_models: Vec<AdditionalModel>,
    pub files: Vec<Written>,
    /// Whether nothing was written, because that was asked for.
    #[serde(skip)]
    pub check: bool,
}

/// A further model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AdditionalModel {
    pub name: String,
    /// The numbers that follow from the decisions about it.
    #[serde(flatten)]
    pub derived: Derived,
}

impl Outcome for Rendered {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write_numbers(out, &self.derived)?;
        for AdditionalModel { name, derived } in &self.more_models {
            writeln!(out, "\n{name}")?;
            write_numbers(out, derived)?;
        }
        for file in &self.files {
            let sign = match file.state {
                State::Unchanged => ' ',
                State::Changed => '~',
                State::Created => '+',
            };
            writeln!(out, "{sign} {}", file.path.display())?;
        }
        Ok(())
    }

    fn is_failure(&self) -> bool {
        let differs = |file: &Written| file.state != State::Unchanged;
        self.check && self.files.iter().any(differs)
    }
}

fn write_numbers(out: &mut dyn Write, derived: &Derived) -> io::Result<()> {
    for (name, value, why) in derived.explained() {
        writeln!(out, "{name:<20} {value:<32} {why}")?;
    }
    Ok(())
}

impl RenderConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        for folder in ["overlays", "../keda"] {
            let path = self.deploy.join(folder);
            if !path.is_dir() {
                let problem = format!("`{}` is not a directory", path.display());
                faults.push(ConfigFault::new("--deploy", problem));
            }
        }
        if let Err(problems) = self.decide() {
            let fault = |problem| ConfigFault::new("DECISIONS", problem);
            faults.extend(problems.into_iter().map(fault));
        }
        faults
    }

    /// Decisions that can be read and keep all rules, with what follows for each model; or all that is wrong with them.
    fn decide(&self) -> Result<(Decisions, Vec<Derived>), Vec<String>> {
        let unreadable = |error| {
            vec![format!(
                "cannot read `{}`: {error}",
                self.decisions.display()
            )]
        };
        let yaml = std::fs::read_to_string(&self.decisions).map_err(unreadable)?;
        let sentences =
            |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
        let decisions = read(&yaml).map_err(sentences)?;
        let derived: Vec<_> = decisions.all().map(derive).collect();
        let mut refusals = Vec::new();
        for (index, (serving, derived)) in decisions.all().zip(&derived).enumerate() {
            let place = match index.checked_sub(1) {
                Some(index) => format!("more_models[{index}]."),
                None => String::new(),
            };
            let broken = broken(&derived.fleet());
            let refusal = |broken| format!("{place}{}", refusal(broken, serving));
            refusals.extend(broken.iter().map(refusal));
        }
        if refusals.is_empty() {
            return Ok((decisions, derived));
        }
        Err(refusals)
    }
}

/// A broken rule, by the decision and its value.
fn refusal(broken: &Broken, serving: &Serving) -> String {
    let Broken {
        rule,
        at,
        found,
        wanted,
    } = broken;
    let decided = match at.as_str() {
        "model.tokens_per_second" => serving.model.tokens_per_second.map(|rate| rate.to_string()),
        "gpu" => Some(serving.gpu.to_string()),
        _ => None,
    };
    match decided {
        Some(decided) => {
            format!("{at}: `{decided}` makes it {found}, which has to be {wanted}: {rule}")
        }
        None => format!("{at}: `{found}` has to be {wanted}: {rule}"),
    }
}

/// Renders.
///
/// # Errors
/// If the decisions cannot be met, or a file of somebody else is in the way.
pub fn render(config: &RenderConfig) -> anyhow::Result<Rendered> {
    let decided = config.decide();
    let (decisions, derived) = decided.map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    let files = files(config, &decisions, &derived)?;
    let files = if config.check {
        write::compare(&files)?
    } else {
        write::write(&files)?
    };
    let names = decisions
        .all()
        .map(|serving| serving.model.name.to_string());
    let mut derived = names.zip(derived);
    let first = derived.next().context("there is a first model")?;
    Ok(Rendered {
        derived: first.1,
        more_models: derived
            .map(|(name, derived)| AdditionalModel { name, derived })
            .collect(),
        files,
        check: config.check,
    })
}

/// Paths and contents, in the order in which they are written: what others refer to comes first.
fn files(
    config: &RenderConfig,
    decisions: &Decisions,
    derived: &[Derived],
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let (mut scalers, mut models) = (Vec::new(), Vec::new());
    for (serving, derived) in decisions.all().zip(derived) {
        let part = Part {
            decisions,
            serving,
            derived,
        };
        let further = part.further();
        let beside = |folder: PathBuf| {
            further
                .iter()
                .fold(folder, |folder, name| folder.join(name))
        };
        let keda = beside(config.out.join("keda"));
        let scaler = relative::path(&keda, &config.deploy.join("../keda"))?;
        scalers.push((keda, part.autoscaler(&scaler), derived));
        let top = match &further {
            Some(_) => beside(config.out.join(overlay::MORE)),
            None => config.out.clone(),
        };
        let deploy = relative::path(&top, &config.deploy)?;
        models.push((top, part.kustomization(&deploy), derived));
    }
    // The first model names the others.
    scalers.reverse();
    models.reverse();
    let files = scalers.into_iter().chain(models);
    Ok(files
        .map(|(folder, content, derived)| {
            let content = write::with_header(&content, derived);
            (folder.join("kustomization.yaml"), content)
        })
        .collect())
}

/// Text as a scalar of YAML that is nothing but text. A string of JSON is one.
fn quoted(text: &impl ToString) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}
