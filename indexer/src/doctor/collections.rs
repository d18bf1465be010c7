//! Collections: what is behind the aliases, and whether it was made by the model that is staged.

use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::Task;
use points::collection::Mismatch;
use points::connect::{OLDEST, ServerError, check_version};
use points::schema::lacking_advice;
use points::store::PointsError;
use points::{Points, Qdrant};

use super::drift::findings;
use super::{DoctorConfig, Finding, replicas};
use crate::provision::{ProvisionConfig, collections};

/// The staged model against the fingerprint that was decided.
pub fn pin(config: &DoctorConfig, manifest: &Manifest) -> Vec<Finding> {
    let differs = |wanted: &&_| **wanted != manifest.fingerprint;
    let wrong = config.fingerprint.as_ref().filter(differs);
    let finding = wrong.map(|wanted| {
        let what = format!("model `{}`: fingerprint", manifest.name);
        let advice = "stage the model that was decided on, or decide on the one that is staged; workers refuse to start";
        Finding::error(what, manifest.fingerprint.as_str(), wanted.as_str(), advice)
    });
    finding.into_iter().collect()
}

/// Every alias, by what provisioning would do to it. A rescorer has none, and neither has a model that is attached to that of
/// another one.
pub async fn look(wanted: &ProvisionConfig, manifest: &Manifest) -> Vec<Finding> {
    if manifest.identity.task == Task::Rescore || wanted.installation.lanes {
        return Vec::new();
    }
    let qdrant = match wanted.servers.qdrant_to_look().await {
        Ok(qdrant) => qdrant,
        Err(error) => {
            return vec![Finding::failed(
                "qdrant",
                &error.into(),
                "correct --qdrant-url",
            )];
        }
    };
    let mut found = Vec::new();
    // A server that does not answer shows in each of its collections.
    if let Err(ServerError::TooOld { version, .. }) = check_version(&qdrant).await {
        found.push(Finding::error(
            "qdrant",
            format!("version {version}"),
            format!("at least {OLDEST}"),
            "an older server ignores the conditions of writes; upgrade it",
        ));
    }
    for alias in &wanted.installation.collections {
        let replicas = replicas::look(&qdrant, alias).await;
        match collections::provision_alias(wanted, &qdrant, manifest, alias).await {
            // Without a collection it has no indexes either.
            Ok(steps) => {
                let mut steps = steps.iter().map(findings);
                let missing = steps.next().unwrap_or_default();
                if missing.is_empty() {
                    found.extend(steps.flatten());
                    let failed = |error| vec![replicas::failed(alias, error)];
                    found.extend(replicas.unwrap_or_else(failed));
                } else {
                    found.extend(missing);
                }
            }
            Err(error) => {
                found.push(refused(alias.as_str(), &error));
                // Where all replicas of a shard are down, this is all that is told; an error has been said.
                found.extend(replicas.unwrap_or_default());
            }
        }
        found.extend(incomplete(&qdrant, alias).await);
    }
    found
}

/// Vectors that some points lack. What cannot be asked has shown before.
async fn incomplete(qdrant: &Qdrant, alias: &CollectionName) -> Vec<Finding> {
    let points = Points::new(qdrant, alias);
    let lacking = async {
        let vectors = points.schema().await?.vectors;
        let lacking = points.lacking(&vectors).await?;
        Ok::<_, PointsError>((vectors, lacking))
    };
    let (vectors, lacking) = lacking.await.unwrap_or_default();
    let finding = |(name, count): (String, u64)| {
        let advice = lacking_advice(&vectors, &name);
        let what = format!("collection `{alias}`: vector `{name}`");
        let found = format!("{count} points lack it");
        Finding::error(what, found, "every point has it", advice).into_warning()
    };
    lacking.into_iter().map(finding).collect()
}

fn refused(alias: &str, error: &anyhow::Error) -> Finding {
    let what = format!("collection `{alias}`");
    match error.downcast_ref::<Mismatch>() {
        Some(mismatch) => {
            let advice = "rebuild the alias with the model that is staged, or stage the one that it was made with; \
                          workers refuse to write";
            Finding::error(what, mismatch, "vectors of the staged model", advice)
        }
        None => Finding::failed(
            what,
            error,
            "is Qdrant there, and may this key look at collections?",
        ),
    }
}
