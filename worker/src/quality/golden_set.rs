//! The golden set: documents, and questions with the documents that answer them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use contract::topology::Task;
use relevance::RelevanceError;
use relevance::corpus::{self, Document};
use relevance::read::{self, Topic};

/// A document of the demo's corpus.
macro_rules! document {
    ($path:literal) => {
        (
            $path,
            include_str!(concat!("../../../fixtures/corpus/", $path)),
        )
    };
}

/// The demo's documents, each as a whole: the set measures a change, not the quality of search.
const DOCUMENTS: [(&str, &str); 48] = [
    document!("concepts/exactly-once.md"),
    document!("concepts/job.md"),
    document!("concepts/overview.md"),
    document!("concepts/point-ids.md"),
    document!("concepts/versions.md"),
    document!("how-to/publish-from-any-client.md"),
    document!("how-to/unicode-ids.md"),
    document!("indexer/chunking.md"),
    document!("indexer/evaluation.md"),
    document!("indexer/incremental-sync.md"),
    document!("indexer/offsets.md"),
    document!("indexer/rebuild.md"),
    document!("indexer/rescoring.md"),
    document!("kubernetes/cooldown.md"),
    document!("kubernetes/cronjob.md"),
    document!("kubernetes/gpu-nodes.md"),
    document!("kubernetes/keda-lag.md"),
    document!("kubernetes/network-policies.md"),
    document!("kubernetes/probes.md"),
    document!("kubernetes/scaledobject-vs-scaledjob.md"),
    document!("models/execution-providers.md"),
    document!("models/manifest.md"),
    document!("models/matryoshka.md"),
    document!("models/normalization.md"),
    document!("models/pooling.md"),
    document!("models/precision.md"),
    document!("models/staging.md"),
    document!("operations/backlog-not-falling.md"),
    document!("operations/cost.txt"),
    document!("operations/disk-full.txt"),
    document!("operations/metrics-and-traces.md"),
    document!("operations/no-workers.txt"),
    document!("qdrant/aliases.md"),
    document!("qdrant/conditional-upsert.md"),
    document!("qdrant/hnsw-vs-exact.md"),
    document!("queue/dead-letters.md"),
    document!("queue/duplicate-window.md"),
    document!("queue/durability.md"),
    document!("queue/lanes.md"),
    document!("queue/poison-jobs.md"),
    document!("queue/retention.md"),
    document!("queue/settling.md"),
    document!("worker/backpressure.md"),
    document!("worker/bounded-memory.md"),
    document!("worker/circuit-breaker.txt"),
    document!("worker/drain.md"),
    document!("worker/padding.md"),
    document!("worker/token-budget.md"),
];
const QUERIES: &str = include_str!("../../../fixtures/golden/queries.jsonl");
const QRELS: &str = include_str!("../../../fixtures/golden/qrels.tsv");

#[derive(Debug)]
pub(crate) struct GoldenSet {
    pub(crate) documents: Vec<Document>,
    /// The questions that a document answers.
    pub(crate) topics: Vec<Topic>,
}

impl GoldenSet {
    /// The set in a directory in the shape of BEIR, or the one that is built in.
    fn read(directory: Option<&Path>) -> Result<Self, RelevanceError> {
        match directory {
            Some(directory) => {
                let qrels: PathBuf = directory.join("qrels");
                let topics = read::read(&directory.join("queries.jsonl"), &[qrels])?;
                let documents = corpus::read(&directory.join("corpus.jsonl"))?;
                Ok(Self::of(documents, topics.topics))
            }
            None => Self::built_in(),
        }
    }

    /// The set for a model of this task: a rescorer finds no documents.
    ///
    /// # Errors
    /// If the set cannot be read, or a directory is given and of no use.
    pub(crate) fn of_task(task: Task, directory: Option<&Path>) -> anyhow::Result<Option<Self>> {
        match (task, directory) {
            (Task::Embed, directory) => Ok(Some(Self::read(directory)?)),
            (Task::Rescore, None) => Ok(None),
            (Task::Rescore, Some(_)) => {
                anyhow::bail!(
                    "--golden-set measures embedding models, and this model is a rescorer"
                )
            }
        }
    }

    fn built_in() -> Result<Self, RelevanceError> {
        let document = |(id, text): &(&str, &str)| Document {
            id: (*id).to_owned(),
            text: (*text).to_owned(),
        };
        let topics = read::parse("the golden set", QUERIES, QRELS)?;
        let documents = DOCUMENTS.iter().map(document).collect();
        Ok(Self::of(documents, topics.topics))
    }

    fn of(documents: Vec<Document>, mut topics: Vec<Topic>) -> Self {
        let known: HashSet<_> = documents.iter().map(|it| it.id.as_str()).collect();
        topics.retain(|topic| {
            let mut grades = topic.grades.iter();
            grades.any(|(id, grade)| *grade > 0 && known.contains(id.as_str()))
        });
        Self { documents, topics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_set_is_whole() {
        let set = GoldenSet::read(None).unwrap();
        assert_eq!((set.documents.len(), set.topics.len()), (48, 37));
        let empty = set.documents.iter().find(|it| it.text.trim().is_empty());
        assert_eq!(empty, None);
    }

    #[test]
    fn questions_that_no_document_answers_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("qrels")).unwrap();
        write("corpus.jsonl", "{\"_id\": \"d\", \"text\": \"a document\"}");
        write(
            "queries.jsonl",
            "{\"_id\": \"q\", \"text\": \"one\"}\n{\"_id\": \"p\", \"text\": \"two\"}",
        );
        write("qrels/test.tsv", "q\td\t1\np\tother\t1\np\td\t0\n");
        let set = GoldenSet::read(Some(folder.path())).unwrap();
        let ids: Vec<_> = set.topics.iter().map(|topic| topic.id.as_str()).collect();
        assert_eq!((ids.as_slice(), set.documents.len()), (&["q"][..], 1));
    }
}
