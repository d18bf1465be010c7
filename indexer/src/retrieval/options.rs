//! Options: what verbs are told about the vectors of an alias and about its search.

use clap::Args;
use contract::bm25::Bm25Options;
use contract::names::CollectionName;
use points::Qdrant;
use points::options::Retrieval;
use qdrant_client::qdrant::CollectionInfo;
use runtime::settings::ConfigFault;

use super::{Fusion, Mode, RRF_K, Search, Searched, Weights};

/// The value that stands for a collection without BM25.
const NONE: &str = "none";
/// Language of new collections.
const DEFAULT_LANGUAGE: &str = "english";

/// Settings of BM25 for a new collection.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "BM25")]
pub struct Bm25Choice {
    /// Language of the texts, for the stop words and stems of BM25; `none` for a collection without BM25. A new alias
    /// is english, a rebuild keeps what the serving generation has
    #[arg(long, env = "EBB_BM25", value_name = "LANGUAGE|none")]
    pub bm25: Option<String>,
    /// Options of Qdrant's model `qdrant/bm25` as JSON, such as {"language": "german", "avg_len": 120}
    #[arg(long, env = "EBB_BM25_OPTIONS", value_name = "JSON")]
    pub bm25_options: Option<String>,
}

/// How the alias is to be searched, recorded with the collection.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Search mode of the alias")]
pub struct SearchChoice {
    /// How the alias is searched where nobody says otherwise, and measured by gates; by default hybrid where it has
    /// BM25, else dense. A rebuild keeps what the serving generation has
    #[arg(long, env = "EBB_SEARCH_MODE", value_enum)]
    pub search_mode: Option<Mode>,
    /// How hybrid hits are fused
    #[arg(long, env = "EBB_SEARCH_FUSION", value_enum)]
    pub search_fusion: Option<Fusion>,
    /// Constant of the fusion by ranks; 60 by default
    #[arg(long, env = "EBB_SEARCH_RRF_K", value_name = "K")]
    pub search_rrf_k: Option<u32>,
    /// Weights of the fusion by ranks, as dense=1,bm25=0.5; they divide ranks, so that they say little where k is large
    #[arg(long, env = "EBB_SEARCH_WEIGHTS", value_name = "WEIGHTS")]
    pub search_weights: Option<Weights>,
}

/// How hits are fused, for one search.
#[derive(Args, Clone, Debug, Default)]
pub struct FusionChoice {
    /// How hybrid hits are fused
    #[arg(long, value_enum)]
    pub fusion: Option<Fusion>,
    /// Constant of the fusion by ranks; 60 by default
    #[arg(long, value_name = "K")]
    pub rrf_k: Option<u32>,
    /// Weights of the fusion by ranks, as dense=1,bm25=0.5; they divide ranks, so that they say little where k is large
    #[arg(long)]
    pub weights: Option<Weights>,
}

/// Settings that a request gives for one search; `None` keeps what the alias has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SearchSettings {
    pub mode: Option<Mode>,
    pub fusion: Option<Fusion>,
    pub rrf_k: Option<u32>,
    pub weights: Option<Weights>,
}

/// What a new collection is searched by, by what was said and what the serving one has, where there is one.
pub fn retrieval(
    bm25: &Bm25Choice,
    search: &SearchChoice,
    name: &CollectionName,
    serving: Option<&CollectionInfo>,
) -> anyhow::Result<Retrieval> {
    let serving = serving.map(|info| Searched::of(name, info)).transpose()?;
    let kept = serving.as_ref().map(|serving| serving.bm25.clone());
    let searched = Searched {
        collection: name.clone(),
        bm25: bm25.of_new(kept)?,
        recorded: serving.and_then(|serving| serving.recorded),
    };
    let search = search.asked().recorded(&searched)?;
    Ok(Retrieval {
        bm25: searched.bm25,
        search: search.map(|search| search.metadata().1),
    })
}

impl Bm25Choice {
    pub fn faults(&self) -> Vec<ConfigFault> {
        match self.read() {
            Ok(_) => Vec::new(),
            Err(fault) => vec![fault],
        }
    }

    /// What is wanted: nothing said, no BM25, or these options.
    pub fn wanted(&self) -> anyhow::Result<Option<Option<Bm25Options>>> {
        self.read()
            .map_err(|fault| anyhow::anyhow!("{}: {}", fault.setting, fault.problem))
    }

    /// The options of a new collection. `serving` is what the alias has, where there is one.
    pub fn of_new(
        &self,
        serving: Option<Option<Bm25Options>>,
    ) -> anyhow::Result<Option<Bm25Options>> {
        let default = || Some(Bm25Options::of_language(DEFAULT_LANGUAGE));
        Ok(self.wanted()?.or(serving).unwrap_or_else(default))
    }

    fn read(&self) -> Result<Option<Option<Bm25Options>>, ConfigFault> {
        let fault = |problem: String| ConfigFault::new("--bm25-options", problem);
        let options = self.bm25_options.as_ref().map(|text| {
            let json = serde_json::from_str(text)
                .map_err(|error| fault(format!("`{text}` is not json: {error}")))?;
            Bm25Options::from_json(json).map_err(|error| fault(error.to_string()))
        });
        let options = options.transpose()?;
        match (self.bm25.as_deref(), options) {
            (None, None) => Ok(None),
            (Some(NONE), None) => Ok(Some(None)),
            (Some(NONE), Some(_)) => Err(fault("cannot go with --bm25 none".to_owned())),
            (None, Some(mut options)) => {
                // Qdrant's default, by its name: two ways to say the same are equal.
                options.language.get_or_insert(DEFAULT_LANGUAGE.to_owned());
                Ok(Some(Some(options)))
            }
            (Some(language), options) => {
                let mut options = options.unwrap_or_default();
                if options.language.as_deref().is_some_and(|it| it != language) {
                    return Err(fault(format!(
                        "names another language than --bm25 {language}"
                    )));
                }
                options.language = Some(language.to_owned());
                let checked = options.check();
                checked.map_err(|error| ConfigFault::new("--bm25", error.to_string()))?;
                Ok(Some(Some(options)))
            }
        }
    }
}

impl SearchChoice {
    pub fn asked(&self) -> SearchSettings {
        SearchSettings {
            mode: self.search_mode,
            fusion: self.search_fusion,
            rrf_k: self.search_rrf_k,
            weights: self.search_weights,
        }
    }

    pub fn faults(&self, bm25: &Bm25Choice) -> Vec<ConfigFault> {
        let mut faults = self.asked().faults("--search-rrf-k, --search-weights");
        let needs_words = |mode| mode != Mode::Dense;
        if bm25.bm25.as_deref() == Some(NONE) && self.search_mode.is_some_and(needs_words) {
            let problem = format!("searches by words, which --bm25 {NONE} leaves out");
            faults.push(ConfigFault::new("--search-mode", problem));
        }
        faults
    }

    /// What is recorded is used later, by searches that ask for nothing.
    pub async fn check_server(&self, qdrant: &Qdrant) -> anyhow::Result<()> {
        match self.search_weights {
            Some(_) => super::check_weights(qdrant).await,
            None => Ok(()),
        }
    }
}

impl FusionChoice {
    pub fn asked(&self, mode: Option<Mode>) -> SearchSettings {
        SearchSettings {
            mode,
            fusion: self.fusion,
            rrf_k: self.rrf_k,
            weights: self.weights,
        }
    }
}

impl SearchSettings {
    pub fn faults(&self, setting: &'static str) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        let by_ranks = self.rrf_k.is_some() || self.weights.is_some();
        if self.fusion == Some(Fusion::Dbsf) && by_ranks {
            faults.push(ConfigFault::new(setting, "are of fusion rrf, not of dbsf"));
        }
        if self.rrf_k == Some(0) {
            faults.push(ConfigFault::new(setting, "k must be at least 1"));
        }
        let fuses = self.fusion.is_some() || by_ranks;
        if fuses && self.mode.is_some_and(|mode| mode != Mode::Hybrid) {
            faults.push(ConfigFault::new(setting, "only mode hybrid fuses anything"));
        }
        faults
    }

    /// The search of a collection: what is asked for, else what it records.
    pub fn of(&self, searched: &Searched) -> anyhow::Result<Search> {
        let search = match (self.mode, searched.recorded) {
            // What was recorded of a mode that the collection does not have any more is not meant.
            (None, Some(recorded)) if searched.check(recorded.mode).is_err() => {
                self.over(Search::of(searched.best()))
            }
            _ => self.over(searched.default()),
        };
        searched.check(search.mode)?;
        // What the command line left open may contradict what it says.
        let by_ranks = self.rrf_k.is_some() || self.weights.is_some();
        let resolved = Self {
            mode: Some(search.mode),
            fusion: (by_ranks || self.fusion.is_some()).then_some(search.fusion),
            ..*self
        };
        if let Some(fault) = resolved.faults("settings of the fusion").first() {
            anyhow::bail!(
                "collection `{}` is searched by mode {} unless another one is asked for: {}",
                searched.collection,
                search.mode,
                fault.problem
            );
        }
        Ok(search)
    }

    /// What a new collection records of its search: what is asked for, else what the one before has recorded as far as
    /// the new one can be searched so.
    fn recorded(&self, searched: &Searched) -> anyhow::Result<Option<Search>> {
        if self.is_set() {
            return Ok(Some(self.of(searched)?));
        }
        let kept = searched.recorded;
        Ok(kept.filter(|search| searched.check(search.mode).is_ok()))
    }

    /// The search with the settings that are given in place of its own.
    pub fn over(&self, search: Search) -> Search {
        let fusion = self.fusion.unwrap_or(search.fusion);
        // A fusion by scores has neither.
        let (rrf_k, weights) = match fusion {
            Fusion::Rrf => (
                self.rrf_k.unwrap_or(search.rrf_k),
                self.weights.or(search.weights),
            ),
            Fusion::Dbsf => (RRF_K, None),
        };
        Search {
            mode: self.mode.unwrap_or(search.mode),
            fusion,
            rrf_k,
            weights,
        }
    }

    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choice(bm25: Option<&str>, options: Option<&str>) -> Bm25Choice {
        Bm25Choice {
            bm25: bm25.map(str::to_owned),
            bm25_options: options.map(str::to_owned),
        }
    }

    #[test]
    fn a_new_collection_has_what_is_asked_for_then_what_serves_then_english() {
        let german = Bm25Options::of_language("german");
        let english = Some(Bm25Options::of_language("english"));
        let silent = choice(None, None);
        assert_eq!(silent.of_new(None).unwrap(), english);
        assert_eq!(silent.of_new(Some(None)).unwrap(), None);
        let kept = silent.of_new(Some(Some(german.clone()))).unwrap();
        assert_eq!(kept, Some(german.clone()));
        let none = choice(Some("none"), None);
        assert_eq!(none.of_new(Some(Some(german.clone()))).unwrap(), None);
        let asked = choice(Some("german"), Some(r#"{"avg_len": 100}"#));
        let options = asked.of_new(Some(None)).unwrap().unwrap();
        let expected = json!({"language": "german", "avg_len": 100.0});
        assert_eq!(options.to_json(), expected);
    }

    #[test]
    fn a_choice_that_contradicts_itself_is_named() {
        for (choice, said) in [
            (choice(Some("none"), Some("{}")), "--bm25 none"),
            (
                choice(Some("german"), Some(r#"{"language": "english"}"#)),
                "another language",
            ),
            (choice(Some("klingon"), None), "`klingon` is not known"),
            (choice(None, Some("{")), "is not json"),
            (choice(None, Some(r#"{"x": 1}"#)), "unknown field `x`"),
        ] {
            let faults = choice.faults();
            assert!(faults[0].problem.contains(said), "{}", faults[0].problem);
        }
    }

    #[test]
    fn what_is_not_asked_for_keeps_its_value() {
        let recorded = Search {
            rrf_k: 20,
            weights: "dense=2,bm25=1".parse().ok(),
            ..Search::of(Mode::Hybrid)
        };
        assert_eq!(SearchSettings::default().over(recorded), recorded);
        let by_scores = SearchSettings {
            fusion: Some(Fusion::Dbsf),
            ..SearchSettings::default()
        };
        assert_eq!(by_scores.over(recorded).weights, None);
        let dense = SearchSettings {
            mode: Some(Mode::Dense),
            rrf_k: Some(5),
            ..SearchSettings::default()
        };
        assert!(!dense.faults("--rrf-k").is_empty());
        // The same where the collection says it and not the command line.
        let searched = Searched {
            collection: "c".parse().unwrap(),
            bm25: Some(Bm25Options::of_language("english")),
            recorded: Some(Search::of(Mode::Dense)),
        };
        let constant = SearchSettings {
            rrf_k: Some(5),
            ..SearchSettings::default()
        };
        let error = constant.of(&searched).unwrap_err().to_string();
        assert!(error.contains("`c` is searched by mode dense"), "{error}");
    }
}
