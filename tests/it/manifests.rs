//! Manifests: every overlay rendered by kubectl, and held against the schemas of Kubernetes and KEDA, against the names
//! and limits of the code, against the real programs, and against the rules that keep a fleet from losing its work.

mod again;
mod chart;
mod cluster;
mod decisions;
mod e2e;
mod encryption;
mod gitops;
mod hardening;
mod images;
mod names;
mod network;
mod processes;
mod render;
mod scaling;
mod schemas;
mod secrets;
mod variants;

use std::collections::BTreeSet;

/// Names of all Jobs and CronJobs.
pub(crate) async fn jobs() -> anyhow::Result<BTreeSet<String>> {
    let rendered = render::overlay("cpu").await?;
    let all = rendered.of_kind("Job").chain(rendered.of_kind("CronJob"));
    let name = |job| render::text(job, "/metadata/name").to_owned();
    Ok(all.map(name).collect())
}
