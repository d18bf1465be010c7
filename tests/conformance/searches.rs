//! Searches: the nearest points, one query at a time and several at once.

use contract::field;
use points::guard::tombstones;
use qdrant_client::qdrant::{
    Condition, Filter, QueryBatchPointsBuilder, QueryPoints, QueryPointsBuilder,
    SearchParamsBuilder,
};
use serde_json::{Value, json};

use super::Player;
use super::answer::{answer, hits};
use super::state::{DIMENSIONS, DOCUMENTS, VECTOR, vector};

#[expect(
    clippy::too_many_lines,
    reason = "a list of requests is read from top to bottom"
)]
pub(super) async fn play(player: &mut Player<'_>, collection: &str) -> anyhow::Result<()> {
    let nearest = |query: Vec<f32>, using: &str, limit| {
        QueryPointsBuilder::new(collection)
            .query(query)
            .using(using)
            .limit(limit)
            .filter(Filter::must_not([tombstones()]))
    };
    let of_a = || vector("a", 0);
    let exact = || SearchParamsBuilder::default().exact(true);
    let documents = || {
        let any = DOCUMENTS.map(str::to_owned).to_vec();
        Filter::must([Condition::matches(field::DOC_ID, any)])
    };
    let queries: [(&str, QueryPoints); 9] = [
        ("search all", nearest(of_a(), VECTOR, 1).into()),
        (
            "search all exactly",
            nearest(of_a(), VECTOR, 5).params(exact()).into(),
        ),
        (
            "search with a filter",
            nearest(of_a(), VECTOR, 5)
                .filter(documents())
                .params(exact())
                .into(),
        ),
        (
            "search from an offset",
            nearest(of_a(), VECTOR, 3)
                .filter(documents())
                .params(exact())
                .offset(2)
                .into(),
        ),
        (
            "search above a score",
            nearest(of_a(), VECTOR, 9)
                .filter(documents())
                .params(exact())
                .score_threshold(0.3)
                .into(),
        ),
        (
            "search an unknown vector",
            nearest(of_a(), "other", 5).into(),
        ),
        (
            "search with a wrong dimension",
            nearest(vec![0.5; DIMENSIONS + 1], VECTOR, 5).into(),
        ),
        (
            "search with an empty vector",
            nearest(Vec::new(), VECTOR, 5).into(),
        ),
        ("search for no hits", nearest(of_a(), VECTOR, 0).into()),
    ];
    for (request, query) in queries {
        let found = player.qdrant.query(query).await;
        player.note(request, answer(found, |found| hits(&found.result)));
    }
    let two = ["a", "b"].map(|doc_id| {
        let query = nearest(vector(doc_id, 1), VECTOR, 2).filter(documents());
        QueryPoints::from(query.params(exact()))
    });
    for (request, queries) in [
        ("search twice at once", two.to_vec()),
        ("search nothing at once", Vec::new()),
    ] {
        let batch = QueryBatchPointsBuilder::new(collection, queries);
        let found = player.qdrant.query_batch(batch).await;
        let all = answer(found, |found| {
            found
                .result
                .iter()
                .map(|one| hits(&one.result))
                .collect::<Value>()
        });
        player.note(request, all);
    }
    let missing = QueryPointsBuilder::new("no-such-collection")
        .query(of_a())
        .using(VECTOR);
    let found = player.qdrant.query(missing).await;
    player.note(
        "search a missing collection",
        answer(found, |found| json!(found.result.len())),
    );
    Ok(())
}
