//! Documents: of each, the newest version that was acknowledged is there, complete, and nothing else.

use std::collections::BTreeMap;

use points::point_id;

use super::expected::{Document, Key, Version, documents};
use crate::final_state::Point;
use crate::history::Record;
use crate::violation::{Kind, Violation};

pub(super) fn check(records: &[Record], points: &[Point]) -> Vec<Violation> {
    let expected = documents(records);
    let mut found: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    for point in points {
        found.entry(&point.document).or_default().push(point);
    }
    let mut violations = Vec::new();
    for (id, points) in &mut found {
        points.sort_by_key(|point| point.chunk);
        violations.extend(duplicates(points));
        if !expected.contains_key(id) {
            violations.push(about(
                id,
                Kind::Invented,
                "nobody has published this document",
                points,
            ));
        }
    }
    for (id, document) in &expected {
        let points = found.get(id).map(Vec::as_slice).unwrap_or_default();
        let problem = problem(document, points);
        violations.extend(problem.map(|(kind, problem)| about(id, kind, &problem, points)));
    }
    violations
}

fn duplicates(points: &[&Point]) -> Vec<Violation> {
    let twice = |pair: &[&Point]| pair[0].chunk == pair[1].chunk;
    let odd = |point: &&&Point| point.id != point_id(&point.document, point.chunk).to_string();
    let pairs = points
        .windows(2)
        .filter(|pair| twice(pair))
        .map(|pair| pair[0]);
    let strange = points.iter().filter(odd).copied();
    let chunks = pairs
        .map(|point| (point, "is there twice"))
        .chain(strange.map(|point| (point, "has the id of another chunk")));
    chunks
        .map(|(point, what)| {
            let problem = format!("chunk {} {what}", point.chunk);
            about(&point.document, Kind::Duplicated, &problem, points)
        })
        .collect()
}

/// What is wrong with a document.
fn problem(document: &Document, points: &[&Point]) -> Option<(Kind, String)> {
    let Some(certain) = document.newest_certain() else {
        // Either outcome is allowed for each of them, also none.
        let fits = points.is_empty() || document.allowed().any(|it| mismatch(it, points).is_none());
        return (!fits).then(|| {
            (
                Kind::Invented,
                "it looks like nothing that was published".to_owned(),
            )
        });
    };
    let mismatches: Option<Vec<_>> = document
        .allowed()
        .map(|version| mismatch(version, points))
        .collect();
    mismatches?;
    let head = points.iter().find(|point| point.chunk == 0);
    let of_head = |key: &Key| head.is_some_and(|head| *key == (head.version, head.deleted));
    let closest = document.allowed().find(|(key, _)| of_head(key));
    mismatch(closest.unwrap_or(certain), points)
}

/// How the points of a document differ from a version of it.
fn mismatch(
    (&(number, deleted), version): (&Key, &Version),
    points: &[&Point],
) -> Option<(Kind, String)> {
    let head = points.iter().find(|point| point.chunk == 0);
    let problem = if deleted {
        tombstone_mismatch(number, head.copied(), points)
    } else {
        head_mismatch(number, version, head.copied())
            .or_else(|| body_mismatch(number, version, points))
    };
    let what = if deleted { "the delete of" } else { "version" };
    problem.map(|(kind, problem)| (kind, format!("{problem}; expected {what} {number}")))
}

fn tombstone_mismatch(
    number: u64,
    head: Option<&Point>,
    points: &[&Point],
) -> Option<(Kind, String)> {
    match head {
        None if points.is_empty() => Some((Kind::Lost, "it has no tombstone".to_owned())),
        None => Some((
            Kind::Resurrected,
            "chunks are left and no tombstone".to_owned(),
        )),
        Some(head) if !head.deleted => Some((
            Kind::Resurrected,
            format!("it is there in version {}", head.version),
        )),
        Some(head) if head.version < number => Some((
            Kind::Stale,
            format!("its tombstone is of version {}", head.version),
        )),
        Some(head) if head.version > number => Some((
            Kind::Invented,
            format!("its tombstone is of version {}", head.version),
        )),
        Some(_) if points.len() > 1 => Some((
            Kind::Resurrected,
            "chunks are left beside the tombstone".to_owned(),
        )),
        Some(_) => None,
    }
}

fn head_mismatch(number: u64, version: &Version, head: Option<&Point>) -> Option<(Kind, String)> {
    match head {
        None => Some((Kind::Lost, "it has no head".to_owned())),
        Some(head) if head.version < number => Some((
            Kind::Stale,
            format!("its head is of version {}", head.version),
        )),
        Some(head) if head.version > number => Some((
            Kind::Invented,
            format!("its head is of version {}", head.version),
        )),
        Some(head) if head.deleted => Some((Kind::Lost, "it is deleted".to_owned())),
        Some(head) if head.chunks != version.total => Some((
            Kind::Invented,
            format!("its head tells {} chunks", head.chunks),
        )),
        Some(_) => None,
    }
}

fn body_mismatch(number: u64, version: &Version, points: &[&Point]) -> Option<(Kind, String)> {
    for (index, (text, runs)) in &version.chunks {
        let Some(point) = points.iter().find(|point| point.chunk == *index) else {
            return Some((Kind::Lost, format!("chunk {index} is missing")));
        };
        if point.version < number {
            return Some((
                Kind::Stale,
                format!("chunk {index} is of version {}", point.version),
            ));
        }
        let same = point.version == number && point.text == *text && runs.contains(&point.run);
        if !same || point.chunks != version.total {
            return Some((
                Kind::Invented,
                format!("chunk {index} is not what was published"),
            ));
        }
    }
    let beyond = points.iter().find(|point| point.chunk >= version.total);
    beyond.map(|point| {
        let problem = format!("chunk {} of version {} is left", point.chunk, point.version);
        (Kind::Resurrected, problem)
    })
}

fn about(document: &str, kind: Kind, problem: &str, points: &[&Point]) -> Violation {
    let shown = |point: &&Point| {
        let what = if point.deleted {
            "tombstone of"
        } else {
            "version"
        };
        format!(
            "chunk {}: {what} {} of {} chunks by {}: {}",
            point.chunk, point.version, point.chunks, point.run, point.text
        )
    };
    let points: Vec<_> = points.iter().map(shown).collect();
    Violation {
        kind,
        document: Some(document.to_owned()),
        message: None,
        evidence: format!("{problem}\n    {}", points.join("\n    ")),
    }
}
