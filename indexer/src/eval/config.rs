//! Settings of `indexer eval`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use contract::names::CollectionName;
use runtime::settings::ConfigFault;

use crate::config::{ModelDir, Servers};
use crate::retrieval::Mode;
use crate::retrieval::options::FusionChoice;

/// Largest cutoff: every query asks for several times as many chunks.
const MOST_K: usize = 1000;

#[derive(Args, Clone, Debug)]
pub struct EvalConfig {
    /// Alias or collection to evaluate
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// Queries: JSON lines with `_id` and `text`
    #[arg(long)]
    pub queries: PathBuf,
    /// Judgements: query id, document id and grade, separated by tabs; a file, or a folder with one .tsv file
    #[arg(long, required = true)]
    pub qrels: Vec<PathBuf>,
    /// Alias or collection to compare with
    #[arg(long)]
    pub baseline: Option<CollectionName>,
    /// Directory of the staged model of the baseline, where it is another one; a worker must serve it
    #[arg(long)]
    pub baseline_model: Option<PathBuf>,
    /// Report of an earlier evaluation to compare with
    #[arg(long)]
    pub baseline_report: Option<PathBuf>,
    /// How many of the first documents count; several, separated by commas
    #[arg(
        short = 'k',
        long = "cutoffs",
        value_name = "K",
        default_value = "1,3,5,10,100",
        value_delimiter = ','
    )]
    pub cutoffs: Vec<usize>,
    /// Cutoff of the nDCG that is compared with the baseline and with the limits
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub at: usize,
    /// By which vectors to search, separated by commas; by default all that the collection has. Gates are measured in the
    /// mode that the alias serves
    #[arg(long, value_enum, value_delimiter = ',')]
    pub modes: Vec<Mode>,
    #[command(flatten)]
    pub fusion: FusionChoice,
    /// Search exactly, without the graph of the index, so that the quality of the vectors alone counts
    #[arg(long)]
    pub exact: bool,
    /// Exit with 2 if the mean nDCG is lower than this, 0 to 1
    #[arg(long)]
    pub min_ndcg: Option<f64>,
    /// Exit with 2 if the mean nDCG is lower than the baseline's by more than this, 0 to 1
    #[arg(long)]
    pub max_regression: Option<f64>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// File for the report, which a later evaluation can take as its baseline
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// File for a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// How long to wait for the answer to a job; a worker that is scaled to zero needs time to start
    #[arg(long, default_value = "120s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

impl EvalConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(self.file_faults());
        faults.extend(self.baseline_faults());
        faults.extend(
            self.fusion
                .asked(None)
                .faults("--fusion, --rrf-k, --weights"),
        );
        let is_cutoff = |k: &usize| (1..=MOST_K).contains(k);
        if !self.cutoffs.iter().all(is_cutoff) || !is_cutoff(&self.at) {
            let problem = format!("a cutoff must be 1 to {MOST_K}");
            faults.push(ConfigFault::new("--cutoffs, --at", problem));
        }
        let limits = [
            ("--min-ndcg", self.min_ndcg),
            ("--max-regression", self.max_regression),
        ];
        for (option, limit) in limits {
            if let Some(limit) = limit.filter(|limit| !(0.0..=1.0).contains(limit)) {
                faults.push(ConfigFault::new(option, format!("`{limit}` is not 0 to 1")));
            }
        }
        faults
    }

    /// A path that leads nowhere shows before the work, not after it.
    fn file_faults(&self) -> Vec<ConfigFault> {
        let mut inputs = vec![("--queries", &self.queries)];
        inputs.extend(self.qrels.iter().map(|path| ("--qrels", path)));
        inputs.extend(
            self.baseline_report
                .iter()
                .map(|it| ("--baseline-report", it)),
        );
        inputs.extend(
            self.baseline_model
                .iter()
                .map(|it| ("--baseline-model", it)),
        );
        let outputs = [("--report", &self.report), ("--html", &self.html)];
        let outputs = outputs
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.as_ref()?)));
        let fault = |(option, path): (&'static str, &Path)| {
            (!path.exists())
                .then(|| ConfigFault::new(option, format!("`{}` does not exist", path.display())))
        };
        let folder = |path: &PathBuf| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let folders: Vec<_> = outputs
            .map(|(option, path)| (option, folder(path)))
            .collect();
        let inputs = inputs
            .into_iter()
            .map(|(option, path)| (option, path.as_path()));
        let folders = folders
            .iter()
            .map(|(option, path)| (*option, path.as_path()));
        inputs.chain(folders).filter_map(fault).collect()
    }

    fn baseline_faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if self.baseline.is_some() && self.baseline_report.is_some() {
            let problem = "cannot go with --baseline; choose one";
            faults.push(ConfigFault::new("--baseline-report", problem));
        }
        if self.baseline.is_none() && self.baseline_model.is_some() {
            let problem = "needs --baseline, an alias of that model";
            faults.push(ConfigFault::new("--baseline-model", problem));
        }
        if self.max_regression.is_some()
            && self.baseline.is_none()
            && self.baseline_report.is_none()
        {
            let problem = "needs --baseline or --baseline-report";
            faults.push(ConfigFault::new("--max-regression", problem));
        }
        faults
    }

    pub fn all_cutoffs(&self) -> Vec<usize> {
        let mut all = self.cutoffs.clone();
        all.push(self.at);
        all.sort_unstable();
        all.dedup();
        all
    }
}
