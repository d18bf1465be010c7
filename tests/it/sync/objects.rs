//! Object stores and Parquet: what lies there is compared like files.

use std::collections::BTreeSet;

use tests::Bed;

use super::{changes, command, counts, jobs};
use crate::object_stores::environment;
use crate::object_stores::server::Server;
use crate::object_stores::table::table;
use crate::rebuild::{Ran, ended, found};

const PREFIX: &str = "s3://bucket/docs";

/// Syncs with what the server holds. One row of its table has no text.
async fn sync(bed: &Bed, server: &Server) -> anyhow::Result<Ran> {
    let limits = ["--max-refused", "1", "--max-shrink", "100"];
    let mut command = command(bed, PREFIX.as_ref(), &limits);
    command.envs(environment(server));
    ended(command).await
}

async fn ids(bed: &Bed) -> anyhow::Result<BTreeSet<String>> {
    Ok(found(bed).await?.into_keys().collect())
}

#[tokio::test]
async fn an_alias_becomes_equal_to_what_lies_in_an_object_store() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let table = table(2, 3)?;
    let server = Server::start(&[
        ("bucket/docs/a.md", b"# A\nthe first document"),
        ("bucket/docs/deep/b.txt", b"the second document"),
        ("bucket/docs/rows.parquet", &table),
    ])
    .await?;
    assert_eq!(changes(&sync(&bed, &server).await?)[..3], [0, 7, 0]);
    let all = ["a.md", "deep/b.txt", "r0", "r1", "r2", "r3", "r4"];
    assert_eq!(ids(&bed).await?, all.map(str::to_owned).into());
    let before = jobs(&bed).await?;
    assert_eq!(changes(&sync(&bed, &server).await?), [7, 0, 0, 0]);
    assert_eq!(jobs(&bed).await?, before);

    // What cannot be read may hold any document.
    server.objects().content.remove("bucket/docs/deep/b.txt");
    let rows = "bucket/docs/rows.parquet".to_owned();
    server.objects().forbidden.insert(rows.clone());
    let gone = "bucket/docs/gone.jsonl".to_owned();
    server
        .objects()
        .content
        .insert(gone.clone(), b"{}".to_vec());
    let ran = sync(&bed, &server).await?;
    assert!(!ran.status.success(), "{}", ran.log);
    assert_eq!(counts(&ran.report, ["deleted", "kept"]), [0, 6]);
    assert_eq!(ids(&bed).await?, all.map(str::to_owned).into());

    server.objects().forbidden.clear();
    server.objects().content.remove(&gone);
    let changed = b"# A\nanother text".to_vec();
    server
        .objects()
        .content
        .insert("bucket/docs/a.md".to_owned(), changed);
    assert_eq!(changes(&sync(&bed, &server).await?)[..3], [5, 1, 1]);
    server.objects().content.remove(&rows);
    assert_eq!(changes(&sync(&bed, &server).await?)[..3], [1, 0, 5]);
    assert_eq!(ids(&bed).await?, ["a.md".to_owned()].into());
    worker.process.kill().await?;
    bed.end().await
}
