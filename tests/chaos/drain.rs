//! Drain: after all faults are healed the backlog must be worked off, in bounded time: liveness is a promise too.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use contract::topology::{JOBS, Lane};
use fixtures::process::output;
use futures::{StreamExt as _, future};
use tokio::time::{Instant, sleep};

use crate::final_state::{self, Jobs};
use crate::inject::tell;
use crate::servers::Servers;

/// Jobs that a healthy machine of any size does in a second.
const SLOWEST_PER_SECOND: u64 = 5;
/// Longest delay of a job that was given back: 120 s and a fifth.
const LONGEST_DELAY: Duration = Duration::from_secs(144);
const SLACK: Duration = Duration::from_secs(60);
/// Jobs that no consumer has held for so long are swept.
const NOBODYS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);
/// What was given back is there again within this.
const GIVEN_BACK: Duration = Duration::from_secs(5);

/// Waits until nothing is left, or for as long as that may take. Gives what is left, and the time.
///
/// A server that is killed may remember that a job was acknowledged, and forget that it has left the stream. Such jobs
/// are nobody's, and what is nobody's is the sweep's.
///
/// # Errors
/// If JetStream refuses, or the sweep fails.
pub(crate) async fn drain(
    servers: &Servers,
    lanes: &[Lane],
    ack_wait: Duration,
) -> anyhow::Result<(Jobs, Duration)> {
    let begin = Instant::now();
    let jobs = final_state::jobs(&servers.jetstream, lanes).await?;
    let work = Duration::from_secs(jobs.left / SLOWEST_PER_SECOND);
    let limit = work + ack_wait * 8 + LONGEST_DELAY + SLACK;
    let mut nobodys_since = None;
    loop {
        let mut jobs = final_state::jobs(&servers.jetstream, lanes).await?;
        let empty = jobs.left == 0 && jobs.pending == 0;
        if empty || begin.elapsed() >= limit {
            jobs.some = final_state::some_left(&servers.jetstream).await?;
            return Ok((jobs, begin.elapsed()));
        }
        if jobs.pending > 0 {
            nobodys_since = None;
        } else if nobodys_since.get_or_insert_with(Instant::now).elapsed() > NOBODYS {
            sweep(servers).await?;
            nobodys_since = None;
        }
        sleep(PAUSE).await;
    }
}

async fn sweep(servers: &Servers) -> anyhow::Result<()> {
    let left = final_state::some_left(&servers.jetstream).await?;
    tell(&format!("swept, because no consumer holds {left:?}"));
    let mut sweep = servers.program("indexer");
    sweep.args(["dlq", "sweep"]);
    tell(output(sweep).await?.trim());
    Ok(())
}

/// Whether everything that is left can be had at once: nothing is held by a worker that has ended. To be asked when no
/// worker runs. Gives how many jobs are left, and how many came.
///
/// # Errors
/// If JetStream refuses.
pub(crate) async fn take_all(servers: &Servers, lanes: &[Lane]) -> anyhow::Result<(u64, u64)> {
    let left = final_state::jobs(&servers.jetstream, lanes).await?.pending;
    let all = lanes.iter().map(|lane| take(servers, lane));
    let mut came = 0;
    let mut taken = Vec::new();
    for messages in future::join_all(all).await {
        let messages = messages?;
        came += u64::try_from(messages.len())?;
        taken.extend(messages);
    }
    for message in taken {
        let back = message.ack_with(AckKind::Nak(None)).await;
        back.map_err(|error| anyhow::anyhow!("failed to give a job back: {error}"))?;
    }
    Ok((left, came))
}

async fn take(servers: &Servers, lane: &Lane) -> anyhow::Result<Vec<Message>> {
    let consumer: PullConsumer = servers
        .jetstream
        .get_consumer_from_stream(lane.consumer(), JOBS)
        .await?;
    let mut messages = Vec::new();
    let deadline = Instant::now() + GIVEN_BACK;
    while let Some(wait) = deadline.checked_duration_since(Instant::now()) {
        let info = servers
            .jetstream
            .get_consumer_from_stream::<async_nats::jetstream::consumer::pull::Config, _, _>(
                lane.consumer(),
                JOBS,
            )
            .await?;
        let ours = messages.len();
        let waits = info.cached_info().num_ack_pending > ours || info.cached_info().num_pending > 0;
        if !waits {
            break;
        }
        let request = consumer
            .fetch()
            .max_messages(250)
            .expires(wait.min(Duration::from_secs(1)));
        let mut batch = request.messages().await?;
        while let Some(message) = batch.next().await {
            messages.push(message.map_err(|error| anyhow::anyhow!("failed to pull: {error}"))?);
        }
    }
    Ok(messages)
}
