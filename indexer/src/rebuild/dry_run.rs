//! Dry run: what a rebuild that starts anew would copy and publish, counted by the code that does it.

use contract::model::{Manifest, TOKENIZER};
use contract::tokenizer::Tokenizer;
use points::Points;

use super::RebuildConfig;
use super::copy::{Collection, Copier, CopyResult, copy_all};
use super::verify::shrink;
use crate::clock::now_micros;
use crate::corpus::Corpus;
use crate::generation::alias;
use crate::generation::collection::{documents, is_same_model};
use crate::generation::ledger::DeadPoints;
use crate::jobs::JobTemplate;
use crate::jobs::publisher::Publisher;
use crate::plan::{Plan, Verb, Work};
use crate::source::Format;

/// Plans a rebuild that starts now. What an unfinished run has done already is not taken into account.
pub async fn dry_run(config: &RebuildConfig) -> anyhow::Result<Plan> {
    let manifest = config.model.embedding()?;
    let qdrant = config.servers.qdrant.client()?;
    let serving = alias::target(&qdrant, &config.alias).await?;
    let target = Points {
        store: &qdrant,
        collection: &serving,
    };
    let read = read(config, &manifest, target).await?;
    let work = work(&read);
    let now = target.count(documents()).await?;
    let gate = shrink(now, work.documents, config.limits.max_shrink);
    let too_small = (!gate.passed).then(|| format!("{}: {}", gate.name, gate.finding));
    Ok(Plan {
        verb: Verb::Rebuild,
        alias: config.alias.clone(),
        collection: serving.clone(),
        refusal: work.refusal(config.limits.max_refused).or(too_small),
        changes: None,
        estimate: config.sizing.estimate(&work),
        work,
    })
}

async fn read(
    config: &RebuildConfig,
    manifest: &Manifest,
    serving: Points<'_>,
) -> anyhow::Result<CopyResult> {
    let version = now_micros();
    let corpus = Corpus {
        sources: &config.sources,
        stdin: Format::Jsonl,
        extract: config.extract,
        collection: config.alias.clone(),
        tokenization: manifest.tokenization(),
        version,
        job_tokens: config.chunking.job_tokens,
    };
    let same = is_same_model(serving.store, serving.collection, manifest).await?;
    let copier = Copier {
        target: None,
        serving: (same && !config.full).then_some(serving),
        manifest,
        version,
        run: "",
        dead: &DeadPoints::new(),
    };
    let publisher = Publisher::new(None, template(config, manifest), config.chunking.job_tokens);
    if let Some(name) = &config.from_collection {
        let collection = Collection {
            from: Points {
                collection: &alias::resolved(serving.store, name).await?,
                ..serving
            },
            serving: serving.collection,
            tokenizer: &Tokenizer::load(&config.model.model.join(TOKENIZER))?,
            copier: &copier,
        };
        return collection.copy(corpus.packer(), publisher, || Ok(())).await;
    }
    let chunker = config.chunking.chunker(manifest, &config.model)?;
    let (incoming, reader) = corpus.read(chunker)?;
    let read = copy_all(incoming, &copier, publisher, || Ok(())).await;
    let ended = reader.ended().await;
    let read = read?;
    ended?;
    Ok(read)
}

fn template(config: &RebuildConfig, manifest: &Manifest) -> JobTemplate {
    JobTemplate {
        run: None,
        collection: config.alias.clone(),
        tokenization: Some(manifest.tokenization()),
        fingerprint: Some(manifest.fingerprint.clone()),
    }
}

fn work(read: &CopyResult) -> Work {
    let report = &read.report;
    Work {
        documents: report.documents,
        chunks: report.chunks,
        tokens: report.tokens,
        refused: read.refused,
        reused_chunks: report.reused,
        published_chunks: report.published,
        published_tokens: report.published_tokens,
        embed_jobs: read.jobs,
        delete_jobs: 0,
        jobs: read.jobs,
    }
}
