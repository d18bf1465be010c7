//! Usage: what workers say they have computed, by run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_nats::Subscriber;
use async_nats::jetstream;
use contract::topology::USAGE;
use contract::usage::Usage;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

/// Listens for as long as it lives.
#[derive(Debug)]
pub struct UsageListener {
    heard: Arc<Mutex<HashMap<String, Usage>>>,
    listening: JoinHandle<()>,
}

impl UsageListener {
    pub async fn open(jetstream: &jetstream::Context) -> anyhow::Result<Self> {
        let said = jetstream.client().subscribe(USAGE).await;
        let said = said.with_context(|| format!("failed to listen to `{USAGE}`"))?;
        let heard = Arc::default();
        let listening = tokio::spawn(listen(said, Arc::clone(&heard)));
        Ok(Self { heard, listening })
    }

    /// What was heard of a run since it was asked last.
    pub fn take(&self, run: &str) -> Usage {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.remove(run).unwrap_or_default()
    }
}

impl Drop for UsageListener {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(mut said: Subscriber, heard: Arc<Mutex<HashMap<String, Usage>>>) {
    while let Some(message) = said.next().await {
        let usage = serde_json::from_slice::<Usage>(&message.payload).ok();
        let Some(usage) = usage.filter(|usage| usage.tokens <= usage.padded_tokens) else {
            continue;
        };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = heard.entry(usage.run).or_default();
        sum.add(usage.tokens, usage.padded_tokens);
    }
}
