//! Dry run: what a sync would publish, counted by the code that publishes it.

use points::options::{self, Options};

use super::comparer::Comparer;
use super::config::Comparison;
use super::read::Reading;
use super::remove::{Removed, Remover};
use crate::generation::collection::look_up;
use crate::generation::ledger::DeadPoints;
use crate::jobs::publisher::Publisher;
use crate::plan::{Changes, Plan, Sizing, Verb, Work};

/// Plans a sync as if it began now. Jobs that wait for workers are not looked at: what they are going to write is
/// planned once more.
pub async fn dry_run(
    config: &Comparison,
    sizing: &Sizing,
    given: &Options,
) -> anyhow::Result<Plan> {
    let qdrant = config.servers.qdrant_to_write().await?;
    let comparer = Comparer::open(config, &qdrant).await?;
    let mut claimed = comparer.claim().await?;
    let shrink = comparer.shrink(&claimed).await?;
    let may_remove = comparer.may_remove(&claimed);
    let nothing_died = DeadPoints::new();
    let reading = Reading {
        comparer: &comparer,
        dead: &nothing_died,
        publisher: Publisher::new(None, comparer.template(None), config.chunking.job_tokens),
        lock: None,
    };
    let mut found = reading.perform().await?;
    claimed.extend(std::mem::take(&mut found.seen));
    let removed = if may_remove {
        let remover = counting(&comparer);
        comparer.remove(&claimed, &nothing_died, &remover).await?
    } else {
        Removed::default()
    };
    let refusal = shrink.refusal().filter(|_| may_remove);
    let work = Work {
        documents: found.documents,
        chunks: found.chunks,
        tokens: found.tokens,
        refused: found.refused,
        reused_chunks: found.unchanged.chunks + found.reused,
        published_chunks: found.changed.chunks - found.reused,
        published_tokens: found.changed_tokens,
        embed_jobs: found.jobs,
        delete_jobs: removed.jobs,
        jobs: found.jobs + removed.jobs,
    };
    given.suit(&comparer.manifest)?;
    let info = look_up(&qdrant, &comparer.serving).await?;
    let next = options::next_generation(&info.unwrap_or_default(), given);
    let sizes = sizing.sizes(&comparer.manifest, found.chunks, found.text_bytes);
    let changes = Changes {
        unchanged: found.unchanged.documents,
        newer: found.newer.documents,
        published: found.changed.documents,
        deleted: removed.documents,
        kept: shrink.behind + if may_remove { 0 } else { shrink.absent },
    };
    Ok(Plan {
        verb: Verb::Sync,
        alias: config.alias.clone(),
        collection: comparer.serving.clone(),
        refusal: refusal.or_else(|| work.refusal(config.max_refused)),
        changes: Some(changes),
        account: found.account,
        storage: next.settings.size(sizes),
        settings: None,
        estimate: sizing.estimate(&work),
        work,
    })
}

fn counting(comparer: &Comparer<'_>) -> Remover {
    Remover {
        to: None,
        run: String::new(),
        alias: comparer.config.alias.clone(),
        version: comparer.version,
        most: u64::MAX,
    }
}
