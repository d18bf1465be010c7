//! Object stores as sources: what lies there is published as if it were a local file.

pub(crate) mod server;
pub(crate) mod table;

use std::collections::BTreeSet;
use std::process::Output;

use contract::job::Job;
use contract::topology::JOBS;
use serde_json::{Value, json};
use tests::Bed;

use server::Server;
use table::table;

/// Largest part of an object that one request may ask for.
const LARGEST_PART: usize = 2 << 20;

/// The environment in which `server` is an S3 endpoint.
pub(crate) fn environment(server: &Server) -> [(&'static str, String); 5] {
    let endpoint = server.url("").trim_end_matches('/').to_owned();
    [
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "nowhere-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hidden".to_owned()),
    ]
}

/// Publishes sources with an S3 endpoint at `server`; gives the report and everything else.
async fn publish(bed: &Bed, server: &Server, sources: &[&str]) -> anyhow::Result<(Value, Output)> {
    let mut command = bed.stack.program("indexer");
    command.args(["publish", "--json"]).args(sources);
    command.envs(environment(server));
    let output = command.output().await?;
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ok((report, output))
}

/// Ids of all documents that wait in jobs, with what their first chunks say of their source and their other metadata.
async fn published(bed: &Bed) -> anyhow::Result<Vec<(String, Value)>> {
    let stream = bed.jetstream().get_stream(JOBS).await?;
    let state = &stream.cached_info().state;
    let mut documents = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await?;
        let Job::Embed(job) = Job::decode(&message.payload)? else {
            anyhow::bail!("job {sequence} is no embed job");
        };
        for document in job.documents {
            documents.push((document.id, Value::Object(document.meta)));
        }
    }
    Ok(documents)
}

fn ids(documents: &[(String, Value)]) -> BTreeSet<&str> {
    documents.iter().map(|(id, _)| id.as_str()).collect()
}

const CORPUS: [(&str, &[u8]); 7] = [
    ("bucket/docs/.hidden.md", b"# Hidden\nnobody sees this"),
    ("bucket/docs/a.md", b"# A\nthe first document"),
    ("bucket/docs/deep/b.txt", b"the second document"),
    ("bucket/docs/folder/", b""),
    ("bucket/docs/image.png", b"\0png"),
    (
        "bucket/docs/records.jsonl",
        b"{\"_id\":\"r1\",\"text\":\"one\"}\n{\"_id\":\"r2\",\"text\":\"two\"}\n",
    ),
    ("bucket/elsewhere/c.md", b"# C\nnot asked for"),
];

#[tokio::test]
async fn objects_below_a_prefix_become_documents_with_ids_relative_to_it() -> anyhow::Result<()> {
    for scheme in ["s3", "http"] {
        let bed = Bed::start().await?;
        let server = Server::start(&CORPUS).await?;
        let base = match scheme {
            "s3" => "s3://bucket/docs".to_owned(),
            _ => server.url("bucket/docs"),
        };
        let (report, output) = publish(&bed, &server, &[&base]).await?;
        assert!(output.status.success(), "{scheme}: {output:?}");
        assert_eq!(
            (&report["documents"], &report["skipped"]),
            (&json!(4), &json!(1))
        );
        let documents = published(&bed).await?;
        let expected = BTreeSet::from(["a.md", "deep/b.txt", "r1", "r2"]);
        assert_eq!(ids(&documents), expected, "{scheme}");
        let first = documents.iter().find(|(id, _)| id == "a.md");
        let meta = json!({ "title": "A", "source": format!("{base}/a.md") });
        assert_eq!(first.map(|(_, meta)| meta), Some(&meta));
        if scheme == "s3" {
            assert_eq!(server.objects().pages, 3, "a page has two keys");
        }
        bed.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_counted_and_the_others_are_published()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let server = Server::start(&CORPUS).await?;
    server
        .objects()
        .forbidden
        .insert("bucket/docs/a.md".to_owned());
    server
        .objects()
        .changing
        .insert("bucket/docs/records.jsonl".to_owned());
    let (good, gone) = ("s3://bucket/docs", "s3://bucket/docs/deep/gone.md");
    let (report, output) = publish(&bed, &server, &[good, gone]).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(65), "{log}");
    assert_eq!(
        (&report["documents"], &report["refused"]),
        (&json!(3), &json!(2))
    );
    for named in ["`s3://bucket/docs/a.md`", "`s3://bucket/docs/deep/gone.md`"] {
        assert!(log.contains(named), "{log}");
    }
    assert!(log.contains("403") && !log.contains("hidden"), "{log}");
    // The same id below two sources.
    let twice = [good, "s3://bucket/docs/deep/b.txt", "s3://bucket/docs/deep"];
    let (_, output) = publish(&bed, &server, &twice).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        log.contains("which `s3://bucket/docs/deep/b.txt` has as well"),
        "{log}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_url_that_cannot_be_a_source_is_bad_configuration() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let server = Server::start(&[]).await?;
    let urls = [
        "ftp://host/a.md",
        "https://me:hidden@host/a.md",
        "s3://b/a.md?token=hidden",
    ];
    let (_, output) = publish(&bed, &server, &urls).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{log}");
    assert_eq!(log.matches("bad configuration").count(), 3, "{log}");
    assert!(!log.contains("hidden"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn a_large_object_is_read_in_parts_and_whole_where_the_server_gives_no_parts()
-> anyhow::Result<()> {
    let line = |n: usize| json!({ "_id": format!("r{n}"), "text": "x ".repeat(200) }).to_string();
    let lines: Vec<_> = (0..12_000).map(line).collect();
    let large = lines.join("\n").into_bytes();
    let (name, bytes) = ("bucket/large.jsonl", large.len());
    let server = Server::start(&[(name, large.as_slice())]).await?;
    for (scheme, whole_only) in [("s3", false), ("http", true)] {
        let bed = Bed::start().await?;
        server.objects().whole_only = whole_only;
        server.objects().asked.clear();
        let url = match scheme {
            "s3" => "s3://bucket/large.jsonl".to_owned(),
            _ => server.url(name),
        };
        let (report, output) = publish(&bed, &server, &[&url]).await?;
        assert!(output.status.success(), "{scheme}: {output:?}");
        assert_eq!(report["documents"], 12_000);
        let sent: Vec<_> = server.objects().asked.iter().map(|asked| asked.2).collect();
        let largest = sent.iter().copied().max().unwrap_or_default();
        if whole_only {
            assert_eq!(largest, bytes);
        } else {
            assert_eq!((largest, sent.iter().sum()), (LARGEST_PART, bytes));
        }
        bed.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_changes_while_it_is_read_is_an_error() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let line = |n| json!({ "_id": n, "text": "x ".repeat(200) }).to_string() + "\n";
    let large: String = (0..LARGEST_PART / line(0).len() + 1_000)
        .map(line)
        .collect();
    let name = "bucket/large.jsonl";
    let server = Server::start(&[(name, large.as_bytes())]).await?;
    server.objects().changing.insert(name.to_owned());
    let (report, output) = publish(&bed, &server, &["s3://bucket/large.jsonl"]).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(65), "{log}");
    assert_eq!(report["refused"], 1);
    assert!(log.contains("changed while it was being read"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn rows_of_parquet_become_documents_from_a_file_as_from_an_object() -> anyhow::Result<()> {
    let table = table(3, 500)?;
    let server = Server::start(&[("bucket/table.parquet", &table)]).await?;
    let mut found = Vec::new();
    for url in [None, Some("s3://bucket/table.parquet")] {
        let bed = Bed::start().await?;
        let file = bed.write("table.parquet", &table)?.join("table.parquet");
        let file = file.display().to_string();
        let (report, output) = publish(&bed, &server, &[url.unwrap_or(&file)]).await?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{log}");
        assert_eq!(
            (&report["documents"], &report["refused"]),
            (&json!(1499), &json!(1))
        );
        assert!(
            log.contains("table.parquet` row 1500 has no field `text`"),
            "{log}"
        );
        let mut documents = published(&bed).await?;
        let source = url.unwrap_or(&file);
        let meta = json!({ "title": "Row 7", "year": 1999, "tags": ["tag"], "source": source });
        assert_eq!(documents[7], ("r7".to_owned(), meta));
        for (_, meta) in &mut documents {
            meta["source"] = Value::Null;
        }
        found.push(documents);
        bed.end().await?;
    }
    assert!(
        found[0] == found[1],
        "the object gives other documents than the file"
    );
    let objects = server.objects();
    let gets = objects.asked.iter().filter(|(method, ..)| method == "GET");
    let gets = gets.count();
    assert!(gets <= table.len().div_ceil(1 << 20), "{gets} requests");
    Ok(())
}

#[tokio::test]
async fn a_broken_parquet_file_is_refused_and_its_neighbours_are_published() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let server = Server::start(&[]).await?;
    let mut table = table(1, 50)?;
    for n in 4..table.len() / 2 {
        table[n] ^= 0x5a;
    }
    bed.write("a.parquet", &table)?;
    bed.write("b.parquet", "PAR1 is not enough")?;
    bed.write("c.parquet", "")?;
    let corpus = bed.write("d.md", "# D\na neighbour")?;
    let (report, output) = publish(&bed, &server, &[&corpus.display().to_string()]).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(65), "{log}");
    assert_eq!(
        (&report["documents"], &report["refused"]),
        (&json!(1), &json!(3)),
        "{log}"
    );
    for named in [
        "a.parquet` row 1 is not a readable",
        "b.parquet` is not a readable",
        "c.parquet` is empty",
    ] {
        assert!(log.contains(named), "{log}");
    }
    assert!(!log.contains("panicked at"), "{log}");
    bed.end().await
}
