//! Options on the command line and in the environment.

use clap::Args;
use runtime::settings::ConfigFault;

use super::{INDEX, Options};

/// Options of an alias. What is left out stays as the alias has it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of the alias")]
pub struct OptionArgs {
    /// Shards of each collection; takes a rebuild
    #[arg(long, env = "EBB_SHARDS")]
    pub shards: Option<u32>,
    /// Replicas of each shard, on as many nodes; takes a rebuild
    #[arg(long, env = "EBB_REPLICATION")]
    pub replication: Option<u32>,
    /// Replicas that must have a write before it is confirmed
    #[arg(long, env = "EBB_WRITE_CONSISTENCY")]
    pub write_consistency: Option<u32>,
    /// What a number of a vector is stored as: float32, float16, or uint8 for models that yield whole numbers from 0 to
    /// 255; takes a rebuild
    #[arg(long, env = "EBB_DATATYPE")]
    pub datatype: Option<String>,
    /// Where vectors are held: memory or disk
    #[arg(long, env = "EBB_VECTORS")]
    pub vectors: Option<String>,
    /// Where payloads are held: memory or disk
    #[arg(long, env = "EBB_PAYLOAD")]
    pub payload: Option<String>,
    /// Smaller copies of the vectors to search in: none, int8, product-x4 to product-x64, binary, binary-1.5bit,
    /// binary-2bit, or turbo-1bit to turbo-8bit where the server has it; with :ram behind it the copies are in memory
    /// although vectors are on disk, with :quantile=0.99 an int8 leaves extremes out
    #[arg(long, env = "EBB_QUANTIZATION", value_name = "KIND[:MORE]")]
    pub quantization: Option<String>,
    /// Order what is found in quantized copies anew by the whole vectors: true or false; by default the server decides by
    /// the kind
    #[arg(long, env = "EBB_RESCORE_VECTORS", value_name = "BOOL")]
    pub rescore_vectors: Option<String>,
    /// How many times more hits to look for in quantized copies than are wanted, before they are ordered anew
    #[arg(long, env = "EBB_OVERSAMPLING")]
    pub oversampling: Option<String>,
    /// Numbers of the graph, separated by commas: m, ef_construct, full_scan_threshold, max_indexing_threads, payload_m,
    /// on_disk, inline_storage
    #[arg(
        long,
        env = "EBB_HNSW",
        value_name = "NAME=VALUE",
        value_delimiter = ','
    )]
    pub hnsw: Vec<String>,
    /// Limits of Qdrant's strict mode by their names there, and enabled, separated by commas
    #[arg(
        long,
        env = "EBB_STRICT_MODE",
        value_name = "NAME=VALUE",
        value_delimiter = ','
    )]
    pub strict_mode: Vec<String>,
    /// Payload indexes, separated by commas: keyword, integer, float, bool, geo, datetime, text, uuid, or none to drop
    /// one; behind the type :on_disk, :is_tenant, :is_principal
    #[arg(
        long,
        env = "EBB_INDEX",
        value_name = "FIELD=TYPE[:FLAG]",
        value_delimiter = ','
    )]
    pub index: Vec<String>,
}

/// An option with the setting that gave it.
struct GivenOption {
    setting: &'static str,
    name: String,
    value: String,
}

impl OptionArgs {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let (given, mut faults) = self.given();
        for it in &given {
            let read = Options::read([(it.name.as_str(), it.value.as_str())]);
            let wrong = read.err().unwrap_or_default().into_iter();
            faults.extend(wrong.map(|(_, problem)| ConfigFault::new(it.setting, problem)));
        }
        faults
    }

    /// The options. Those that [`Self::faults`] complains about are left out.
    #[must_use]
    pub fn options(&self) -> Options {
        let (given, _) = self.given();
        let entry = |it: &GivenOption| Options::read([(it.name.as_str(), it.value.as_str())]).ok();
        let entries = given.iter().filter_map(entry);
        Options(entries.flat_map(|options| options.0).collect())
    }

    /// Options that have one value each.
    fn single(&self) -> Vec<GivenOption> {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let single = [
            ("--shards", "shards", number(self.shards)),
            ("--replication", "replication", number(self.replication)),
            (
                "--write-consistency",
                "write_consistency",
                number(self.write_consistency),
            ),
            ("--datatype", "datatype", self.datatype.clone()),
            ("--vectors", "vectors", self.vectors.clone()),
            ("--payload", "payload", self.payload.clone()),
            ("--quantization", "quantization", self.quantization.clone()),
            (
                "--rescore-vectors",
                "search.rescore",
                self.rescore_vectors.clone(),
            ),
            (
                "--oversampling",
                "search.oversampling",
                self.oversampling.clone(),
            ),
        ];
        let given = single.into_iter().filter_map(|(setting, name, value)| {
            let (name, value) = (name.to_owned(), value?);
            Some(GivenOption {
                setting,
                name,
                value,
            })
        });
        given.collect()
    }

    fn given(&self) -> (Vec<GivenOption>, Vec<ConfigFault>) {
        let (mut given, mut faults) = (self.single(), Vec::new());
        let lists = [
            ("--hnsw", "hnsw.", &self.hnsw),
            ("--strict-mode", "strict.", &self.strict_mode),
            ("--index", INDEX, &self.index),
        ];
        for (setting, group, entries) in lists {
            for entry in entries.iter().map(|entry| entry.trim()) {
                match entry.split_once('=') {
                    Some((name, value)) => given.push(GivenOption {
                        setting,
                        name: format!("{group}{name}"),
                        value: value.to_owned(),
                    }),
                    None if entry.is_empty() => {}
                    None => faults.push(ConfigFault::new(
                        setting,
                        format!("`{entry}` has no `=`: expected a name, `=` and a value"),
                    )),
                }
            }
        }
        let ranges = [
            ("--shards", self.shards),
            ("--replication", self.replication),
            ("--write-consistency", self.write_consistency),
        ];
        let zero = ranges.into_iter().filter(|(_, value)| *value == Some(0));
        faults.extend(zero.map(|(setting, _)| ConfigFault::new(setting, "must be at least 1")));
        (given, faults)
    }
}
