//! Await room: jobs that could be published later as well yield to documents ([`queue::room`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use contract::topology::Lane;
use queue::room::Room;

use crate::progress::note;

/// Longest time without any progress of the workers, of verbs that have no option for it.
pub const STALL_LIMIT: Duration = Duration::from_secs(1800);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// The room on a lane, for one run.
#[derive(Debug)]
pub struct LaneRoom {
    room: Room,
    lane: Lane,
    /// Whether it was said that workers are waited for: each job of a run may wait.
    is_said: AtomicBool,
}

impl LaneRoom {
    pub fn new(lane: Lane) -> Self {
        Self {
            room: Room::default(),
            lane,
            is_said: AtomicBool::new(false),
        }
    }

    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether a job may be published now.
    pub async fn is_there(&self, jetstream: &jetstream::Context) -> bool {
        self.room.look(jetstream, &self.lane).await.has_room
    }

    /// Waits until workers have made room. `each` is done at each look.
    ///
    /// # Errors
    /// That of `each`, or if nothing has become less for as long as `stall`.
    pub async fn wait(
        &self,
        jetstream: &jetstream::Context,
        stall: Duration,
        mut each: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let model = &self.lane.model;
        let (mut last, mut since) = (u64::MAX, Instant::now());
        loop {
            let seen = self.room.look(jetstream, &self.lane).await;
            if seen.has_room {
                return Ok(());
            }
            if seen.waiting < last {
                since = Instant::now();
            }
            last = seen.waiting;
            anyhow::ensure!(
                since.elapsed() < stall,
                "the stream of jobs is more than half full, {last} jobs wait for workers of `{model}`, and none was done for \
                 {}; start workers of that model, and run this again",
                humantime::format_duration(stall)
            );
            if !self.is_said.swap(true, Ordering::Relaxed) {
                note(&format!(
                    "the stream of jobs is more than half full and workers of `{model}` are behind; waiting for them"
                ));
            }
            each().await?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
