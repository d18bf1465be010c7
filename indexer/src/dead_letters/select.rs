//! Select: which dead letters are meant.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;
use clap::Args;
use contract::names::ModelName;
use runtime::settings::{ConfigFault, identifier};

use super::letter::StoredLetter;
use crate::streams::{Range, Reader, message_at};

/// Which dead letters; all conditions must hold.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Selection")]
pub struct Selection {
    /// Ids, as `ls` shows them
    #[arg(value_name = "ID")]
    pub ids: Vec<u64>,
    /// Cause codes, separated by commas; `unreadable` for messages that are no dead letters
    #[arg(long, value_delimiter = ',', value_parser = identifier)]
    pub cause: Vec<String>,
    /// Name of the model that the job was for, as it stands in the job's subject
    #[arg(long, value_name = "NAME")]
    pub model: Option<ModelName>,
    /// Run that published the job
    #[arg(long, value_parser = identifier)]
    pub run: Option<String>,
    /// Stored longer ago than this, like `2h` or `3days`
    #[arg(long, value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,
    /// Stored within this time
    #[arg(long, value_parser = humantime::parse_duration)]
    pub newer_than: Option<Duration>,
    /// At most so many
    #[arg(long)]
    pub limit: Option<u64>,
}

/// The selected dead letters, one after the other.
#[derive(Debug)]
pub struct Selected {
    selection: Selection,
    now: SystemTime,
    found: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Ids(Box<Stream>, std::vec::IntoIter<u64>),
    All(Box<Reader>),
}

impl Selection {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if let (Some(older), Some(newer)) = (self.older_than, self.newer_than)
            && older >= newer
        {
            let problem = format!("nothing is older than {older:?} and newer than {newer:?}");
            faults.push(ConfigFault::new("--older-than, --newer-than", problem));
        }
        faults
    }

    /// What is wrong for a verb that changes something: everything has to be asked for by name.
    pub fn faults_of_change(&self, all: bool) -> Vec<ConfigFault> {
        let mut faults = self.faults();
        if self.is_everything() && !all {
            let problem = "give ids or a condition, or --all for every dead letter";
            faults.push(ConfigFault::new("--all", problem));
        }
        faults
    }

    /// Whether no condition is given. A limit is not a condition, because it does not say which letters are meant.
    pub fn is_everything(&self) -> bool {
        self.ids.is_empty()
            && self.cause.is_empty()
            && self.model.is_none()
            && self.run.is_none()
            && self.older_than.is_none()
            && self.newer_than.is_none()
    }

    /// Whether a dead letter meets all conditions but that of its id. One that cannot be read has no model and no run.
    pub fn takes(&self, stored: &StoredLetter, now: SystemTime) -> bool {
        let letter = stored.letter.as_ref().ok();
        let age = now.duration_since(stored.died).unwrap_or_default();
        let cause = self.cause.is_empty() || self.cause.iter().any(|cause| cause == stored.cause());
        let model = self.model.as_ref().is_none_or(|model| {
            let lane = letter.and_then(|letter| letter.lane());
            lane.is_some_and(|lane| lane.model == *model)
        });
        let run = self.run.as_ref().is_none_or(|run| {
            let of = letter.and_then(|letter| letter.run.as_ref());
            of == Some(run)
        });
        let old = self.older_than.is_none_or(|least| age > least);
        let new = self.newer_than.is_none_or(|most| age < most);
        cause && model && run && old && new
    }
}

impl Selected {
    /// Starts to look for the selected dead letters.
    pub async fn open(stream: Stream, selection: Selection) -> anyhow::Result<Self> {
        let source = if selection.ids.is_empty() {
            let range = Range {
                filter: ">".to_owned(),
                first: 1,
                headers_only: true,
            };
            Source::All(Box::new(Reader::open(stream, range).await?))
        } else {
            Source::Ids(Box::new(stream), selection.ids.clone().into_iter())
        };
        Ok(Self {
            selection,
            now: SystemTime::now(),
            found: 0,
            source,
        })
    }

    /// The selected dead letters as a stream. Dropping it between two of them loses nothing.
    pub fn into_stream(self) -> impl futures::Stream<Item = anyhow::Result<StoredLetter>> {
        futures::stream::try_unfold(self, async |mut selected| {
            let next = selected.next().await?;
            Ok(next.map(|stored| (stored, selected)))
        })
    }

    /// The next one, `None` at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<StoredLetter>> {
        while self.selection.limit.is_none_or(|limit| self.found < limit) {
            let Some(stored) = self.source.next().await? else {
                return Ok(None);
            };
            if self.selection.takes(&stored, self.now) {
                self.found += 1;
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }
}

impl Source {
    async fn next(&mut self) -> anyhow::Result<Option<StoredLetter>> {
        match self {
            Self::All(reader) => match reader.next().await? {
                Some((_, message)) => StoredLetter::delivered(&message).map(Some),
                None => Ok(None),
            },
            Self::Ids(stream, ids) => {
                for id in ids {
                    let message = message_at(stream, id).await;
                    match message.with_context(|| format!("failed to read dead letter {id}"))? {
                        Some(message) => return Ok(Some(StoredLetter::of(&message))),
                        None => tracing::warn!("dead letter {id} is not there"),
                    }
                }
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use queue::dead_letter::{DeadLetter, Unreadable};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn selection() -> Selection {
        Selection {
            cause: vec!["invalid".to_owned(), "inference".to_owned()],
            model: Some("m".parse().unwrap()),
            run: Some("r".to_owned()),
            older_than: Some(HOUR),
            newer_than: Some(HOUR * 3),
            ..Selection::default()
        }
    }

    /// A dead letter of two hours ago.
    fn stored(letter: Result<DeadLetter, Unreadable>) -> StoredLetter {
        StoredLetter {
            id: 7,
            subject: "dlq.JOBS.1.2".to_owned(),
            died: SystemTime::UNIX_EPOCH,
            bytes: 1,
            letter,
        }
    }

    fn letter() -> DeadLetter {
        DeadLetter {
            cause: "inference".to_owned(),
            reason: "it failed".to_owned(),
            subject: "jobs.embed.m.live".to_owned(),
            sequence: 1,
            deliveries: 5,
            worker: "w".to_owned(),
            fingerprint: String::new(),
            run: Some("r".to_owned()),
        }
    }

    fn takes(selection: &Selection, stored: &StoredLetter) -> bool {
        selection.takes(stored, SystemTime::UNIX_EPOCH + HOUR * 2)
    }

    #[test]
    fn a_dead_letter_is_meant_if_it_meets_every_condition() {
        assert!(takes(&selection(), &stored(Ok(letter()))));
        let differences: [fn(&mut DeadLetter); 4] = [
            |it| it.cause = "exhausted".to_owned(),
            |it| it.subject = "jobs.embed.other.live".to_owned(),
            |it| it.run = Some("other".to_owned()),
            |it| it.run = None,
        ];
        for differ in differences {
            let mut other = letter();
            differ(&mut other);
            assert!(
                !takes(&selection(), &stored(Ok(other.clone()))),
                "{other:?}"
            );
        }
        let too_young = Selection {
            older_than: Some(HOUR * 2),
            ..selection()
        };
        let too_old = Selection {
            newer_than: Some(HOUR * 2),
            ..selection()
        };
        for selection in [too_young, too_old] {
            assert!(!takes(&selection, &stored(Ok(letter()))));
        }
    }

    #[test]
    fn what_cannot_be_read_is_meant_by_its_age_and_its_own_cause_alone() {
        let unreadable = stored(Err(Unreadable { header: "Cause" }));
        assert!(takes(&Selection::default(), &unreadable));
        let by_cause = Selection {
            cause: vec!["unreadable".to_owned()],
            ..Selection::default()
        };
        assert!(takes(&by_cause, &unreadable));
        let by_run = Selection {
            run: Some("r".to_owned()),
            ..Selection::default()
        };
        assert!(!takes(&by_run, &unreadable));
    }

    #[test]
    fn a_change_of_every_dead_letter_has_to_be_asked_for() {
        let limited = Selection {
            limit: Some(5),
            ..Selection::default()
        };
        for everything in [Selection::default(), limited] {
            assert_eq!(everything.faults_of_change(false).len(), 1);
            assert_eq!(everything.faults_of_change(true), []);
        }
        let one = Selection {
            ids: vec![7],
            ..Selection::default()
        };
        assert_eq!(one.faults_of_change(false), []);
        let never = Selection {
            older_than: Some(HOUR),
            newer_than: Some(HOUR),
            ..Selection::default()
        };
        assert_eq!(never.faults().len(), 1);
    }
}
