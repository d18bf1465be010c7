//! Secrets: what pods ask for is what the README makes, and nothing is in the repository.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::render::{OVERLAYS, Rendered, deploy, list, overlay, table, text};

/// Namespace, name and key of a value in a secret.
type SecretKey = (String, String, String);

fn references(rendered: &Rendered) -> BTreeSet<SecretKey> {
    let mut found = BTreeSet::new();
    for pod in rendered.pods() {
        for container in pod.containers() {
            for variable in list(container, "/env") {
                if let Some(reference) = variable.pointer("/valueFrom/secretKeyRef") {
                    let (name, key) = (text(reference, "/name"), text(reference, "/key"));
                    found.insert((pod.namespace.to_owned(), name.to_owned(), key.to_owned()));
                }
            }
        }
    }
    found
}

/// Secrets that the commands of the README make.
fn documented() -> anyhow::Result<BTreeSet<SecretKey>> {
    let readme = std::fs::read_to_string(deploy().join("README.md"))?.replace("\\\n", " ");
    let mut made = BTreeSet::new();
    for line in readme
        .lines()
        .filter(|line| line.contains("create secret generic"))
    {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|it| *it == word)?;
            words.get(at + 1).map(|it| (*it).to_owned())
        };
        let (namespace, name) = (
            after("--namespace").context("no namespace")?,
            after("generic").context("no name")?,
        );
        for word in &words {
            let value = word
                .strip_prefix("--from-literal=")
                .or(word.strip_prefix("--from-file="));
            if let Some((key, _)) = value.and_then(|it| it.split_once('=')) {
                made.insert((namespace.clone(), name.clone(), key.to_owned()));
            }
        }
    }
    Ok(made)
}

/// Name of the secret whose values a pod has in its environment, if they are there.
fn credentials<'a>(rendered: &'a Rendered, pod: &str) -> anyhow::Result<&'a str> {
    let pod = rendered.pod(pod)?;
    // The first of both: what the ConfigMap says is not overridden by a secret.
    let [secret, settings] = list(pod.containers()[0], "/envFrom") else {
        anyhow::bail!("{} has not two sources of its environment", pod.owner);
    };
    assert_eq!(secret["secretRef"]["optional"], true, "{}", pod.owner);
    assert!(!text(settings, "/configMapRef/name").is_empty());
    Ok(text(secret, "/secretRef/name"))
}

#[tokio::test]
async fn what_reads_a_source_has_its_credentials_and_starts_without_them() -> anyhow::Result<()> {
    let documented = documented()?;
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        for (pod, secret, keys) in [
            ("model-stage", "model-source", &["HF_TOKEN"][..]),
            (
                "rebuild",
                "corpus-source",
                &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"][..],
            ),
        ] {
            assert_eq!(credentials(&rendered, pod)?, secret);
            for key in keys {
                let key = ("ebb-ai", secret, *key);
                let key = (key.0.to_owned(), key.1.to_owned(), key.2.to_owned());
                assert!(documented.contains(&key), "{key:?}");
            }
        }
        let pods = rendered.pods().into_iter();
        let all = pods.flat_map(|pod| list(pod.containers()[0], "/envFrom"));
        let named = all.filter(|source| source.get("secretRef").is_some());
        // Those two, and the passwords of the server.
        assert_eq!(named.count(), 3, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn the_readme_makes_every_secret_and_the_repository_none() -> anyhow::Result<()> {
    let documented = documented()?;
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        assert_eq!(rendered.of_kind("Secret").count(), 0);
        let missing: Vec<_> = references(&rendered)
            .into_iter()
            .filter(|it| !documented.contains(it))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        // The server's passwords are variables of its configuration.
        let config: String = table(rendered.find("ConfigMap", "nats")?, "/data")
            .into_values()
            .collect();
        let variables = config.split('$').skip(1).map(|it| {
            it.split(|c: char| !c.is_ascii_uppercase() && c != '_')
                .next()
        });
        for variable in variables.flatten().filter(|it| it.ends_with("_PASSWORD")) {
            let key = (
                "ebb-data".to_owned(),
                "nats-server".to_owned(),
                variable.to_owned(),
            );
            assert!(documented.contains(&key), "{variable}");
        }
        let nats = rendered.pod("nats")?;
        assert_eq!(
            text(nats.containers()[0], "/envFrom/0/secretRef/name"),
            "nats-server"
        );
    }
    Ok(())
}
