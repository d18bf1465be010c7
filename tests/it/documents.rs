//! Documents: what cannot be read costs itself only, and is named.

use serde_json::Value;
use tests::Bed;

/// A PDF of these objects, the first of which is its root.
fn pdf(objects: &[&str]) -> Vec<u8> {
    let (mut pdf, mut offsets) = (String::from("%PDF-1.4\n"), String::new());
    for (number, object) in objects.iter().enumerate() {
        offsets.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", number + 1));
    }
    let (table, size) = (pdf.len(), objects.len() + 1);
    pdf.push_str(&format!("xref\n0 {size}\n0000000000 65535 f \n{offsets}"));
    pdf.push_str(&format!(
        "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n"
    ));
    pdf.into_bytes()
}

/// Runs a publish that publishes nothing. Gives its exit code, its report and its log.
async fn dry_run(bed: &Bed, arguments: &[&str]) -> anyhow::Result<(Option<i32>, Value, String)> {
    let mut command = bed.stack.program("indexer");
    command
        .args(["publish", "--dry-run", "--json"])
        .args(arguments);
    let output = command.output().await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.map_err(|error| anyhow::anyhow!("{error}: {log}"))?;
    Ok((output.status.code(), report, log))
}

#[tokio::test]
async fn a_pdf_that_kills_its_reader_costs_itself_only() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>";
    let good = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page,
        "<< /Length 42 >>\nstream\nBT /F1 12 Tf 72 720 Td (a good page) Tj ET \nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ];
    let endless = [
        good[0],
        good[1],
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources << /XObject << /Fm0 5 0 R >> >> >>",
        "<< /Length 7 >>\nstream\n/Fm0 Do\nendstream",
        "<< /Type /XObject /Subtype /Form /BBox [0 0 99 99] /Resources << /XObject << /Fm0 5 0 R >> >> /Length 7 >>\nstream\n/Fm0 Do\nendstream",
    ];
    let parent = [
        good[0],
        "<< /Type /Pages /Kids [3 0 R] /Count 1 /Parent 2 0 R >>",
        "<< /Type /Page /Parent 2 0 R >>",
    ];
    let files = [
        ("a.pdf", pdf(&endless)),
        ("b.pdf", pdf(&good)),
        ("c.pdf", pdf(&parent)),
        ("d.pdf", pdf(&good)),
    ];
    let mut folder = std::path::PathBuf::new();
    for (name, bytes) in files {
        folder = bed.write(name, bytes)?;
    }
    let (code, report, log) = dry_run(&bed, &[&folder.display().to_string()]).await?;
    assert_eq!(code, Some(65), "{log}");
    assert_eq!(
        (&report["documents"], &report["refused"]),
        (&2.into(), &2.into()),
        "{log}"
    );
    for name in ["a.pdf", "c.pdf"] {
        assert!(
            log.contains(&format!("{name}` is not a readable pdf"))
                || log.contains(&format!("{name}` has no text")),
            "{log}"
        );
    }
    bed.end().await
}

#[tokio::test]
async fn an_id_that_comes_twice_in_one_publish_is_refused_by_name() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let records = format!(
        "{{\"id\":\"d\",\"text\":\"short\"}}\n{{\"id\":\"d\",\"text\":\"{}\"}}\n{{\"id\":\"e\",\"text\":\"x\"}}\n",
        "The tide goes out. ".repeat(120)
    );
    let folder = bed.write("records.jsonl", records)?;
    let (code, report, log) = dry_run(&bed, &[&folder.display().to_string()]).await?;
    assert_eq!(code, Some(65), "{log}");
    assert_eq!(
        (&report["documents"], &report["refused"]),
        (&2.into(), &1.into()),
        "{log}"
    );
    assert!(log.contains("line 2 has the document id `d`"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn what_is_not_certain_or_missing_is_told() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    // "Über dämmernden Äckern, über Flüsse" in windows-1252.
    let folder = bed.write(
        "a.txt",
        b"\xdcber d\xe4mmernden \xc4ckern, \xfcber Fl\xfcsse",
    )?;
    let picture = "QUJD".repeat(200);
    bed.write(
        "b.md",
        format!("# B\n\n![p](data:image/png;base64,{picture}) text"),
    )?;
    let (code, report, log) = dry_run(&bed, &[&folder.display().to_string()]).await?;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("a.txt`: 1 files are not utf-8"), "{log}");
    assert!(log.contains("windows-1252"), "{log}");
    assert_eq!(report["dropped"]["data_uri"]["count"], 1, "{report}");
    bed.end().await
}

#[tokio::test]
async fn what_would_be_indexed_is_shown_without_a_server() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let code = "class Queue:\n    def push(self, job):\n        return job\n\n    def pull(self):\n        return None\n\n\ndef main():\n    pass\n";
    bed.write("a.py", code)?;
    let page = "<body><nav>menu</nav><main><h1>Title</h1><p>Some text.</p></main>";
    bed.write("b.html", page)?;
    let folder = bed.write("c.rst", "Guide\n=====\n\n.. a remark\n\nSome *text*.\n")?;
    let mut command = bed.stack.program("indexer");
    command
        .args(["extract", "--json", "--chunk-tokens", "18"])
        .arg(folder)
        .env_remove("EBB_MODEL")
        .env("NATS_URL", "nats://127.0.0.1:1")
        .env("QDRANT_URL", "http://127.0.0.1:1");
    let output = command.output().await?;
    let lines = String::from_utf8(output.stdout)?;
    let objects: Vec<Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of = |kind: &str, name: &str| -> Vec<&Value> {
        let named = |it: &&Value| {
            it["doc_id"] == name || it["file"].as_str().is_some_and(|file| file.contains(name))
        };
        objects
            .iter()
            .filter(|it| it["kind"] == kind)
            .filter(named)
            .collect()
    };
    let chunks = of("chunk", "a.py");
    let places: Vec<_> = chunks.iter().map(|it| it["location"].clone()).collect();
    assert_eq!(
        places,
        [
            serde_json::json!({"line": 1, "section": "Queue"}),
            serde_json::json!({"line": 5, "section": "Queue > pull"}),
            serde_json::json!({"line": 9, "section": "main"}),
        ]
    );
    assert_eq!(chunks[1]["context"], "a > Queue");
    assert_eq!(chunks[2]["text"], "def main():\n    pass");
    let html = of("file", "b.html");
    assert_eq!(html[0]["dropped"]["outside_main"]["bytes"], 4, "{lines}");
    assert_eq!(html[0]["read"]["bytes"], page.len());
    let rst = of("file", "c.rst");
    assert_eq!(rst[0]["dropped"]["comment"]["count"], 1, "{lines}");
    assert_eq!(of("chunk", "c.rst")[0]["text"], "# Guide\n\nSome text.");
    let total = objects.last().filter(|it| it["kind"] == "total");
    assert_eq!(total.map(|it| &it["documents"]), Some(&3.into()), "{lines}");
    assert_eq!(output.status.code(), Some(0), "{lines}");
    bed.end().await
}

#[tokio::test]
async fn metadata_that_is_longer_than_its_text_is_told_with_its_bytes() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let long = "x".repeat(500);
    let records = format!(
        "{{\"id\":\"d\",\"text\":\"short\",\"note\":\"{long}\"}}\n{{\"id\":\"e\",\"text\":\"{long}\",\"note\":\"short\"}}\n"
    );
    let folder = bed.write("records.jsonl", records)?;
    let (code, report, log) = dry_run(&bed, &[&folder.display().to_string()]).await?;
    assert_eq!(code, Some(0), "{log}");
    let told = &report["dropped"]["long_metadata"];
    assert_eq!(
        (&told["count"], &told["bytes"]),
        (&1.into(), &511.into()),
        "{report}"
    );
    assert_eq!(told["first"][0], "`d`", "{report}");
    bed.end().await
}
