//! Layers: what a pooled vector goes through before it is truncated and normalized.

use std::path::{Path, PathBuf};

use contract::model::{Curve, Head, Layer, Output, Pooling};
use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use thiserror::Error;

use super::normalize;

/// Keeps a vector of zeros from being divided by zero, as the library does it.
const EPSILON: f32 = 1e-5;

/// Why the layers of a model cannot be loaded.
#[derive(Debug, Error)]
pub enum LayersError {
    #[error("failed to read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` {problem}")]
    Weights { path: PathBuf, problem: String },
}

/// A head with its weights.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    pub(super) concatenated: Vec<Pooling>,
    pub(super) exclude_prompt: bool,
    pub(super) output: Output,
    layers: Vec<Loaded>,
}

#[derive(Clone, Debug)]
enum Loaded {
    Dense {
        /// A row for each dimension of the result.
        weight: Array2<f32>,
        bias: Option<Array1<f32>>,
        curve: Curve,
    },
    LayerNorm {
        weight: Array1<f32>,
        bias: Array1<f32>,
    },
    Normalize,
}

impl Layers {
    /// Layers of a model that has none, with what the model makes of its output.
    pub fn of(output: &Output) -> Self {
        Self {
            output: output.clone(),
            ..Self::default()
        }
    }

    /// Loads the weights of a head from the directory of its model.
    ///
    /// # Errors
    /// [`LayersError`], also for layers that do not fit one behind the other.
    pub fn load(directory: &Path, head: &Head, output: &Output) -> Result<Self, LayersError> {
        let mut layers = Vec::new();
        let mut width = None;
        for layer in &head.layers {
            let loaded = Loaded::load(directory, layer)?;
            let (takes, gives) = loaded.widths();
            if let (Some(takes), Some(width), Some(file)) = (takes, width, layer.weights())
                && takes != width
            {
                let problem =
                    format!("takes {takes} dimensions, the layer before it gives {width}");
                return Err(problem_of(directory, file, problem));
            }
            width = gives.or(width);
            layers.push(loaded);
        }
        Ok(Self {
            concatenated: head.concatenated.clone(),
            exclude_prompt: head.exclude_prompt,
            output: output.clone(),
            layers,
        })
    }

    /// Dimensions of a pooled vector that they take, if that is fixed.
    pub fn takes(&self) -> Option<usize> {
        self.layers.iter().find_map(|layer| layer.widths().0)
    }

    /// Whether a token of a document has no vector.
    pub(super) fn skips(&self, id: i64) -> bool {
        let skipped = self.output.token_vectors().map(|it| &it.skipped);
        skipped.is_some_and(|skipped| {
            u32::try_from(id).is_ok_and(|id| skipped.binary_search(&id).is_ok())
        })
    }

    /// The matrix that every token vector is multiplied with, `[hidden, dimensions]`, where that is all that there is.
    pub(crate) fn projection(&self) -> Option<ArrayView2<'_, f32>> {
        match &self.layers[..] {
            [
                Loaded::Dense {
                    weight,
                    bias: None,
                    curve: Curve::Identity,
                },
            ] => Some(weight.t()),
            _ => None,
        }
    }

    /// The layers without that matrix, for a graph that has it.
    #[must_use]
    pub(crate) fn without_projection(&self) -> Self {
        Self::of(&self.output)
    }

    /// Whether the graph may pool in their place, and leave the layers to them.
    pub(crate) fn are_behind_one_pooling(&self) -> bool {
        self.concatenated.is_empty() && !self.exclude_prompt
    }

    pub(crate) fn are_none(&self) -> bool {
        self.layers.is_empty()
    }

    /// A vector of another width than the layers take gives nothing, which no model is allowed to give.
    pub(super) fn apply(&self, vector: Vec<f32>) -> Vec<f32> {
        if self.takes().is_some_and(|takes| takes != vector.len()) {
            return Vec::new();
        }
        self.layers
            .iter()
            .fold(vector, |vector, layer| layer.apply(vector))
    }
}

fn problem_of(directory: &Path, file: &str, problem: String) -> LayersError {
    LayersError::Weights {
        path: directory.join(file),
        problem,
    }
}

impl Loaded {
    fn load(directory: &Path, layer: &Layer) -> Result<Self, LayersError> {
        let Some(file) = layer.weights() else {
            return Ok(Self::Normalize);
        };
        let path = directory.join(file);
        let bytes = std::fs::read(&path).map_err(|source| LayersError::Read {
            path: path.clone(),
            source,
        })?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| {
            problem_of(
                directory,
                file,
                format!("is not in the format of safetensors: {error}"),
            )
        })?;
        let problem = |problem| problem_of(directory, file, problem);
        Self::of(layer, &tensors).map_err(problem)
    }

    fn of(layer: &Layer, tensors: &SafeTensors<'_>) -> Result<Self, String> {
        match layer {
            Layer::Dense { curve, .. } => {
                let weight = matrix(tensors, "linear.weight")?;
                let bias = match has(tensors, "linear.bias") {
                    true => Some(row(tensors, "linear.bias", weight.nrows())?),
                    false => None,
                };
                Ok(Self::Dense {
                    weight,
                    bias,
                    curve: *curve,
                })
            }
            Layer::LayerNorm { .. } => {
                let weight = find(tensors, "norm.weight")?;
                let width = weight.shape().iter().product();
                Ok(Self::LayerNorm {
                    weight: row(tensors, "norm.weight", width)?,
                    bias: row(tensors, "norm.bias", width)?,
                })
            }
            Layer::Normalize => Ok(Self::Normalize),
        }
    }

    /// Dimensions that it takes and gives, if they are fixed.
    fn widths(&self) -> (Option<usize>, Option<usize>) {
        match self {
            Self::Dense { weight, .. } => (Some(weight.ncols()), Some(weight.nrows())),
            Self::LayerNorm { weight, .. } => (Some(weight.len()), Some(weight.len())),
            Self::Normalize => (None, None),
        }
    }

    fn apply(&self, mut vector: Vec<f32>) -> Vec<f32> {
        match self {
            Self::Dense {
                weight,
                bias,
                curve,
            } => {
                let mut result = weight.dot(&ArrayView1::from(&vector));
                if let Some(bias) = bias {
                    result += bias;
                }
                result.mapv_inplace(|value| bend(*curve, value));
                result.to_vec()
            }
            Self::LayerNorm { weight, bias } => {
                let row = ArrayView1::from(&vector);
                let mean = row.mean().unwrap_or_default();
                let variance = row.var(0.0);
                let scaled = row.mapv(|value| (value - mean) / (variance + EPSILON).sqrt());
                (scaled * weight + bias).to_vec()
            }
            Self::Normalize => {
                normalize(&mut vector);
                vector
            }
        }
    }
}

fn bend(curve: Curve, value: f32) -> f32 {
    match curve {
        Curve::Identity => value,
        Curve::Tanh => value.tanh(),
        // A value that is not a number stays one.
        Curve::Relu if value < 0.0 => 0.0,
        Curve::Relu => value,
        Curve::Gelu => value * normal_share(value),
        Curve::Sigmoid => 1.0 / (1.0 + (-value).exp()),
        Curve::Silu => value / (1.0 + (-value).exp()),
    }
}

/// The share of the normal distribution below a value, with an error below 1e-7 (Abramowitz and Stegun, 7.1.26).
#[expect(
    clippy::cast_possible_truncation,
    reason = "the result is wanted in 32 bits"
)]
fn normal_share(value: f32) -> f32 {
    const COEFFICIENTS: [f64; 5] = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let x = f64::from(value) / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let polynomial = COEFFICIENTS.iter().fold(0.0, |all, it| (all + it) * t);
    let tail = 0.5 * polynomial * (-x * x).exp();
    (if x < 0.0 { tail } else { 1.0 - tail }) as f32
}

fn has(tensors: &SafeTensors<'_>, name: &str) -> bool {
    tensors.names().contains(&name)
}

fn find<'a>(tensors: &'a SafeTensors<'_>, name: &str) -> Result<TensorView<'a>, String> {
    tensors.tensor(name).map_err(|_| {
        let mut names = tensors.names();
        names.sort_unstable();
        format!("has no tensor `{name}`; it has {names:?}")
    })
}

fn matrix(tensors: &SafeTensors<'_>, name: &str) -> Result<Array2<f32>, String> {
    let tensor = find(tensors, name)?;
    let shape = tensor.shape();
    let problem = || format!("has the tensor `{name}` of shape {shape:?}; a matrix is taken");
    let [rows, columns] = *shape else {
        return Err(problem());
    };
    Array2::from_shape_vec((rows, columns), floats(&tensor, name)?).map_err(|_| problem())
}

fn row(tensors: &SafeTensors<'_>, name: &str, width: usize) -> Result<Array1<f32>, String> {
    let tensor = find(tensors, name)?;
    if tensor.shape() != [width] {
        let shape = tensor.shape();
        return Err(format!(
            "has the tensor `{name}` of shape {shape:?}; [{width}] is taken"
        ));
    }
    Ok(Array1::from_vec(floats(&tensor, name)?))
}

fn floats(tensor: &TensorView<'_>, name: &str) -> Result<Vec<f32>, String> {
    let bytes = tensor.data();
    let kind = tensor.dtype();
    if kind == Dtype::F32 {
        return Ok(values(bytes, f32::from_le_bytes));
    }
    if kind == Dtype::F16 {
        return Ok(values(bytes, |it| f16::from_le_bytes(it).to_f32()));
    }
    if kind == Dtype::BF16 {
        return Ok(values(bytes, |it| bf16::from_le_bytes(it).to_f32()));
    }
    Err(format!(
        "has the tensor `{name}` of {kind:?}; F32, F16 and BF16 are taken"
    ))
}

fn values<const BYTES: usize>(bytes: &[u8], read: impl Fn([u8; BYTES]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<BYTES>();
    values.iter().map(|bytes| read(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn write(folder: &Path, file: &str, tensors: &[(&str, &[usize], &[f32])]) {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|it| it.to_le_bytes()).collect())
            .collect();
        let views: HashMap<_, _> = tensors
            .iter()
            .zip(&bytes)
            .map(|((name, shape, _), bytes)| {
                let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
                ((*name).to_owned(), view)
            })
            .collect();
        let written = safetensors::serialize(&views, None).unwrap();
        std::fs::write(folder.join(file), written).unwrap();
    }

    fn dense(weights: &str, curve: Curve) -> Layer {
        Layer::Dense {
            weights: weights.to_owned(),
            curve,
        }
    }

    fn head(layers: Vec<Layer>) -> Head {
        Head {
            layers,
            ..Head::default()
        }
    }

    fn close(found: &[f32], expected: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(near), "{found:?}");
    }

    #[test]
    fn layers_are_applied_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let weight: &[f32] = &[1.0, 0.0, 0.0, 2.0, 1.0, 1.0];
        let tensors = [
            ("linear.weight", &[3, 2][..], weight),
            ("linear.bias", &[3], &[0.0, 0.5, -10.0]),
        ];
        write(folder.path(), "d", &tensors);
        let scale: &[f32] = &[1.0, 1.0, 2.0];
        let tensors = [
            ("norm.weight", &[3][..], scale),
            ("norm.bias", &[3], &[0.0, 0.0, 1.0]),
        ];
        write(folder.path(), "n", &tensors);
        let apply = |layers: Vec<Layer>| {
            let layers = Layers::load(folder.path(), &head(layers), &Output::Dense).unwrap();
            layers.apply(vec![3.0, 4.0])
        };
        close(&apply(vec![dense("d", Curve::Identity)]), &[3.0, 8.5, -3.0]);
        close(&apply(vec![dense("d", Curve::Relu)]), &[3.0, 8.5, 0.0]);
        let normalized = [0.6, 2.1, -8.6];
        close(
            &apply(vec![Layer::Normalize, dense("d", Curve::Identity)]),
            &normalized,
        );
        let norm = Layer::LayerNorm {
            weights: "n".to_owned(),
        };
        let found = apply(vec![dense("d", Curve::Identity), norm]);
        let (mean, deviation) = (17.0 / 6.0, 4.696_333_f32);
        let expected = [3.0, 8.5, -3.0].map(|it: f32| (it - mean) / deviation);
        close(&found, &[expected[0], expected[1], expected[2] * 2.0 + 1.0]);
    }

    #[test]
    fn curves_have_the_values_of_their_definitions() {
        for (curve, value, expected) in [
            (Curve::Tanh, 0.5, 0.462_117_16),
            (Curve::Gelu, 1.0, 0.841_344_7),
            (Curve::Gelu, -2.0, -0.045_500_26),
            (Curve::Sigmoid, 0.5, 0.622_459_3),
            (Curve::Silu, -1.0, -0.268_941_43),
        ] {
            let found = bend(curve, value);
            assert!((found - expected).abs() < 1e-6, "{curve:?}: {found}");
        }
        assert!(bend(Curve::Relu, f32::NAN).is_nan());
    }

    #[test]
    fn weights_that_are_not_those_of_the_layer_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let four: &[f32] = &[0.0; 4];
        write(folder.path(), "other", &[("weight", &[2, 2], four)]);
        write(folder.path(), "flat", &[("linear.weight", &[4], four)]);
        write(folder.path(), "good", &[("linear.weight", &[2, 2], four)]);
        write(folder.path(), "wide", &[("linear.weight", &[1, 4], four)]);
        std::fs::write(folder.path().join("torn"), b"{").unwrap();
        let load = |files: &[&str]| {
            let layers = files.iter().map(|it| dense(it, Curve::Tanh)).collect();
            Layers::load(folder.path(), &head(layers), &Output::Dense)
                .unwrap_err()
                .to_string()
        };
        for (files, word) in [
            (&["other"][..], "linear.weight"),
            (&["flat"], "matrix"),
            (&["torn"], "safetensors"),
            (&["good", "wide"], "takes 4 dimensions"),
            (&["missing"], "missing"),
        ] {
            let error = load(files);
            assert!(error.contains(word), "{error}");
        }
        let good = Layers::load(
            folder.path(),
            &head(vec![dense("good", Curve::Tanh)]),
            &Output::Dense,
        )
        .unwrap();
        assert_eq!(good.apply(vec![0.0; 3]), Vec::<f32>::new());
    }
}
