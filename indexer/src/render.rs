//! Render: decisions become an overlay of kustomize on top of `deploy/` and `keda/`.
//!
//! ```text
//! decisions.yaml -> read -> derive -> rules -> DIR/kustomization.yaml, DIR/keda/kustomization.yaml
//! ```
//! The same decisions make the same files, byte for byte. A file that somebody else wrote, or changed, is never
//! overwritten.

mod overlay;
mod relative;
mod write;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decisions::{Decisions, Fault, read};
use crate::fleet::{Broken, Derived, broken, derive};
use crate::outcome::Outcome;
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
    /// The numbers that follow from the decisions.
    #[serde(flatten)]
    pub derived: Derived,
    pub files: Vec<Written>,
    /// Whether nothing was written, because that was asked for.
    #[serde(skip)]
    pub check: bool,
}

impl Outcome for Rendered {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (name, value, why) in self.derived.explained() {
            writeln!(out, "{name:<20} {value:<32} {why}")?;
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

    /// Decisions that can be read and keep all rules, or all that is wrong with them.
    fn decide(&self) -> Result<(Decisions, Derived), Vec<String>> {
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
        let derived = derive(&decisions);
        let broken = broken(&derived.fleet());
        if broken.is_empty() {
            return Ok((decisions, derived));
        }
        Err(broken
            .iter()
            .map(|broken| refusal(broken, &decisions))
            .collect())
    }
}

/// A broken rule, by the decision and its value.
fn refusal(broken: &Broken, decisions: &Decisions) -> String {
    let Broken {
        rule,
        at,
        found,
        wanted,
    } = broken;
    let decided = match at.as_str() {
        "model.tokens_per_second" => decisions
            .model
            .tokens_per_second
            .map(|rate| rate.to_string()),
        "gpu" => Some(decisions.gpu.to_string()),
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
    Ok(Rendered {
        derived,
        files,
        check: config.check,
    })
}

/// Paths and contents, in the order in which they are written: what others refer to comes first.
fn files(
    config: &RenderConfig,
    decisions: &Decisions,
    derived: &Derived,
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let (top, keda) = (config.out.clone(), config.out.join("keda"));
    let scaler = relative::path(&keda, &config.deploy.join("../keda"))?;
    let autoscaler = overlay::autoscaler(&scaler, decisions, derived);
    let deploy = relative::path(&top, &config.deploy)?;
    let overlay = overlay::kustomization(&deploy, decisions, derived);
    Ok([(keda, autoscaler), (top, overlay)]
        .map(|(folder, content)| {
            let content = write::with_header(&content, derived);
            (folder.join("kustomization.yaml"), content)
        })
        .into())
}

/// Text as a scalar of YAML that is nothing but text. A string of JSON is one.
fn quoted(text: &impl ToString) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}
