//! Causes: why jobs were given up.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::Stream;
use serde::Serialize;

use crate::dlq::letter::Stored;
use crate::streams::{Range, Reader};

/// Dead letters whose cause is read.
const MOST_CAUSES: u64 = 10_000;

/// Dead letters by cause. Only headers are read, and of the newest 10,000 alone, so that a look at the figures costs
/// the same with a million of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Causes {
    pub read: u64,
    /// How many of these there are by cause code.
    pub counts: BTreeMap<String, u64>,
}

pub async fn causes(dlq: &Stream) -> anyhow::Result<Causes> {
    let range = Range {
        filter: ">".to_owned(),
        first: dlq
            .cached_info()
            .state
            .last_sequence
            .saturating_sub(MOST_CAUSES - 1),
        headers_only: true,
    };
    let mut reader = Reader::open(dlq.clone(), range).await?;
    let mut causes = Causes::default();
    while let Some((_, message)) = reader.next().await? {
        let stored = Stored::delivered(&message)?;
        causes.read += 1;
        *causes.counts.entry(stored.cause().to_owned()).or_default() += 1;
    }
    Ok(causes)
}
