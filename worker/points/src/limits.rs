//! Limits: the largest requests that a collection takes, and whether Ebb can live with them.
//!
//! A collection in strict mode refuses requests that are larger. Its limits are read with the collection
//! (`Store::limits`), and requests are cut to them:
//!
//! | limit | what is kept to it |
//! |---|---|
//! | `upsert_max_batchsize` | points of an upsert |
//! | `write_rate_limit` | the same, and what one request deletes or changes: each point costs one of a minute's writes |
//! | `max_query_limit` | points of a page, hits of a search and of each of its parts |
//! | `search_max_batchsize` | searches of a request |
//! | `filter_max_conditions` | documents that are looked at together |
//! | `condition_max_size` | ids and values of one condition |
//! | `read_rate_limit` | the three before, and points that are read by their ids: each id and each condition costs one of a minute's reads |
//! | `search_allow_exact` | points are counted by reading them |
//! | `max_timeout` | no request names a timeout |
//!
//! What is left cannot be kept to, and is named by [`unfit`]: a collection that is full takes nothing, and the largest
//! filters are as large as they are.

use qdrant_client::qdrant::{CollectionInfo, StrictModeConfig};
use schemars::JsonSchema;
use serde::Serialize;

use crate::collection::PAYLOAD_INDEXES;
use crate::vectors::bytes_of_a_point;

/// The largest requests that a collection takes; a number that is as large as can be is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    upsert: usize,
    page: usize,
    searches: usize,
    conditions: usize,
    condition_size: usize,
    reads: usize,
    writes: usize,
    /// Whether searches and counts may be exact.
    pub exact: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upsert: usize::MAX,
            page: usize::MAX,
            searches: usize::MAX,
            conditions: usize::MAX,
            condition_size: usize::MAX,
            reads: usize::MAX,
            writes: usize::MAX,
            exact: true,
        }
    }
}

/// The settings of a collection that limit requests, if they are in force.
fn strict_mode(info: &CollectionInfo) -> Option<&StrictModeConfig> {
    let strict = info.config.as_ref()?.strict_mode_config.as_ref()?;
    strict.enabled.unwrap_or(false).then_some(strict)
}

impl Limits {
    /// The limits of a collection.
    #[must_use]
    pub fn of(info: &CollectionInfo) -> Self {
        let Some(strict) = strict_mode(info) else {
            return Self::default();
        };
        let number = |limit: Option<u64>| {
            let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
            limit.unwrap_or(usize::MAX)
        };
        Self {
            upsert: number(strict.upsert_max_batchsize),
            page: number(strict.max_query_limit.map(u64::from)),
            searches: number(strict.search_max_batchsize),
            conditions: number(strict.filter_max_conditions),
            condition_size: number(strict.condition_max_size),
            reads: number(strict.read_rate_limit.map(u64::from)),
            writes: number(strict.write_rate_limit.map(u64::from)),
            exact: strict.search_allow_exact.unwrap_or(true),
        }
    }

    /// The smallest with which a document can be written.
    #[cfg(test)]
    pub(crate) fn tight() -> Self {
        Self {
            upsert: 1,
            page: 1,
            searches: 1,
            conditions: MOST_CONDITIONS,
            condition_size: 1,
            reads: MOST_CONDITIONS + 1,
            writes: 1,
            exact: false,
        }
    }

    /// Points of an upsert, of those that are wanted. At least one: a collection that takes none says so.
    #[must_use]
    pub fn upsert(self, wanted: usize) -> usize {
        wanted.min(self.upsert).min(self.writes).max(1)
    }

    /// Points of a page, or hits of a search.
    #[must_use]
    pub fn page(self, wanted: usize) -> usize {
        wanted.min(self.page).max(1)
    }

    /// Searches of a request, each with so many conditions.
    #[must_use]
    pub fn searches(self, wanted: usize, conditions: usize) -> usize {
        let affordable = self.reads / (conditions + 1);
        wanted.min(self.searches).min(affordable).max(1)
    }

    /// Filters of so many conditions that one request may join.
    #[must_use]
    pub fn filters(self, wanted: usize, conditions: usize) -> usize {
        let most = self.conditions.min(self.reads.saturating_sub(1));
        wanted.min(most / conditions.max(1)).max(1)
    }

    /// Ids or values of a condition.
    #[must_use]
    pub fn values(self, wanted: usize) -> usize {
        wanted.min(self.condition_size).max(1)
    }

    /// Points of a read by ids.
    #[must_use]
    pub fn ids(self, wanted: usize) -> usize {
        wanted.min(self.reads).max(1)
    }

    /// Points that a request changes which selects them by a condition on their ids.
    #[must_use]
    pub fn selected(self, wanted: usize) -> usize {
        self.values(wanted).min(self.writes).max(1)
    }

    /// Whether a request may change however many points its filter matches.
    #[must_use]
    pub fn allows_any_number_of_writes(self) -> bool {
        self.writes == usize::MAX
    }
}

/// Conditions of the filter of a document's obsolete chunks.
pub(crate) const CONDITIONS_OF_A_DOCUMENT: usize = 4;
/// Conditions of the largest filter that cannot be cut: a document's obsolete chunks by their ids, and what has changed
/// since a rebuild began.
pub const MOST_CONDITIONS: usize = 5;

/// A setting of a collection that does not let Ebb do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnfitSetting {
    /// Name of the setting, as in the strict mode.
    pub setting: &'static str,
    /// Its value, or what is there of it.
    pub found: String,
    /// The value that is needed.
    pub wanted: String,
    /// What does not work.
    pub effect: &'static str,
    /// Whether documents cannot be written at all.
    pub stops_writes: bool,
}

impl std::fmt::Display for UnfitSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            setting,
            found,
            wanted,
            effect,
            ..
        } = self;
        write!(f, "{setting} is {found}, {wanted} is needed: {effect}")
    }
}

/// Everything in the strict mode of a collection that Ebb cannot keep to.
#[must_use]
pub fn unfit(info: &CollectionInfo) -> Vec<UnfitSetting> {
    let Some(strict) = strict_mode(info) else {
        return Vec::new();
    };
    let mut unfit = too_low(info, strict);
    unfit.extend(unindexed(info, strict));
    unfit.extend(full(info, strict));
    if strict.search_allow_exact == Some(false) {
        unfit.push(UnfitSetting {
            setting: "search_allow_exact",
            found: "false".to_owned(),
            wanted: "true".to_owned(),
            effect: "rebuilds cannot compare the index with exact searches, and counts read every point",
            stops_writes: false,
        });
    }
    unfit
}

/// Limits below what a single document needs.
fn too_low(info: &CollectionInfo, strict: &StrictModeConfig) -> Vec<UnfitSetting> {
    let conditions = MOST_CONDITIONS as u64;
    let needs = [
        ("upsert_max_batchsize", strict.upsert_max_batchsize, 1),
        (
            "filter_max_conditions",
            strict.filter_max_conditions,
            conditions,
        ),
        ("condition_max_size", strict.condition_max_size, 1),
        (
            "read_rate_limit",
            strict.read_rate_limit.map(u64::from),
            conditions + 1,
        ),
    ];
    let low = needs.into_iter().filter_map(|(setting, found, least)| {
        let found = found.filter(|found| *found < least)?;
        Some(UnfitSetting {
            setting,
            found: found.to_string(),
            wanted: format!("at least {least}"),
            effect: "documents are neither written nor deleted",
            stops_writes: true,
        })
    });
    let mut unfit: Vec<_> = low.collect();
    let (indexes, missing) = (PAYLOAD_INDEXES.len() as u64, missing_indexes(info));
    let most = strict
        .max_payload_index_count
        .filter(|most| *most < indexes);
    if let Some(most) = most.filter(|_| !missing.is_empty()) {
        unfit.push(UnfitSetting {
            setting: "max_payload_index_count",
            found: most.to_string(),
            wanted: format!("at least {indexes}"),
            effect: "not every field that Ebb filters by can have its index",
            stops_writes: false,
        });
    }
    unfit
}

/// Fields without the index that Ebb's filters need.
#[must_use]
pub fn missing_indexes(info: &CollectionInfo) -> Vec<&'static str> {
    let fields = PAYLOAD_INDEXES.into_iter().map(|(field, _)| field);
    fields
        .filter(|field| !info.payload_schema.contains_key(*field))
        .collect()
}

/// Filters that the collection does not allow, because fields lack their index.
fn unindexed(info: &CollectionInfo, strict: &StrictModeConfig) -> Vec<UnfitSetting> {
    let missing = missing_indexes(info);
    let settings = [
        (
            "unindexed_filtering_retrieve",
            strict.unindexed_filtering_retrieve,
        ),
        (
            "unindexed_filtering_update",
            strict.unindexed_filtering_update,
        ),
    ];
    let forbidden = settings
        .into_iter()
        .filter(|(_, allowed)| *allowed == Some(false) && !missing.is_empty());
    let unfit = forbidden.map(|(setting, _)| UnfitSetting {
        setting,
        found: "false".to_owned(),
        wanted: format!("a payload index of {}", missing.join(", ")),
        effect: "documents are neither written nor deleted; run `indexer provision`, which makes the indexes",
        stops_writes: true,
    });
    unfit.collect()
}

/// Limits that the collection has reached.
fn full(info: &CollectionInfo, strict: &StrictModeConfig) -> Vec<UnfitSetting> {
    let points = info.points_count.unwrap_or(0);
    let bytes = points.saturating_mul(bytes_of_a_point(info));
    let room = [
        ("max_points_count", strict.max_points_count, points),
        (
            "max_collection_vector_size_bytes",
            strict.max_collection_vector_size_bytes,
            bytes,
        ),
    ];
    let reached = room.into_iter().filter_map(|(setting, most, used)| {
        let most = most.filter(|most| used >= *most)?;
        Some(UnfitSetting {
            setting,
            found: format!("{most}, and {used} are used"),
            wanted: format!("more than {used}"),
            effect: "the collection is full: no document is written, and none is deleted",
            stops_writes: true,
        })
    });
    reached.collect()
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::CollectionConfig;

    use super::*;

    fn with(strict: StrictModeConfig) -> CollectionInfo {
        CollectionInfo {
            points_count: Some(100),
            config: Some(CollectionConfig {
                strict_mode_config: Some(StrictModeConfig {
                    enabled: Some(true),
                    ..strict
                }),
                ..CollectionConfig::default()
            }),
            ..CollectionInfo::default()
        }
    }

    #[test]
    fn a_strict_mode_that_is_off_limits_nothing() {
        let mut info = with(StrictModeConfig {
            upsert_max_batchsize: Some(1),
            max_points_count: Some(1),
            ..StrictModeConfig::default()
        });
        assert_eq!(Limits::of(&info).upsert(128), 1);
        assert_eq!(unfit(&info).len(), 1);
        let config = info.config.as_mut().unwrap();
        config.strict_mode_config.as_mut().unwrap().enabled = Some(false);
        assert_eq!(Limits::of(&info), Limits::default());
        assert!(unfit(&info).is_empty());
        assert_eq!(Limits::of(&CollectionInfo::default()), Limits::default());
    }

    #[test]
    fn requests_are_as_large_as_wanted_or_as_the_smallest_of_their_limits() {
        let limits = Limits::of(&with(StrictModeConfig {
            upsert_max_batchsize: Some(50),
            write_rate_limit: Some(20),
            max_query_limit: Some(10),
            filter_max_conditions: Some(12),
            read_rate_limit: Some(9),
            condition_max_size: Some(30),
            search_max_batchsize: Some(3),
            ..StrictModeConfig::default()
        }));
        assert_eq!(limits.upsert(128), 20);
        assert_eq!(limits.page(1024), 10);
        assert_eq!(limits.page(4), 4);
        assert_eq!(
            limits.filters(128, 4),
            2,
            "8 conditions and the read itself"
        );
        assert_eq!(limits.ids(1024), 9);
        assert_eq!(limits.values(1024), 30);
        assert_eq!(limits.selected(1024), 20);
        assert_eq!(limits.searches(16, 1), 3);
        assert_eq!(limits.searches(16, 5), 1);
        assert!(!limits.allows_any_number_of_writes());
        assert_eq!(Limits::default().filters(128, 4), 128);
    }

    #[test]
    fn no_limit_makes_a_request_of_nothing() {
        let limits = Limits::of(&with(StrictModeConfig {
            upsert_max_batchsize: Some(0),
            filter_max_conditions: Some(0),
            condition_max_size: Some(0),
            ..StrictModeConfig::default()
        }));
        assert_eq!(
            (limits.upsert(128), limits.filters(128, 4), limits.values(9)),
            (1, 1, 1)
        );
    }

    #[test]
    fn what_cannot_be_kept_to_is_named_with_what_is_needed() {
        let named = |strict| {
            let found = unfit(&with(strict)).into_iter();
            found
                .map(|it| (it.setting, it.stops_writes))
                .collect::<Vec<_>>()
        };
        let low = StrictModeConfig {
            upsert_max_batchsize: Some(0),
            filter_max_conditions: Some(4),
            read_rate_limit: Some(3),
            max_payload_index_count: Some(2),
            max_points_count: Some(100),
            search_allow_exact: Some(false),
            ..StrictModeConfig::default()
        };
        let expected = [
            ("upsert_max_batchsize", true),
            ("filter_max_conditions", true),
            ("read_rate_limit", true),
            ("max_payload_index_count", false),
            ("max_points_count", true),
            ("search_allow_exact", false),
        ];
        assert_eq!(named(low), expected);
        let enough = StrictModeConfig {
            upsert_max_batchsize: Some(1),
            max_query_limit: Some(1),
            max_timeout: Some(1),
            filter_max_conditions: Some(5),
            condition_max_size: Some(1),
            read_rate_limit: Some(6),
            write_rate_limit: Some(1),
            search_max_batchsize: Some(1),
            max_points_count: Some(101),
            ..StrictModeConfig::default()
        };
        assert_eq!(named(enough), []);
        let unindexed = StrictModeConfig {
            unindexed_filtering_retrieve: Some(false),
            ..StrictModeConfig::default()
        };
        assert_eq!(named(unindexed), [("unindexed_filtering_retrieve", true)]);
    }
}
