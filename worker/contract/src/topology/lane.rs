//! Lane: one subject of jobs and the consumer that reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ModelName;

/// What a model is used for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Texts to vectors.
    Embed,
    /// Pairs or texts to scores.
    Rescore,
}

/// Which of the two lanes of a model: live work is never starved by bulk work.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Pulled first: publishes, deletes, queries.
    Live,
    /// Pulled when no live work waits: rebuilds, backfills.
    Bulk,
}

impl Task {
    /// The token in subjects and consumer names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Rescore => "rescore",
        }
    }
}

impl Priority {
    /// Both lanes, in the order in which they are pulled.
    pub const ALL: [Self; 2] = [Self::Live, Self::Bulk];

    /// The token in subjects and consumer names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Bulk => "bulk",
        }
    }

    /// The lane that a subject of jobs belongs to. `None` for a subject of anything else.
    #[must_use]
    pub fn of_subject(subject: &str) -> Option<Self> {
        let last = subject.rsplit('.').next()?;
        Self::ALL.into_iter().find(|known| known.as_str() == last)
    }
}

/// One lane of jobs: a subject, and the consumer that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// What the model is used for.
    pub task: Task,
    /// Which model.
    pub model: ModelName,
    /// Live or bulk.
    pub priority: Priority,
}

impl Lane {
    /// One lane of a model.
    #[must_use]
    pub fn new(task: Task, model: ModelName, priority: Priority) -> Self {
        Self {
            task,
            model,
            priority,
        }
    }

    /// Both lanes of a model, live first.
    #[must_use]
    pub fn of(task: Task, model: &ModelName) -> [Self; 2] {
        Priority::ALL.map(|priority| Self::new(task, model.clone(), priority))
    }

    /// Subject of the jobs on all lanes of a model, or of all models: `jobs.<task>.<model>.*` or `jobs.<task>.*.*`.
    #[must_use]
    pub fn all_of(task: Task, model: Option<&ModelName>) -> String {
        let model = model.map_or("*", ModelName::as_str);
        format!("jobs.{}.{model}.*", task.as_str())
    }

    /// The lane that a consumer reads, by the name of the consumer. `None` for a consumer of anything else.
    #[must_use]
    pub fn of_consumer(task: Task, consumer: &str) -> Option<Self> {
        let rest = consumer.strip_prefix(task.as_str())?.strip_prefix('-')?;
        Priority::ALL.into_iter().find_map(|priority| {
            let model = rest.strip_suffix(priority.as_str())?.strip_suffix('-')?;
            Some(Self::new(task, model.parse().ok()?, priority))
        })
    }

    /// Subject that takes the jobs: `jobs.<task>.<model>.<lane>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!(
            "jobs.{}.{}.{}",
            self.task.as_str(),
            self.model,
            self.priority.as_str()
        )
    }

    /// Durable consumer that hands them out: `<task>-<model>-<lane>`.
    #[must_use]
    pub fn consumer(&self) -> String {
        format!(
            "{}-{}-{}",
            self.task.as_str(),
            self.model,
            self.priority.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_tells_its_lane_and_subjects_with_wildcards_mean_all_lanes() {
        let model: ModelName = "mini-lm-live".parse().unwrap();
        for lane in Lane::of(Task::Embed, &model) {
            let consumer = lane.consumer();
            assert_eq!(Lane::of_consumer(Task::Embed, &consumer), Some(lane));
            assert_eq!(Lane::of_consumer(Task::Rescore, &consumer), None);
        }
        assert_eq!(Lane::of_consumer(Task::Embed, "embed-live"), None);
        let all = Lane::all_of(Task::Embed, Some(&model));
        assert_eq!(all, "jobs.embed.mini-lm-live.*");
        assert_eq!(Lane::all_of(Task::Rescore, None), "jobs.rescore.*.*");
    }
}
