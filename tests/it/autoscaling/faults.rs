//! What misleads an autoscaler: jobs that wait for another delivery, jobs that nobody will deliver, a monitoring endpoint
//! that is down, a consumer that is not there, a worker that dies.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use contract::topology::{JOBS, MAX_DELIVER, Priority};
use fixtures::proxy::{Fault, Proxy};
use futures::StreamExt as _;
use tests::{Bed, tiny_embed};

use super::player::{By, Player, monitoring};
use super::{ALONE, MODEL, SLOW, bed, committed, lane, long_enough, nothing_is_lost, publish};

async fn consumer(bed: &Bed) -> anyhow::Result<PullConsumer> {
    let name = lane(bed, Priority::Live).consumer();
    Ok(bed.jetstream().get_consumer_from_stream(name, JOBS).await?)
}

/// Takes what can be had at once, as a worker would.
async fn take(consumer: &PullConsumer) -> anyhow::Result<Vec<Message>> {
    let batch = consumer
        .fetch()
        .max_messages(10)
        .expires(Duration::from_millis(300));
    let taken: Vec<_> = batch.messages().await?.collect().await;
    let taken: Result<Vec<_>, _> = taken.into_iter().collect();
    taken.map_err(anyhow::Error::from_boxed)
}

async fn refuse(message: &Message, delay: Option<Duration>) -> anyhow::Result<()> {
    let refused = message.double_ack_with(AckKind::Nak(delay)).await;
    refused.map_err(anyhow::Error::from_boxed)
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_delivery_keeps_a_worker() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let (bed, object) = (bed().await?, committed()?);
    publish(&bed, Priority::Live, 0..1).await?;
    let delay = Duration::from_secs(15);
    for message in take(&consumer(&bed).await?).await? {
        refuse(&message, Some(delay)).await?;
    }
    let mut player = Player::new(&bed, &object, &monitoring(&bed), &[]);
    player
        .play_until(
            "the job",
            async |player| Ok(player.lags().await[0] == Ok(0)),
        )
        .await?;
    // Longer than the cooldown with nothing to do, and one and the same worker.
    assert!(player.now() > object.cooldown * 2, "{:?}", player.now());
    assert_eq!(
        (player.steps.len(), player.replicas()),
        (1, 1),
        "{:?}",
        player.steps
    );
    player.play_to_zero().await?;
    assert_eq!(player.deployment.started(), 1);
    nothing_is_lost(&bed, 1, 0).await?;
    bed.end().await
}

#[tokio::test]
async fn a_job_that_nobody_will_deliver_wakes_no_worker() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let (bed, object) = (bed().await?, committed()?);
    publish(&bed, Priority::Live, 0..1).await?;
    let consumer = consumer(&bed).await?;
    for _ in 0..MAX_DELIVER {
        for message in take(&consumer).await? {
            refuse(&message, None).await?;
        }
    }
    assert!(take(&consumer).await?.is_empty());
    let mut player = Player::new(&bed, &object, &monitoring(&bed), &[]);
    assert_eq!(player.lags().await, [Ok(0), Ok(0)]);
    player.play_for(long_enough(&object)).await?;
    assert!(player.steps.is_empty(), "{:?}", player.steps);
    // It is still in the stream, where the sweep finds it.
    assert_eq!(
        bed.jetstream()
            .get_stream(JOBS)
            .await?
            .cached_info()
            .state
            .messages,
        1
    );
    bed.end().await
}

#[tokio::test]
async fn a_monitoring_endpoint_that_is_down_takes_no_worker_from_a_busy_fleet() -> anyhow::Result<()>
{
    let _alone = ALONE.lock().await;
    let (bed, object) = (bed().await?, committed()?);
    let proxy = Proxy::start(monitoring(&bed).parse()?).await?;
    let bulk = object.triggers[1].lag_threshold * 2;
    publish(&bed, Priority::Bulk, 0..bulk).await?;
    let mut player = Player::new(&bed, &object, &proxy.address().to_string(), &[SLOW]);
    player
        .play_until("two workers", async |player| Ok(player.replicas() >= 2))
        .await?;
    let (steps, fleet) = (player.steps.len(), player.replicas());
    proxy.set(Fault::Refuse);
    player.play_for(long_enough(&object)).await?;
    assert_eq!(
        (player.steps.len(), player.replicas()),
        (steps, fleet),
        "{:?}",
        player.steps
    );
    player
        .play_until("the backlog", async |player| {
            Ok(player.lags().await[1] == Ok(0))
        })
        .await?;
    proxy.set(Fault::None);
    player.play_to_zero().await?;
    nothing_is_lost(&bed, 0, bulk).await?;
    // Where nobody can tell, the fallback wakes as many as it says, and no more.
    let fallback = object
        .fallback
        .as_ref()
        .map_or(0, |fallback| fallback.replicas);
    assert!(
        fallback > 0,
        "a fallback of zero would send a busy fleet home"
    );
    let steps = player.steps.len();
    proxy.set(Fault::Refuse);
    player.play_for(long_enough(&object)).await?;
    let woken: Vec<_> = player.steps[steps..]
        .iter()
        .map(|step| (step.by, step.to))
        .collect();
    assert_eq!(woken, [(By::Keda, object.min)], "{:?}", player.steps);
    assert_eq!(player.replicas(), fallback.max(object.min));
    proxy.set(Fault::None);
    player.play_to_zero().await?;
    bed.end().await
}

#[tokio::test]
async fn a_consumer_that_is_not_there_is_an_error_and_scales_nothing_until_it_is()
-> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let bed = Bed::unprovisioned(&tiny_embed(), MODEL).await?;
    let committed = committed()?;
    let mut without_fallback = committed.clone();
    without_fallback.fallback = None;
    let mut player = Player::new(&bed, &without_fallback, &monitoring(&bed), &[]);
    player.play_for(committed.cooldown).await?;
    let lags = player.lags().await;
    let error = lags[0].clone().unwrap_err();
    assert!(
        error.contains("`embed-minilm-live` not found in stream `JOBS`"),
        "{error}"
    );
    assert!(player.steps.is_empty(), "{:?}", player.steps);
    // With its fallback, one worker comes, which waits for its consumer; never all that are allowed.
    let mut player = Player::new(&bed, &committed, &monitoring(&bed), &[]);
    player.play_for(committed.cooldown).await?;
    assert_eq!(player.peak(), committed.min.max(1), "{:?}", player.steps);
    bed.stack.indexer(&["provision"]).await?;
    publish(&bed, Priority::Live, 0..1).await?;
    player.play_to_zero().await?;
    nothing_is_lost(&bed, 1, 0).await?;
    bed.end().await
}

#[tokio::test]
async fn a_worker_that_dies_with_a_batch_is_replaced_and_none_goes_home_before_its_jobs_are_done()
-> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let bed = Bed::unprovisioned(&tiny_embed(), MODEL).await?;
    // Six minutes of the ScaledObject, longer than its cooldown, in which only the jobs of the dead one are left.
    bed.stack
        .indexer(&["provision", "--ack-wait", "6s"])
        .await?;
    let object = committed()?;
    publish(&bed, Priority::Live, 0..20).await?;
    let slow = ("EBB_FAILPOINTS", "before-embed=stall:2000");
    let mut player = Player::new(&bed, &object, &monitoring(&bed), &[slow]);
    let consumer = consumer(&bed).await?;
    player
        .play_until("jobs in flight", async |_| {
            let info = consumer.get_info().await?;
            Ok(info.num_ack_pending == 20)
        })
        .await?;
    player.deployment.crash()?;
    player.play_to_zero().await?;
    assert_eq!(player.deployment.started(), 2, "{:?}", player.steps);
    nothing_is_lost(&bed, 20, 0).await?;
    bed.end().await
}
