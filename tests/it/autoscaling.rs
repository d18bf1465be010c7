//! Autoscaling: the committed ScaledObject is played as KEDA and Kubernetes would play it, and no job is lost, left
//! alone or starved.
//!
//! [`keda`] and [`hpa`] are the rules, read from their sources (KEDA 2.20) and each tested alone;
//! [`scaler`] reads a real server's `/jsz`; [`player`] starts and stops real workers on a compressed clock.

mod deployment;
mod faults;
mod hpa;
mod keda;
mod player;
mod scaled_object;
mod scaler;

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::{JOBS, Lane, Priority};
use fixtures::programs::workspace;
use futures::{TryStreamExt as _, stream};
use serde_json::{Value, json};
use tests::{Bed, tiny_embed};
use tokio::sync::Mutex;

use player::{By, Player, monitoring};
use scaled_object::ScaledObject;

/// The model whose lanes the committed ScaledObject watches.
const MODEL: &str = "minilm";
/// Most workers: as many as the machine of a test can bear.
const MAX: u32 = 4;
/// Most live jobs at a time that keep one worker busy and ask for no second one.
const TRICKLE: u64 = 4;
/// One fleet plays at a time: its clock is compressed, and what a busy machine delays is delayed by many minutes there.
static ALONE: Mutex<()> = Mutex::const_new(());
/// What makes a batch of a tiny model take a while, as a batch of a real one does.
const SLOW: (&str, &str) = ("EBB_FAILPOINTS", "before-embed=stall:300");

/// The ScaledObject in `keda/`, with fewer workers.
fn committed() -> anyhow::Result<ScaledObject> {
    let path = workspace().join("keda/worker.yaml");
    let yaml = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let object: Value = yaml_serde::from_str(&yaml)?;
    let mut object = ScaledObject::read(&object["spec"])?;
    object.max = object.max.min(MAX);
    Ok(object)
}

/// Servers, with the committed ScaledObject's model.
async fn bed() -> anyhow::Result<Bed> {
    Bed::with_model(&tiny_embed(), MODEL).await
}

/// Publishes documents of one chunk, a job each; they are named `<lane>-<number>`.
async fn publish(
    bed: &Bed,
    priority: Priority,
    numbers: std::ops::Range<u32>,
) -> anyhow::Result<()> {
    let subject = &lane(bed, priority).subject();
    let publish = |n: u32| async move {
        let id = format!("{}-{n}", priority.as_str());
        let job = json!({
            "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
            "documents": [{ "id": id, "version": 1, "chunks": [{ "text": format!("text {n}") }] }],
        });
        let published = bed
            .jetstream()
            .publish(subject.clone(), job.to_string().into());
        published.await?.await?;
        anyhow::Ok(())
    };
    stream::iter(numbers.map(Ok))
        .try_for_each_concurrent(256, publish)
        .await
}

fn lane(bed: &Bed, priority: Priority) -> Lane {
    let [live, bulk] = bed.lanes();
    match priority {
        Priority::Live => live,
        Priority::Bulk => bulk,
    }
}

/// Jobs of a lane that are not settled.
async fn outstanding(bed: &Bed, priority: Priority) -> anyhow::Result<u64> {
    let consumer: PullConsumer = bed
        .jetstream()
        .get_consumer_from_stream(lane(bed, priority).consumer(), JOBS)
        .await?;
    let info = consumer.cached_info();
    Ok(info.num_pending + u64::try_from(info.num_ack_pending)?)
}

/// All of so many documents of each lane are there, and no dead letter.
async fn nothing_is_lost(bed: &Bed, live: u32, bulk: u32) -> anyhow::Result<()> {
    let points = bed.points().await?;
    for (lane, count) in [("live", live), ("bulk", bulk)] {
        for n in 0..count {
            let key = (format!("{lane}-{n}"), 0);
            assert!(points.contains_key(&key), "{key:?} is lost");
        }
    }
    assert_eq!(points.len(), usize::try_from(live + bulk)?);
    assert!(bed.dead_letters().await?.is_empty());
    Ok(())
}

/// From zero to many and back: grows with a backlog, shrinks one by one while little is to do, and goes home when
/// nothing is.
#[tokio::test]
async fn a_backlog_wakes_workers_which_multiply_drain_it_shrink_and_go_home_with_nothing_lost()
-> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let (bed, object) = (bed().await?, committed()?);
    let bulk = object.triggers[1].lag_threshold * 3;
    publish(&bed, Priority::Bulk, 0..bulk).await?;
    let mut player = Player::new(&bed, &object, &monitoring(&bed), &[SLOW]);
    player
        .play_until("three workers", async |player| Ok(player.replicas() >= 3))
        .await?;
    let first = &player.steps[0];
    assert_eq!(
        (first.by, first.from, first.to),
        (By::Keda, 0, object.min.max(1))
    );
    // A trickle of live jobs keeps one worker busy, while those who are too many are sent away in the midst of work.
    let mut live = 0;
    player
        .play_until("one worker", async |player| {
            if outstanding(&bed, Priority::Live).await? < TRICKLE {
                publish(&bed, Priority::Live, live..live + 1).await?;
                live += 1;
            }
            Ok(player.replicas() == 1)
        })
        .await?;
    let shrunk = player
        .steps
        .iter()
        .filter(|step| step.by == By::Hpa && step.to < step.from);
    assert!(shrunk.count() >= 2, "{:?}", player.steps);
    player.play_to_zero().await?;
    let last = player.steps.last().context("there are steps")?;
    assert_eq!((last.by, last.to), (By::Keda, 0));
    nothing_is_lost(&bed, live, bulk).await?;
    // It stays at zero while nothing comes, and wakes again when something does.
    let steps = player.steps.len();
    player.play_for(object.cooldown).await?;
    assert_eq!(player.steps.len(), steps);
    publish(&bed, Priority::Live, live..live + 1).await?;
    player
        .play_until("a worker", async |player| Ok(player.replicas() > 0))
        .await?;
    player.play_to_zero().await?;
    nothing_is_lost(&bed, live + 1, bulk).await?;
    bed.end().await
}

#[tokio::test]
async fn a_live_job_that_finds_no_worker_and_a_long_bulk_backlog_goes_first() -> anyhow::Result<()>
{
    let _alone = ALONE.lock().await;
    let (bed, object) = (bed().await?, committed()?);
    let bulk = object.triggers[1].lag_threshold * 2;
    publish(&bed, Priority::Bulk, 0..bulk).await?;
    publish(&bed, Priority::Live, 0..1).await?;
    let mut player = Player::new(&bed, &object, &monitoring(&bed), &[SLOW]);
    let mut left = 0;
    player
        .play_until("the live job", async |player| {
            let lags = player.lags().await;
            left = lags[1].clone().unwrap_or_default();
            Ok(lags[0] == Ok(0))
        })
        .await?;
    assert!(
        left > u64::from(bulk) / 2,
        "{left} of {bulk} bulk jobs were left"
    );
    player.play_to_zero().await?;
    nothing_is_lost(&bed, 1, bulk).await?;
    bed.end().await
}

/// How long a fleet must be watched to see that nothing takes it away.
fn long_enough(object: &ScaledObject) -> Duration {
    object.cooldown.max(object.scale_down.stabilization) * 2
}
