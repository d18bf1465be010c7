//! Replicas: all of them hold the same. A node answers from its own replica of a shard, if it has one, and each replica is
//! some node's own.

use std::collections::BTreeMap;

use crate::final_state::Point;
use crate::violation::{Kind, Violation};

/// Two deliveries of one job may be in batches of their own, which change the last digits of a vector.
const TOLERANCE: f32 = 1e-3;

pub(super) fn check(points: &[Point], elsewhere: &[Vec<Point>]) -> Vec<Violation> {
    let by_id = |points| -> BTreeMap<_, _> {
        let points: &[Point] = points;
        points.iter().map(|point| (&point.id, point)).collect()
    };
    let first = by_id(points);
    let mut violations = Vec::new();
    for (number, other) in elsewhere.iter().enumerate() {
        let other = by_id(other);
        let ids = first
            .keys()
            .chain(other.keys().filter(|id| !first.contains_key(*id)));
        for id in ids {
            let (here, there) = (first.get(id).copied(), other.get(id).copied());
            if !are_same(here, there) {
                violations.push(diverged(number + 1, here, there));
            }
        }
    }
    violations
}

fn are_same(here: Option<&Point>, there: Option<&Point>) -> bool {
    let (Some(here), Some(there)) = (here, there) else {
        return false;
    };
    // Two messages may write one version, and replicas keep the run of either.
    let rest = |point: &Point| Point {
        vector: None,
        attached: None,
        run: String::new(),
        ..point.clone()
    };
    rest(here) == rest(there)
        && are_close(here.vector.as_deref(), there.vector.as_deref())
        && are_close(here.attached.as_deref(), there.attached.as_deref())
}

fn are_close(here: Option<&[f32]>, there: Option<&[f32]>) -> bool {
    match (here, there) {
        (None, None) => true,
        (Some(here), Some(there)) => {
            let mut pairs = here.iter().zip(there);
            here.len() == there.len() && pairs.all(|(a, b)| (a - b).abs() < TOLERANCE)
        }
        _ => false,
    }
}

fn diverged(node: usize, here: Option<&Point>, there: Option<&Point>) -> Violation {
    let shown = |point: Option<&Point>| match point {
        None => "nothing".to_owned(),
        Some(point) => format!(
            "chunk {} of version {} (of {} chunks, deleted: {}, with a vector: {}, by {})",
            point.chunk,
            point.version,
            point.chunks,
            point.deleted,
            point.vector.is_some(),
            point.run
        ),
    };
    Violation {
        kind: Kind::Diverged,
        document: here.or(there).map(|point| point.document.clone()),
        message: None,
        evidence: format!(
            "node 0 has {}, node {node} has {}",
            shown(here),
            shown(there)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: &str, version: u64, vector: Option<f32>) -> Point {
        Point {
            id: id.to_owned(),
            version,
            vector: vector.map(|value| vec![value]),
            ..Point::default()
        }
    }

    #[test]
    fn what_differs_between_nodes_is_found_and_last_digits_are_not() {
        let here = [point("a", 1, Some(0.5)), point("b", 2, None)];
        let found = |there: Vec<Point>| check(&here, &[here.to_vec(), there]).len();
        assert_eq!(
            found(vec![point("a", 1, Some(0.500_1)), point("b", 2, None)]),
            0
        );
        assert_eq!(
            found(vec![point("a", 1, Some(0.6)), point("b", 2, None)]),
            1
        );
        assert_eq!(
            found(vec![point("a", 1, None), point("b", 2, Some(0.5))]),
            2
        );
        assert_eq!(found(vec![point("a", 2, Some(0.5))]), 2);
        let more = vec![here[0].clone(), here[1].clone(), point("c", 1, None)];
        assert_eq!(found(more), 1);
        assert!(check(&here, &[]).is_empty());
    }
}
