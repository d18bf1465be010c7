//! Dry run: what a rebuild that starts anew would copy and publish, counted by the code that does it.

use contract::model::Manifest;
use points::Points;
use points::replicas::Replicas;
use points::schema::Schema;
use points::vectors::CollectionVectors;

use super::RebuildConfig;
use super::copy::{Copier, CopyResult, Copying, reusable};
use super::verify::shrink;
use crate::clock::now_micros;
use crate::corpus::wait_for_stores;
use crate::generation::alias;
use crate::generation::collection::{documents, look_up};
use crate::generation::ledger::DeadPoints;
use crate::generation::record::SettingsReport;
use crate::jobs::JobTemplate;
use crate::jobs::publisher::Publisher;
use crate::plan::{Plan, Verb, Work};

/// Plans a rebuild that starts now. What an unfinished run has done already is not taken into account.
pub async fn dry_run(config: &RebuildConfig) -> anyhow::Result<Plan> {
    let manifest = config.model.embedding()?;
    config.options.options().suit(&manifest)?;
    let qdrant = config.servers.qdrant_to_read().await?;
    wait_for_stores(&config.sources, config.servers.wait.wait()).await;
    let serving = alias::target(&qdrant, &config.alias).await?;
    let target = Points::new(&qdrant, &serving);
    let read = read(config, &manifest, target).await?;
    let work = work(&read);
    let now = target.count(documents()).await?;
    let info = look_up(&qdrant, &serving).await?;
    let next = config.next_generation(&serving, info.as_ref())?;
    let sizes = config.sizing.sizes(&manifest, work.chunks, read.text_bytes);
    let gate = shrink(now, work.documents, config.limits.max_shrink);
    let too_small = (!gate.passed).then(|| format!("{}: {}", gate.name, gate.finding));
    Ok(Plan {
        verb: Verb::Rebuild,
        alias: config.alias.clone(),
        collection: serving.clone(),
        refusal: work.refusal(config.limits.max_refused).or(too_small),
        changes: None,
        account: read.account,
        storage: next.settings.size(sizes),
        settings: Some(SettingsReport {
            changed: next.changed,
            not_kept: next.named,
        }),
        estimate: config.sizing.estimate(&work),
        work,
    })
}

async fn read(
    config: &RebuildConfig,
    manifest: &Manifest,
    serving: Points<'_>,
) -> anyhow::Result<CopyResult> {
    let template = JobTemplate::of(manifest, config.alias.clone(), None);
    let copying = Copying {
        config,
        copier: Copier {
            target: None,
            schema: Schema {
                vectors: CollectionVectors::default(),
                replicas: Replicas::ONE,
            },
            serving: reusable(serving, manifest, config.full).await?,
            manifest,
            version: now_micros(),
            run: "",
            dead: &DeadPoints::new(),
        },
        publisher: Publisher::new(None, template, config.chunking.job_tokens),
        lock: None,
    };
    let Some(name) = &config.from_collection else {
        return copying.sources().await;
    };
    let from = alias::resolved(serving.store, name).await?;
    let tokenizer = manifest.tokenizer(&config.model.model)?;
    copying.collection(&from, serving, &tokenizer).await
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
