//! Point ids: what rebuilds and redeliveries rely on.

use std::collections::HashSet;

use points::point::point_id;
use proptest::prelude::*;

#[test]
fn point_ids_never_change() {
    // Fixed for ever: another value would orphan every point that was written before.
    assert_eq!(
        point_id("guide/start.md", 0).to_string(),
        "912ba624-6fa4-5c40-a880-479cd0f08011"
    );
    assert_eq!(
        point_id("潮", 41).to_string(),
        "670e4765-c0a9-5a15-84b4-f4344bd8a114"
    );
}

proptest! {
    #[test]
    fn different_chunks_have_different_points(
        chunks in prop::collection::hash_set(("\\PC{0,6}", 0_u32..400), 1..60),
    ) {
        let ids: HashSet<_> = chunks.iter().map(|(document, chunk)| point_id(document, *chunk)).collect();
        prop_assert_eq!(ids.len(), chunks.len());
    }
}
