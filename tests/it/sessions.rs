//! Sessions: several side by side give what one gives, and lose nothing.

use tests::{Bed, cosine, vector};

/// Documents of very different lengths, in more tensors than there are sessions.
fn documents() -> impl Iterator<Item = (String, String)> {
    let words = [
        "queue", "shape", "seven", "model", "serve", "shape", "session",
    ];
    (0..120_usize).map(move |n| {
        let text = (0..=n % 50).map(|word| words[(n * 5 + word * 3) % words.len()]);
        (format!("d{n}"), text.collect::<Vec<_>>().join(" "))
    })
}

/// Embeds all documents with a worker of so many sessions, and gives their vectors in order.
async fn embed(bed: &Bed, version: u32, sessions: &str) -> anyhow::Result<Vec<Vec<f32>>> {
    for (id, text) in documents() {
        bed.publish_document(&id, version.into(), &[&text]).await?;
    }
    let arguments = ["--drain", "--threads", sessions, "--sessions", sessions];
    let small = ["--tensor-tokens", "64", "--batch-tokens", "512"];
    let arguments = [&arguments[..], &small].concat();
    let mut worker = bed.stack.worker("worker", &arguments).await?;
    let status = worker.process.wait().await?;
    anyhow::ensure!(status.success(), "{sessions} sessions ended with {status}");
    let points = bed.points().await?;
    let of = |(id, _): (String, String)| {
        let point = &points[&(id.clone(), 0)];
        assert_eq!(tests::integer(point, "version"), i64::from(version), "{id}");
        vector(point).expect("a chunk has a vector")
    };
    Ok(documents().map(of).collect())
}

#[tokio::test]
async fn several_sessions_give_the_vectors_of_one() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let one = embed(&bed, 1, "1").await?;
    let several = embed(&bed, 2, "5").await?;
    for (n, (one, several)) in one.iter().zip(&several).enumerate() {
        let cosine = cosine(one, several);
        assert!(cosine > 0.999_99, "d{n}: cosine {cosine}");
    }
    assert_eq!(bed.dead_letters().await?.len(), 0);
    bed.end().await
}

#[tokio::test]
async fn a_device_is_used_for_no_more_of_the_time_than_has_passed() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let started = std::time::Instant::now();
    let worker = bed.stack.worker("worker", &["--threads", "4"]).await?;
    for (id, text) in documents() {
        bed.publish_document(&id, 1, &[&text]).await?;
    }
    bed.drained().await?;
    let device = worker.metrics().await?.sum("worker_device_seconds_sum");
    let passed = started.elapsed().as_secs_f64();
    assert!(device > 0.0 && device < passed, "{device} of {passed} s");
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_session_that_does_not_load_leaves_the_work_to_the_others() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for (id, text) in documents() {
        bed.publish_document(&id, 1, &[&text]).await?;
    }
    let status = bed.run_with_failpoints("load-session=fail").await?;
    assert!(status.success(), "{status}");
    assert_eq!(bed.points().await?.len(), documents().count());
    assert_eq!(bed.dead_letters().await?.len(), 0);
    bed.end().await
}
