use super::*;

fn original<'a>(headers: &'a HeaderMap, payload: &'a Bytes) -> Original<'a> {
    Original {
        stream: "JOBS",
        sequence: 7,
        stored_nanos: 1_795_420_221_672_003_924,
        deliveries: 20,
        subject: "jobs.embed.minilm.live",
        headers: Some(headers),
        payload,
    }
}

const VERDICT: Verdict<'static> = Verdict {
    cause: "invalid",
    reason: "not\r\nNats-Msg-Id: forged ü",
    worker: "w-1",
    fingerprint: "",
};

#[test]
fn what_is_built_can_be_read_back() {
    let payload = Bytes::from_static(br#"{"kind":"embed","run":"nightly-1","documents":[]}"#);
    let headers = HeaderMap::new();
    let built = original(&headers, &payload).dead_letter_headers(&VERDICT);
    let letter = DeadLetter::parse(&built).unwrap();
    assert_eq!(letter.cause, "invalid");
    assert_eq!(letter.reason, "not??Nats-Msg-Id: forged ?");
    assert_eq!(letter.subject, "jobs.embed.minilm.live");
    assert_eq!(
        (letter.sequence, letter.deliveries, letter.worker.as_str()),
        (7, 20, "w-1")
    );
    assert_eq!(letter.run.as_deref(), Some("nightly-1"));
    assert_eq!(letter.lane().unwrap().consumer(), "embed-minilm-live");
}

#[test]
fn a_job_keeps_its_headers_and_loses_those_of_nats_and_of_its_dead_letter() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Nats-Msg-Id", "first"),
        ("nats-expected-stream", "JOBS"),
        ("traceparent", "00-abc"),
        (header::TOKENS, "12"),
        (header::CAUSE, "forged"),
        (header::RUN, "forged"),
    ] {
        headers.insert(name, value);
    }
    let payload = Bytes::from_static(b"{}");
    let built = original(&headers, &payload).dead_letter_headers(&VERDICT);
    let letter = DeadLetter::parse(&built).unwrap();
    assert_eq!((letter.cause.as_str(), letter.run), ("invalid", None));
    let replayed = job_headers(&built);
    let mut names: Vec<_> = replayed.iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    assert_eq!(
        names,
        [header::DOCUMENT_VERSION, header::TOKENS, "traceparent"]
    );
}

#[test]
fn a_job_keeps_its_first_version() {
    let payload = Bytes::from_static(b"{}");
    let version = |headers: &HeaderMap| {
        let built = original(headers, &payload).dead_letter_headers(&VERDICT);
        built
            .get(header::DOCUMENT_VERSION)
            .unwrap()
            .as_str()
            .to_owned()
    };
    let mut headers = HeaderMap::new();
    assert_eq!(version(&headers), "1795420221672003");
    headers.insert(header::DOCUMENT_VERSION, "5");
    assert_eq!(version(&headers), "5");
    // What is no version is why the job died, and stays.
    headers.insert(header::DOCUMENT_VERSION, "soon");
    assert_eq!(version(&headers), "soon");
}

#[test]
fn only_subjects_of_lanes_are_subjects_of_jobs() {
    let headers = HeaderMap::new();
    let payload = Bytes::new();
    let built = original(&headers, &payload).dead_letter_headers(&VERDICT);
    let mut letter = DeadLetter::parse(&built).unwrap();
    for forged in [
        "",
        "jobs",
        "jobs.>",
        "jobs.embed.*.live",
        "jobs.embed.minilm",
        "jobs.embed.minilm.live.more",
        "jobs.dance.minilm.live",
        "jobs.embed.minilm.later",
        "$JS.API.STREAM.PURGE.JOBS",
        "results.reply",
        "jobs.embed.mini lm.live",
        " jobs.embed.minilm.live",
    ] {
        letter.subject = forged.to_owned();
        assert_eq!(letter.lane(), None, "{forged}");
    }
}

#[test]
fn a_message_without_the_headers_of_a_dead_letter_is_unreadable() {
    let headers = HeaderMap::new();
    let payload = Bytes::new();
    let built = original(&headers, &payload).dead_letter_headers(&VERDICT);
    for header in [
        header::CAUSE,
        header::SUBJECT,
        header::SEQUENCE,
        header::DELIVERIES,
    ] {
        let mut without = HeaderMap::new();
        for (name, values) in built.iter().filter(|(name, _)| name.to_string() != header) {
            values
                .iter()
                .for_each(|value| without.append(name.clone(), value.clone()));
        }
        assert_eq!(DeadLetter::parse(&without), Err(Unreadable { header }));
    }
    let mut nonsense = built.clone();
    nonsense.insert(header::SEQUENCE, "many");
    let header = header::SEQUENCE;
    assert_eq!(DeadLetter::parse(&nonsense), Err(Unreadable { header }));
}
