//! The workload: an endless sequence of publishes, all of it drawn from the seed.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::topology::Priority;
use fastrand::Rng;

use crate::message::{Action, Change, Message, Poison};
use crate::story::{FIRST_VERSION, Piece, story};

/// Documents whose lives overlap.
const OVERLAPPING: usize = 25;
/// Publishes between two messages that crash the worker, and before the first.
const CRASH_EVERY: usize = 1_200;
const FIRST_CRASH: usize = 60;

/// A message to publish under a message id.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) message: Arc<Message>,
    /// What JetStream recognises a repetition by.
    pub(crate) id: String,
    /// How it is counted if it is a repetition.
    pub(crate) repetition: Option<&'static str>,
}

/// Where messages come from.
#[derive(Debug)]
pub(crate) struct Workload {
    rng: Rng,
    stories: Vec<VecDeque<Piece>>,
    documents: u64,
    messages: usize,
    sends: usize,
    /// Repetitions with the number of sends after which they are due.
    later: Vec<(usize, Send)>,
    /// Whether messages that crash the worker are among them.
    crashes: bool,
    /// Whether no new story begins.
    ending: bool,
}

impl Workload {
    /// The workload of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            stories: Vec::new(),
            documents: 0,
            messages: 0,
            sends: 0,
            later: Vec::new(),
            crashes: true,
            ending: false,
        }
    }

    /// From now on nothing crashes the worker.
    pub(crate) fn calm(&mut self) {
        self.crashes = false;
    }

    /// From now on no new story begins: a sliced document needs all its slices.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// Stories may begin again.
    pub(crate) fn go_on(&mut self) {
        self.ending = false;
    }

    /// What is published next. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Send> {
        self.sends += 1;
        let over = self.ending && self.stories.is_empty();
        let due = self
            .later
            .iter()
            .position(|(due, _)| over || *due <= self.sends);
        if let Some(position) = due {
            return Some(self.later.swap_remove(position).1);
        }
        if over {
            return None;
        }
        let message = Arc::new(self.message());
        let send = Send {
            id: format!("{}-a", message.run()),
            message,
            repetition: None,
        };
        self.repeat(&send);
        Some(send)
    }

    /// Some messages come again: under the same message id, which JetStream recognises, and under another one, as a
    /// publisher does that has forgotten what it did.
    fn repeat(&mut self, send: &Send) {
        let drawn = self.rng.u32(..100);
        let mut again = |id: &str, repetition| {
            let due = self.sends + self.rng.usize(1..150);
            let id = format!("{}-{id}", send.message.run());
            let send = Send {
                id,
                message: send.message.clone(),
                repetition: Some(repetition),
            };
            self.later.push((due, send));
        };
        if drawn < 8 {
            again("a", "repeat_inside_window");
        }
        if (6..14).contains(&drawn) && send.message.poison.is_none() {
            again("b", "repeat_outside_window");
        }
    }

    fn message(&mut self) -> Message {
        self.messages += 1;
        let id = self.messages;
        if self.crashes && id % CRASH_EVERY == FIRST_CRASH {
            return self.crash(id);
        }
        while !self.ending && self.stories.len() < OVERLAPPING {
            self.documents += 1;
            self.stories
                .push(story(self.documents, &mut self.rng).into());
        }
        let mut pieces: Vec<_> = self.piece(|_| true).into_iter().collect();
        if self.rng.u32(..100) < 40 {
            for _ in 0..self.rng.usize(1..4) {
                let more = self.piece(|piece| travels_with(piece, &pieces));
                pieces.extend(more);
            }
        }
        self.pack(id, pieces)
    }

    /// The next piece of one of the stories whose next piece fits.
    fn piece(&mut self, fits: impl Fn(&Piece) -> bool) -> Option<Piece> {
        let fitting = |story: &VecDeque<Piece>| story.front().is_some_and(&fits);
        let count = self.stories.iter().filter(|story| fitting(story)).count();
        let skipped = if count == 0 {
            return None;
        } else {
            self.rng.usize(..count)
        };
        let mut all = self
            .stories
            .iter()
            .enumerate()
            .filter(|(_, story)| fitting(story));
        let (chosen, _) = all.nth(skipped)?;
        let piece = self.stories[chosen].pop_front();
        if self.stories[chosen].is_empty() {
            self.stories.swap_remove(chosen);
        }
        piece
    }

    fn pack(&mut self, id: usize, pieces: Vec<Piece>) -> Message {
        let poison = pieces.first().and_then(|piece| piece.poison);
        let sliced = pieces.iter().any(|piece| !piece.whole);
        let lane = if self.rng.u32(..100) < 70 {
            Priority::Live
        } else {
            Priority::Bulk
        };
        // A slice that may be missing would leave the checker without an opinion about its document.
        let persistent = sliced || self.rng.u32(..100) < 97;
        let changes = pieces.into_iter().map(|piece| piece.change).collect();
        Message {
            id,
            lane,
            changes,
            poison,
            persistent,
            payload: Vec::new(),
        }
        .encoded()
    }

    fn crash(&mut self, id: usize) -> Message {
        self.documents += 1;
        let chunks = vec![(0, String::new())];
        let change = Change {
            document: format!("d{}", self.documents),
            version: FIRST_VERSION,
            label: Poison::CrashesWorker.label(),
            action: Action::Write { total: 1, chunks },
        };
        Message {
            id,
            lane: Priority::Live,
            changes: vec![change],
            poison: Some(Poison::CrashesWorker),
            persistent: true,
            payload: Vec::new(),
        }
        .encoded()
    }
}

/// Whether a piece may be in a message with others: whole changes of the same kind to other documents.
fn travels_with(piece: &Piece, others: &[Piece]) -> bool {
    let deletes = |piece: &Piece| piece.change.action == Action::Delete;
    let plain = |piece: &Piece| piece.whole && piece.poison.is_none();
    plain(piece)
        && others.iter().all(|other| {
            let another = other.change.document != piece.change.document;
            plain(other) && another && deletes(other) == deletes(piece)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_publishes() {
        let of = |seed| {
            let mut workload = Workload::new(seed);
            let sends = (0..500).filter_map(|_| workload.next());
            sends
                .map(|send| (send.id, send.message.payload.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
    }

    #[test]
    fn a_minute_of_publishes_has_every_kind_of_operation() {
        let mut workload = Workload::new(1);
        let sends: Vec<_> = (0..1_500).filter_map(|_| workload.next()).collect();
        let labels = sends.iter().flat_map(|send| &send.message.changes);
        let mut labels: BTreeSet<_> = labels.map(|change| change.label).collect();
        labels.extend(sends.iter().filter_map(|send| send.repetition));
        let mut wanted: BTreeSet<_> = [
            "create",
            "update",
            "shrink",
            "recreate",
            "delete",
            "delete_same_version",
            "slice",
            "repeat_inside_window",
            "repeat_outside_window",
            "poison_crash",
        ]
        .into();
        wanted.extend(Poison::HARMLESS.map(Poison::label));
        assert_eq!(labels, wanted);
    }

    #[test]
    fn a_message_changes_each_document_once() {
        let mut workload = Workload::new(3);
        for _ in 0..2_000 {
            let message = workload.next().unwrap().message;
            let documents: BTreeSet<_> = message.changes.iter().map(|it| &it.document).collect();
            assert_eq!(documents.len(), message.changes.len());
        }
    }

    #[test]
    fn at_the_end_all_slices_of_a_document_have_been_published() {
        let mut workload = Workload::new(4);
        let mut sends: Vec<_> = (0..700).filter_map(|_| workload.next()).collect();
        workload.end();
        sends.extend(std::iter::from_fn(|| workload.next()));
        let mut chunks = std::collections::BTreeMap::new();
        for change in sends.iter().flat_map(|send| &send.message.changes) {
            if let Action::Write {
                total,
                chunks: some,
            } = &change.action
            {
                let all: &mut (u32, BTreeSet<u32>) = chunks
                    .entry((&change.document, change.version))
                    .or_default();
                all.0 = *total;
                all.1.extend(some.iter().map(|(index, _)| index));
            }
        }
        assert!(
            chunks
                .values()
                .all(|(total, all)| all.len() == *total as usize)
        );
    }
}
