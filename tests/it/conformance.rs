//! Conformance: the local Qdrant answers as the real servers did that were recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use fixtures::qdrant::QdrantServer;
use qdrant_client::Qdrant;
use tests::conformance::{Difference, ON_PURPOSE, differences, play, recordings, version};
use tests::tools;

#[tokio::test]
async fn a_server_answers_every_request_as_recorded() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let program = tools().await?.programs.path("local-qdrant");
    let server = QdrantServer::start(&program, directory.path()).await?;
    let client = Qdrant::from_url(&server.url())
        .skip_compatibility_check()
        .timeout(Duration::from_secs(60))
        .build()?;
    let answers = play(&client, &format!("conformance-{}", std::process::id())).await?;
    let is_real = matches!(server, QdrantServer::External(_));
    let version = version(&client).await?;
    let (mut compared, mut on_purpose) = (0, BTreeSet::new());
    for recording in recordings()? {
        // A real server is held against the recording of its own version.
        if is_real && recording.server != version {
            continue;
        }
        compared += 1;
        let mut found = differences(&recording.answers, &answers);
        if !is_real {
            on_purpose.extend(found.iter().filter_map(Difference::purpose));
            found.retain(|difference| difference.purpose().is_none());
        }
        assert!(found.is_empty(), "{}", list(&recording.server, &found));
    }
    if !is_real {
        assert!(compared > 0, "there is no recording");
        assert_eq!(
            on_purpose.len(),
            ON_PURPOSE.len(),
            "only {on_purpose:?} still differ"
        );
    }
    Ok(())
}

fn list(server: &str, differences: &[Difference]) -> String {
    let line = |it: &Difference| {
        format!(
            "{}\n    recorded {}\n    answered {}\n",
            it.request, it.recorded, it.answered
        )
    };
    let lines: String = differences.iter().map(line).collect();
    format!(
        "{} answers differ from those of qdrant {server}:\n{lines}",
        differences.len()
    )
}
