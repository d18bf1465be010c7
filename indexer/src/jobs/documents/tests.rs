use contract::job::MAX_JOB_BYTES;
use proptest::prelude::*;

use super::*;

fn packer(job_tokens: usize) -> DocumentPacker {
    let template = JobTemplate {
        collection: "docs".parse().unwrap(),
        tokenization: Some(Digest::of(b"tokenizer")),
        fingerprint: None,
        run: None,
    };
    DocumentPacker::new(template, 7, job_tokens)
}

fn chunk(index: u32, chunks: u32, text: String, tokens: usize) -> Chunk {
    let end = text.len() as u64;
    Chunk {
        index,
        chunks,
        text,
        start: 0,
        end,
        location: None,
        context: None,
        token_ids: vec![30_000; tokens],
    }
}

/// Packs documents given as the lengths of their chunks in tokens.
fn pack(documents: &[Vec<usize>], target: usize, text: &str) -> Vec<Packed> {
    let mut packer = packer(target);
    let mut packed = Vec::new();
    for (n, lengths) in documents.iter().enumerate() {
        let total = u32::try_from(lengths.len()).unwrap();
        for (index, tokens) in (0..).zip(lengths) {
            let chunk = chunk(index, total, text.to_owned(), *tokens);
            packed.extend(packer.add(&format!("d{n}"), &Map::new(), chunk).unwrap());
        }
    }
    packed.extend(packer.finish());
    packed
}

proptest! {
    #[test]
    fn jobs_hold_every_chunk_once_and_in_order(
        documents in prop::collection::vec(prop::collection::vec(1_usize..300, 1..30), 0..30),
        target in 1_usize..4000,
    ) {
        let mut seen = Vec::new();
        for packed in pack(&documents, target, "text") {
            prop_assert!(packed.chunks == 1 || packed.tokens <= target);
            let decoded = Job::decode(&packed.job.encode()).unwrap();
            let Job::Embed(embed) = decoded else { panic!("not an embed job") };
            for document in embed.documents {
                seen.extend(document.chunks.iter().map(|c| (document.id.clone(), c.index.unwrap())));
            }
        }
        let all = documents.iter().enumerate().flat_map(|(n, chunks)| {
            (0..u32::try_from(chunks.len()).unwrap()).map(move |i| (format!("d{n}"), i))
        });
        prop_assert_eq!(seen, all.collect::<Vec<_>>());
    }
}

#[test]
fn jobs_stay_below_the_limit_in_bytes() {
    let text = "\u{1}".repeat(20_000);
    let jobs = pack(&[vec![1; 200]], usize::MAX, &text);
    assert!(jobs.len() > 1);
    assert!(
        jobs.iter()
            .all(|packed| packed.job.encode().len() <= MAX_JOB_BYTES)
    );
}

#[test]
fn copies_of_metadata_stay_below_what_a_worker_takes() {
    let meta = Map::from_iter([("notes".to_owned(), Value::from("x".repeat(30_000)))]);
    let mut packer = packer(usize::MAX);
    let mut jobs = Vec::new();
    for index in 0..1000 {
        let chunk = chunk(index, 1000, "text".to_owned(), 3);
        jobs.extend(packer.add("d", &meta, chunk).unwrap());
    }
    jobs.extend(packer.finish());
    assert_eq!(jobs.iter().map(|packed| packed.chunks).sum::<usize>(), 1000);
    for packed in jobs {
        Job::decode(&packed.job.encode()).unwrap();
    }
}

#[test]
fn a_chunk_that_fits_no_job_is_refused_by_name() {
    let mut packer = packer(8192);
    let meta = Map::from_iter([("notes".to_owned(), Value::from("x".repeat(MAX_JOB_BYTES)))]);
    let refused = packer
        .add("large", &meta, chunk(0, 1, "text".to_owned(), 3))
        .unwrap_err();
    assert!(refused.to_string().contains("`large`"), "{refused}");
}
