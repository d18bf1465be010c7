//! Poll: watches the heads of documents while the run is on. A version that was seen must never go down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use points::guard::Head;
use points::point_id;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{GetPointsBuilder, PayloadIncludeSelector, PointId};
use tokio::time::{sleep, timeout};

use crate::history::History;
use crate::message::COLLECTION;
use crate::nodes::all_replicas;
use crate::servers::Servers;
use crate::tally::Tally;
use crate::violation::Kind;

const PAUSE: Duration = Duration::from_millis(400);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Messages whose documents are watched: those that still change.
const RECENT_MESSAGES: usize = 600;

/// What was seen of each document: version and whether it is deleted, in the order in which they win.
type Seen = BTreeMap<String, (u64, bool)>;

/// Watches until it is aborted.
///
/// # Errors
/// If there is no client.
pub(crate) async fn poll(
    servers: Arc<Servers>,
    history: Arc<History>,
    tally: Arc<Tally>,
) -> anyhow::Result<()> {
    // Of several replicas, what is on all of them must stay.
    let clients = servers.nodes.clients()?;
    let qdrant = clients.first().context("there is no qdrant")?;
    let mut seen = Seen::new();
    loop {
        let restarts = servers.qdrant_restarts();
        let documents: Vec<_> = history
            .recent_documents(RECENT_MESSAGES)
            .into_iter()
            .collect();
        let read = timeout(ANSWER_LIMIT, heads(qdrant, &documents)).await;
        if restarts != servers.qdrant_restarts() {
            // What was seen may have been written and not yet durable: nobody was promised that it stays.
            seen.clear();
        } else if let Ok(Ok(now)) = read {
            compare(&mut seen, now, &tally);
        }
        sleep(PAUSE).await;
    }
}

async fn heads(qdrant: &Qdrant, documents: &[String]) -> anyhow::Result<Seen> {
    let id = |document: &String| PointId::from(point_id(document, 0).to_string());
    let ids: Vec<_> = documents.iter().map(id).collect();
    let fields = Head::FIELDS.map(str::to_owned).into();
    let request = GetPointsBuilder::new(COLLECTION, ids)
        .with_payload(PayloadIncludeSelector { fields })
        .read_consistency(all_replicas());
    let points = qdrant.get_points(request).await?.result;
    let heads = points.iter().filter_map(Head::read);
    Ok(heads
        .map(|(document, head)| (document, (head.version, head.deleted)))
        .collect())
}

fn compare(seen: &mut Seen, now: Seen, tally: &Tally) {
    for (document, before) in seen.iter() {
        let after = now.get(document);
        if after.is_some_and(|after| after < before) {
            let evidence = format!("the head of `{document}` went from {before:?} to {after:?}");
            tally.violation(Kind::WentBack, Some(document), evidence);
        }
    }
    // Documents that are not watched any more are forgotten.
    *seen = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: u64, deleted: bool) -> Seen {
        [("d1".to_owned(), (version, deleted))].into()
    }

    #[test]
    fn a_version_that_goes_down_is_a_violation() {
        let tally = Tally::default();
        let mut before = seen(2, true);
        compare(&mut before, seen(3, false), &tally);
        assert!(tally.violations().is_empty());
        compare(&mut before, seen(2, false), &tally);
        assert_eq!(tally.violations()[0].kind, Kind::WentBack);
    }

    #[test]
    fn a_tombstone_that_is_replaced_by_its_own_version_is_a_violation() {
        let tally = Tally::default();
        compare(&mut seen(2, true), seen(2, false), &tally);
        assert_eq!(tally.violations().len(), 1);
    }
}
