//! Pack: puts points into jobs of a roughly constant amount of work.
//!
//! A point whose text is longer than the model takes gets a job of its own: an installation that refuses such texts
//! refuses no other with it. Each job says from which point to scroll again to make it once more, so that a run that
//! goes on packs the same jobs.

use contract::digest::Digest;
use contract::job::{self, Attach, Item, Job, Rescore};
use contract::names::{CollectionName, ModelName, VectorName};
use contract::score::ScoreField;

use crate::jobs::packer::{Filled, Packer, Size, json_bytes};

/// What all jobs of a run have in common.
#[derive(Clone, Debug)]
pub struct Template {
    pub run: Option<String>,
    pub collection: CollectionName,
    pub place: Destination,
}

/// Where the result of a model for a point is written.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Into this payload field, or into that of the model.
    Score(Option<ScoreField>),
    /// Into an attached vector, which the model of this fingerprint makes.
    Vector {
        name: VectorName,
        fingerprint: Digest,
    },
}

impl Destination {
    /// The name of this destination in records and reports of this model.
    pub fn name(&self, model: &ModelName) -> String {
        match self {
            Self::Score(field) => {
                let field = field.clone();
                field.unwrap_or_else(|| ScoreField::of(model)).to_string()
            }
            Self::Vector { name, .. } => format!("vector {name}"),
        }
    }
}

impl Template {
    fn job(&self, items: Vec<Item>) -> Job {
        let (version, run) = (job::VERSION.to_owned(), self.run.clone());
        match &self.place {
            Destination::Score(field) => Job::Rescore(Rescore {
                version,
                run,
                collection: Some(self.collection.clone()),
                field: field.clone(),
                items,
                reply: None,
                truncate: false,
            }),
            Destination::Vector { name, fingerprint } => Job::Attach(Attach {
                version,
                run,
                collection: self.collection.clone(),
                vector: name.clone(),
                fingerprint: fingerprint.clone(),
                items,
            }),
        }
    }
}

/// Limits of a job in tokens.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of tokens that a job is filled up to.
    pub job_tokens: usize,
    /// The most tokens that the model takes in one row.
    pub row_tokens: usize,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub item: Item,
    /// Tokens of its text or pair.
    pub tokens: usize,
}

/// A job with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    pub job: Job,
    /// Point from which to scroll to pack this job again.
    pub first: String,
    pub points: u64,
    pub tokens: u64,
    /// Points with a text that the model does not take whole.
    pub too_long: u64,
}

/// Fills jobs one after the other.
#[derive(Debug)]
pub struct RowPacker {
    template: Template,
    row_tokens: usize,
    packer: Packer<Item>,
}

impl RowPacker {
    pub fn new(template: Template, limits: Limits) -> Self {
        Self {
            template,
            row_tokens: limits.row_tokens,
            packer: Packer::new(limits.job_tokens),
        }
    }

    /// All jobs from now on are of this run.
    pub fn begin(&mut self, run: &str) {
        self.template.run = Some(run.to_owned());
    }

    /// Adds a point. Gives the jobs that are full, in order; `None` if the point fits no job even alone.
    pub fn add(&mut self, row: Row) -> Option<Vec<Packed>> {
        let size = Size {
            tokens: row.tokens,
            rows: 1,
            // One more for the comma.
            bytes: json_bytes(&row.item) + 1,
            copies: 0,
        };
        if !size.fits_alone() {
            return None;
        }
        let is_alone = row.tokens > self.row_tokens;
        let before = if is_alone {
            self.packer.finish()
        } else {
            self.packer.make_room(size)
        };
        self.packer.push(row.item, size);
        let own = is_alone.then(|| self.packer.finish()).flatten();
        let filled = before.into_iter().chain(own);
        Some(filled.filter_map(|filled| self.job(filled)).collect())
    }

    /// Gives the job that is being filled, if anything is in it.
    pub fn finish(&mut self) -> Option<Packed> {
        let filled = self.packer.finish()?;
        self.job(filled)
    }

    fn job(&self, filled: Filled<Item>) -> Option<Packed> {
        let Filled { items, size } = filled;
        let first = items.first()?.point.clone()?;
        let is_too_long = size.rows == 1 && size.tokens > self.row_tokens;
        let job = self.template.job(items);
        Some(Packed {
            job,
            first,
            points: size.rows as u64,
            tokens: size.tokens as u64,
            too_long: u64::from(is_too_long),
        })
    }
}

#[cfg(test)]
mod tests {
    use contract::job::MAX_JOB_BYTES;
    use proptest::prelude::*;

    use super::*;

    fn row(id: usize, tokens: usize, text: &str) -> Row {
        Row {
            item: Item {
                point: Some(id.to_string()),
                version: Some(7),
                digest: None,
                head: None,
                query: Some("query".to_owned()),
                text: text.to_owned(),
            },
            tokens,
        }
    }

    fn pack(tokens: &[usize], text: &str, job_tokens: usize) -> Vec<Packed> {
        let template = Template {
            run: Some("r".to_owned()),
            collection: "docs".parse().unwrap(),
            place: Destination::Score(None),
        };
        let limits = Limits {
            job_tokens,
            row_tokens: 200,
        };
        let mut packer = RowPacker::new(template, limits);
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
        let template = Template {
            run: None,
            collection: "docs".parse().unwrap(),
            place: Destination::Score(None),
        };
        let limits = Limits {
            job_tokens: 1,
            row_tokens: 1,
        };
        let huge = row(0, 1, &"x".repeat(MAX_JOB_BYTES));
        assert!(RowPacker::new(template, limits).add(huge).is_none());
    }
}
