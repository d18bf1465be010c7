use super::*;

const QUERIES: &str = "{\"_id\":\"q1\",\"text\":\"one\"}\r\n\n{\"_id\":2,\"text\":\"two\"}\n\
                       {\"_id\":\"q3\",\"text\":\"three\"}\n{\"_id\":\"q4\",\"text\":\"four\"}";
const QRELS: &str =
    "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\nq1\td3\t0\n2\td1\t1\nq3\td1\t0\nq9\td1\t1\n";

fn read_texts(queries: &str, qrels: &str) -> Result<Topics, RelevanceError> {
    let folder = tempfile::tempdir().expect("there is room");
    let (of_queries, of_qrels) = (folder.path().join("q.jsonl"), folder.path().join("r.tsv"));
    std::fs::write(&of_queries, queries).expect("there is room");
    std::fs::write(&of_qrels, qrels).expect("there is room");
    read(&of_queries, &[of_qrels])
}

fn error(queries: &str, qrels: &str) -> String {
    let refused = read_texts(queries, qrels).expect_err("it is refused");
    refused.to_string()
}

#[test]
fn queries_without_judgements_are_counted_and_left_out() {
    let topics = read_texts(QUERIES, QRELS).expect("both are sound");
    let ids: Vec<_> = topics.topics.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["q1", "2"]);
    assert_eq!(topics.topics[0].ideal, [2, 1]);
    let expected = LeftOut {
        unjudged: 1,
        without_relevant: 1,
        unknown: 1,
    };
    assert_eq!(topics.left_out, expected);
}

#[test]
fn judgements_of_trec_are_read_too() {
    let of_trec = "q1 0 d1 1\nq1\t0\td2\t2\nq1  Q0  d3   -1\n2 0 d1 1\nq3 0 d1 0\nq9 0 d1 1\n";
    let topics = read_texts(QUERIES, of_trec).expect("both are sound");
    assert_eq!(topics.topics.len(), 2);
    let grades = &topics.topics[0].grades;
    assert_eq!((grades["d1"], grades["d2"], grades["d3"]), (1, 2, -1));
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let error = error(QUERIES, "query-id\tcorpus-id\tscore\nother\td1\t1\n");
    assert!(error.contains("belong together"), "{error}");
    assert!(error.contains("4 queries without judgements"), "{error}");
}

#[test]
fn lines_out_of_shape_are_named() {
    let cases = [
        (QUERIES, "q1 d1 1\n", "line 1: expected 3 fields"),
        (QUERIES, "q1\td1\thigh\n", "`high` is not a whole number"),
        (
            QUERIES,
            "q1\td1\t1\nq1\td1\t2\n",
            "line 2: query `q1` judges",
        ),
        ("{\"_id\":\"q1\"}", QRELS, "query `q1` has no `text`"),
        ("{\"text\":\"x\"}", QRELS, "no `_id`"),
        ("[", QRELS, "line 1: expected a json object"),
        (
            "{\"_id\":\"a\",\"text\":\"x\"}\n{\"_id\":\"a\",\"text\":\"y\"}",
            QRELS,
            "line 2: query `a` is there twice",
        ),
    ];
    for (queries, qrels, expected) in cases {
        let error = error(queries, qrels);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_digest_sees_every_change_and_no_order() {
    let digest = |queries: &str, qrels: &str| read_texts(queries, qrels).expect("sound").digest;
    let turned: Vec<_> = QUERIES.lines().rev().collect();
    assert_eq!(digest(QUERIES, QRELS), digest(&turned.join("\n"), QRELS));
    assert_ne!(
        digest(QUERIES, QRELS),
        digest(&QUERIES.replace("two", "too"), QRELS)
    );
    assert_ne!(
        digest(QUERIES, QRELS),
        digest(QUERIES, &QRELS.replace("d2\t2", "d2\t1"))
    );
}

#[test]
fn a_folder_with_several_splits_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("there is room");
    let write =
        |name: &str| std::fs::write(folder.path().join(name), QRELS).expect("there is room");
    let found = || qrels_file(folder.path()).map_err(|error| error.to_string());
    assert!(found().is_err_and(|error| error.contains("no .tsv file")));
    write("test.tsv");
    assert_eq!(found(), Ok(folder.path().join("test.tsv")));
    write("dev.tsv");
    assert!(found().is_err_and(|error| error.contains("dev.tsv") && error.contains("test.tsv")));
}
