//! Monitoring: the server's endpoint, read as KEDA's scaler for JetStream reads it.
//!
//! The scaler asks `/jsz?acc=<account>&consumers=true&config=true`, without login and without looking at the status, and
//! searches account, stream and consumer by name. In a cluster it goes on to the node that leads the consumer: by the
//! hosts of `connect_urls`, or by `<server name>.<host of the endpoint>`, which only a headless service resolves. The
//! same answer says whether writes are synced and how full the disk is.

mod answer;
mod nodes;

use std::time::Duration;

use anyhow::Context as _;
use contract::model::Manifest;
use contract::topology::Lane;
use runtime::wait::{Wait, tls_error};
use serde_json::Value;

use super::queue::fullness;
use super::{DoctorConfig, Finding};

/// KEDA waits three seconds for an answer, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Address of the monitoring endpoint, and the client that asks it.
struct Endpoint {
    client: reqwest::Client,
    base: url::Url,
}

/// Looks at the endpoint, if one was named.
pub async fn look(config: &DoctorConfig, manifest: &Manifest) -> Vec<Finding> {
    let Some(address) = &config.monitoring else {
        let what = [
            "what the autoscaler reads",
            "sync_interval",
            "room on the disk of nats",
        ];
        let advice = "give --monitoring, the endpoint that the ScaledObject has";
        return what
            .map(|what| Finding::unknown(what, "not looked at", advice))
            .into();
    };
    let what = format!("monitoring endpoint `{address}`");
    match ask(config, address).await {
        Ok((endpoint, answer)) => {
            let mut findings = read(config, &endpoint, &answer, manifest).await;
            findings.extend(server(&answer));
            findings
        }
        Err(error) => {
            let advice = "the autoscaler sees no lag and starts nobody: is the endpoint the server's monitoring port, and \
                          do network policies let KEDA through?";
            vec![Finding::failed(what, &error, advice)]
        }
    }
}

async fn ask(config: &DoctorConfig, address: &str) -> anyhow::Result<(Endpoint, Value)> {
    let endpoint = Endpoint::new(address)?;
    endpoint.wait(config.servers.wait.wait()).await;
    let answer = endpoint.jsz(&endpoint.base, &config.account).await?;
    Ok((endpoint, answer))
}

/// Reads both lanes as the scaler does.
async fn read(
    config: &DoctorConfig,
    endpoint: &Endpoint,
    answer: &Value,
    manifest: &Manifest,
) -> Vec<Finding> {
    let consumers = Lane::of(manifest.identity.task, &manifest.name).map(|lane| lane.consumer());
    if answer::cluster_size(answer) > 1 {
        return nodes::look(config, endpoint, answer::cluster_size(answer), &consumers).await;
    }
    let missing = |consumer: &String| answer::find(answer, &config.account, consumer).err();
    let mut findings: Vec<_> = consumers.iter().filter_map(missing).collect();
    // Where the account or the stream is missing, both lanes say so.
    findings.dedup();
    findings
}

/// Findings about what the server says of itself.
fn server(answer: &Value) -> Vec<Finding> {
    let config = &answer["config"];
    let mut findings = Vec::new();
    if config["sync_always"] != true {
        let interval = config["sync_interval"].as_u64().map(Duration::from_nanos);
        let found = interval.map_or("no answer".to_owned(), |it| {
            crate::fleet::span(it).to_string()
        });
        let advice = "set `sync_interval: always` in the jetstream block of nats.conf: a power cut loses what was \
                      acknowledged within the interval, and a job may be the only copy of a document";
        findings.push(Finding::error("sync_interval", found, "always", advice));
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (used, most) = (number(&answer["storage"]), number(&config["max_storage"]));
    let advice = "give nats-server a larger disk and `max_file_store`, or the streams less: a full disk stops them until \
                  the server is restarted";
    findings.extend(fullness("disk of nats", used, most, advice));
    let reserved = number(&answer["reserved_storage"]);
    let advice = "limits of streams take the room of those without one: dead letters, results, advisories; lower \
                  --jobs-max-bytes, or raise `max_file_store`";
    let reserved = fullness("disk of nats: reserved", reserved, most, advice);
    findings.extend(reserved.map(Finding::into_warning));
    findings
}

impl Endpoint {
    fn new(address: &str) -> anyhow::Result<Self> {
        // TLS has no provider of cryptography unless somebody names one; an error says that somebody has.
        drop(rustls::crypto::ring::default_provider().install_default());
        let address = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let base = url::Url::parse(&address).context("no address of a server")?;
        Ok(Self { client, base })
    }

    /// Waits until somebody answers. If nobody does, what is asked next says why.
    async fn wait(&self, wait: Wait) {
        if wait.is_none() {
            return;
        }
        let unreachable = |error: &reqwest::Error| {
            (error.is_connect() || error.is_timeout()) && tls_error(error).is_none()
        };
        let server = format!("the monitoring endpoint {}", self.base);
        let asked = wait.for_answer(server, unreachable, async || {
            self.client.get(self.base.clone()).send().await.map(drop)
        });
        drop(asked.await);
    }

    /// The answer to the request that the scaler makes.
    async fn jsz(&self, base: &url::Url, account: &str) -> anyhow::Result<Value> {
        let query = format!("acc={account}&consumers=true&config=true");
        self.get(base, "/jsz", Some(&query)).await
    }

    async fn get(&self, base: &url::Url, path: &str, query: Option<&str>) -> anyhow::Result<Value> {
        let mut url = base.clone();
        url.set_path(path);
        url.set_query(query);
        let answer = self.client.get(url.clone()).send().await;
        let text = answer
            .with_context(|| format!("failed to ask {url}"))?
            .text()
            .await?;
        serde_json::from_str(&text).with_context(|| format!("the answer of {url} is no JSON"))
    }
}
