//! Violations: what must never be.

/// What kind of promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An acknowledged publish has left nothing: no points, no tombstone, no dead letter.
    Lost,
    /// A chunk or a dead letter is there twice.
    Duplicated,
    /// An older version than the newest is there.
    Stale,
    /// Something is there that a newer version or a delete has removed.
    Resurrected,
    /// A point or a dead letter that nobody has published, or with another text than was published.
    Invented,
    /// A sound job became a dead letter, or one with another cause than it has.
    WronglyDeadLettered,
    /// A vector is not what the model gives for the text.
    BadVector,
    /// Replicas hold different points.
    Diverged,
    /// A version went down while the run was on.
    WentBack,
    /// Jobs were not settled in time.
    NotDrained,
    /// A worker did not end as told, or ended though it was not told.
    BadExit,
    /// A worker that ended has kept jobs.
    NotGivenBack,
    /// A worker took more memory than it may.
    Memory,
    /// Document text in a log or a reason.
    Leaked,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// Whose document, if it is about one.
    pub(crate) document: Option<String>,
    /// Which message, if it is about one.
    pub(crate) message: Option<usize>,
    /// What was found and what should have been.
    pub(crate) evidence: String,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Lost,
        Self::Duplicated,
        Self::Stale,
        Self::Resurrected,
        Self::Invented,
        Self::WronglyDeadLettered,
        Self::BadVector,
        Self::Diverged,
        Self::WentBack,
        Self::NotDrained,
        Self::BadExit,
        Self::NotGivenBack,
        Self::Memory,
        Self::Leaked,
    ];

    /// Name in summaries.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Stale => "stale",
            Self::Resurrected => "resurrected",
            Self::Invented => "invented",
            Self::WronglyDeadLettered => "wrongly_dead_lettered",
            Self::BadVector => "bad_vector",
            Self::Diverged => "diverged",
            Self::WentBack => "went_back",
            Self::NotDrained => "not_drained",
            Self::BadExit => "bad_exit",
            Self::NotGivenBack => "not_given_back",
            Self::Memory => "memory",
            Self::Leaked => "leaked",
        }
    }
}
