//! What a worker says about itself at `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use super::promql::Selector;

/// Labels that Prometheus adds to what it scrapes.
const OF_THE_TARGET: [&str; 3] = ["namespace", "pod", "container"];

/// Values of each label of each metric.
#[derive(Debug, Default)]
pub(super) struct Page(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Page {
    pub(super) fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let series = line.rsplit_once(' ').map_or("", |(series, _)| series);
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let known = page.0.entry(name.to_owned()).or_default();
            for label in labels.trim_end_matches('}').split("\",") {
                if let Some((label, value)) = label.split_once("=\"") {
                    let values = known.entry(label.to_owned()).or_default();
                    values.insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
        page
    }

    /// The names of all metrics.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The values of a label of a metric.
    pub(super) fn values(&self, metric: &str, label: &str) -> BTreeSet<String> {
        let labels = self.0.get(metric);
        let values = labels.and_then(|labels| labels.get(label));
        values.cloned().unwrap_or_default()
    }

    /// What of a selector is not there; `None` if all is. The provider of this machine is not the one of all.
    pub(super) fn missing(&self, selector: &Selector) -> Option<String> {
        let Some(labels) = self.0.get(&selector.metric) else {
            return Some(format!("metric {}", selector.metric));
        };
        let of_worker = selector.matchers.iter();
        let mut of_worker = of_worker.filter(|matcher| !OF_THE_TARGET.contains(&&*matcher.label));
        of_worker.find_map(|matcher| {
            let Some(values) = labels.get(&matcher.label) else {
                return Some(format!("label {} of {}", matcher.label, selector.metric));
            };
            let value = matcher
                .value
                .as_ref()
                .filter(|_| matcher.label != "provider")?;
            let is_there = values.contains(value);
            (!is_there).then(|| format!("{}=\"{value}\" of {}", matcher.label, selector.metric))
        })
    }
}
