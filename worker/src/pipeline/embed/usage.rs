//! Usage: tells the indexer's runs how many tokens their jobs have cost.

use std::collections::BTreeMap;

use contract::topology::USAGE;
use contract::usage::Usage;

use crate::batch::Inputs;
use crate::inflight::Queue;

/// What a batch costs each run whose jobs are in it. Jobs that belong to no run are left out.
pub(super) fn usage(inputs: &Inputs) -> Vec<Usage> {
    let mut runs: BTreeMap<&str, Usage> = BTreeMap::new();
    for tensor in &inputs.tensors {
        let padded = tensor.input_ids.ncols() as u64;
        for (key, tokens) in tensor.rows.iter().zip(&tensor.lengths) {
            if let Some(run) = inputs.jobs[key.job].job.run() {
                runs.entry(run).or_default().add(*tokens as u64, padded);
            }
        }
    }
    let named = |(run, usage): (&str, Usage)| Usage {
        run: run.to_owned(),
        ..usage
    };
    runs.into_iter().map(named).collect()
}

/// Publishes usage without waiting for a confirmation: a run that misses some of it only reports too low a cost.
pub(super) async fn publish(queue: &Queue, usage: Vec<Usage>) {
    for usage in usage {
        let json = serde_json::to_vec(&usage).expect("a usage has only integers and a name");
        if let Err(error) = queue.client.publish(USAGE, json.into()).await {
            tracing::debug!(%error, "usage not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::job::Job;
    use ndarray::Array2;

    use super::*;
    use crate::batch::{DecodedJob, RowKey, Tensor};

    fn job(run: &str) -> DecodedJob {
        let json =
            format!(r#"{{"version":"1.0","kind":"embed",{run}"queries":["a","b"],"reply":"r"}}"#);
        DecodedJob {
            job: Job::decode(json.as_bytes()).expect("a job"),
            default_version: 1,
            truncated: Vec::new(),
        }
    }

    fn tensor(width: usize, rows: &[(usize, usize, usize)]) -> Tensor {
        Tensor {
            rows: rows
                .iter()
                .map(|(job, row, _)| RowKey {
                    job: *job,
                    row: *row,
                })
                .collect(),
            lengths: rows.iter().map(|(_, _, tokens)| *tokens).collect(),
            input_ids: Array2::zeros((rows.len(), width)),
            type_ids: None,
        }
    }

    #[test]
    fn each_run_is_told_what_its_own_rows_cost() {
        let inputs = Inputs {
            jobs: vec![job(r#""run":"b","#), job(""), job(r#""run":"a","#)],
            rows: vec![2, 2, 2],
            known: Vec::new(),
            tensors: vec![
                tensor(9, &[(0, 0, 9), (1, 1, 8), (2, 0, 7)]),
                tensor(5, &[(0, 1, 5), (1, 0, 4), (2, 1, 3)]),
            ],
        };
        let of = |run: &str, tokens, padded_tokens| Usage {
            run: run.to_owned(),
            tokens,
            padded_tokens,
        };
        assert_eq!(usage(&inputs), [of("a", 10, 14), of("b", 14, 14)]);
    }
}
