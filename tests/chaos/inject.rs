//! Inject: plays the deck.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, TryStreamExt as _};
use tokio::time::{Instant, sleep, sleep_until};

use crate::deck::Card;
use crate::fault::{Between, Fault, Server, Trouble};
use crate::servers::Servers;
use crate::tally::Tally;
use crate::weather::Weather;
use crate::wire::Wire;
use crate::worker::{Order, Worker};

/// What faults happen to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) servers: Arc<Servers>,
    /// Of each worker, to NATS and to Qdrant.
    pub(crate) wires: Vec<[Arc<Wire>; 2]>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) tally: Arc<Tally>,
}

/// Faults that are on, until they are healed.
type Healing<'a> = FuturesUnordered<LocalBoxFuture<'a, anyhow::Result<()>>>;

/// Plays all cards at their times and waits until the last fault is healed.
///
/// # Errors
/// If a server does not start again.
pub(crate) async fn inject(target: &Target, cards: Vec<Card>) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut healing = Healing::new();
    for card in cards {
        let due = sleep_until(start + card.at);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => break,
                healed = healing.try_next(), if !healing.is_empty() => drop(healed?),
            }
        }
        tell(&format!(
            "{:6.1} s  {:?} for {:?}",
            card.at.as_secs_f64(),
            card.fault,
            card.lasts
        ));
        target.tally.fault(card.fault.kind());
        play(target, &card, &healing);
    }
    while healing.try_next().await?.is_some() {}
    Ok(())
}

/// Says what happens, for a person who watches.
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

fn play<'a>(target: &'a Target, card: &Card, healing: &Healing<'a>) {
    let lasts = card.lasts;
    match card.fault {
        Fault::Kill { worker } => target.workers[worker].tell(Order::Kill),
        Fault::Term { worker } => target.workers[worker].tell(Order::Term),
        Fault::Stop { worker } => target.workers[worker].tell(Order::Stop(lasts)),
        Fault::Restart(server) => healing.push(restart(target, server, lasts).boxed_local()),
        Fault::Network {
            server,
            worker,
            trouble,
        } => {
            for number in 0..target.wires.len() {
                if worker.is_none_or(|met| met == number) {
                    let disturbed = disturb(target, (server, number), trouble, lasts);
                    healing.push(disturbed.boxed_local());
                }
            }
        }
        Fault::Qdrant { rule } => healing.push(fail(target, rule, lasts).boxed_local()),
        Fault::NodeStop { node } => healing.push(suspend(target, node, lasts).boxed_local()),
        Fault::Nodes {
            node,
            between,
            trouble,
        } => healing.push(part(target, node, (between, trouble), lasts).boxed_local()),
    }
}

async fn restart(target: &Target, server: Server, pause: Duration) -> anyhow::Result<()> {
    let storm = target.weather.begin(None);
    target.servers.restart(server, pause).await?;
    target.weather.end(storm);
    Ok(())
}

async fn disturb(
    target: &Target,
    (server, worker): (Server, usize),
    trouble: Trouble,
    lasts: Duration,
) -> anyhow::Result<()> {
    let storm = target.weather.begin(Some(worker));
    let wire = &target.wires[worker][usize::from(server == Server::Qdrant)];
    let number = wire.disturb(trouble);
    sleep(lasts).await;
    wire.heal(number);
    target.weather.end(storm);
    Ok(())
}

async fn suspend(target: &Target, node: usize, lasts: Duration) -> anyhow::Result<()> {
    let storm = target.weather.begin(None);
    target.servers.nodes.suspend(node, lasts).await?;
    target.weather.end(storm);
    Ok(())
}

async fn part(
    target: &Target,
    node: usize,
    (between, trouble): (Between, Trouble),
    lasts: Duration,
) -> anyhow::Result<()> {
    let Some(links) = &target.servers.nodes.links else {
        return Ok(());
    };
    let storm = target.weather.begin(None);
    let disturbed = links.disturb(node, between, trouble);
    sleep(lasts).await;
    links.heal(&disturbed);
    target.weather.end(storm);
    Ok(())
}

async fn fail(target: &Target, rule: &str, lasts: Duration) -> anyhow::Result<()> {
    let storm = target.weather.begin(None);
    let number = target.servers.add_rule(rule).await?;
    sleep(lasts).await;
    target.servers.remove_rule(number).await?;
    target.weather.end(storm);
    Ok(())
}
