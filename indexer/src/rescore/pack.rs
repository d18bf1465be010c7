//! Pack: puts the points to score into jobs of a roughly constant amount of work.
//!
//! A point whose text is longer than the model takes gets a job of its own: an installation that refuses such texts
//! refuses no other with it. Each job says from which point to scroll again to make it once more, so that a run that
//! goes on packs the same jobs.

use contract::job::{self, Item, Job, MAX_JOB_BYTES, MAX_ROWS, Rescore};
use contract::names::CollectionName;
use contract::score::ScoreField;

/// Room in a job for headers and for what surrounds its items.
const RESERVE_BYTES: usize = 8 * 1024;

/// What all jobs of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Heading {
    pub(super) run: Option<String>,
    pub(super) collection: CollectionName,
    pub(super) field: Option<ScoreField>,
}

/// Limits of a job in tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// What a job aims at.
    pub(super) job_tokens: usize,
    /// What the model takes in one row.
    pub(super) row_tokens: usize,
}

/// A point to score.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) item: Item,
    /// Tokens of its text or pair.
    pub(super) tokens: usize,
}

/// A job with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) job: Job,
    /// Point from which to scroll to pack this job again.
    pub(super) first: String,
    pub(super) points: u64,
    pub(super) tokens: u64,
    /// Points with a text that the model does not take whole.
    pub(super) too_long: u64,
}

/// Fills jobs one after the other.
#[derive(Debug)]
pub(super) struct Packer {
    heading: Heading,
    limits: Limits,
    items: Vec<Item>,
    tokens: usize,
    bytes: usize,
}

impl Packer {
    pub(super) fn new(heading: Heading, limits: Limits) -> Self {
        Self {
            heading,
            limits,
            items: Vec::new(),
            tokens: 0,
            bytes: 0,
        }
    }

    /// Adds a point. Gives the jobs that are full, in order; `None` if the point fits no job even alone.
    pub(super) fn add(&mut self, row: Row) -> Option<Vec<Packed>> {
        // One more for the comma.
        let bytes = serde_json::to_vec(&row.item).map_or(usize::MAX / 2, |json| json.len()) + 1;
        let limit = MAX_JOB_BYTES - RESERVE_BYTES;
        if bytes > limit {
            return None;
        }
        let alone = row.tokens > self.limits.row_tokens;
        let full = self.tokens + row.tokens > self.limits.job_tokens
            || self.items.len() == MAX_ROWS
            || self.bytes + bytes > limit;
        let mut packed = Vec::new();
        if alone || full {
            packed.extend(self.finish());
        }
        self.tokens += row.tokens;
        self.bytes += bytes;
        self.items.push(row.item);
        if alone {
            packed.extend(self.finish());
        }
        Some(packed)
    }

    /// Gives the job that is being filled, if anything is in it.
    pub(super) fn finish(&mut self) -> Option<Packed> {
        let first = self.items.first()?.point.clone()?;
        let items = std::mem::take(&mut self.items);
        let (points, tokens) = (items.len(), std::mem::take(&mut self.tokens));
        let too_long = points == 1 && tokens > self.limits.row_tokens;
        self.bytes = 0;
        let job = Job::Rescore(Rescore {
            version: job::VERSION.to_owned(),
            run: self.heading.run.clone(),
            collection: Some(self.heading.collection.clone()),
            field: self.heading.field.clone(),
            items,
            reply: None,
        });
        Some(Packed {
            job,
            first,
            points: points as u64,
            tokens: tokens as u64,
            too_long: u64::from(too_long),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(id: usize, tokens: usize, text: &str) -> Row {
        Row {
            item: Item {
                point: Some(id.to_string()),
                version: Some(7),
                query: Some("query".to_owned()),
                text: text.to_owned(),
            },
            tokens,
        }
    }

    fn pack(tokens: &[usize], text: &str, job_tokens: usize) -> Vec<Packed> {
        let heading = Heading {
            run: Some("r".to_owned()),
            collection: "docs".parse().unwrap(),
            field: None,
        };
        let limits = Limits {
            job_tokens,
            row_tokens: 200,
        };
        let mut packer = Packer::new(heading, limits);
        let mut packed = Vec::new();
        for (id, tokens) in tokens.iter().enumerate() {
            packed.extend(packer.add(row(id, *tokens, text)).unwrap());
        }
        packed.extend(packer.finish());
        packed
    }

    fn ids(packed: &Packed) -> Vec<usize> {
        let Job::Rescore(job) = Job::decode(&packed.job.encode()).unwrap() else {
            panic!("not a rescore job")
        };
        let points = job.items.iter().map(|item| item.point.as_deref().unwrap());
        points.map(|id| id.parse().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn jobs_hold_every_point_once_and_in_order_and_can_be_packed_again_from_each_first_point(
            tokens in prop::collection::vec(1_usize..260, 0..200),
            job_tokens in 1_usize..2000,
        ) {
            let jobs = pack(&tokens, "text", job_tokens);
            prop_assert_eq!(jobs.iter().flat_map(ids).collect::<Vec<_>>(), (0..tokens.len()).collect::<Vec<_>>());
            prop_assert_eq!(jobs.iter().map(|job| job.tokens).sum::<u64>(), tokens.iter().sum::<usize>() as u64);
            for packed in &jobs {
                let ids = ids(packed);
                prop_assert!(ids.len() == 1 || packed.tokens <= job_tokens as u64);
                prop_assert_eq!(packed.first.parse::<usize>().unwrap(), ids[0]);
                let too_long = ids.iter().filter(|id| tokens[**id] > 200).count();
                prop_assert!(too_long == 0 || ids.len() == 1, "a point that is too long has company");
                prop_assert_eq!(packed.too_long, too_long as u64);
            }
            if let Some(middle) = jobs.get(jobs.len() / 2) {
                let from = ids(middle)[0];
                let again = pack(&tokens[from..], "text", job_tokens);
                prop_assert_eq!(again.len(), jobs.len() - jobs.len() / 2);
                prop_assert_eq!(ids(&again[0]).len(), ids(middle).len());
            }
        }
    }

    #[test]
    fn jobs_stay_below_the_limit_in_bytes() {
        let jobs = pack(&vec![1; 200], &"\u{1}".repeat(20_000), usize::MAX);
        assert!(jobs.len() > 1);
        assert!(
            jobs.iter()
                .all(|packed| packed.job.encode().len() <= MAX_JOB_BYTES)
        );
        let heading = Heading {
            run: None,
            collection: "docs".parse().unwrap(),
            field: None,
        };
        let limits = Limits {
            job_tokens: 1,
            row_tokens: 1,
        };
        let huge = row(0, 1, &"x".repeat(MAX_JOB_BYTES));
        assert!(Packer::new(heading, limits).add(huge).is_none());
    }
}
