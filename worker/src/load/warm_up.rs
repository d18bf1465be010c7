//! Warm up: the largest tensor is run before the first job is taken, so that too little memory is an error at the start
//! and not in the middle of the night.

use std::time::Instant;

use thiserror::Error;

use super::{Loaded, SessionFactory, load};
use crate::batch::{Reading, RowKey};
use crate::calibration::shapes;
use crate::config::{Provider, RunConfig};
use crate::error::EmbedError;
use crate::metrics;
use crate::plan::{Row, Shapes, fill};
use crate::session::Engine;

/// The device does not take the tensors that were asked for.
#[derive(Debug, Error)]
#[error(
    "a tensor of {rows} rows by {tokens} tokens does not run on this device; give it more memory, or smaller tensors by \
     --tensor-tokens"
)]
struct TooLarge {
    rows: usize,
    tokens: usize,
    #[source]
    source: EmbedError,
}

/// Loads the model of a worker, and warms up its sessions on a GPU. A CPU has memory when it is needed, and starts sooner
/// without being warmed up. `since` is when the process began, for the metrics of its start.
///
/// # Errors
/// [`LoadError`](super::LoadError), or the largest tensor does not fit the GPU.
pub fn load_and_warm_up(config: &RunConfig, since: Instant) -> anyhow::Result<Loaded> {
    let mut loaded = load(&config.model, &config.session, since)?;
    if config.session.provider == Provider::Cuda {
        let (model, batch) = (&config.model.staged.model, &config.batch);
        let shapes = shapes(model, &loaded.manifest, batch, &config.session);
        let padding = loaded.texts.tokenizer.padding_id();
        warm_up(&mut loaded.session, shapes, padding)?;
        metrics::startup_phase("warm", since.elapsed());
        let factory = loaded.factory.clone();
        loaded.factory = SessionFactory::new(move || {
            let mut session = factory.load()?;
            warm_up(&mut session, shapes, padding)?;
            Ok(session)
        });
    }
    Ok(loaded)
}

/// Runs a tensor of the largest shape.
fn warm_up(engine: &mut impl Engine, shapes: Shapes, padding_id: u32) -> Result<(), TooLarge> {
    let tokens = shapes.longest;
    let rows = (shapes.tokens / tokens.max(1)).max(1);
    let row = |row| Row {
        key: RowKey { job: 0, row },
        token_ids: vec![padding_id; tokens],
        type_ids: Vec::new(),
        reading: Reading::default(),
    };
    let all: Vec<_> = (0..rows).map(row).collect();
    let ran = engine.run(&fill(&all, padding_id));
    ran.map(drop).map_err(|source| TooLarge {
        rows,
        tokens,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::limited_engine::LimitedEngine;

    #[test]
    fn tensors_that_do_not_fit_are_named_at_the_start() {
        let shapes = |tokens| Shapes {
            tokens,
            step: 8,
            longest: 256,
        };
        assert!(warm_up(&mut LimitedEngine(1024), shapes(1100), 0).is_ok());
        let error = warm_up(&mut LimitedEngine(1024), shapes(2048), 0).unwrap_err();
        assert!(
            error.to_string().contains("8 rows by 256 tokens"),
            "{error}"
        );
        assert!(warm_up(&mut LimitedEngine(100), shapes(10), 0).is_err());
    }
}
