//! Modules: what a sentence-transformers model does with token vectors, as `modules.json` lists it.

mod kinds;

use std::path::Path;

use contract::model::{Curve, Head, Layer, Pooling};
use serde_json::Value;

use super::error::LayoutError;
use super::{SENTENCE_CONFIGS, json};

use kinds::ROUTER;
pub(super) use kinds::{kind, of_terms, of_tokens, splade_config};

const FILE: &str = "modules.json";
const SUPPORTED: &str = "those of sentence_transformers: Transformer, Pooling, Dense, LayerNorm, Normalize and Dropout, in \
                         this order but for those after Pooling, which may have any";
/// Modules that are known. Classes of other packages may do anything, whatever they are called.
const PACKAGE: &str = "sentence_transformers.";
/// The projection of a model of late interaction.
const LATE_DENSE: &str = "pylate.models.Dense.Dense";
/// Modules that make token vectors or logits.
const TRANSFORMERS: [&str; 2] = ["Transformer", "MLMTransformer"];
/// File of the weights of a module.
const WEIGHTS: &str = "model.safetensors";

/// The modules that follow the token vectors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Modules {
    pub(super) pooling: Pooling,
    pub(super) normalize: bool,
    pub(super) head: Head,
}

/// A module of the list.
struct Module<'a> {
    kind: &'a str,
    path: &'a str,
    /// Whether it is a projection of token vectors.
    is_late: bool,
}

/// The list of modules; `None` for a plain model.
struct List(Option<Value>);

impl List {
    fn read(directory: &Path) -> Result<Self, LayoutError> {
        let list = json(directory, FILE)?;
        if let Some(other) = list.as_ref().filter(|list| !list.is_array()) {
            return Err(unsupported(directory, other.to_string()));
        }
        Ok(Self(list))
    }

    /// The modules, of which the first makes token vectors.
    fn modules(&self, directory: &Path) -> Result<Vec<Module<'_>>, LayoutError> {
        let modules = self.0.as_ref().and_then(Value::as_array).into_iter();
        modules
            .flatten()
            .map(|module| {
                let class = module["type"].as_str().unwrap_or_default();
                let kind = class.rsplit('.').next().unwrap_or_default();
                if !class.starts_with(PACKAGE) && class != LATE_DENSE {
                    return Err(unsupported(directory, module["type"].to_string()));
                }
                let path = module["path"].as_str().unwrap_or_default();
                let inside = Path::new(path)
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                if !inside {
                    return Err(unsupported(directory, format!("{kind} in `{path}`")));
                }
                let is_late = class == LATE_DENSE;
                Ok(Module {
                    kind,
                    path,
                    is_late,
                })
            })
            .collect()
    }
}

fn unsupported(directory: &Path, found: String) -> LayoutError {
    LayoutError::Module {
        path: directory.join(FILE),
        found,
        supported: SUPPORTED,
    }
}

/// Path of a file in a folder of the directory.
pub(super) fn join(folder: &str, file: &str) -> String {
    let folder = folder.trim_end_matches('/');
    if folder.is_empty() {
        file.to_owned()
    } else {
        format!("{folder}/{file}")
    }
}

/// Folder of the module that makes token vectors, empty for the directory itself.
pub(super) fn transformer(directory: &Path) -> Result<String, LayoutError> {
    let list = List::read(directory)?;
    let modules = list.modules(directory)?;
    let first = modules
        .iter()
        .find(|module| TRANSFORMERS.contains(&module.kind));
    Ok(first.map(|it| it.path.to_owned()).unwrap_or_default())
}

/// Files that describe the modules, and those with their weights. The list must be in the directory already.
///
/// # Errors
/// If `modules.json` is there and is no list of known modules.
pub(crate) fn module_files(directory: &Path) -> Result<Vec<String>, LayoutError> {
    let list = List::read(directory)?;
    let modules = list.modules(directory)?;
    if modules.is_empty() {
        return Ok(vec![join(PLAIN_POOLING, "config.json")]);
    }
    let files = modules.iter().flat_map(|module| match module.kind {
        "Transformer" | "MLMTransformer" if !module.path.is_empty() => SENTENCE_CONFIGS
            .iter()
            .map(|name| join(module.path, name))
            .collect(),
        "Pooling" | "SpladePooling" => vec![join(module.path, "config.json")],
        "Router" => vec![
            ROUTER.to_owned(),
            "document_1_SpladePooling/config.json".to_owned(),
        ],
        "Dense" | "LayerNorm" => {
            vec![join(module.path, "config.json"), join(module.path, WEIGHTS)]
        }
        "Normalize" => vec![join(module.path, "config.json")],
        _ => Vec::new(),
    });
    Ok(files.collect())
}

/// Where the description of the pooling is without a list of modules.
const PLAIN_POOLING: &str = "1_Pooling";

/// Reads the modules behind the one that makes token vectors. `given` is a pooling in place of theirs.
pub(super) fn modules(directory: &Path, given: Option<Pooling>) -> Result<Modules, LayoutError> {
    let list = List::read(directory)?;
    let listed = list.modules(directory)?;
    let mut found = ModulesReader::new(directory, given);
    if list.0.is_none() {
        found.pooling(PLAIN_POOLING)?;
    }
    for (at, module) in listed.iter().enumerate() {
        found.add(at, module)?;
    }
    let pooled = found.pooling.or(given.map(|given| vec![given]));
    let Some(mut poolings) = pooled else {
        return Err(LayoutError::Missing {
            directory: directory.to_owned(),
            what: format!("module Pooling in `{FILE}`; give --pooling"),
        });
    };
    let mut layers = found.layers;
    // Truncation comes before the last normalization.
    let normalize = layers.last() == Some(&Layer::Normalize);
    if normalize {
        layers.pop();
    }
    Ok(Modules {
        pooling: poolings.remove(0),
        normalize,
        head: Head {
            concatenated: poolings,
            exclude_prompt: found.exclude_prompt,
            layers,
        },
    })
}

struct ModulesReader<'a> {
    directory: &'a Path,
    given: Option<Pooling>,
    /// Never empty.
    pooling: Option<Vec<Pooling>>,
    exclude_prompt: bool,
    layers: Vec<Layer>,
}

impl<'a> ModulesReader<'a> {
    fn new(directory: &'a Path, given: Option<Pooling>) -> Self {
        Self {
            directory,
            given,
            pooling: None,
            exclude_prompt: false,
            layers: Vec::new(),
        }
    }

    fn add(&mut self, at: usize, module: &Module<'_>) -> Result<(), LayoutError> {
        let pooled = self.pooling.is_some() || self.given.is_some();
        match (module.kind, at) {
            ("Transformer", 0) | ("Dropout", 1..) => Ok(()),
            ("Pooling", 1..) if self.pooling.is_none() && self.layers.is_empty() => {
                self.pooling(module.path)
            }
            ("Dense", 1..) if pooled => self.dense(module.path),
            ("LayerNorm", 1..) if pooled => self.layer_norm(module.path),
            ("Normalize", 1..) if pooled => self.normalize(module.path),
            (kind, _) => {
                let found = format!("{kind} at place {at}");
                Err(unsupported(self.directory, found))
            }
        }
    }

    fn pooling(&mut self, folder: &str) -> Result<(), LayoutError> {
        let file = join(folder, "config.json");
        let config = json(self.directory, &file)?;
        if let Some(given) = self.given {
            self.pooling = Some(vec![given]);
            self.exclude_prompt = config.is_some_and(|it| it["include_prompt"] == false);
            return Ok(());
        }
        let config = config.ok_or_else(|| LayoutError::Missing {
            directory: self.directory.to_owned(),
            what: format!("`{file}`; give --pooling"),
        })?;
        self.exclude_prompt = config["include_prompt"] == false;
        self.pooling = Some(poolings(&config).map_err(|found| LayoutError::Pooling {
            path: self.directory.join(&file),
            found,
        })?);
        Ok(())
    }

    fn dense(&mut self, folder: &str) -> Result<(), LayoutError> {
        let file = join(folder, "config.json");
        let config = self.config(&file)?;
        if config["use_residual"] == true {
            let found = "has `use_residual` true".to_owned();
            return Err(self.value(&file, found, "a projection without one is taken"));
        }
        self.check_names(&file, &config)?;
        let stated = &config["activation_function"];
        // The library takes the hyperbolic tangent where nothing is said.
        let name = stated
            .as_str()
            .unwrap_or("torch.nn.modules.activation.Tanh");
        let curve = curve(name).ok_or_else(|| {
            let found = format!("has `activation_function` {stated}");
            self.value(
                &file,
                found,
                "Identity, Tanh, ReLU, GELU, Sigmoid and SiLU of `torch.nn` are taken",
            )
        })?;
        let weights = self.weights(folder)?;
        self.layers.push(Layer::Dense { weights, curve });
        Ok(())
    }

    fn normalize(&mut self, folder: &str) -> Result<(), LayoutError> {
        let file = join(folder, "config.json");
        // Older releases wrote none.
        let config = if folder.is_empty() {
            None
        } else {
            json(self.directory, &file)?
        };
        self.check_names(&file, &config.unwrap_or_default())?;
        self.layers.push(Layer::Normalize);
        Ok(())
    }

    /// A module may be told to read and to write other vectors than that of the text.
    fn check_names(&self, file: &str, config: &Value) -> Result<(), LayoutError> {
        for key in ["module_input_name", "module_output_name"] {
            let name = &config[key];
            if !name.is_null() && name != "sentence_embedding" {
                let found = format!("has `{key}` {name}");
                return Err(self.value(file, found, "`sentence_embedding` is taken"));
            }
        }
        Ok(())
    }

    fn value(&self, file: &str, found: String, taken: &'static str) -> LayoutError {
        LayoutError::Value {
            path: self.directory.join(file),
            found,
            taken,
        }
    }

    fn layer_norm(&mut self, folder: &str) -> Result<(), LayoutError> {
        let weights = self.weights(folder)?;
        self.layers.push(Layer::LayerNorm { weights });
        Ok(())
    }

    fn config(&self, file: &str) -> Result<Value, LayoutError> {
        json(self.directory, file)?.ok_or_else(|| super::missing(self.directory, file))
    }

    fn weights(&self, folder: &str) -> Result<String, LayoutError> {
        let file = join(folder, WEIGHTS);
        if self.directory.join(&file).is_file() {
            return Ok(file);
        }
        let other = join(folder, "pytorch_model.bin");
        let found = if self.directory.join(&other).is_file() {
            format!(
                "`{file}`, but `{other}`, which only pytorch reads; save the model again with sentence-transformers 2.3 or \
                 later, which writes safetensors"
            )
        } else {
            format!("`{file}` with the weights of that module")
        };
        Err(LayoutError::Missing {
            directory: self.directory.to_owned(),
            what: found,
        })
    }
}

/// Functions of other packages may be called the same, and the library does not load them.
fn curve(name: &str) -> Option<Curve> {
    let name = name.strip_prefix("torch.nn.")?;
    Some(match name.rsplit('.').next().unwrap_or(name) {
        "Identity" => Curve::Identity,
        "Tanh" => Curve::Tanh,
        "ReLU" => Curve::Relu,
        "GELU" => Curve::Gelu,
        "Sigmoid" => Curve::Sigmoid,
        "SiLU" => Curve::Silu,
        _ => return None,
    })
}

/// The poolings of a description in the order in which their vectors stand one behind the other. An error says what was
/// found instead.
fn poolings(config: &Value) -> Result<Vec<Pooling>, String> {
    const MODES: [(&str, &str, Pooling); 6] = [
        ("cls", "cls_token", Pooling::Cls),
        ("max", "max_tokens", Pooling::Max),
        ("mean", "mean_tokens", Pooling::Mean),
        (
            "mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
            Pooling::MeanSqrtLen,
        ),
        ("weightedmean", "weightedmean_tokens", Pooling::WeightedMean),
        ("lasttoken", "lasttoken", Pooling::LastToken),
    ];
    if !config["pooling_mode"].is_null() {
        let named = &config["pooling_mode"];
        let names = named
            .as_array()
            .map_or(std::slice::from_ref(named), Vec::as_slice);
        let mode = |one: &Value| MODES.iter().find(|(name, _, _)| one.as_str() == Some(name));
        let modes: Option<Vec<_>> = names.iter().map(mode).collect();
        let modes = modes.unwrap_or_default();
        let is_repeated = (1..modes.len()).any(|at| modes[..at].contains(&modes[at]));
        if modes.is_empty() || is_repeated {
            return Err(format!("`pooling_mode` {named}"));
        }
        return Ok(modes.into_iter().map(|(_, _, pooling)| *pooling).collect());
    }
    let flags = config.as_object().into_iter().flatten();
    let on = flags.filter(|(key, value)| key.starts_with("pooling_mode_") && **value != false);
    let on: Vec<_> = on
        .map(|(key, _)| key.trim_start_matches("pooling_mode_"))
        .collect();
    let known = |flag: &&str| MODES.iter().any(|(_, name, _)| name == flag);
    let right = |flag: &&str| config[format!("pooling_mode_{flag}")] == true;
    if on.is_empty() || !on.iter().all(|flag| known(flag) && right(flag)) {
        return Err(format!("pooling {on:?}"));
    }
    let active = MODES.iter().filter(|(_, name, _)| on.contains(name));
    Ok(active.map(|(_, _, pooling)| *pooling).collect())
}

/// Whether nothing in the directory says how token vectors become one vector.
pub(super) fn pools_nothing(directory: &Path) -> bool {
    is_plain(directory) && !directory.join(join(PLAIN_POOLING, "config.json")).is_file()
}

/// Whether the directory has no list of modules, so that nothing says whether its vectors are normalized.
pub(super) fn is_plain(directory: &Path) -> bool {
    !directory.join(FILE).is_file()
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
