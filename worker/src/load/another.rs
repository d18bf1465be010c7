//! Another: further engines of a model that is loaded already.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::failpoint::{Verdict, reached};

/// Loads further engines of a model, each proved by a golden text. One at a time: meanwhile each takes twice the memory
/// of its graph.
pub struct Another<E>(Arc<Mutex<Load<E>>>);

type Load<E> = dyn FnMut() -> anyhow::Result<E> + Send;

impl<E> Another<E> {
    /// Loads them so.
    pub fn new(load: impl FnMut() -> anyhow::Result<E> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(load)))
    }

    /// Loads one.
    ///
    /// # Errors
    /// If it does not load, or computes another model.
    pub fn load(&self) -> anyhow::Result<E> {
        self.load_if(|| true)
            .map(|loaded| loaded.expect("it is wanted"))
    }

    /// Loads one, if it is still wanted when its turn has come.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_if(&self, wanted: impl FnOnce() -> bool) -> anyhow::Result<Option<E>> {
        let mut load = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(reached("another") != Verdict::Fail, "failpoint");
        wanted().then(&mut *load).transpose()
    }
}

impl<E> Clone for Another<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for Another<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Another").finish_non_exhaustive()
    }
}
