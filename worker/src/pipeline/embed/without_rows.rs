//! A job without the rows that have no vector: the documents or items that are whole.

use contract::embedding::Embedding;
use contract::job::{Item, Job};

use crate::batch::DecodedJob;

/// Takes the documents or items of these rows out of a job. `None` where nothing would be left, or where whoever asked for an
/// answer would get one with holes.
pub(super) fn without_rows(
    mut decoded: DecodedJob,
    vectors: Vec<Embedding>,
    rows: &[usize],
) -> Option<(DecodedJob, Vec<Embedding>)> {
    let kept = match &mut decoded.job {
        Job::Embed(job) if job.queries.is_empty() && job.reply.is_none() => {
            let mut at = 0;
            let mut kept = Vec::new();
            job.documents.retain(|document| {
                let own = at..at + document.chunks.len();
                at = own.end;
                let is_whole = !rows.iter().any(|row| own.contains(row));
                kept.extend(own.map(|_| is_whole));
                is_whole
            });
            kept
        }
        Job::Rescore(job) if job.reply.is_none() => without_items(&mut job.items, rows),
        Job::Attach(job) => without_items(&mut job.items, rows),
        Job::Embed(_) | Job::Rescore(_) | Job::Delete(_) => return None,
    };
    let vectors: Vec<_> = vectors.into_iter().zip(kept).collect();
    let vectors: Vec<_> = vectors
        .into_iter()
        .filter_map(|(vector, kept)| kept.then_some(vector))
        .collect();
    (!vectors.is_empty()).then_some((decoded, vectors))
}

/// Takes items out; says of each row whether it stays.
fn without_items(items: &mut Vec<Item>, rows: &[usize]) -> Vec<bool> {
    let kept: Vec<_> = (0..items.len()).map(|row| !rows.contains(&row)).collect();
    let mut at = kept.iter();
    items.retain(|_| at.next() == Some(&true));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(json: &str) -> DecodedJob {
        DecodedJob {
            job: Job::decode(json.as_bytes()).unwrap(),
            default_version: 1,
            truncated: Vec::new(),
            incomplete: None,
        }
    }

    fn vectors(rows: u8) -> Vec<Embedding> {
        (0..rows).map(f32::from).map(one).collect()
    }

    fn one(value: f32) -> Embedding {
        Embedding::Dense(vec![value])
    }

    const DOCUMENTS: &str = r#"{"version":"1.0","kind":"embed","collection":"docs","documents":[
        {"id":"one","chunks":[{"text":"a"},{"text":"b"}]},
        {"id":"two","chunks":[{"text":"c"}]},
        {"id":"three","chunks":[{"text":"d"},{"text":"e"}]}]}"#;

    #[test]
    fn a_row_takes_its_document_with_it_and_no_other() {
        let (left, rest) = without_rows(decoded(DOCUMENTS), vectors(5), &[1]).unwrap();
        let Job::Embed(job) = &left.job else {
            panic!("another job")
        };
        let ids: Vec<_> = job.documents.iter().map(|it| it.id.to_string()).collect();
        assert_eq!(ids, ["two", "three"]);
        assert_eq!(rest, [2.0, 3.0, 4.0].map(one));
        assert!(without_rows(decoded(DOCUMENTS), vectors(5), &[0, 2, 4]).is_none());
    }

    #[test]
    fn an_item_goes_alone_and_an_answer_has_no_holes() {
        let items = r#""items":[{"point":"1","text":"a"},{"point":"2","text":"b"}]}"#;
        let scored = format!(r#"{{"version":"1.0","kind":"rescore","collection":"docs",{items}"#);
        let (left, rest) = without_rows(decoded(&scored), vectors(2), &[0]).unwrap();
        assert_eq!(rest, [one(1.0)]);
        assert!(matches!(&left.job, Job::Rescore(job) if job.items.len() == 1));
        let asked = r#"{"version":"1.0","kind":"embed","queries":["a","b"],"reply":"r"}"#;
        assert!(without_rows(decoded(asked), vectors(2), &[0]).is_none());
    }
}
