//! Tally: how much of what has happened, and what went wrong on the way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fault::FaultKind;
use crate::violation::{Kind, Violation};

/// Counts by kind.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// Everything that is counted during a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Counts,
    operations: Counts,
    violations: Vec<Violation>,
    peak_memory: u64,
}

impl Tally {
    /// Counts a fault.
    pub(crate) fn fault(&self, kind: FaultKind) {
        *self.lock().faults.entry(kind.name()).or_default() += 1;
    }

    /// Counts an operation.
    pub(crate) fn operation(&self, label: &'static str) {
        *self.lock().operations.entry(label).or_default() += 1;
    }

    /// Notes a violation that shows during the run.
    pub(crate) fn violation(&self, kind: Kind, document: Option<&str>, evidence: String) {
        let document = document.map(str::to_owned);
        self.lock().violations.push(Violation {
            kind,
            document,
            message: None,
            evidence,
        });
    }

    /// Notes the memory that a worker has had at most.
    pub(crate) fn memory(&self, bytes: u64) {
        let mut state = self.lock();
        state.peak_memory = state.peak_memory.max(bytes);
    }

    /// Faults by kind.
    pub(crate) fn faults(&self) -> Counts {
        self.lock().faults.clone()
    }

    /// Operations by kind.
    pub(crate) fn operations(&self) -> Counts {
        self.lock().operations.clone()
    }

    /// Violations that showed during the run.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// Most memory of any worker, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.lock().peak_memory
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
