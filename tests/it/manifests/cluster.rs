//! Three servers of each: what the component `cluster` makes of the manifests, and the real servers of NATS with its
//! configuration.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fixtures::http;
use fixtures::install::KUBERNETES;
use fixtures::wait::until;
use serde_json::{Value, json};
use tests::{Bed, LIMIT, tiny_embed};

use super::hardening::broken_rules;
use super::render::{OVERLAYS, Rendered, deploy, list, number, table, text};
use super::schemas::Schemas;
use super::variants::Copy;
use crate::roles::server::{Role, Server};

/// An overlay with three servers of each, and with other components beside it.
async fn three(copy: &Copy, overlay: &str, beside: &[&str]) -> anyhow::Result<Rendered> {
    let components: String = beside
        .iter()
        .chain(&["cluster"])
        .map(|name| format!("  - ../components/{name}\n"))
        .collect();
    let kustomization = format!("resources: [../overlays/{overlay}]\ncomponents:\n{components}");
    copy.render("deploy/three", &kustomization).await
}

fn config(rendered: &Rendered) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    Ok(table(rendered.find("ConfigMap", "nats")?, "/data"))
}

#[tokio::test]
async fn three_servers_are_on_three_nodes_and_leave_one_by_one() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    for overlay in OVERLAYS {
        let rendered = three(&copy, overlay, &[]).await?;
        for version in KUBERNETES {
            let faults = Schemas::of(version).await?.faults(&rendered.0)?;
            assert!(faults.is_empty(), "{version}: {faults:#?}");
        }
        for server in ["nats", "qdrant"] {
            let set = rendered.find("StatefulSet", server)?;
            assert_eq!(number(set, "/spec/replicas")?, 3);
            // None may wait for another that cannot be ready alone.
            assert_eq!(text(set, "/spec/podManagementPolicy"), "Parallel");
            let pod = rendered.pod(server)?;
            assert_eq!(broken_rules(&pod), Vec::<String>::new());
            let apart = "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
            let apart = &list(pod.spec, apart)[0];
            assert_eq!(text(apart, "/topologyKey"), "kubernetes.io/hostname");
            let selector = table(apart, "/labelSelector/matchLabels");
            let labels = table(pod.labels, "");
            assert!(
                selector
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
            );
            assert!(pod.spec.pointer("/affinity/nodeAffinity").is_some());
            let budget = rendered.find("PodDisruptionBudget", server)?;
            assert_eq!(budget["spec"]["maxUnavailable"], 1);
            assert!(budget["spec"]["selector"] == set["spec"]["selector"]);
        }
        assert_eq!(rendered.environment()?["EBB_REPLICAS"], "3");
    }
    Ok(())
}

/// Servers call each other by names that their headless services have, and that are in their certificates.
#[tokio::test]
async fn servers_find_each_other_by_names_of_pods() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let rendered = three(&copy, "cpu", &["tls", "tls-cert-manager"]).await?;
    let config = config(&rendered)?;
    for server in ["nats", "qdrant"] {
        let set = rendered.find("StatefulSet", server)?;
        let service = rendered.find("Service", text(set, "/spec/serviceName"))?;
        assert_eq!(text(service, "/spec/clusterIP"), "None");
        // Before they are ready, they have to find each other.
        assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
        let names = list(rendered.find("Certificate", server)?, "/spec/dnsNames");
        for number in 0..3 {
            let peer = format!("{server}-{number}.{}", text(set, "/spec/serviceName"));
            assert!(names.contains(&json!(peer)), "{peer}: {names:?}");
            let is_route = config["cluster.conf"].contains(&format!("\"nats://{peer}:6222\""));
            assert_eq!(is_route, server == "nats", "{peer}");
        }
    }
    assert!(config["cluster.conf"].contains("include \"routes-tls.conf\""));
    assert!(config["routes-tls.conf"].contains("/etc/nats-tls/ca.crt"));
    let container = rendered.pod("qdrant")?.containers()[0];
    let command = text(container, "/args/0");
    for part in [
        "--uri",
        "--bootstrap",
        "qdrant-0.$service",
        "service=qdrant-headless:6335",
    ] {
        assert!(command.contains(part), "{part}: {command}");
    }
    // Whatever the order of the components, peers speak TLS where clients do.
    let scheme = list(container, "/env")
        .iter()
        .find(|it| it["name"] == "QDRANT_PEER_SCHEME");
    assert_eq!(scheme.map(|it| text(it, "/value")), Some("https"));
    Ok(())
}

/// How a shell of the component calls Qdrant: the arguments after its entry point.
async fn arguments(command: &str, pod: &str) -> anyhow::Result<Vec<String>> {
    let printed = command.replace("exec ./entrypoint.sh", "printf '%s\\n'");
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &printed]).env("POD_NAME", pod);
    let output = shell.output().await?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn the_first_qdrant_begins_a_cluster_and_the_others_join_it() -> anyhow::Result<()> {
    let rendered = three(&Copy::new()?, "cpu", &[]).await?;
    let pod = rendered.pod("qdrant")?;
    let command = text(pod.containers()[0], "/args/0");
    let first = "http://qdrant-0.qdrant-headless:6335";
    assert_eq!(arguments(command, "qdrant-0").await?, ["--uri", first]);
    let second = "http://qdrant-1.qdrant-headless:6335";
    assert_eq!(
        arguments(command, "qdrant-1").await?,
        ["--uri", second, "--bootstrap", first]
    );
    Ok(())
}

/// The files of a server as it has them in its pod, but for places on this machine: its route and those of the others, and
/// the folder with the certificates.
fn files(
    rendered: &Rendered,
    directory: &Path,
    routes: &[String],
    number: usize,
) -> anyhow::Result<PathBuf> {
    let folder = directory.join(format!("nats-{number}"));
    std::fs::create_dir_all(&folder)?;
    let certificates = directory.join("certificates/nats").display().to_string();
    let authority = directory.join("certificates/ca").display().to_string();
    for (name, text) in config(rendered)? {
        let mut text = text
            .replace("0.0.0.0:6222", &routes[number])
            .replace("/etc/nats-tls/tls", &certificates)
            .replace("/etc/nats-tls/ca", &authority);
        for (peer, route) in routes.iter().enumerate() {
            text = text.replace(&format!("nats-{peer}.nats-headless:6222"), route);
        }
        std::fs::write(folder.join(name), text)?;
    }
    let main = folder.join("nats.conf");
    let named = format!(
        "server_name: nats-{number}\n{}",
        std::fs::read_to_string(&main)?
    );
    std::fs::write(&main, named)?;
    Ok(folder)
}

/// Three servers with the configuration of the manifests.
async fn servers(rendered: &Rendered, directory: &Path) -> anyhow::Result<Vec<Server>> {
    let free = || TcpListener::bind("127.0.0.1:0");
    let listeners = [free()?, free()?, free()?];
    let mut routes = Vec::new();
    for listener in &listeners {
        // A name, as a pod has.
        routes.push(format!("localhost:{}", listener.local_addr()?.port()));
    }
    drop(listeners);
    let mut servers = Vec::new();
    for number in 0..3 {
        let folder = files(rendered, directory, &routes, number)?;
        servers.push(Server::start(&folder.join("nats.conf"), &folder).await?);
    }
    Ok(servers)
}

/// What the monitoring port of a server says.
async fn ask(server: &Server, path: &str) -> anyhow::Result<Value> {
    let answer = http::get(&server.monitoring(), path).await?;
    Ok(serde_json::from_str(&answer)?)
}

#[tokio::test]
#[ignore = "needs openssl; run with --ignored openssl"]
async fn servers_speak_tls_among_themselves_with_the_certificates_of_openssl() -> anyhow::Result<()>
{
    let rendered = three(&Copy::new()?, "cpu", &["tls"]).await?;
    let directory = tempfile::tempdir()?;
    let mut script = tokio::process::Command::new(deploy().join("components/tls/certificates.sh"));
    script.arg(directory.path().join("certificates"));
    let made = script.env("MORE_NAMES", "DNS:localhost").output().await?;
    anyhow::ensure!(made.status.success(), "{made:?}");
    let servers = servers(&rendered, directory.path()).await?;
    for server in &servers {
        until(
            "three servers to have found each other",
            LIMIT,
            async || {
                let found = ask(server, "/jsz").await?;
                let is_whole = found["meta_cluster"]["cluster_size"] == 3
                    && !text(&found, "/meta_cluster/leader").is_empty();
                Ok(is_whole.then_some(()))
            },
        )
        .await?;
        let about = ask(server, "/varz").await?;
        // Whoever calls as a server shows a certificate too.
        assert_eq!(about["cluster"]["tls_required"], true, "{about}");
        assert_eq!(about["cluster"]["tls_verify"], true, "{about}");
    }
    Ok(())
}

#[tokio::test]
async fn the_real_servers_make_one_cluster_which_is_provisioned_three_times() -> anyhow::Result<()>
{
    let rendered = three(&Copy::new()?, "cpu", &[]).await?;
    let bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
    let servers = servers(&rendered, bed.directory.path()).await?;
    let replicas = rendered.environment()?["EBB_REPLICAS"].clone();
    until("the cluster to be provisioned", LIMIT, async || {
        let mut provision = bed.stack.program("indexer");
        provision.arg("provision").env("EBB_REPLICAS", &replicas);
        provision.envs(servers[0].login(Role::Provision));
        Ok(provision.output().await?.status.success().then_some(()))
    })
    .await?;
    for (number, server) in servers.iter().enumerate() {
        let about = ask(server, "/varz").await?;
        assert_eq!(text(&about, "/server_name"), format!("nats-{number}"));
        // Then the autoscaler asks each server by the first label of its route, in front of the host of its endpoint.
        assert!(about.get("connect_urls").is_none(), "{about}");
        assert_eq!(list(&about, "/cluster/urls").len(), 3);
        let streams = ask(server, "/jsz?acc=$G&streams=true&config=true").await?;
        assert_eq!(streams["meta_cluster"]["cluster_size"], 3);
        let streams = list(&streams, "/account_details/0/stream_detail");
        let thrice = |it: &&Value| it["config"]["num_replicas"] == 3;
        let names: BTreeSet<_> = streams
            .iter()
            .filter(thrice)
            .map(|it| text(it, "/name"))
            .collect();
        assert_eq!(names.len(), streams.len(), "{streams:#?}");
        assert!(
            names.contains("JOBS") && names.contains("KV_RUNS"),
            "{names:?}"
        );
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let pod = rendered.pod("nats")?;
            let path = text(pod.containers()[0], &format!("/{probe}/httpGet/path"));
            http::get(&server.monitoring(), path)
                .await
                .with_context(|| probe)?;
        }
    }
    bed.end().await
}
