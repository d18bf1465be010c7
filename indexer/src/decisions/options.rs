//! Options of the alias as decisions: the same words as on the command line.

use points::options::OptionArgs;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the collections of the alias are sharded, stored, indexed and limited. What is left out stays as the alias has it,
/// at first as the server does by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AliasOptions {
    /// Shards of each collection; comes with the next rebuild
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub shards: Option<u32>,
    /// Replicas of each shard, on as many nodes; comes with the next rebuild
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replication: Option<u32>,
    /// Replicas that must have a write before it is confirmed
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub write_consistency: Option<u32>,
    /// What a number of a vector is stored as: `float32`, `float16` or `uint8`; comes with the next rebuild
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datatype: Option<String>,
    /// Where vectors are held: `memory` or `disk`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// Where payloads are held: `memory` or `disk`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Smaller copies of the vectors to search in, like `int8:ram`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Whether what is found in quantized copies is ordered anew by the whole vectors: `true` or `false`, as a text
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescore_vectors: Option<String>,
    /// How many times more hits are looked for in quantized copies than are wanted, like `"2"`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oversampling: Option<String>,
    /// Numbers of the graph, like `m=24,ef_construct=200`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hnsw: Option<String>,
    /// Limits of the strict mode, like `enabled=true,max_query_limit=1000`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_mode: Option<String>,
    /// Payload indexes, like `meta.lang=keyword:is_tenant,meta.price=float`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
}

impl AliasOptions {
    /// The options as arguments of the command line.
    fn args(&self) -> OptionArgs {
        let list = |text: &Option<String>| {
            let parts = text.iter().flat_map(|text| text.split(','));
            parts.map(str::to_owned).collect()
        };
        OptionArgs {
            shards: self.shards,
            replication: self.replication,
            write_consistency: self.write_consistency,
            datatype: self.datatype.clone(),
            vectors: self.vectors.clone(),
            payload: self.payload.clone(),
            quantization: self.quantization.clone(),
            rescore_vectors: self.rescore_vectors.clone(),
            oversampling: self.oversampling.clone(),
            hnsw: list(&self.hnsw),
            strict_mode: list(&self.strict_mode),
            index: list(&self.index),
        }
    }

    /// The options as variables of the environment of programs: each value that was decided, by the name of its setting.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let values = [
            ("EBB_SHARDS", number(self.shards)),
            ("EBB_REPLICATION", number(self.replication)),
            ("EBB_WRITE_CONSISTENCY", number(self.write_consistency)),
            ("EBB_DATATYPE", self.datatype.clone()),
            ("EBB_VECTORS", self.vectors.clone()),
            ("EBB_PAYLOAD", self.payload.clone()),
            ("EBB_QUANTIZATION", self.quantization.clone()),
            ("EBB_RESCORE_VECTORS", self.rescore_vectors.clone()),
            ("EBB_OVERSAMPLING", self.oversampling.clone()),
            ("EBB_HNSW", self.hnsw.clone()),
            ("EBB_STRICT_MODE", self.strict_mode.clone()),
            ("EBB_INDEX", self.index.clone()),
        ];
        let decided = values.into_iter();
        decided
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// Checks one of the options that are text.
pub fn is_option(name: &'static str, value: &Value) -> Result<(), String> {
    let Value::String(_) = value else {
        return Err(format!("`{value}` is not a text"));
    };
    let options = serde_json::json!({ name: value });
    let options: AliasOptions =
        serde_json::from_value(options).map_err(|error| error.to_string())?;
    let faults = options.args().faults();
    let problems: Vec<_> = faults
        .into_iter()
        .map(|ConfigFault { problem, .. }| problem)
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(problems.join("; "))
}
