use super::*;
use crate::eval::compare::compare;
use crate::eval::evaluation::JudgedHit;
use crate::eval::rank::Hit;
use crate::eval::tests::{evaluation, topics};

const HOSTILE: &str = "</td><script src=\"//example.org/x.js\">alert('x')</script>";

/// A report of many queries, some better and some worse than the baseline.
fn compared(queries: u32) -> (Report, Evaluation) {
    let ids: Vec<_> = (0..queries).map(|n| format!("{HOSTILE}{n}")).collect();
    let value = |factor: u32| {
        move |(n, id): (usize, &'_ String)| {
            let n = u32::try_from(n).expect("few queries");
            (id.clone(), f64::from(n * factor % 101) / 100.0)
        }
    };
    let of = |factor| {
        let values: Vec<_> = ids.iter().enumerate().map(value(factor)).collect();
        let values: Vec<_> = values
            .iter()
            .map(|(id, ndcg)| (id.as_str(), *ndcg))
            .collect();
        let mut evaluation = evaluation(&values);
        for query in &mut evaluation.queries {
            let hit = Hit {
                id: HOSTILE.to_owned(),
                score: 0.5,
            };
            query.text = HOSTILE.repeat(20);
            query.hits = vec![
                JudgedHit {
                    hit,
                    grade: Some(1)
                };
                10
            ];
        }
        evaluation.scores.add(0.5, true);
        evaluation
    };
    let (now, before) = (of(7), of(13));
    let mut report = Report::new(&topics(&["a"]), 10, now);
    report.baseline = Some(compare(&report.evaluation, &before, 10));
    (report, before)
}

/// Opening tags by name, in order.
fn tags(page: &str) -> Vec<&str> {
    let parts = page.split('<').skip(1);
    parts
        .map(|part| part.split([' ', '>']).next().unwrap_or_default())
        .collect()
}

#[test]
fn hostile_texts_are_shown_and_not_obeyed() {
    let (report, before) = compared(20);
    let page = page(&report, Some(&before));
    assert!(!tags(&page).contains(&"script"), "a text became an element");
    assert!(
        page.contains("&lt;/td&gt;&lt;script src=&quot;"),
        "the text is shown"
    );
}

#[test]
fn the_page_refers_to_nothing_outside() {
    let (report, before) = compared(20);
    let page = page(&report, Some(&before));
    let known = [
        "!doctype", "html", "head", "meta", "style", "title", "body", "h1", "h2", "ul", "li", "ol",
        "p", "table", "tr", "th", "td", "small", "br", "span", "svg", "rect", "line", "text",
    ];
    for tag in tags(&page) {
        assert!(
            known.contains(&tag.trim_start_matches('/')),
            "element `{tag}`"
        );
    }
    for reference in [" src=\"", " href=\"", "url(", "@import", "http:"] {
        assert!(!page.contains(reference), "`{reference}`");
    }
}

#[test]
fn a_page_of_ten_thousand_queries_stays_small_and_is_well_formed() {
    let (report, before) = compared(10_000);
    let page = page(&report, Some(&before));
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(!page.contains("NaN"), "a value is not a number");
    for tag in [
        "table", "svg", "tr", "td", "ol", "li", "rect", "title", "small",
    ] {
        let count = |tag: &str| tags(&page).iter().filter(|it| **it == tag).count();
        assert_eq!(count(tag), count(&format!("/{tag}")), "`{tag}`");
    }
}

#[test]
fn without_a_baseline_the_lowest_queries_are_listed() {
    let report = Report::new(
        &topics(&["a"]),
        10,
        evaluation(&[("good", 1.0), ("bad", 0.1)]),
    );
    let page = page(&report, None);
    let place = |text: &str| page.find(text).expect("it is listed");
    assert!(place("text of bad") < place("text of good"));
    assert!(!page.contains("Wins and losses"));
}
