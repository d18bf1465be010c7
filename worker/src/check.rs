//! Check: loads the model, proves the device, looks at NATS and Qdrant, and reports all that is wrong.

use std::fmt::Display;
use std::time::Instant;

use clap::Args;
use contract::model::{Identity, Manifest, Output, SpecialTokens};
use contract::names::CollectionName;
use contract::topology::{JOBS, Lane, Task};
use points::connect::{OLDEST, QdrantConfig};
use points::limits::UnfitSetting;
use queue::denial::denied;
use queue::nats::{NatsConfig, jetstream};
use runtime::settings::{ConfigFault, unreadable};
use runtime::wait::WaitConfig;

use crate::config::{ModelConfig, SessionConfig};
use crate::connect::ask_for_room;
use crate::consumers::check_consumer;
use crate::health::Health;
use crate::load::load;
use crate::pipeline::upsert::Upserter;

/// Settings of `worker check`.
#[derive(Args, Clone, Debug)]
pub struct CheckConfig {
    /// Collections and aliases to look at, separated by commas
    #[arg(
        long,
        env = "EBB_COLLECTIONS",
        default_value = "docs",
        value_delimiter = ','
    )]
    pub collections: Vec<CollectionName>,
    #[command(flatten)]
    pub model: ModelConfig,
    #[command(flatten)]
    pub session: SessionConfig,
    #[command(flatten)]
    pub nats: NatsConfig,
    #[command(flatten)]
    pub qdrant: QdrantConfig,
    #[command(flatten)]
    pub wait: WaitConfig,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    /// What was found, or what is wrong.
    pub result: Result<String, String>,
}

impl CheckConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        faults.extend(self.qdrant.faults());
        let key = self.model.staged.public_key.as_ref();
        faults.extend(unreadable("--public-key", key));
        faults.extend(self.session.faults());
        faults
    }
}

/// Looks at everything, even if something fails.
pub async fn check(config: &CheckConfig) -> Vec<Finding> {
    let mut findings = vec![check_device(config).await];
    let manifest = match Manifest::load(&config.model.staged.model) {
        Ok(manifest) => manifest,
        Err(error) => {
            findings.push(finding("manifest", Err(error)));
            return findings;
        }
    };
    findings.extend(tokio::select! {
        found = check_nats(config, &manifest) => found,
        denied = denied() => vec![finding("nats", Err(denied))],
    });
    findings.extend(check_qdrant(config, &manifest).await);
    findings
}

async fn check_device(config: &CheckConfig) -> Finding {
    let (model, session) = (config.model.clone(), config.session.clone());
    let subject = format!(
        "model `{}` on {:?}",
        model.staged.model.display(),
        session.provider
    );
    let started = Instant::now();
    let loaded = tokio::task::spawn_blocking(move || load(&model, &session, started)).await;
    let result = match loaded {
        Ok(Ok(loaded)) => Ok(format!(
            "{}, golden {}, loaded in {:.2} s",
            described(&loaded.manifest),
            loaded.golden,
            started.elapsed().as_secs_f64(),
        )),
        Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::from(error))),
        Err(panic) => Err(panic.to_string()),
    };
    Finding { subject, result }
}

/// The facts about a model for somebody who looks for the cause of odd vectors.
fn described(manifest: &Manifest) -> String {
    let (fingerprint, identity) = (&manifest.fingerprint, &manifest.identity);
    let prefixes = &identity.prefixes;
    let mut parts = vec![
        format!("fingerprint {}", fingerprint.short()),
        kind(identity),
        format!("at most {} tokens", identity.max_tokens),
        format!("query prompt {:?}", prefixes.query),
        format!("document prompt {:?}", prefixes.document),
    ];
    if identity.head.exclude_prompt {
        parts.push("prompts left out of the pooling".to_owned());
    }
    if identity.special_tokens == SpecialTokens::Text {
        parts.push("special tokens in texts are text".to_owned());
    }
    if let Some(measured) = &manifest.measured {
        let mebibytes = measured.memory_bytes >> 20;
        parts.push(format!("{mebibytes} MiB for a row of full length"));
        parts.push(format!("beside other texts {}", measured.invariance));
    }
    parts.join(", ")
}

/// Which kind of vectors a model makes, and how.
fn kind(identity: &Identity) -> String {
    let dimensions = identity.dimensions;
    match &identity.output {
        Output::Dense => format!("{dimensions} dimensions"),
        Output::Sparse(terms) => {
            let queries = match &terms.query_weights {
                Some(file) => format!("the table `{file}`"),
                None => "the model".to_owned(),
            };
            format!(
                "sparse vectors of at most {} of {dimensions} terms above {}, {} special tokens left out, queries by {queries}",
                terms.most,
                terms.threshold,
                terms.excluded.len()
            )
        }
        Output::Multi(late) => {
            let expansion = match late.expansion {
                Some(_) => "filled up",
                None => "not filled up",
            };
            format!(
                "multivectors of {dimensions} dimensions, queries of {} tokens, {expansion}, {} tokens skipped in documents",
                late.query_tokens,
                late.skipped.len()
            )
        }
    }
}

async fn check_nats(config: &CheckConfig, manifest: &Manifest) -> Vec<Finding> {
    let wait = config.wait.wait();
    let client = match config.nats.connect("worker-check", wait).await {
        Ok(client) => client,
        Err(error) => return vec![finding("nats", Err(anyhow::Error::from(error)))],
    };
    let jetstream = jetstream(client);
    ask_for_room(&jetstream, manifest).await;
    let mut findings = Vec::new();
    for lane in Lane::of(manifest.identity.task, &manifest.name) {
        let found = jetstream
            .get_consumer_from_stream(lane.consumer(), JOBS)
            .await;
        let result = match found {
            Ok(consumer) => check_consumer(&consumer, &lane).map(|()| {
                let info = consumer.cached_info();
                format!(
                    "{} pending, {} in flight",
                    info.num_pending, info.num_ack_pending
                )
            }),
            Err(error) => Err(anyhow::anyhow!("{error}; run `indexer provision`")),
        };
        findings.push(finding(&format!("consumer `{}`", lane.consumer()), result));
    }
    findings
}

async fn check_qdrant(config: &CheckConfig, manifest: &Manifest) -> Vec<Finding> {
    let client = match config.qdrant.client_to_look(config.wait.wait()).await {
        Ok(client) => client,
        Err(error) => return vec![finding("qdrant", Err(anyhow::Error::from(error)))],
    };
    let upserter = Upserter::new(client, manifest.clone(), Health::new());
    let server = upserter.check_server().await;
    let server = server.map(|()| format!("version {OLDEST} or newer"));
    let mut findings = vec![finding("qdrant", server.map_err(anyhow::Error::from))];
    for collection in &config.collections {
        let result = match upserter.unfit(collection).await {
            Ok(unfit) => fits(&unfit).map(|()| accepts(manifest.identity.task).to_owned()),
            Err(error) => Err(error.into()),
        };
        findings.push(finding(&format!("collection `{collection}`"), result));
    }
    findings
}

/// Refuses settings that stop a worker from writing. `indexer doctor` names the others.
fn fits(unfit: &[UnfitSetting]) -> anyhow::Result<()> {
    let stops = unfit.iter().filter(|unfit| unfit.stops_writes);
    let stops: Vec<_> = stops.map(ToString::to_string).collect();
    anyhow::ensure!(stops.is_empty(), "its strict mode: {}", stops.join("; "));
    Ok(())
}

fn accepts(task: Task) -> &'static str {
    match task {
        Task::Embed => "takes this model's vectors",
        Task::Rescore => "is there to take scores",
    }
}

fn finding(subject: &str, result: Result<String, impl Display>) -> Finding {
    let result = result.map_err(|error| format!("{error:#}"));
    Finding {
        subject: subject.to_owned(),
        result,
    }
}
