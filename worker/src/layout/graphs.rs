//! Graphs: which of the files of a directory is the graph, and which hold its weights.

use std::path::{Component, Path};

use super::error::LayoutError;
use super::{CONFIG, json};
use crate::graph::Graph;
use contract::topology::Task;

/// Graphs that are looked for, best first.
const GRAPHS: [&str; 2] = ["onnx/model.onnx", "model.onnx"];
/// Weights that a graph can be exported from.
const WEIGHTS: [&str; 2] = ["safetensors", "bin"];

/// Graphs to look for, best first.
pub(crate) fn graphs(given: Option<&str>) -> Vec<&str> {
    given.map_or(GRAPHS.to_vec(), |onnx| vec![onnx])
}

/// Files that hold the weights of a graph, the graph itself aside, relative to the directory.
///
/// # Errors
/// If the graph is not one.
pub(crate) fn external_data(directory: &Path, onnx: &str) -> Result<Vec<String>, LayoutError> {
    Ok(beside(onnx, &Graph::read(&directory.join(onnx))?))
}

/// The files of a graph, relative to the directory instead of to the graph.
pub(super) fn beside(onnx: &str, graph: &Graph) -> Vec<String> {
    let folder = Path::new(onnx).parent().unwrap_or(Path::new(""));
    let beside = |file: &String| folder.join(file).to_string_lossy().into_owned();
    graph.external.iter().map(beside).collect()
}

pub(super) fn find_graph(directory: &Path, given: Option<&str>) -> Result<String, LayoutError> {
    let candidates = graphs(given);
    if let Some(outside) = given.filter(|given| !is_inside(given)) {
        return Err(LayoutError::Outside {
            given: outside.to_owned(),
            directory: directory.to_owned(),
        });
    }
    let is_there = |onnx: &&&str| directory.join(onnx).is_file();
    match candidates.iter().find(is_there) {
        Some(onnx) => Ok((*onnx).to_owned()),
        None => Err(no_graph(directory, &candidates.join("` or `"))),
    }
}

fn is_inside(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Says what lies there in place of the graph.
fn no_graph(directory: &Path, wanted: &str) -> LayoutError {
    let others = files(directory, |name| name.ends_with(".onnx"));
    if !others.is_empty() {
        return LayoutError::OtherGraphs {
            directory: directory.to_owned(),
            wanted: wanted.to_owned(),
            found: others.join("`, `"),
        };
    }
    let weights = files(directory, |name| {
        WEIGHTS.iter().any(|it| name.ends_with(&format!(".{it}"))) && !name.contains('/')
    });
    match weights.into_iter().next() {
        Some(found) => LayoutError::OnlyWeights {
            directory: directory.to_owned(),
            found,
            task: export_task(directory),
        },
        None => LayoutError::Missing {
            directory: directory.to_owned(),
            what: format!("graph `{wanted}`"),
        },
    }
}

/// The task that the exporter of a graph is to be asked for.
fn export_task(directory: &Path) -> &'static str {
    let config = json(directory, CONFIG).ok().flatten().unwrap_or_default();
    match super::task(&config) {
        Task::Embed if super::kinds::makes_terms(directory, &config) => "fill-mask",
        Task::Embed => "feature-extraction",
        Task::Rescore => "text-classification",
    }
}

/// Files of a directory and of its folders with such names, in order.
fn files(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "onnx"] {
        let entries = std::fs::read_dir(directory.join(folder));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = Path::new(folder).join(name).to_string_lossy().into_owned();
            if wanted(&path) && directory.join(&path).is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::directory;
    use super::*;

    fn refused(files: &[&str], given: Option<&str>) -> String {
        let files: Vec<_> = files.iter().map(|file| (*file, json!({}))).collect();
        let error = find_graph(directory(&files).path(), given).unwrap_err();
        error.to_string()
    }

    #[test]
    fn graphs_of_other_names_are_named_with_the_option() {
        let two = ["onnx/model_quantized.onnx", "onnx/model_q4f16.onnx"];
        let error = refused(&two, None);
        for word in ["onnx/model.onnx", two[0], two[1], "--onnx"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        let error = refused(&["model.onnx"], Some("onnx/model_q4.onnx"));
        assert!(
            error.contains("`onnx/model_q4.onnx`") && error.contains("`model.onnx`"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_with_safetensors_alone_gets_the_command_that_exports_it() {
        let error = refused(&["model.safetensors", "config.json"], None);
        for word in [
            "model.safetensors",
            "optimum-cli export onnx",
            "feature-extraction",
        ] {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(refused(&["config.json"], None).contains("no graph"));
    }

    #[test]
    fn a_graph_elsewhere_is_refused_with_the_option() {
        for outside in ["/abs.onnx", "../model.onnx", "onnx/../../model.onnx"] {
            let error = refused(&["model.onnx"], Some(outside));
            assert!(
                error.contains(outside) && error.contains("--onnx"),
                "{error}"
            );
        }
    }
}
