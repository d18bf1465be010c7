//! Encryption: with the certificates and the configuration of the component `tls`, programs work with servers that they
//! trust, and say what is wrong with those that they do not.

mod servers;

use anyhow::Context as _;
use qdrant_client::qdrant::CountPointsBuilder;
use tokio::process::Command;

use crate::logins::credentials::Authority;
use crate::roles::server::Role;
use servers::{Encrypted, READ_ONLY_KEY, certificates_of_the_script, qdrant};

#[tokio::test]
async fn all_programs_work_over_tls_with_a_private_authority() -> anyhow::Result<()> {
    let Some(mut encrypted) = Encrypted::start().await? else {
        return Ok(());
    };
    encrypted.indexed().await?;
    encrypted
        .succeeds(encrypted.program("worker", Role::Worker, &["check"])?)
        .await?;
    // Without the guard the test can look at what is stored.
    encrypted.qdrant.kill().await?;
    let open = qdrant(&encrypted.setup, Vec::new()).await?;
    let client = qdrant_client::Qdrant::from_url(&open.url())
        .skip_compatibility_check()
        .build()?;
    let count = CountPointsBuilder::new(encrypted.setup.bed.stack.collection.as_str()).exact(true);
    assert_eq!(
        client.count(count).await?.result.map(|result| result.count),
        Some(1)
    );
    encrypted.setup.bed.end().await
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_with_the_setting() -> anyhow::Result<()> {
    let Some(encrypted) = Encrypted::start().await? else {
        return Ok(());
    };
    let other = encrypted.setup.bed.directory.path().join("other");
    std::fs::create_dir_all(&other)?;
    let other = Authority::new(&other)?;
    for (name, role, arguments) in [
        ("indexer", Role::Provision, ["provision"]),
        ("worker", Role::Worker, ["run"]),
    ] {
        let mut command = encrypted.program(name, role, &arguments)?;
        command
            .env("NATS_CA", &other.ca)
            .env("SSL_CERT_DIR", other.ca.parent().context("no folder")?);
        let said = encrypted.fails(command).await?;
        assert!(
            said.contains("shows a certificate that is not trusted"),
            "{name}: {said}"
        );
        assert!(said.contains("--nats-ca"), "{name}: {said}");
    }
    // NATS is trusted, Qdrant is not.
    encrypted.indexed().await?;
    let status = ["status"];
    let mut command = encrypted.program("indexer", Role::Indexer, &status)?;
    command.env("SSL_CERT_DIR", other.ca.parent().context("no folder")?);
    let said = encrypted.fails(command).await?;
    assert!(
        said.contains("certificate") && said.contains("SSL_CERT_FILE"),
        "{said}"
    );
    encrypted.setup.bed.end().await
}

#[tokio::test]
async fn whoever_names_an_authority_does_not_talk_to_a_server_without_tls() -> anyhow::Result<()> {
    let Some(encrypted) = Encrypted::start().await? else {
        return Ok(());
    };
    // The open server of the bed takes everybody, and would hear the password.
    let mut command = encrypted.program("indexer", Role::Indexer, &["status"])?;
    command.env("NATS_URL", encrypted.setup.bed.stack.nats.url());
    let said = encrypted.fails(command).await?;
    assert!(said.contains("does not speak TLS"), "{said}");
    encrypted.setup.bed.end().await
}

#[tokio::test]
async fn the_key_that_only_reads_is_enough_to_search_and_to_measure() -> anyhow::Result<()> {
    let Some(encrypted) = Encrypted::start().await? else {
        return Ok(());
    };
    encrypted.indexed().await?;
    let folder = encrypted.setup.bed.directory.path();
    let (queries, qrels) = (folder.join("queries.jsonl"), folder.join("qrels.tsv"));
    std::fs::write(&queries, "{\"_id\": \"q\", \"text\": \"Some text.\"}\n")?;
    std::fs::write(&qrels, "query-id\tcorpus-id\tscore\nq\tdoc.md\t1\n")?;
    let (queries, qrels) = (queries.display().to_string(), qrels.display().to_string());
    let log = folder.join("encrypted-worker.log");
    let worker = encrypted.program("worker", Role::Worker, &["run", "--grace", "3s"])?;
    let worker = fixtures::process::Process::start(worker, "worker", &log)?;
    let read = |arguments: &[&str]| {
        let mut command = encrypted.program("indexer", Role::Indexer, arguments)?;
        command.env("QDRANT_API_KEY", READ_ONLY_KEY);
        anyhow::Ok(command)
    };
    let corpus = folder.join("corpus").display().to_string();
    for arguments in [
        &["search", "Some text."][..],
        &["eval", "--queries", &queries, "--qrels", &qrels],
        &["plan", &corpus],
        &["status"],
    ] {
        encrypted.succeeds(read(arguments)?).await?;
    }
    worker.terminate().await?;
    let mut refused = encrypted.program(
        "indexer",
        Role::Provision,
        &["provision", "--collections", "more"],
    )?;
    refused.env("QDRANT_API_KEY", READ_ONLY_KEY);
    let said = encrypted.fails(refused).await?;
    assert!(
        said.contains("--qdrant-api-key") && said.contains("permission denied"),
        "{said}"
    );
    encrypted.setup.bed.end().await
}

#[tokio::test]
#[ignore = "needs openssl; run with --ignored openssl"]
async fn the_certificates_that_the_script_makes_with_openssl_are_for_the_hosts_that_programs_call()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let certificates = certificates_of_the_script(directory.path()).await?;
    for (server, hosts) in [
        (
            "nats",
            [
                "nats.ebb-data.svc",
                "nats-0.nats-headless.ebb-data.svc",
                "nats-2.nats-headless",
            ],
        ),
        (
            "qdrant",
            [
                "qdrant.ebb-data.svc",
                "qdrant.ebb-data.svc.cluster.local",
                "qdrant-1.qdrant-headless",
            ],
        ),
    ] {
        for (host, matches) in hosts
            .map(|host| (host, true))
            .into_iter()
            .chain([("example.com", false)])
        {
            let mut look = Command::new("openssl");
            look.args(["x509", "-noout", "-checkhost", host, "-in"]);
            let output = look
                .arg(certificates.join(format!("{server}.crt")))
                .output()
                .await?;
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said.contains("does match certificate"), matches, "{said}");
        }
    }
    Ok(())
}
