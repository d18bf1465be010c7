//! Subjects: everything that NATS lets a client say about the streams of Ebb, and which of it each role may.

use std::collections::BTreeSet;

use contract::topology::{ADVISORIES, ATTEMPTS, DLQ, JOBS, RESULTS, RUNS, SWEEP};

use super::server::Role;

/// Operations on a stream.
const STREAM: [&str; 11] = [
    "INFO",
    "CREATE",
    "UPDATE",
    "DELETE",
    "PURGE",
    "SNAPSHOT",
    "RESTORE",
    "MSG.GET",
    "MSG.DELETE",
    "PEER.REMOVE",
    "LEADER.STEPDOWN",
];
/// Operations on a consumer.
const CONSUMER: [&str; 9] = [
    "INFO",
    "CREATE",
    "DURABLE.CREATE",
    "DELETE",
    "MSG.NEXT",
    "PAUSE",
    "RESET",
    "UNPIN",
    "LEADER.STEPDOWN",
];
/// Operations on the whole server or account, and what nobody has to say.
const OTHERS: [&str; 26] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.SERVER.REMOVE",
    "$JS.API.ACCOUNT.PURGE.EBB",
    "$JS.hub.API.STREAM.DELETE.JOBS",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.USER.INFO",
    "$SRV.PING",
    "jobs.embed.minilm.live",
    "jobs.embed.minilm.bulk",
    "jobs.rescore.reranker.live",
    "jobs.rescore.reranker.bulk",
    "jobs.embed.minilm.later",
    "jobs.embed.minilm.live.more",
    "jobs.dance.minilm.live",
    "jobs",
    "dlq.JOBS.7.1795420221672003924",
    "dlq.DLQ.7.1795420221672003924",
    "dlq.JOBS.7",
    "results.r1",
    "results.r1.more",
    "$KV.RUNS.lease.rebuild.docs",
    "$KV.ATTEMPTS.7-1795420221672003924",
    "anything.else",
];
/// A consumer with a name that anybody could choose.
const STRANGE: &str = "strange";

fn streams() -> Vec<String> {
    let buckets = [RUNS, ATTEMPTS].map(|bucket| format!("KV_{bucket}"));
    let plain = [JOBS, DLQ, RESULTS, ADVISORIES, "OTHER"].map(str::to_owned);
    plain.into_iter().chain(buckets).collect()
}

/// Everything that may be published: requests to the server, acknowledgements, jobs, dead letters, answers, keys, and
/// what the inboxes of the others would take for an answer.
pub(super) fn publishes() -> Vec<String> {
    let mut all: Vec<_> = OTHERS.map(str::to_owned).into();
    for stream in streams() {
        all.extend(STREAM.map(|operation| format!("$JS.API.STREAM.{operation}.{stream}")));
        let lists = ["LIST", "NAMES", "CREATE"];
        all.extend(lists.map(|operation| format!("$JS.API.CONSUMER.{operation}.{stream}")));
        all.push(format!("$JS.API.DIRECT.GET.{stream}"));
        for consumer in ["embed-minilm-live", SWEEP, STRANGE] {
            all.extend(of_consumer(&stream, consumer));
        }
    }
    all.push("$JS.API.DIRECT.GET.KV_RUNS.$KV.RUNS.lease.rebuild.docs".to_owned());
    all.push("$JS.API.DIRECT.GET.KV_ATTEMPTS.$KV.ATTEMPTS.7-9".to_owned());
    all.push("$JS.API.DIRECT.GET.DLQ.dlq.JOBS.7.9".to_owned());
    all.extend(Role::ALL.map(|role| format!("{}.reply", role.inbox())));
    all
}

fn of_consumer(stream: &str, consumer: &str) -> Vec<String> {
    let operation = |operation| format!("$JS.API.CONSUMER.{operation}.{stream}.{consumer}");
    let mut all: Vec<_> = CONSUMER.into_iter().map(operation).collect();
    let filters = [
        "jobs.embed.minilm.live",
        "dlq.>",
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.>",
    ];
    all.extend(
        filters.map(|filter| format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{filter}")),
    );
    for (kind, rest) in [("ACK", "1.2.3.4.5"), ("FC", "x7")] {
        all.push(format!("$JS.{kind}.{stream}.{consumer}.{rest}"));
        all.push(format!("$JS.{kind}._.2hKcBd.{stream}.{consumer}.{rest}"));
        all.push(format!("$JS.{kind}.hub.2hKcBd.{stream}.{consumer}.{rest}"));
    }
    all
}

/// Everything that may be listened to.
pub(super) fn subscriptions() -> Vec<String> {
    let mut all: Vec<_> = [
        ">",
        "*",
        "*.>",
        "_INBOX.>",
        "jobs.>",
        "jobs.embed.minilm.live",
        "dlq.>",
        "results.r1",
        "results.*",
        "results.>",
        "results",
        "$KV.>",
        "$JS.ACK.>",
        "$JS.API.>",
        "$JS.EVENT.>",
        "$SYS.>",
        "anything.else",
    ]
    .map(str::to_owned)
    .into();
    for role in Role::ALL {
        all.extend([".>", ".reply", ".*.*"].map(|rest| format!("{}{rest}", role.inbox())));
    }
    all
}

/// What a role may publish of [`publishes`].
pub(super) fn may_publish(role: Role) -> BTreeSet<String> {
    let of = |allowed: Vec<&str>| {
        allowed
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let jobs = OTHERS.into_iter().filter(|subject| {
        let tokens: Vec<_> = subject.split('.').collect();
        tokens.len() == 4 && tokens[0] == "jobs" && tokens[1] != "dance" && tokens[3] != "later"
    });
    match role {
        Role::Publisher => of(jobs.collect()),
        Role::Worker => {
            &of(WORKER.to_vec()) | &each_consumer(&["INFO", "MSG.NEXT"], JOBS, &acks(JOBS))
        }
        Role::Indexer => &(&of(jobs.collect()) | &of(INDEXER.to_vec())) | &indexer_consumers(),
        Role::Provision => {
            let create = "$JS.API.CONSUMER.CREATE.JOBS";
            let consumers = ["embed-minilm-live", SWEEP, STRANGE];
            let created =
                consumers.map(|consumer| format!("{create}.{consumer}.jobs.embed.minilm.live"));
            let created: BTreeSet<_> = created.into_iter().collect();
            &(&of(PROVISION.to_vec()) | &created) | &each_consumer(&["INFO"], JOBS, &[])
        }
    }
}

/// What a role may hear of [`subscriptions`]: its own inbox, and answers if it asks. The server takes `results.>` for a
/// case of `results.*`; nobody may publish below that.
pub(super) fn may_subscribe(role: Role) -> BTreeSet<String> {
    let own = [".>", ".reply", ".*.*"].map(|rest| format!("{}{rest}", role.inbox()));
    let answers: &[&str] = match role {
        Role::Publisher | Role::Indexer => &["results.r1", "results.*", "results.>"],
        Role::Worker | Role::Provision => &[],
    };
    own.into_iter()
        .chain(answers.iter().map(|&subject| subject.to_owned()))
        .collect()
}

fn acks(stream: &str) -> [String; 3] {
    [
        format!("$JS.ACK.{stream}."),
        format!("$JS.ACK._.2hKcBd.{stream}."),
        format!("$JS.ACK.hub.2hKcBd.{stream}."),
    ]
}

fn each_consumer(operations: &[&str], stream: &str, acks: &[String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for consumer in ["embed-minilm-live", SWEEP, STRANGE] {
        all.extend(
            operations
                .iter()
                .map(|operation| format!("$JS.API.CONSUMER.{operation}.{stream}.{consumer}")),
        );
        all.extend(acks.iter().map(|ack| format!("{ack}{consumer}.1.2.3.4.5")));
    }
    all
}

/// Readers of the indexer are ephemeral consumers of dead letters, advisories and runs; the durable one is not its own.
fn indexer_consumers() -> BTreeSet<String> {
    let runs = format!("KV_{RUNS}");
    let mut all = each_consumer(&["INFO"], JOBS, &[]);
    for stream in [DLQ, ADVISORIES, &runs] {
        all.extend(each_consumer(&["DELETE", "MSG.NEXT"], stream, &[]));
    }
    all.remove(&format!("$JS.API.CONSUMER.DELETE.{ADVISORIES}.{SWEEP}"));
    all.insert(format!("$JS.API.CONSUMER.INFO.{ADVISORIES}.{SWEEP}"));
    all.extend(acks(ADVISORIES).map(|ack| format!("{ack}{SWEEP}.1.2.3.4.5")));
    for consumer in ["embed-minilm-live", SWEEP, STRANGE] {
        let pace = ["$JS.FC.", "$JS.FC._.2hKcBd.", "$JS.FC.hub.2hKcBd."];
        all.extend(pace.map(|pace| format!("{pace}{runs}.{consumer}.x7")));
    }
    all
}

const WORKER: [&str; 9] = [
    "jobs.embed.minilm.bulk",
    "$JS.API.STREAM.INFO.JOBS",
    "dlq.JOBS.7.1795420221672003924",
    "$JS.API.STREAM.MSG.GET.DLQ",
    "results.r1",
    "$JS.API.STREAM.INFO.RESULTS",
    "$JS.API.STREAM.INFO.KV_ATTEMPTS",
    "$JS.API.DIRECT.GET.KV_ATTEMPTS.$KV.ATTEMPTS.7-9",
    "$KV.ATTEMPTS.7-1795420221672003924",
];

const INDEXER: [&str; 21] = [
    "dlq.JOBS.7.1795420221672003924",
    "$JS.API.STREAM.INFO.JOBS",
    "$JS.API.STREAM.MSG.GET.JOBS",
    "$JS.API.STREAM.MSG.DELETE.JOBS",
    "$JS.API.CONSUMER.LIST.JOBS",
    "$JS.API.STREAM.INFO.RESULTS",
    "$JS.API.STREAM.MSG.GET.RESULTS",
    "$JS.API.STREAM.INFO.DLQ",
    "$JS.API.STREAM.MSG.GET.DLQ",
    "$JS.API.STREAM.MSG.DELETE.DLQ",
    "$JS.API.STREAM.PURGE.DLQ",
    "$JS.API.CONSUMER.CREATE.DLQ",
    "$JS.API.STREAM.INFO.ADVISORIES",
    "$JS.API.STREAM.MSG.GET.ADVISORIES",
    "$JS.API.CONSUMER.CREATE.ADVISORIES",
    "$JS.API.STREAM.INFO.KV_RUNS",
    "$JS.API.STREAM.MSG.GET.KV_RUNS",
    "$JS.API.DIRECT.GET.KV_RUNS.$KV.RUNS.lease.rebuild.docs",
    "$JS.API.CONSUMER.CREATE.KV_RUNS",
    "$KV.RUNS.lease.rebuild.docs",
    "$JS.API.STREAM.INFO.KV_ATTEMPTS",
];

const PROVISION: [&str; 21] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.JOBS",
    "$JS.API.STREAM.CREATE.JOBS",
    "$JS.API.STREAM.UPDATE.JOBS",
    "$JS.API.STREAM.INFO.DLQ",
    "$JS.API.STREAM.CREATE.DLQ",
    "$JS.API.STREAM.UPDATE.DLQ",
    "$JS.API.STREAM.INFO.RESULTS",
    "$JS.API.STREAM.CREATE.RESULTS",
    "$JS.API.STREAM.UPDATE.RESULTS",
    "$JS.API.STREAM.INFO.ADVISORIES",
    "$JS.API.STREAM.CREATE.ADVISORIES",
    "$JS.API.STREAM.UPDATE.ADVISORIES",
    "$JS.API.STREAM.INFO.KV_RUNS",
    "$JS.API.STREAM.CREATE.KV_RUNS",
    "$JS.API.STREAM.UPDATE.KV_RUNS",
    "$JS.API.STREAM.INFO.KV_ATTEMPTS",
    "$JS.API.STREAM.CREATE.KV_ATTEMPTS",
    "$JS.API.STREAM.UPDATE.KV_ATTEMPTS",
    "$JS.API.CONSUMER.INFO.ADVISORIES.dlq-sweep",
    "$JS.API.CONSUMER.CREATE.ADVISORIES.dlq-sweep.$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.>",
];
