//! Encryption: with the component `tls`, everything that speaks shows a certificate, and everything that connects checks
//! it.

use std::collections::BTreeSet;

use anyhow::Context as _;
use fixtures::install::KUBERNETES;
use serde_json::Value;

use super::render::{OVERLAYS, Pod, Rendered, list, table, text};
use super::schemas::Schemas;
use super::variants::Copy;

const ENCRYPTED: &str = "components: [../components/tls, ../components/tls-cert-manager]\n";

async fn encrypted(copy: &Copy, overlay: &str) -> anyhow::Result<Rendered> {
    let kustomization = format!("resources: [../overlays/{overlay}]\n{ENCRYPTED}");
    copy.render("deploy/encrypted", &kustomization).await
}

/// Paths below which a pod sees the keys of a secret.
fn mounted(pod: &Pod<'_>, secret: &str) -> Option<String> {
    let volumes = list(pod.spec, "/volumes").iter();
    let mut volumes = volumes.filter(|volume| text(volume, "/secret/secretName") == secret);
    let name = text(volumes.next()?, "/name").to_owned();
    let mounts = list(pod.containers()[0], "/volumeMounts").iter();
    let mut mounts = mounts.filter(|mount| text(mount, "/name") == name);
    Some(text(mounts.next()?, "/mountPath").to_owned())
}

#[tokio::test]
async fn encrypted_overlays_are_valid() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    for name in OVERLAYS {
        let mut rendered = encrypted(&copy, name).await?;
        // Certificates and issuers are of cert-manager, whose schemas are not here.
        rendered
            .0
            .retain(|object| !text(object, "/apiVersion").starts_with("cert-manager.io/"));
        assert!(rendered.find("ConfigMap", "tls-scheme").is_err());
        for version in KUBERNETES {
            let faults = Schemas::of(version).await?.faults(&rendered.0)?;
            assert!(faults.is_empty(), "{name} {version}: {faults:#?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_servers_find_their_certificates_where_they_look() -> anyhow::Result<()> {
    let rendered = encrypted(&Copy::new()?, "gpu").await?;
    let nats = mounted(&rendered.pod("nats")?, "nats-tls").context("nats has no certificate")?;
    let config = &table(rendered.find("ConfigMap", "nats")?, "/data")["tls.conf"];
    for (setting, file) in [
        ("cert_file", "tls.crt"),
        ("key_file", "tls.key"),
        ("ca_file", "ca.crt"),
    ] {
        assert!(
            config.contains(&format!("{setting}: \"{nats}/{file}\"")),
            "{config}"
        );
    }
    let pod = rendered.pod("qdrant")?;
    let qdrant = mounted(&pod, "qdrant-tls").context("qdrant has no certificate")?;
    let container = pod.containers()[0];
    let value = |name: &str| {
        let found = list(container, "/env")
            .iter()
            .find(|variable| variable["name"] == name);
        found.map(|variable| text(variable, "/value").to_owned())
    };
    assert_eq!(
        value("QDRANT__SERVICE__ENABLE_TLS").as_deref(),
        Some("true")
    );
    assert_eq!(
        value("QDRANT__TLS__CERT"),
        Some(format!("{qdrant}/tls.crt"))
    );
    assert_eq!(value("QDRANT__TLS__KEY"), Some(format!("{qdrant}/tls.key")));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(
            text(container, &format!("/{probe}/httpGet/scheme")),
            "HTTPS"
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_program_has_the_authority_where_it_looks() -> anyhow::Result<()> {
    let rendered = encrypted(&Copy::new()?, "cpu").await?;
    let environment = rendered.environment()?;
    assert_eq!(
        environment["QDRANT_URL"],
        "https://qdrant.ebb-data.svc:6334"
    );
    let folder = &environment["SSL_CERT_DIR"];
    assert_eq!(environment["NATS_CA"], format!("{folder}/ca.crt"));
    // Object stores on the internet are still trusted: by the file that the images have.
    assert_eq!(
        environment["SSL_CERT_FILE"],
        "/etc/ssl/certs/ca-certificates.crt"
    );
    let pods = rendered
        .pods()
        .into_iter()
        .filter(|pod| pod.namespace == "ebb-ai");
    let without: Vec<_> = pods
        .filter(|pod| mounted(pod, "ebb-ca").as_ref() != Some(folder))
        .collect();
    assert!(without.is_empty(), "{without:#?}");
    Ok(())
}

/// Host names in a certificate of cert-manager.
fn hosts(certificate: &Value) -> BTreeSet<&str> {
    list(certificate, "/spec/dnsNames")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[tokio::test]
async fn certificates_are_for_the_hosts_that_programs_call_whatever_the_namespaces()
-> anyhow::Result<()> {
    for prefix in ["ebb-", "search-"] {
        let copy = Copy::new()?;
        copy.rename_namespaces(prefix)?;
        let rendered = encrypted(&copy, "cpu").await?;
        for (server, setting) in [("nats", "NATS_URL"), ("qdrant", "QDRANT_URL")] {
            let url = rendered.environment()?[setting].clone();
            let host = url
                .split("//")
                .nth(1)
                .and_then(|rest| rest.split(':').next());
            let certificate = rendered.find("Certificate", server)?;
            let host = host.context("no host")?;
            assert!(hosts(certificate).contains(host), "{host} {certificate:#}");
            assert_eq!(
                text(certificate, "/spec/secretName"),
                format!("{server}-tls")
            );
            assert_eq!(
                text(certificate, "/metadata/namespace"),
                format!("{prefix}data")
            );
        }
        for server in ["nats", "qdrant"] {
            let certificate = rendered.find("Certificate", server)?;
            for number in 0..3 {
                let peer = format!("{server}-{number}.{server}-headless");
                assert!(hosts(certificate).contains(peer.as_str()), "{peer}");
            }
            // Each calls the others, and shows its certificate to those that it calls.
            let usages = serde_json::json!(["server auth", "client auth"]);
            assert_eq!(certificate["spec"]["usages"], usages);
        }
        let nats = hosts(rendered.find("Certificate", "nats")?);
        assert!(
            nats.contains(format!("*.nats-headless.{prefix}data.svc").as_str()),
            "{nats:?}"
        );
        let authority = rendered.find("Certificate", "ebb-ca")?;
        assert_eq!(
            text(authority, "/metadata/namespace"),
            format!("{prefix}ai")
        );
    }
    Ok(())
}
