//! Orphaned: jobs on subjects that no consumer reads, as those for a model that nobody has provisioned.

use anyhow::Context as _;
use async_nats::jetstream::consumer::{self, Config};
use async_nats::jetstream::stream::Stream;
use futures::{StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::Serialize;

/// Subjects that are named; the others are counted.
const NAMED: usize = 100;

/// Subjects that no consumer reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Orphaned {
    /// Jobs on all of them.
    pub jobs: u64,
    /// Those with the most jobs, at most a hundred.
    pub subjects: Vec<OrphanedSubject>,
    /// How many are not named.
    pub more_subjects: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OrphanedSubject {
    pub subject: String,
    pub jobs: u64,
}

/// Looks for subjects of a stream that none of its consumers reads.
pub async fn orphaned(jobs: &Stream) -> anyhow::Result<Orphaned> {
    let consumers: Vec<consumer::Info> = jobs
        .consumers()
        .try_collect()
        .await
        .context("failed to list the consumers of jobs")?;
    let read: Vec<_> = consumers
        .iter()
        .flat_map(|info| filters(&info.config))
        .collect();
    let mut subjects = jobs.info_with_subjects(">").await?;
    let mut found = Orphaned::default();
    while let Some(subject) = subjects.next().await {
        let (subject, count) = subject.context("failed to list the subjects of jobs")?;
        if !read.iter().any(|filter| matches(filter, &subject)) {
            found.add(subject, count as u64);
        }
    }
    Ok(found)
}

/// Subjects that a consumer reads.
pub fn filters(config: &Config) -> Vec<String> {
    if !config.filter_subjects.is_empty() {
        config.filter_subjects.clone()
    } else if config.filter_subject.is_empty() {
        vec![">".to_owned()]
    } else {
        vec![config.filter_subject.clone()]
    }
}

impl Orphaned {
    fn add(&mut self, subject: String, jobs: u64) {
        self.jobs += jobs;
        let place = self.subjects.partition_point(|named| named.jobs >= jobs);
        self.subjects
            .insert(place, OrphanedSubject { subject, jobs });
        if self.subjects.len() > NAMED {
            self.subjects.pop();
            self.more_subjects += 1;
        }
    }
}

/// Whether a subject is among those that a filter with wildcards means.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            (wanted, Some(token)) if wanted != "*" && wanted != token => return false,
            (_, Some(_)) => {}
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_they_mean_to_nats() {
        for (filter, subject, meant) in [
            ("jobs.embed.a.live", "jobs.embed.a.live", true),
            ("jobs.embed.a.live", "jobs.embed.a.bulk", false),
            ("jobs.embed.a", "jobs.embed.a.live", false),
            ("jobs.embed.a.live", "jobs.embed.a", false),
            ("jobs.*.a.live", "jobs.embed.a.live", true),
            ("jobs.*", "jobs.embed.a", false),
            ("jobs.>", "jobs.embed.a.live", true),
            ("jobs.>", "jobs", false),
            (">", "jobs", true),
        ] {
            assert_eq!(matches(filter, subject), meant, "{filter} {subject}");
        }
    }

    #[test]
    fn the_fullest_subjects_are_named_and_the_others_counted() {
        let mut orphaned = Orphaned::default();
        (0..250).for_each(|n| orphaned.add(format!("jobs.embed.m{n}.live"), n));
        assert_eq!(orphaned.jobs, 249 * 250 / 2);
        assert_eq!(
            (orphaned.subjects.len(), orphaned.more_subjects),
            (100, 150)
        );
        assert_eq!(
            (orphaned.subjects[0].jobs, orphaned.subjects[99].jobs),
            (249, 150)
        );
    }
}
