//! Who reaches whom: the network policies, applied to every pair of pods and port as a network plugin does it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::render::{Rendered, list, overlay, table, text};
use super::variants::Copy;

/// One end of a connection.
#[derive(Clone, Debug)]
struct End {
    name: String,
    namespace: String,
    namespace_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// Named ports.
    ports: BTreeMap<String, u64>,
    /// Whether it is somewhere outside of the cluster.
    is_outside: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Ingress,
    Egress,
}

impl End {
    fn foreign(name: &str, namespace: &str, labels: Value) -> Self {
        let namespace_labels = json!({ "kubernetes.io/metadata.name": namespace });
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            namespace_labels: table(&namespace_labels, ""),
            labels: table(&labels, ""),
            ports: BTreeMap::new(),
            is_outside: false,
        }
    }

    fn outside() -> Self {
        Self {
            is_outside: true,
            ..Self::foreign("internet", "", json!({}))
        }
    }

    fn all(rendered: &Rendered) -> anyhow::Result<Vec<Self>> {
        let end = |pod: super::render::Pod<'_>| {
            let namespace = rendered.find("Namespace", pod.namespace)?;
            let mut namespace_labels = table(namespace, "/metadata/labels");
            let name = "kubernetes.io/metadata.name".to_owned();
            namespace_labels.insert(name, pod.namespace.to_owned());
            let ports = pod
                .containers()
                .into_iter()
                .flat_map(|it| list(it, "/ports"));
            let port =
                |it: &Value| Some((text(it, "/name").to_owned(), it["containerPort"].as_u64()?));
            anyhow::Ok(Self {
                name: pod.name.to_owned(),
                namespace: pod.namespace.to_owned(),
                namespace_labels,
                labels: table(pod.labels, ""),
                ports: ports.filter_map(port).collect(),
                is_outside: false,
            })
        };
        rendered.pods().into_iter().map(end).collect()
    }
}

/// Whether labels are selected. An empty selector selects everything.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let equal = table(selector, "/matchLabels");
    let expressions = list(selector, "/matchExpressions");
    let holds = |expression: &Value| {
        assert_eq!(
            text(expression, "/operator"),
            "In",
            "teach this test about {expression}"
        );
        let value = labels.get(text(expression, "/key"));
        value.is_some_and(|value| list(expression, "/values").iter().any(|it| it == value))
    };
    equal
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value))
        && expressions.iter().all(holds)
}

/// Whether a rule is about the other end.
fn names(peer: &Value, policy_namespace: &str, other: &End) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        return other.is_outside && text(block, "/cidr") == "0.0.0.0/0";
    }
    let in_namespace = match peer.get("namespaceSelector") {
        Some(selector) => selects(selector, &other.namespace_labels),
        None => other.namespace == policy_namespace,
    };
    let is_pod = peer
        .get("podSelector")
        .is_none_or(|it| selects(it, &other.labels));
    !other.is_outside && in_namespace && is_pod
}

fn has_port(rule: &Value, to: &End, port: u64) -> bool {
    let ports = list(rule, "/ports");
    let is_it = |it: &Value| match &it["port"] {
        Value::String(name) => to.ports.get(name) == Some(&port),
        number @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => number.as_u64() == Some(port),
    };
    ports.is_empty() || ports.iter().any(is_it)
}

/// Whether the policies of one end let the connection pass.
fn lets_pass(policies: &[Value], direction: Direction, from: &End, to: &End, port: u64) -> bool {
    let (this, other, kind, key, peers) = match direction {
        Direction::Egress => (from, to, "Egress", "/spec/egress", "/to"),
        Direction::Ingress => (to, from, "Ingress", "/spec/ingress", "/from"),
    };
    let about_this = |policy: &&Value| {
        let types = list(policy, "/spec/policyTypes");
        types.iter().any(|it| it == kind)
            && text(policy, "/metadata/namespace") == this.namespace
            && selects(&policy["spec"]["podSelector"], &this.labels)
    };
    let concerned: Vec<_> = policies.iter().filter(about_this).collect();
    if concerned.is_empty() {
        return true;
    }
    let mut rules = concerned
        .into_iter()
        .flat_map(|policy| list(policy, key).iter().map(move |it| (policy, it)));
    rules.any(|(policy, rule)| {
        let namespace = text(policy, "/metadata/namespace");
        let peers = list(rule, peers);
        let is_named = peers.is_empty() || peers.iter().any(|it| names(it, namespace, other));
        has_port(rule, to, port) && is_named
    })
}

/// Everybody outside that has something to do with the installation, or has not.
fn strangers() -> Vec<End> {
    let mut publisher = End::foreign("publisher", "shop", json!({}));
    publisher
        .namespace_labels
        .insert("ebb/publisher".to_owned(), "true".to_owned());
    vec![
        publisher,
        End::foreign("keda", "keda", json!({ "app": "keda-operator" })),
        End::foreign(
            "keda-webhooks",
            "keda",
            json!({ "app": "keda-admission-webhooks" }),
        ),
        End::foreign(
            "prometheus",
            "monitoring",
            json!({ "app.kubernetes.io/name": "prometheus" }),
        ),
        End::foreign(
            "exporter",
            "monitoring",
            json!({ "app.kubernetes.io/name": "prometheus-nats-exporter" }),
        ),
        End::foreign(
            "grafana",
            "monitoring",
            json!({ "app.kubernetes.io/name": "grafana" }),
        ),
        End::foreign(
            "stranger",
            "default",
            json!({ "app.kubernetes.io/name": "worker" }),
        ),
    ]
}

fn connections(rendered: &Rendered) -> anyhow::Result<BTreeSet<String>> {
    let policies: Vec<_> = rendered.of_kind("NetworkPolicy").cloned().collect();
    let pods = End::all(rendered)?;
    let mut targets = vec![
        (
            End::foreign("dns", "kube-system", json!({ "k8s-app": "kube-dns" })),
            53,
        ),
        (End::outside(), 443),
        (End::outside(), 80),
        (
            End::foreign(
                "collector",
                "monitoring",
                json!({ "app.kubernetes.io/name": "opentelemetry-collector" }),
            ),
            4317,
        ),
    ];
    let ours: BTreeSet<_> = pods.iter().map(|pod| pod.namespace.clone()).collect();
    for pod in &pods {
        targets.extend(pod.ports.values().map(|port| (pod.clone(), *port)));
    }
    let mut connections = BTreeSet::new();
    for from in pods.iter().chain(&strangers()) {
        for (to, port) in &targets {
            let both = [Direction::Egress, Direction::Ingress];
            let is_elsewhere = !ours.contains(&from.namespace) && !ours.contains(&to.namespace);
            if !is_elsewhere
                && both
                    .iter()
                    .all(|it| lets_pass(&policies, *it, from, to, *port))
            {
                connections.insert(format!("{} -> {}:{port}", from.name, to.name));
            }
        }
    }
    Ok(connections)
}

#[tokio::test]
async fn servers_of_a_cluster_talk_among_themselves_whatever_the_namespaces() -> anyhow::Result<()>
{
    let three = "resources: [../deploy/overlays/cpu]\ncomponents: [../deploy/components/cluster]\n";
    for prefix in ["ebb-", "search-"] {
        let copy = Copy::new()?;
        copy.rename_namespaces(prefix)?;
        let mut wanted = expected();
        wanted.extend(["qdrant -> qdrant:6335", "qdrant -> dns:53"].map(str::to_owned));
        let rendered = copy.render("three", three).await?;
        assert_eq!(connections(&rendered)?, wanted, "{prefix}");
    }
    Ok(())
}

#[tokio::test]
async fn only_what_has_to_talk_can_talk() -> anyhow::Result<()> {
    for name in super::render::OVERLAYS {
        assert_eq!(connections(&overlay(name).await?)?, expected(), "{name}");
    }
    Ok(())
}

/// All that there is to say.
fn expected() -> BTreeSet<String> {
    let expected = [
        "worker -> nats:4222",
        "worker -> qdrant:6334",
        "provision -> nats:4222",
        "provision -> qdrant:6334",
        "rebuild -> nats:4222",
        "rebuild -> qdrant:6334",
        "rebuild -> internet:443",
        "eval -> nats:4222",
        "eval -> qdrant:6334",
        "dlq-sweep -> nats:4222",
        "doctor -> nats:4222",
        "doctor -> nats:8222",
        "doctor -> qdrant:6334",
        "model-stage -> internet:443",
        "worker -> dns:53",
        "provision -> dns:53",
        "rebuild -> dns:53",
        "eval -> dns:53",
        "dlq-sweep -> dns:53",
        "doctor -> dns:53",
        "model-stage -> dns:53",
        "nats -> dns:53",
        "nats -> nats:6222",
        "publisher -> nats:4222",
        "keda -> nats:8222",
        "exporter -> nats:8222",
        "prometheus -> worker:9090",
    ];
    expected.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_publishes_and_works_reaches_the_collector_of_traces_whatever_the_namespaces()
-> anyhow::Result<()> {
    let traced = "resources: [../deploy/overlays/cpu]\ncomponents: [../deploy/components/traces]\n";
    for prefix in ["ebb-", "search-"] {
        let copy = Copy::new()?;
        copy.rename_namespaces(prefix)?;
        let rendered = copy.render("traced", traced).await?;
        let mut wanted = expected();
        for from in ["worker", "rebuild", "eval", "dlq-sweep"] {
            wanted.insert(format!("{from} -> collector:4317"));
        }
        assert_eq!(connections(&rendered)?, wanted, "{prefix}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_reaches_the_metadata_of_a_node() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let mut blocks = 0;
    for policy in rendered.of_kind("NetworkPolicy") {
        let rules = list(policy, "/spec/egress").iter();
        for peer in rules.flat_map(|rule| list(rule, "/to")) {
            if text(peer, "/ipBlock/cidr") == "0.0.0.0/0" {
                blocks += 1;
                assert_eq!(peer["ipBlock"]["except"], json!(["169.254.0.0/16"]));
            }
        }
    }
    assert_eq!(blocks, 1);
    Ok(())
}
