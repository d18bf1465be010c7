//! Failpoints: what a worker process is told to do to itself.

use fastrand::Rng;

use crate::fault::FaultKind;
use crate::message::CRASH;
use crate::settings::{Plant, Settings};
use crate::worker::SOUND_LIVES;

/// Steps between which a process may die. Each is reached about once a batch.
const DEADLY: [&str; 15] = [
    "before-encode",
    "after-encode",
    "before-embed",
    "after-embed",
    "before-upsert",
    "after-head",
    "after-body",
    "after-upsert",
    "before-attach-jobs",
    "after-attach-jobs",
    "after-additions",
    "before-ack",
    "after-ack",
    "before-dead-letter",
    "after-dead-letter",
];
/// Steps that may take longer than a lease.
const SLOW: [&str; 4] = ["after-head", "after-body", "after-upsert", "before-ack"];
/// Steps that may fail.
const FAILING: [&str; 2] = ["upsert=fail@5", "dead-letter=fail@25"];

/// Rules for a process.
pub(crate) fn rules(settings: &Settings, random: Option<String>) -> String {
    // What no worker knows is given up at once: no other version comes.
    let crash = format!("before-encode=kill/{CRASH}/;refusal-patience=skip");
    let planted = settings.plant.and_then(planted).map(str::to_owned);
    let all = [Some(crash), planted, random];
    all.into_iter().flatten().collect::<Vec<_>>().join(";")
}

/// What the `life`-th process of a worker does to itself now and then, if anything.
pub(crate) fn random(settings: &Settings, worker: usize, life: u64) -> Option<String> {
    if life > SOUND_LIVES || !settings.injects(FaultKind::Failpoint) {
        return None;
    }
    let number = u64::try_from(worker).unwrap_or(0);
    let mut rng = Rng::with_seed(settings.seed.rotate_left(32) ^ (number << 24) ^ life);
    match rng.u32(..12) {
        0..3 => Some(format!("{}=kill@2", DEADLY[rng.usize(..DEADLY.len())])),
        3 => {
            let longer = settings.ack_wait.as_millis() + 1_000;
            Some(format!(
                "{}=stall:{longer}@2",
                SLOW[rng.usize(..SLOW.len())]
            ))
        }
        4 => Some(FAILING[rng.usize(..FAILING.len())].to_owned()),
        _ => None,
    }
}

/// The rule that makes a worker have a defect.
fn planted(plant: Plant) -> Option<&'static str> {
    match plant {
        Plant::AckBeforeWrite => Some("upsert=skip@10"),
        Plant::NoVersionGuard => Some("version-guard=skip"),
        Plant::DroppedDeadLetter => Some("dead-letter=skip@50"),
        Plant::NoPrune => Some("prune=skip"),
        Plant::NoTombstone => Some("tombstone=skip"),
        Plant::TombstoneVector => Some("tombstone-vectors=skip"),
        Plant::WrongVector => Some("vector=skip"),
        Plant::WeakOrdering => Some("replicas=skip"),
        Plant::AckBeforeAttachJobs => Some("attach-jobs=skip@10"),
        // Some batches have to come late for the guard to have anything to hold back.
        Plant::NoAttachGuard => Some("addition-guard=skip;before-upsert=stall:1500@10"),
        // The runner kills where it should ask, and whoever is killed must have something in hand.
        Plant::LostSigterm => Some("before-upsert=stall:500"),
    }
}
