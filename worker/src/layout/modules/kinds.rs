//! Modules of models that make no dense vectors.

use std::path::Path;

use contract::model::{Head, OutputKind, Pooling};

use super::super::error::LayoutError;
use super::super::json;
use super::{List, Module, Modules, ModulesReader, join, unsupported};

/// Says which modules queries go through, and which documents.
pub(super) const ROUTER: &str = "router_config.json";

/// The kind of vectors that the list of modules tells, and the module that tells it.
pub(in crate::layout) fn kind(
    directory: &Path,
) -> Result<Option<(OutputKind, String)>, LayoutError> {
    let list = List::read(directory)?;
    let modules = list.modules(directory)?;
    let tells = |module: &Module<'_>| match module.kind {
        "SpladePooling" | "Router" => Some(OutputKind::Sparse),
        "Pooling" => Some(OutputKind::Dense),
        _ if module.is_late => Some(OutputKind::Multi),
        _ => None,
    };
    let told = modules.iter().find_map(|it| Some((tells(it)?, it.kind)));
    Ok(told.map(|(kind, module)| (kind, module.to_owned())))
}

/// The description of the module that makes terms of logits, if there is one.
pub(in crate::layout) fn splade_config(directory: &Path) -> Result<Option<String>, LayoutError> {
    let list = List::read(directory)?;
    let modules = list.modules(directory)?;
    if modules.iter().any(|module| module.kind == "Router") {
        return routed(directory).map(Some);
    }
    let pooling = modules.iter().find(|it| it.kind == "SpladePooling");
    Ok(pooling.map(|it| join(it.path, "config.json")))
}

/// The description of what makes terms of documents, where queries and documents go two ways. Of queries only a table is known.
fn routed(directory: &Path) -> Result<String, LayoutError> {
    let config = json(directory, ROUTER)?.unwrap_or_default();
    let names = |route: &str| -> Vec<String> {
        let listed = config["structure"][route].as_array().into_iter().flatten();
        listed
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    let (query, document) = (names("query"), names("document"));
    let kinds: Vec<_> = query
        .iter()
        .chain(&document)
        .map(|it| last_word(it))
        .collect();
    match (&kinds[..], document.get(1)) {
        (["SparseStaticEmbedding", "MLMTransformer", "SpladePooling"], Some(pooling)) => {
            Ok(join(pooling, "config.json"))
        }
        _ => Err(LayoutError::Value {
            path: directory.join(ROUTER),
            found: format!("has the routes {}", config["structure"]),
            taken: "a query by SparseStaticEmbedding and a document by MLMTransformer and SpladePooling are taken",
        }),
    }
}

/// The kind of a routed module, whose name is like `document_1_SpladePooling`.
fn last_word(name: &str) -> &str {
    name.rsplit('_').next().unwrap_or(name)
}

/// Reads the modules of a model of terms, which has no others than those that make them.
pub(in crate::layout) fn of_terms(directory: &Path) -> Result<Modules, LayoutError> {
    let list = List::read(directory)?;
    let allowed = ["MLMTransformer", "Transformer", "SpladePooling", "Router"];
    for (at, module) in list.modules(directory)?.iter().enumerate() {
        if !allowed.contains(&module.kind) {
            return Err(unsupported(
                directory,
                format!("{} at place {at}", module.kind),
            ));
        }
    }
    Ok(Modules {
        pooling: Pooling::Graph,
        normalize: false,
        head: Head::default(),
    })
}

/// Reads the modules of a model of late interaction: projections of token vectors, whose length is 1 at the end.
pub(in crate::layout) fn of_tokens(directory: &Path) -> Result<Modules, LayoutError> {
    let list = List::read(directory)?;
    let mut found = ModulesReader::new(directory, None);
    for (at, module) in list.modules(directory)?.iter().enumerate() {
        match (module.kind, at) {
            ("Transformer", 0) | ("Normalize" | "Dropout", 1..) => {}
            ("Dense", 1..) => found.dense(module.path)?,
            (kind, _) => return Err(unsupported(directory, format!("{kind} at place {at}"))),
        }
    }
    Ok(Modules {
        pooling: Pooling::Graph,
        normalize: true,
        head: Head {
            layers: found.layers,
            ..Head::default()
        },
    })
}
