//! Nodes: the search for the leader of a consumer in a cluster.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::Value;
use url::Url;

use super::{DoctorConfig, Endpoint, Finding, answer};

/// A server of the cluster with what it says.
struct Node {
    name: String,
    answer: Value,
}

/// Looks for the leaders of the consumers as the scaler does, and at the service in front of the servers.
pub async fn look(
    config: &DoctorConfig,
    endpoint: &Endpoint,
    size: u64,
    consumers: &[String],
) -> Vec<Finding> {
    let mut findings = Vec::from_iter(headless(endpoint, size).await);
    match nodes(config, endpoint).await {
        Ok(nodes) => {
            let leaders = consumers
                .iter()
                .filter_map(|name| leader(config, &nodes, name));
            findings.extend(leaders);
        }
        Err(error) => {
            let advice = "the autoscaler asks every server by its own name: is the endpoint a headless service, and is \
                          each server named after its pod?";
            findings.push(Finding::failed("servers of the cluster", &error, advice));
        }
    }
    findings
}

/// A headless service resolves to all of its pods, any other to one address.
async fn headless(endpoint: &Endpoint, size: u64) -> Option<Finding> {
    let host = endpoint.base.host_str()?;
    let port = endpoint.base.port_or_known_default().unwrap_or(80);
    let plain = host.trim_matches(['[', ']']);
    let resolved = tokio::net::lookup_host((plain, port)).await.ok()?;
    let addresses: BTreeSet<_> = resolved.map(|address| address.ip()).collect();
    let few = (addresses.len() as u64) < size;
    let what = format!("monitoring endpoint `{host}`: addresses");
    let advice = "name a headless service, with `clusterIP: None`: others answer from any server, and the lag that a \
                  server tells of a consumer that it does not lead is old";
    few.then(|| {
        Finding::error(
            what,
            addresses.len(),
            format!("{size}, one a server"),
            advice,
        )
    })
}

/// All servers, in the two ways that the scaler knows. Like the scaler, this fails if one of them does not answer.
async fn nodes(config: &DoctorConfig, endpoint: &Endpoint) -> anyhow::Result<Vec<Node>> {
    let about = endpoint.get(&endpoint.base, "/varz", None).await?;
    let advertised = texts(&about["connect_urls"]);
    let places = if advertised.is_empty() {
        by_name(&endpoint.base, &about)?
    } else {
        by_host(endpoint, &advertised).await?
    };
    let mut nodes = Vec::new();
    for (name, base) in places {
        let answer = endpoint.jsz(&base, &config.account).await?;
        nodes.push(Node { name, answer });
    }
    Ok(nodes)
}

/// By the addresses that the servers advertise to clients, each with the port of the endpoint.
async fn by_host(endpoint: &Endpoint, urls: &[String]) -> anyhow::Result<Vec<(String, Url)>> {
    let mut places = Vec::new();
    for url in urls {
        // The scaler takes the part before the first colon, even of an IPv6 address.
        let base = on_host(&endpoint.base, url.split(':').next().unwrap_or(url))?;
        let about = endpoint.get(&base, "/varz", None).await?;
        places.push((text(&about["server_name"]), base));
    }
    Ok(places)
}

/// By the names of the servers, in front of the host of the endpoint.
fn by_name(base: &Url, about: &Value) -> anyhow::Result<Vec<(String, Url)>> {
    let host = base.host_str().unwrap_or_default();
    let others = texts(&about["cluster"]["urls"]);
    let all = std::iter::once(text(&about["server_name"])).chain(others);
    all.map(|url| {
        let name = url.split('.').next().unwrap_or(&url).to_owned();
        let base = on_host(base, &format!("{name}.{host}"))?;
        Ok((name, base))
    })
    .collect()
}

/// What is wrong if no server leads the consumer.
fn leader(config: &DoctorConfig, nodes: &[Node], consumer: &str) -> Option<Finding> {
    let mut missing = None;
    let mut seen = false;
    for node in nodes {
        match answer::find(&node.answer, &config.account, consumer) {
            Ok(found) if found["cluster"]["leader"] == node.name => return None,
            Ok(_) => seen = true,
            Err(finding) => missing = Some(finding),
        }
    }
    if !seen && missing.is_some() {
        return missing;
    }
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    let what = format!("what the autoscaler reads: leader of `{consumer}`");
    let advice = "it knows the servers by these names, and none of them leads: name every server after its pod, and let \
                  the endpoint be a headless service";
    Some(Finding::error(
        what,
        names.join(", "),
        "the leader among them",
        advice,
    ))
}

fn on_host(base: &Url, host: &str) -> anyhow::Result<Url> {
    let mut url = base.clone();
    url.set_host(Some(host))
        .with_context(|| format!("`{host}` is no host"))?;
    Ok(url)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().map_or(&[][..], Vec::as_slice);
    values.iter().map(text).collect()
}
