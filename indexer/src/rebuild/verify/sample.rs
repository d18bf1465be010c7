//! Sample: points from places that the ids' digest scatters evenly, looked at one by one.

use std::collections::HashMap;

use contract::field;
use points::guard::tombstones;
use points::payload::{id, text, vector};
use points::point_id;
use qdrant_client::qdrant::{Filter, PointId, RetrievedPoint};

use crate::generation::known_vectors::unsound;
use crate::generation::record::Gate;
use crate::progress::as_double;
use crate::rebuild::Rebuild;

/// Neighbouring points of one place.
const POINTS_PER_PLACE: usize = 10;

impl Rebuild {
    /// Points with their vectors, each once; fewer than asked for only where there are not more.
    pub async fn samples(&self) -> anyhow::Result<Vec<RetrievedPoint>> {
        let wanted = self.config.limits.samples;
        // One more tells whether these were all.
        let first = self.points_from(None, wanted + 1).await?;
        if first.len() <= wanted {
            return Ok(first);
        }
        let mut samples = HashMap::new();
        // Places may overlap; twice as many as needed bound the work.
        for place in 0..wanted.div_ceil(POINTS_PER_PLACE) * 2 {
            if samples.len() >= wanted {
                break;
            }
            let start = point_id(&format!("{} {place}", self.record().run), 0);
            let start = PointId::from(start.to_string());
            let points = self.points_from(Some(start), POINTS_PER_PLACE).await?;
            samples.extend(points.into_iter().map(|point| (id(&point), point)));
        }
        Ok(samples.into_values().take(wanted).collect())
    }

    async fn points_from(
        &self,
        start: Option<PointId>,
        limit: usize,
    ) -> anyhow::Result<Vec<RetrievedPoint>> {
        let fields = [field::DOC_ID, field::FINGERPRINT];
        let sample = Filter::must_not([tombstones()]);
        let pages = self.target().pages(sample, &fields, u32::try_from(limit)?);
        let first = pages.starting_at(start).with_vectors().next().await?;
        Ok(first.unwrap_or_default())
    }

    /// Dimensions, numbers, lengths and fingerprints.
    pub fn sound(&self, samples: &[RetrievedPoint]) -> Gate {
        let faults: Vec<_> = samples
            .iter()
            .filter_map(|point| Some((id(point), self.fault(point)?)))
            .collect();
        let bad = faults.len() as u64;
        let example = faults.first().map_or(String::new(), |(id, fault)| {
            format!("; point `{id}` has {fault}")
        });
        let sampled = samples.len();
        let finding = format!("{bad} of {sampled} sampled points are wrong{example}");
        Gate::at_most("vectors", as_double(bad), 0.0, finding)
    }

    fn fault(&self, point: &RetrievedPoint) -> Option<String> {
        let fingerprint = text(point, field::FINGERPRINT).unwrap_or_default();
        if fingerprint != self.manifest.fingerprint.as_str() {
            return Some(format!("fingerprint `{fingerprint}`"));
        }
        match vector(point, self.manifest.name.as_str()) {
            Some(vector) => unsound(&vector, &self.manifest),
            None => Some("no vector".to_owned()),
        }
    }
}
