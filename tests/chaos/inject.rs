//! Inject: injects the faults of the schedule.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, TryStreamExt as _};
use tokio::time::{Instant, sleep, sleep_until};

use crate::disturbances::Disturbances;
use crate::fault::{Between, Fault, Server, Trouble};
use crate::schedule::ScheduledFault;
use crate::servers::Servers;
use crate::tally::Tally;
use crate::wire::Wire;
use crate::worker::{Order, Worker};

/// What faults happen to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) servers: Arc<Servers>,
    /// Of each worker, to NATS and to Qdrant.
    pub(crate) wires: Vec<[Arc<Wire>; 2]>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) disturbances: Arc<Disturbances>,
    pub(crate) tally: Arc<Tally>,
}

/// Faults that are on, until they are healed.
type ActiveFaults<'a> = FuturesUnordered<LocalBoxFuture<'a, anyhow::Result<()>>>;

/// Injects all faults at their times and waits until the last fault is healed.
///
/// # Errors
/// If a server does not start again.
pub(crate) async fn inject(target: &Target, faults: Vec<ScheduledFault>) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut active = ActiveFaults::new();
    for scheduled in faults {
        let due = sleep_until(start + scheduled.at);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => break,
                healed = active.try_next(), if !active.is_empty() => drop(healed?),
            }
        }
        tell(&format!(
            "{:6.1} s  {:?} for {:?}",
            scheduled.at.as_secs_f64(),
            scheduled.fault,
            scheduled.lasts
        ));
        target.tally.fault(scheduled.fault.kind());
        begin(target, &scheduled, &active);
    }
    while active.try_next().await?.is_some() {}
    Ok(())
}

/// Says what happens, for a person who watches.
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

fn begin<'a>(target: &'a Target, scheduled: &ScheduledFault, active: &ActiveFaults<'a>) {
    let lasts = scheduled.lasts;
    match scheduled.fault {
        Fault::Kill { worker } => target.workers[worker].tell(Order::Kill),
        Fault::Term { worker } => target.workers[worker].tell(Order::Term),
        Fault::Stop { worker } => target.workers[worker].tell(Order::Stop(lasts)),
        Fault::Restart(server) => active.push(restart(target, server, lasts).boxed_local()),
        Fault::Network {
            server,
            worker,
            trouble,
        } => {
            for number in 0..target.wires.len() {
                if worker.is_none_or(|met| met == number) {
                    let disturbed = disturb(target, (server, number), trouble, lasts);
                    active.push(disturbed.boxed_local());
                }
            }
        }
        Fault::Qdrant { rule } => active.push(fail(target, rule, lasts).boxed_local()),
        Fault::NodeStop { node } => active.push(suspend(target, node, lasts).boxed_local()),
        Fault::Nodes {
            node,
            between,
            trouble,
        } => active.push(part(target, node, (between, trouble), lasts).boxed_local()),
    }
}

async fn restart(target: &Target, server: Server, pause: Duration) -> anyhow::Result<()> {
    let disturbance = target.disturbances.begin(None);
    target.servers.restart(server, pause).await?;
    target.disturbances.end(disturbance);
    Ok(())
}

async fn disturb(
    target: &Target,
    (server, worker): (Server, usize),
    trouble: Trouble,
    lasts: Duration,
) -> anyhow::Result<()> {
    let disturbance = target.disturbances.begin(Some(worker));
    let wire = &target.wires[worker][usize::from(server == Server::Qdrant)];
    let number = wire.disturb(trouble);
    sleep(lasts).await;
    wire.heal(number);
    target.disturbances.end(disturbance);
    Ok(())
}

async fn suspend(target: &Target, node: usize, lasts: Duration) -> anyhow::Result<()> {
    let disturbance = target.disturbances.begin(None);
    target.servers.nodes.suspend(node, lasts).await?;
    target.disturbances.end(disturbance);
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
    let disturbance = target.disturbances.begin(None);
    let disturbed = links.disturb(node, between, trouble);
    sleep(lasts).await;
    links.heal(&disturbed);
    target.disturbances.end(disturbance);
    Ok(())
}

async fn fail(target: &Target, rule: &str, lasts: Duration) -> anyhow::Result<()> {
    let disturbance = target.disturbances.begin(None);
    let number = target.servers.add_rule(rule).await?;
    sleep(lasts).await;
    target.servers.remove_rule(number).await?;
    target.disturbances.end(disturbance);
    Ok(())
}
