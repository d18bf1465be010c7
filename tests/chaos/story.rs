//! Stories: the life of one document, as messages that may come in any order.

use fastrand::Rng;

use crate::message::{Action, Change, Poison, SECRET};

/// Versions count from here, so that they are as large as those that publishers use.
pub(crate) const FIRST_VERSION: u64 = 1_700_000_000_000_000;
/// Chunks from which on a document is sliced.
const SLICED_FROM: u32 = 8;

const WORDS: [&str; 24] = [
    "water", "river", "stone", "light", "house", "green", "paper", "music", "table", "night",
    "north", "world", "small", "large", "early", "later", "first", "white", "black", "field",
    "story", "train", "clear", "young",
];

/// A change that travels by itself or with others, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) change: Change,
    /// What is wrong with it.
    pub(crate) poison: Option<Poison>,
    /// Whether the change is complete.
    pub(crate) whole: bool,
}

/// How a document was before a change.
#[derive(Clone, Copy, Default)]
struct Before {
    chunks: u32,
    deleted: bool,
}

/// The life of document `number` in the order in which it is published.
pub(crate) fn story(number: u64, rng: &mut Rng) -> Vec<Piece> {
    let document = format!("d{number}");
    let mut pieces = Vec::new();
    let mut before = Before::default();
    let versions = rng.u64(1..=5);
    for age in 1..=versions {
        let version = FIRST_VERSION + age;
        let drawn = rng.u32(..100);
        if drawn < 5 {
            pieces.push(poisoned(&document, version, rng));
        } else if drawn < 25 {
            pieces.push(removal(&document, version, "delete"));
            before = Before {
                chunks: 0,
                deleted: true,
            };
        } else {
            let total = chunks_of(rng);
            let label = label(before, total);
            before = Before {
                chunks: total,
                deleted: false,
            };
            let slices = slices(&document, version, (total, label), rng);
            pieces.extend(slices);
        }
        // A delete wins at its own version.
        if rng.u32(..100) < 4 {
            pieces.push(removal(&document, version, "delete_same_version"));
            before = Before {
                chunks: 0,
                deleted: true,
            };
        }
    }
    if rng.u32(..100) < 40 {
        rng.shuffle(&mut pieces);
    }
    pieces
}

fn chunks_of(rng: &mut Rng) -> u32 {
    match rng.u32(..100) {
        0..8 => rng.u32(SLICED_FROM..24),
        8..20 => 1,
        _ => rng.u32(1..7),
    }
}

fn label(before: Before, total: u32) -> &'static str {
    match before {
        Before { deleted: true, .. } => "recreate",
        Before { chunks: 0, .. } => "create",
        Before { chunks, .. } if total < chunks => "shrink",
        Before { .. } => "update",
    }
}

fn removal(document: &str, version: u64, label: &'static str) -> Piece {
    let change = Change {
        document: document.to_owned(),
        version,
        label,
        action: Action::Delete,
    };
    Piece {
        change,
        poison: None,
        whole: true,
    }
}

fn poisoned(document: &str, version: u64, rng: &mut Rng) -> Piece {
    let poison = Poison::HARMLESS[rng.usize(..Poison::HARMLESS.len())];
    let chunks = vec![(0, text(document, version, 0, rng))];
    let change = Change {
        document: document.to_owned(),
        version,
        label: poison.label(),
        action: Action::Write { total: 1, chunks },
    };
    Piece {
        change,
        poison: Some(poison),
        whole: true,
    }
}

/// A write as one piece, or as several if it is long.
fn slices(
    document: &str,
    version: u64,
    (total, label): (u32, &'static str),
    rng: &mut Rng,
) -> Vec<Piece> {
    let count = if total < SLICED_FROM {
        1
    } else {
        rng.u32(2..5)
    };
    let mut parts = vec![Vec::new(); usize::try_from(count).unwrap_or(1)];
    for chunk in 0..total {
        let part = usize::try_from(chunk * count / total).unwrap_or(0);
        parts[part].push((chunk, text(document, version, chunk, rng)));
    }
    let piece = |chunks| Piece {
        change: Change {
            document: document.to_owned(),
            version,
            label: if count == 1 { label } else { "slice" },
            action: Action::Write { total, chunks },
        },
        poison: None,
        whole: count == 1,
    };
    let mut pieces: Vec<_> = parts.into_iter().map(piece).collect();
    rng.shuffle(&mut pieces);
    pieces
}

/// Every text says whose it is, so that the index itself is the evidence.
fn text(document: &str, version: u64, chunk: u32, rng: &mut Rng) -> String {
    let age = version - FIRST_VERSION;
    let mut text = format!("{SECRET} document {document} version {age} chunk {chunk}");
    for _ in 0..rng.usize(2..9) {
        text.push(' ');
        text.push_str(WORDS[rng.usize(..WORDS.len())]);
    }
    text
}
