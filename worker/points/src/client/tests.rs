use tonic::{Code, Status};

use super::*;

/// A client that sends nothing; tests give it the answers.
fn client(patience: Duration) -> Qdrant {
    let settings = qdrant_client::Qdrant::from_url("http://127.0.0.1:1");
    Qdrant::with_patience(
        settings.skip_compatibility_check().build().unwrap(),
        patience,
    )
}

fn refused(code: Code, text: &str) -> QdrantError {
    Status::new(code, text).into()
}

fn too_fast(seconds: u64) -> QdrantError {
    QdrantError::ResourceExhaustedError {
        status: Status::resource_exhausted("too fast"),
        retry_after_seconds: seconds,
    }
}

/// Asks until there is an answer; so many requests fail first. Gives the answer, the requests and the time.
async fn asked(
    client: &Qdrant,
    failures: usize,
    error: impl Fn() -> QdrantError,
) -> (bool, usize, Duration) {
    let (sent, began) = (AtomicUsize::new(0), Instant::now());
    let answer = client
        .ask(|| {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let answer = if number < failures {
                Err(error())
            } else {
                Ok(())
            };
            std::future::ready(answer)
        })
        .await;
    (answer.is_ok(), sent.into_inner(), began.elapsed())
}

fn outage() -> QdrantError {
    refused(Code::Unavailable, "connection refused")
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_answered_is_waited_for_and_no_longer_than_that() {
    let client = client(PATIENCE);
    let (is_answered, sent, _) = asked(&client, 1, outage).await;
    assert!(!is_answered && sent == 1, "the address may be wrong");
    assert!(asked(&client, 0, outage).await.0);
    let (is_answered, sent, _) = asked(&client, 5, outage).await;
    assert!(is_answered && sent == 6, "{sent}");
    let (is_answered, _, waited) = asked(&client, usize::MAX, outage).await;
    assert!(
        !is_answered && waited <= PATIENCE && waited > PATIENCE / 2,
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_only_looks_is_not_kept_waiting() {
    let client = client(Duration::ZERO);
    assert!(asked(&client, 0, outage).await.0);
    let (is_answered, sent, _) = asked(&client, 1, outage).await;
    assert!(!is_answered && sent == 1, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_asked_again_and_a_limit_makes_limits_be_forgotten() {
    let client = client(PATIENCE);
    assert!(asked(&client, 0, outage).await.0);
    client
        .0
        .limits()
        .insert("docs".to_owned(), Limits::default());
    for (code, text, is_known) in [
        (
            Code::InvalidArgument,
            "Wrong input: Vector dimension error",
            true,
        ),
        (Code::NotFound, "Not found", true),
        (Code::PermissionDenied, "Forbidden", true),
        (Code::InvalidArgument, "Bad request: Limit exceeded", false),
    ] {
        let (is_answered, sent, _) = asked(&client, 1, || refused(code, text)).await;
        assert!(!is_answered && sent == 1, "{text} {sent}");
        assert_eq!(client.0.limits().contains_key("docs"), is_known, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_a_rate_wait_in_line_as_long_as_the_server_says() {
    let client = client(Duration::ZERO);
    let (is_answered, sent, waited) = asked(&client, 3, || too_fast(20)).await;
    assert!(is_answered && sent == 4, "{sent}");
    assert_eq!(waited, Duration::from_secs(60));
    let each = || asked(&client, 1, || too_fast(20));
    let both = futures::future::join(each(), each()).await;
    let waited = both.0.2.max(both.1.2);
    assert_eq!(waited, Duration::from_secs(40), "one after the other");
    let (is_answered, _, waited) = asked(&client, usize::MAX, || too_fast(20)).await;
    assert!(!is_answered && waited <= RATE_PATIENCE, "{waited:?}");
}
