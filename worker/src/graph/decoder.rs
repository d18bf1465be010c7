//! Decoder: the product of token vectors with a whole vocabulary, at the end of a masked language model.

use std::ops::Range;

use bytes::Bytes;

use super::proto::data_type::{FLOAT, FLOAT16};
use super::proto::{GraphProto, TensorProto};

/// Most nodes on the way from a constant, or from the product to the logits: a damaged graph may go in circles.
const MOST_STEPS: usize = 32;
/// Most rows or columns of the product: no vocabulary has as many words.
const MOST_ROWS: usize = 1 << 24;

/// Most bytes of weights that are cut here: they are in the graph a second time then, which must stay below 2 GiB.
const MOST_BYTES: usize = 512 << 20;

/// The product with the vocabulary.
pub(super) struct Decoder {
    /// Name of the token vectors that it takes.
    pub(super) hidden: String,
    pub(super) weight: Weight,
    /// Names of the values that are added to its result.
    pub(super) biases: Vec<String>,
}

/// The vectors of all terms.
pub(super) struct Weight {
    /// The value that the product takes, `[hidden, terms]`.
    pub(super) name: String,
    /// The constant that it comes from, and whether that has a row for each term.
    source: TensorProto,
    has_term_rows: bool,
    /// Whether the product takes it in another type.
    is_converted: bool,
    hidden: usize,
    pub(super) terms: usize,
}

/// Looks for the product with the vocabulary, from the logits backwards.
pub(super) fn decoder(graph: &GraphProto, logits: &str) -> Option<Decoder> {
    let (mut at, mut biases) = (logits.to_owned(), Vec::new());
    for _ in 0..MOST_STEPS {
        let node = graph.producer(&at)?;
        let [first, rest @ ..] = &node.input[..] else {
            return None;
        };
        let second = rest.first();
        if node.is_one_of(&["Identity", "Cast"]) {
            at.clone_from(first);
        } else if node.is_one_of(&["Add"]) {
            let second = second?;
            let (bias, other) = if is_bias(graph, second) {
                (second, first)
            } else {
                (first, second)
            };
            if !is_bias(graph, bias) {
                return None;
            }
            biases.push(bias.clone());
            at.clone_from(other);
        } else if node.is_one_of(&["MatMul"]) {
            let weight = weight(graph, second?)?;
            let hidden = first.clone();
            return Some(Decoder {
                hidden,
                weight,
                biases,
            });
        } else {
            return None;
        }
    }
    None
}

/// A constant with a value for each term, or one for all.
fn is_bias(graph: &GraphProto, name: &str) -> bool {
    constant(graph, name).is_some_and(|constant| {
        let dims = &constant.source.dims;
        let before = dims.len().saturating_sub(1);
        dims[..before].iter().all(|size| *size == 1)
    })
}

fn weight(graph: &GraphProto, name: &str) -> Option<Weight> {
    let Constant {
        source,
        is_turned,
        is_converted,
    } = constant(graph, name)?;
    let [rows, columns] = source.dims[..] else {
        return None;
    };
    let (rows, columns) = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
    if rows.max(columns) > MOST_ROWS {
        return None;
    }
    let (terms, hidden) = if is_turned {
        (rows, columns)
    } else {
        (columns, rows)
    };
    Some(Weight {
        name: name.to_owned(),
        source: source.clone(),
        has_term_rows: is_turned,
        is_converted,
        hidden,
        terms,
    })
}

/// The constant that a value comes from.
struct Constant<'a> {
    source: &'a TensorProto,
    /// Whether its rows and columns change places on the way.
    is_turned: bool,
    /// Whether its type changes.
    is_converted: bool,
}

/// Looks for the constant that a value comes from through nodes that change none of its numbers.
fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<Constant<'a>> {
    constant_within(graph, name, MOST_STEPS)
}

fn constant_within<'a>(graph: &'a GraphProto, name: &str, steps: usize) -> Option<Constant<'a>> {
    let plain = |source| Constant {
        source,
        is_turned: false,
        is_converted: false,
    };
    if let Some(found) = graph.initializer.iter().find(|it| it.name() == name) {
        return Some(plain(found));
    }
    let node = graph.producer(name)?;
    if node.is_one_of(&["Constant"]) {
        return Some(plain(node.find("value")?.t.as_ref()?));
    }
    let before = node.input.first()?;
    let mut found = constant_within(graph, before, steps.checked_sub(1)?)?;
    if node.is_one_of(&["Transpose"]) && found.source.dims.len() == 2 {
        let order = node.find("perm").map_or(&[1, 0][..], |perm| &perm.ints);
        found.is_turned ^= order == [1, 0];
    } else if node.is_one_of(&["Cast"]) {
        found.is_converted = true;
    } else if !node.is_one_of(&["Identity"]) {
        return None;
    }
    Some(found)
}

impl Weight {
    /// Bytes of an element, where the values are here to be cut.
    pub(super) fn element(&self) -> Option<usize> {
        let bytes = match self.source.data_type() {
            FLOAT if !self.is_converted => 4,
            FLOAT16 if !self.is_converted => 2,
            _ => return None,
        };
        let (found, wanted) = (
            self.source.raw_data().len(),
            self.hidden * self.terms * bytes,
        );
        (found == wanted && wanted <= MOST_BYTES).then_some(bytes)
    }

    /// The vectors of some terms, `[hidden, terms]`.
    pub(super) fn block(&self, name: &str, terms: Range<usize>, element: usize) -> TensorProto {
        let values = self.source.raw_data();
        let mut block = Vec::with_capacity(self.hidden * terms.len() * element);
        for dimension in 0..self.hidden {
            if self.has_term_rows {
                for term in terms.clone() {
                    let at = (term * self.hidden + dimension) * element;
                    block.extend_from_slice(&values[at..at + element]);
                }
            } else {
                let row = dimension * self.terms;
                let (start, end) = (row + terms.start, row + terms.end);
                block.extend_from_slice(&values[start * element..end * element]);
            }
        }
        let dims = [self.hidden, terms.len()].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        TensorProto {
            dims: dims.to_vec(),
            data_type: self.source.data_type,
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::from(block)),
            ..TensorProto::default()
        }
    }
}
