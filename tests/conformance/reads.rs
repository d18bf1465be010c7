//! Reads: points by id, pages, and counts.

use contract::field;
use points::guard::{heads, not_newer_than, tombstones};
use points::payload::include;
use points::point_id;
use qdrant_client::qdrant::{
    Condition, CountPoints, DatetimeRange, Filter, GetPoints, PointId, Range, ScrollPoints,
    Timestamp,
};
use serde_json::json;

use super::Player;
use super::answer::{answer, id, points};
use super::state::DOCUMENTS;

pub(super) async fn play(player: &mut Player<'_>, collection: &str) -> anyhow::Result<()> {
    by_ids(player, collection).await;
    pages(player, collection).await;
    counts(player, collection).await;
    Ok(())
}

async fn by_ids(player: &mut Player<'_>, collection: &str) {
    let known = PointId::from(point_id("a", 0).to_string());
    let unknown = PointId::from(point_id("nobody", 0).to_string());
    for (request, ids) in [
        (
            "get a known and an unknown point",
            vec![unknown.clone(), known.clone()],
        ),
        ("get a point twice", vec![known.clone(), known]),
        ("get only an unknown point", vec![unknown]),
        ("get nothing", Vec::new()),
        ("get an id that is none", vec![PointId::from("no uuid")]),
    ] {
        let get = GetPoints {
            collection_name: collection.to_owned(),
            ids,
            with_payload: Some(include(&[field::DOC_ID, field::VERSION, field::META])),
            with_vectors: Some(true.into()),
            ..GetPoints::default()
        };
        let found = player.qdrant.get_points(get).await;
        player.note(request, answer(found, |found| points(&found.result)));
    }
}

async fn pages(player: &mut Player<'_>, collection: &str) {
    let mut scroll = ScrollPoints {
        collection_name: collection.to_owned(),
        filter: Some(Filter::must([Condition::matches(
            field::DOC_ID,
            DOCUMENTS.map(str::to_owned).to_vec(),
        )])),
        limit: Some(10),
        with_payload: Some(include(&[field::DOC_ID, field::CHUNK])),
        with_vectors: Some(false.into()),
        ..ScrollPoints::default()
    };
    for request in ["first page", "second page", "last page"] {
        let page = player.qdrant.scroll(scroll.clone()).await;
        if let Ok(page) = &page {
            scroll.offset = page.next_page_offset.clone();
        }
        let page = answer(
            page,
            |page| json!({ "points": points(&page.result), "next": id(page.next_page_offset.as_ref()) }),
        );
        player.note(request, page);
    }
    let empty = ScrollPoints {
        limit: Some(0),
        ..scroll
    };
    let page = player.qdrant.scroll(empty).await;
    player.note(
        "page of no points",
        answer(page, |page| points(&page.result)),
    );
}

#[expect(
    clippy::too_many_lines,
    reason = "a list of requests is read from top to bottom"
)]
async fn counts(player: &mut Player<'_>, collection: &str) {
    let documents = || Condition::matches(field::DOC_ID, DOCUMENTS.map(str::to_owned).to_vec());
    let after = |seconds| DatetimeRange {
        gt: Some(Timestamp { seconds, nanos: 0 }),
        ..DatetimeRange::default()
    };
    // The second at which all points were written, and the one before.
    let written = 1_767_323_045;
    let price = Range {
        gte: Some(1.5),
        ..Range::default()
    };
    for (request, filter) in [
        (
            "count heads",
            Filter {
                must: vec![documents(), Condition::from(heads())],
                ..Filter::default()
            },
        ),
        (
            "count what is not deleted",
            Filter {
                must: vec![documents()],
                must_not: vec![tombstones()],
                ..Filter::default()
            },
        ),
        (
            "count older versions",
            Filter {
                must: vec![documents(), Condition::from(not_newer_than(9))],
                ..Filter::default()
            },
        ),
        (
            "count the same version",
            Filter {
                must: vec![documents(), Condition::from(not_newer_than(10))],
                ..Filter::default()
            },
        ),
        (
            "count a run",
            Filter::must([
                documents(),
                Condition::matches(field::RUN, "run-1".to_owned()),
            ]),
        ),
        (
            "count a digest of a fingerprint",
            Filter::must([
                Condition::matches(
                    field::DIGEST,
                    vec!["digest-a-0".to_owned(), "digest-b-1".to_owned()],
                ),
                Condition::matches(field::FINGERPRINT, "sha256:1".to_owned()),
            ]),
        ),
        (
            "count later times",
            Filter::must([
                documents(),
                Condition::datetime_range(field::INDEXED_AT, after(written - 1)),
            ]),
        ),
        (
            "count times that are over",
            Filter::must([
                documents(),
                Condition::datetime_range(field::INDEXED_AT, after(written + 1)),
            ]),
        ),
        (
            "count a nested number",
            Filter::must([documents(), Condition::range("meta.price", price)]),
        ),
        (
            "count a value in a list",
            Filter::must([documents(), Condition::matches("meta.tags", "y".to_owned())]),
        ),
        (
            "count missing fields",
            Filter::must([documents(), Condition::is_empty("meta.none")]),
        ),
        (
            "count null fields",
            Filter::must([documents(), Condition::is_null("meta.none")]),
        ),
        (
            "count ids",
            Filter::must([Condition::has_id([
                point_id("a", 0).to_string(),
                point_id("nobody", 0).to_string(),
            ])]),
        ),
        (
            "count points with the vector",
            Filter::must([documents(), Condition::has_vector(super::state::VECTOR)]),
        ),
        (
            "count points with an unknown vector",
            Filter::must([documents(), Condition::has_vector("other")]),
        ),
    ] {
        let count = CountPoints {
            collection_name: collection.to_owned(),
            filter: Some(filter),
            exact: Some(true),
            ..CountPoints::default()
        };
        let counted = player.qdrant.count(count).await;
        let counted = answer(counted, |counted| json!(counted.result.map(|it| it.count)));
        player.note(request, counted);
    }
}
