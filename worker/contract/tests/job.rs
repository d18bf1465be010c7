//! The job as others see it: what is read, what is refused, and the published schema.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

#[path = "job/published.rs"]
mod published;

use contract::answer::Answer;
use contract::digest::Digest;
use contract::job::{
    Attach, Chunk, Delete, Document, Embed, Item, Job, JobError, KnownVector, Location,
    MAX_JOB_BYTES, Removal, Rescore, VERSION,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}[a-z]\\PC{0,20}"
}

prop_compose! {
    fn chunk()(
        text in text(),
        context in prop::option::of(text()),
        start in prop::option::of(any::<u64>()),
        end in prop::option::of(any::<u64>()),
        page in prop::option::of(any::<u32>()),
        token_ids in prop::collection::vec(any::<u32>(), 0..20),
        vector in prop::option::of(prop::collection::vec(-1e9_f32..1e9, 0..5)),
    ) -> Chunk {
        let vector = vector.map(KnownVector);
        let location = page.map(|page| Location { page: Some(page), ..Location::default() });
        Chunk { index: None, text, context, start, end, location, token_ids, vector }
    }
}

prop_compose! {
    fn document()(
        id in text(),
        version in prop::option::of(1..contract::job::MAX_VERSION),
        chunks in prop::collection::vec(chunk(), 1..5),
        meta in prop::collection::hash_map("[a-z]{1,8}", any::<i32>(), 0..3),
    ) -> Document {
        let chunks: Vec<_> = (0..).zip(chunks).map(|(i, c)| Chunk { index: Some(i), ..c }).collect();
        let total = u32::try_from(chunks.len()).ok();
        let meta = meta.into_iter().map(|(key, value)| (key, value.into())).collect();
        Document { id, version, total, meta, chunks }
    }
}

fn attach() -> impl Strategy<Value = Job> {
    prop::collection::vec(text(), 1..4).prop_map(|texts| {
        let item = |text| Item {
            digest: None,
            point: Some("6d1c27c8-3d5b-4b0e-9a35-0f6a51deb3c4".to_owned()),
            version: Some(7),
            head: Some("7".to_owned()),
            query: None,
            text,
        };
        Job::Attach(Attach {
            version: VERSION.to_owned(),
            run: None,
            collection: "docs".parse().unwrap(),
            vector: "second".parse().unwrap(),
            fingerprint: Digest::of(b"model"),
            items: texts.into_iter().map(item).collect(),
        })
    })
}

fn job() -> impl Strategy<Value = Job> {
    let embed = prop::collection::vec(document(), 1..4).prop_map(|documents| {
        Job::Embed(Embed {
            version: VERSION.to_owned(),
            collection: Some("docs".parse().unwrap()),
            tokenization: Some(Digest::of(b"tokenizer")),
            fingerprint: Some(Digest::of(b"model")),
            documents,
            ..Embed::default()
        })
    });
    let query = prop::collection::vec(text(), 1..4).prop_map(|queries| {
        Job::Embed(Embed {
            version: VERSION.to_owned(),
            queries,
            reply: Some("r-1".parse().unwrap()),
            ..Embed::default()
        })
    });
    let rescore =
        prop::collection::vec((text(), prop::option::of(text())), 1..4).prop_map(|pairs| {
            let item = |(text, query)| Item {
                digest: None,
                head: None,
                point: Some("6d1c27c8-3d5b-4b0e-9a35-0f6a51deb3c4".to_owned()),
                version: Some(7),
                query,
                text,
            };
            Job::Rescore(Rescore {
                version: VERSION.to_owned(),
                collection: Some("docs".parse().unwrap()),
                field: Some("scores.m".parse().unwrap()),
                items: pairs.into_iter().map(item).collect(),
                ..Rescore::default()
            })
        });
    let delete = prop::collection::vec(text(), 1..4).prop_map(|ids| {
        let removal = |id| Removal {
            id,
            version: Some(7),
        };
        Job::Delete(Delete {
            version: VERSION.to_owned(),
            run: Some("nightly".to_owned()),
            collection: "docs".parse().unwrap(),
            documents: ids.into_iter().map(removal).collect(),
        })
    });
    prop_oneof![embed, query, rescore, delete, attach()]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(job in job()) {
        prop_assert_eq!(Job::decode(&job.encode()).unwrap(), job);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(Job::decode(&bytes));
    }

    #[test]
    fn no_damage_to_a_job_makes_the_decoder_panic(
        job in job(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = job.encode();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        drop(Job::decode(&bytes));
    }

    #[test]
    fn errors_never_repeat_the_text_of_a_document(secret in "[A-Z]{40}") {
        let wrong_type = format!(
            r#"{{"version":"1.0","kind":"embed","collection":"docs","documents":[{{"id":"a","chunks":"{secret}"}}]}}"#
        );
        let error = Job::decode(wrong_type.as_bytes()).unwrap_err();
        prop_assert!(!error.to_string().contains(&secret), "{error}");
    }
}

#[test]
fn a_plain_publisher_may_leave_out_positions_and_totals() {
    let json = br#"{"version":"1.0","kind":"embed","collection":"docs",
        "documents":[{"id":"a","chunks":[{"text":"one"},{"text":"two"}]}]}"#;
    let Job::Embed(embed) = Job::decode(json).unwrap() else {
        panic!("not an embed job")
    };
    let document = &embed.documents[0];
    assert_eq!(document.total, Some(2));
    assert_eq!(
        document.chunks.iter().map(|c| c.index).collect::<Vec<_>>(),
        [Some(0), Some(1)]
    );
}

#[test]
fn fields_of_a_later_minor_version_are_ignored() {
    let json = br#"{"version":"1.7","kind":"delete","collection":"docs","colour":"blue",
        "documents":[{"id":"a","because":"gone"}]}"#;
    assert!(Job::decode(json).is_ok());
}

#[test]
fn each_kind_of_bad_job_has_its_own_code() {
    let huge = vec![b' '; MAX_JOB_BYTES + 1];
    let chunk_twice = br#"{"version":"1.0","kind":"embed","collection":"docs","documents":
        [{"id":"a","total":2,"chunks":[{"index":1,"text":"x"},{"index":1,"text":"y"}]}]}"#;
    let blank = br#"{"version":"1.0","kind":"embed","collection":"docs","documents":
        [{"id":"a","chunks":[{"text":" \n "}]}]}"#;
    let cases: [(&[u8], &str); 11] = [
        (&huge, "oversized"),
        (b"", "malformed"),
        (b"{\"version\":\"1.0\"", "malformed"),
        (b"[1,2]", "malformed"),
        (br#"{"version":"2.0","kind":"embed"}"#, "unknown_version"),
        (br#"{"version":"1.0","kind":"paint"}"#, "unknown_kind"),
        (br#"{"version":"1.0","kind":"embed"}"#, "invalid"),
        (
            br#"{"version":"1.0","kind":"embed","collection":"docs","documents":[]}"#,
            "invalid",
        ),
        (chunk_twice, "invalid"),
        (blank, "invalid"),
        (
            br#"{"version":"1.0","kind":"embed","collection":"a b","documents":[]}"#,
            "malformed",
        ),
    ];
    for (bytes, code) in cases {
        assert_eq!(Job::decode(bytes).unwrap_err().code(), code);
    }
}

#[test]
fn a_field_that_cannot_be_read_is_named_and_no_name_that_a_publisher_chose() {
    let said = |documents: &str| {
        let job = format!(
            r#"{{"version":"1.0","kind":"embed","collection":"docs","documents":{documents}}}"#
        );
        Job::decode(job.as_bytes()).unwrap_err().to_string()
    };
    let wrong = said(r#"[{"id":"a","chunks":[{"text":"x"}]},{"id":5,"chunks":[]}]"#);
    assert!(wrong.contains("at `documents[1].id`, line 1"), "{wrong}");
    let missing = said(r#"[{"id":"a","chunks":[{"index":1}]}]"#);
    assert!(missing.contains("`documents[0].chunks[0]`, "), "{missing}");
    let own = said(r#"[{"id":"a","chunks":[],"meta":"Secret"}]"#);
    assert!(own.contains("`documents[0].meta`, "), "{own}");
    assert!(!own.contains("Secret"), "{own}");
    let foreign = br#"{"version":"1.0","kind":"embed","patientname":{"x":}}"#;
    let foreign = Job::decode(foreign).unwrap_err().to_string();
    assert!(!foreign.contains("patient"), "{foreign}");
    let cut = Job::decode(b"{\"version\":").unwrap_err().to_string();
    assert!(cut.contains("error at "), "{cut}");
}

#[test]
fn ids_and_versions_have_bounds() {
    let job = |id: &str, version: u64| {
        Job::Delete(Delete {
            version: VERSION.to_owned(),
            run: None,
            collection: "docs".parse().unwrap(),
            documents: vec![Removal {
                id: id.to_owned(),
                version: Some(version),
            }],
        })
    };
    let decode = |id: &str, version| Job::decode(&job(id, version).encode());
    assert!(decode("ü/日本\u{0}\u{202e}🌊", contract::job::MAX_VERSION).is_ok());
    assert!(decode(&"x".repeat(1024), 1).is_ok());
    for (id, version) in [("", 1), (&*"x".repeat(1025), 1), ("a", 0), ("a", 1 << 53)] {
        assert!(
            matches!(decode(id, version), Err(JobError::Invalid { .. })),
            "{version}"
        );
    }
}

#[test]
fn a_score_goes_to_a_point_by_its_id_and_to_no_field_of_the_document() {
    let decode = |more: &str, point: &str| {
        let json = format!(
            r#"{{"version":"1.0","kind":"rescore","collection":"docs"{more},"items":[{{"point":"{point}","text":"t"}}]}}"#
        );
        Job::decode(json.as_bytes()).map_err(|error| error.code())
    };
    let uuid = "6d1c27c8-3d5b-4b0e-9a35-0f6a51deb3c4";
    assert!(decode("", uuid).is_ok() && decode("", "18446744073709551615").is_ok());
    assert!(decode(r#","field":"scores.m""#, uuid).is_ok());
    for point in ["", "p", "-1", "18446744073709551616"] {
        assert_eq!(decode("", point).unwrap_err(), "invalid", "{point}");
    }
    for field in ["version", "meta.rank", "a b"] {
        let more = format!(r#","field":"{field}""#);
        assert_eq!(decode(&more, uuid).unwrap_err(), "malformed", "{field}");
    }
}

#[test]
fn the_published_schemas_are_current() {
    let schemas = [
        ("job.schema.json", schemars::schema_for!(Job)),
        ("answer.schema.json", schemars::schema_for!(Answer)),
    ];
    for (name, schema) in schemas {
        let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
        published::is_current(&path, &published::text(&schema));
    }
}

#[test]
fn what_a_job_makes_of_its_metadata_and_its_run_is_bounded() {
    let job = |run: usize, meta: usize, chunks: usize| {
        let chunks: Vec<_> = (0..chunks)
            .map(|_| serde_json::json!({ "text": "t" }))
            .collect();
        let job = serde_json::json!({
            "version": "1.0", "kind": "embed", "collection": "docs", "run": "r".repeat(run),
            "documents": [{ "id": "a", "meta": { "m": "m".repeat(meta) }, "chunks": chunks }],
        });
        Job::decode(job.to_string().as_bytes()).map_err(|error| error.to_string())
    };
    assert!(job(256, 8_000, 1_000).is_ok());
    assert!(
        job(257, 0, 1)
            .unwrap_err()
            .contains("its run has 257 bytes")
    );
    let refused = job(1, 9_000, 1_000).unwrap_err();
    assert!(refused.contains("counted for each chunk"), "{refused}");
}

#[test]
fn an_attach_job_names_its_points_and_has_no_queries() {
    let job = |item: serde_json::Value| {
        let job = serde_json::json!({
            "version": "1.0", "kind": "attach", "collection": "docs", "vector": "second",
            "fingerprint": Digest::of(b"model"), "items": [item],
        });
        Job::decode(job.to_string().as_bytes()).map_err(|error| error.to_string())
    };
    assert!(job(serde_json::json!({ "point": "7", "text": "a" })).is_ok());
    for (item, problem) in [
        (serde_json::json!({ "text": "a" }), "names no point"),
        (
            serde_json::json!({ "point": "7", "text": " " }),
            "has no text",
        ),
        (
            serde_json::json!({ "point": "7", "text": "a", "query": "q" }),
            "has a query",
        ),
        (
            serde_json::json!({ "point": "7", "text": "a", "head": "x" }),
            "which is neither",
        ),
    ] {
        let refused = job(item).unwrap_err();
        assert!(refused.contains(problem), "{refused}");
    }
}
