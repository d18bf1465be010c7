//! Terms: makes the largest logit of each term the output of a masked language model.
//!
//! A masked language model ends with a product of the token vectors with the whole vocabulary: `[rows, tokens, terms]` floats,
//! of which only the largest of each row and term is wanted. 16 rows of 256 tokens would take 500 MB with a vocabulary of
//! 30,522. So that product is cut into blocks of terms, each followed by its maximum: the runtime frees one block before it
//! computes the next.
//!
//! - Padding takes part in no maximum: the vector of each padded token is replaced by that of the first token of its row, whose
//!   logits are there anyway.
//! - What is added to a term is added to its maximum: that is the same, and done once for each row instead of for each token.
//! - The logarithm is left to the worker: it is wanted only of the few terms that are above 0.
//! - A maximum may pass over a value that is not a number. So the sum of all that the product takes is multiplied by 0 and
//!   added: it changes nothing, unless one of them was not finite.
//!
//! A graph whose last product is not found, as one that was quantized, gets a maximum over its logits instead. Then the worker
//! must not run many rows at once.

use std::ops::Range;

use super::decoder::{Decoder, Weight, decoder};
use super::model::Model;
use super::node::{cast, node, value};
use super::proto::data_type::{BOOL, FLOAT, FLOAT16, INT64};
use super::proto::{DimensionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::tensor::{floats, integers};
use super::{AXES_ARE_INPUT, EditError, MASK};

/// Name of the output, `[rows, terms]` in 32-bit floats.
pub const LARGEST: &str = "ebb.largest_logits";
/// Name of the output that is looked for first.
const LOGITS: &str = "logits";
const OPSET: i64 = 11;

/// The form of a graph after the edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduced {
    /// How many terms there are.
    pub terms: usize,
    /// Terms that a token is multiplied with at once: all of them where the last product was not found.
    pub at_once: usize,
}

/// Makes the largest logits the only output. The product with the vocabulary is cut into blocks of `columns` terms.
///
/// # Errors
/// [`EditError`], above all [`EditError::NoLogits`].
pub fn largest_logits(model: &mut Model, columns: usize) -> Result<Reduced, EditError> {
    model.check(OPSET)?;
    let opset = model.opset();
    let graph = model.graph_mut();
    let logits = find_logits(graph)?;
    let mut tail = AddedNodes {
        opset,
        nodes: Vec::new(),
        constants: Vec::new(),
    };
    let reduced = match decoder(graph, &logits.name) {
        Some(decoder) => {
            tail.blocks(&decoder, columns.max(1));
            Reduced {
                terms: decoder.weight.terms,
                at_once: columns.clamp(1, decoder.weight.terms.max(1)),
            }
        }
        None => {
            let terms = logits.terms.ok_or(EditError::NoLogits)?;
            tail.whole(&logits.name);
            Reduced {
                terms,
                at_once: terms,
            }
        }
    };
    tail.finish(graph, &logits, reduced.terms);
    graph.drop_unused();
    Ok(reduced)
}

struct Logits {
    name: String,
    dims: Vec<DimensionProto>,
    terms: Option<usize>,
}

fn find_logits(graph: &GraphProto) -> Result<Logits, EditError> {
    let mut outputs: Vec<_> = graph.output.iter().filter_map(logits).collect();
    let named = outputs.iter().position(|output| output.name == LOGITS);
    match (named, outputs.len()) {
        (Some(at), _) => Ok(outputs.swap_remove(at)),
        (None, 1) => Ok(outputs.remove(0)),
        (None, _) => Err(EditError::NoLogits),
    }
}

fn logits(output: &ValueInfoProto) -> Option<Logits> {
    let tensor = output.r#type.as_ref()?.tensor_type.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.clone();
    let fits = dims.len() == 3 && matches!(tensor.elem_type(), FLOAT | FLOAT16);
    let terms = dims.last().and_then(|dim| dim.dim_value);
    fits.then(|| Logits {
        name: output.name().to_owned(),
        dims,
        terms: terms.and_then(|terms| usize::try_from(terms).ok()),
    })
}

/// Nodes that are added to a graph.
struct AddedNodes {
    opset: i64,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl AddedNodes {
    /// The maxima block by block.
    fn blocks(&mut self, decoder: &Decoder, columns: usize) {
        let weight = &decoder.weight;
        let tokens = self.without_padding(&decoder.hidden);
        let mut blocks = Vec::new();
        for (number, start) in (0..weight.terms).step_by(columns).enumerate() {
            let terms = start..(start + columns).min(weight.terms);
            let part = self.part(weight, number, terms);
            let product = format!("ebb.logits.{number}");
            self.nodes.push(node("MatMul", &[&tokens, &part], &product));
            blocks.push(self.maximum(&product));
        }
        let blocks: Vec<_> = blocks.iter().map(String::as_str).collect();
        let all = node("Concat", &blocks, "ebb.largest").with_int("axis", 1);
        self.nodes.push(all);
        let mut largest = "ebb.largest".to_owned();
        for (number, bias) in decoder.biases.iter().rev().enumerate() {
            let added = format!("ebb.largest.{number}");
            let (single, flat) = (
                format!("ebb.bias.{number}.float"),
                format!("ebb.bias.{number}"),
            );
            self.integers("ebb.bias.shape", &[-1]);
            self.nodes.extend([
                cast(bias, &single, FLOAT),
                node("Reshape", &[&single, "ebb.bias.shape"], &flat),
                node("Add", &[&largest, &flat], &added),
            ]);
            largest = added;
        }
        self.guard(&tokens, &largest);
    }

    /// The maxima over logits that are all there.
    fn whole(&mut self, logits: &str) {
        let tokens = self.without_padding(logits);
        let largest = self.maximum(&tokens);
        self.guard(&tokens, &largest);
    }

    /// The vectors of some terms: cut here where the values are at hand, so that sessions can share them, else by the runtime.
    fn part(&mut self, weight: &Weight, number: usize, terms: Range<usize>) -> String {
        let name = format!("ebb.terms.{number}");
        if let Some(element) = weight.element() {
            self.constants.push(weight.block(&name, terms, element));
            return name;
        }
        let place = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        let (start, end) = (format!("{name}.start"), format!("{name}.end"));
        self.integers(&start, &[place(terms.start)]);
        self.integers(&end, &[place(terms.end)]);
        self.integers("ebb.terms.axis", &[1]);
        let inputs = [weight.name.as_str(), &start, &end, "ebb.terms.axis"];
        self.nodes.push(node("Slice", &inputs, &name));
        name
    }

    /// Puts the first token of each row in the place of its padding.
    fn without_padding(&mut self, tokens: &str) -> String {
        self.integers("ebb.first", &[0]);
        self.integers("ebb.mask.shape", &[0, 0, 1]);
        let first = node("Gather", &[tokens, "ebb.first"], "ebb.first.token");
        let inputs = ["ebb.is.token", tokens, "ebb.first.token"];
        self.nodes.extend([
            cast(MASK, "ebb.mask", BOOL),
            node("Reshape", &["ebb.mask", "ebb.mask.shape"], "ebb.is.token"),
            first.with_int("axis", 1),
            node("Where", &inputs, "ebb.tokens"),
        ]);
        "ebb.tokens".to_owned()
    }

    /// The largest of each row and term, in 32-bit floats.
    fn maximum(&mut self, logits: &str) -> String {
        let (single, largest) = (format!("{logits}.float"), format!("{logits}.largest"));
        let reduced = self.reduced("ReduceMax", &single, &[1], &largest);
        self.nodes.extend([cast(logits, &single, FLOAT), reduced]);
        largest
    }

    /// Makes a row not a number if one of its tokens is not finite.
    fn guard(&mut self, tokens: &str, largest: &str) {
        self.constants.push(floats("ebb.zero", &[], &[0.0]));
        self.integers("ebb.guard.shape", &[-1, 1]);
        let sum = self.reduced("ReduceL1", "ebb.guard.float", &[1, 2], "ebb.guard.sum");
        self.nodes.extend([
            cast(tokens, "ebb.guard.float", FLOAT),
            sum,
            node("Mul", &["ebb.guard.sum", "ebb.zero"], "ebb.guard.zero"),
            node(
                "Reshape",
                &["ebb.guard.zero", "ebb.guard.shape"],
                "ebb.guard",
            ),
            node("Add", &[largest, "ebb.guard"], LARGEST),
        ]);
    }

    fn reduced(&mut self, operator: &str, input: &str, axes: &[i64], output: &str) -> NodeProto {
        if self.opset < AXES_ARE_INPUT {
            let reduced = node(operator, &[input], output);
            return reduced.with_ints("axes", axes).with_int("keepdims", 0);
        }
        let name = format!("{operator}.axes");
        self.integers(&name, axes);
        node(operator, &[input, &name], output).with_int("keepdims", 0)
    }

    fn integers(&mut self, name: &str, values: &[i64]) {
        if self.constants.iter().all(|known| known.name() != name) {
            let length = i64::try_from(values.len()).unwrap_or_default();
            self.constants.push(integers(name, &[length], values));
        }
    }

    fn finish(mut self, graph: &mut GraphProto, logits: &Logits, terms: usize) {
        if !graph.input.iter().any(|input| input.name() == MASK) {
            graph.input.push(value(MASK, INT64, &logits.dims[..2]));
        }
        let width = DimensionProto {
            dim_value: i64::try_from(terms).ok(),
            ..DimensionProto::default()
        };
        graph.node.append(&mut self.nodes);
        graph.initializer.append(&mut self.constants);
        graph.output = vec![value(LARGEST, FLOAT, &[logits.dims[0].clone(), width])];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(name: &str, dims: &[i64]) -> TensorProto {
        let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
        let values: Vec<f32> = (0_u16..).map(f32::from).take(count).collect();
        floats(name, dims, &values)
    }

    fn dims(sizes: &[Option<i64>]) -> Vec<DimensionProto> {
        let dim = |size: &Option<i64>| DimensionProto {
            dim_value: *size,
            ..DimensionProto::default()
        };
        sizes.iter().map(dim).collect()
    }

    /// A model of these nodes behind `hidden`, whose weights are `words` `[7, 2]` and `turned` `[2, 7]`.
    fn model(nodes: Vec<NodeProto>) -> Model {
        let graph = GraphProto {
            node: nodes,
            input: vec![value("hidden", FLOAT, &dims(&[None, None, Some(2)]))],
            output: vec![value("logits", FLOAT, &dims(&[None, None, Some(7)]))],
            initializer: vec![
                float("words", &[7, 2]),
                float("turned", &[2, 7]),
                float("bias", &[7]),
                float("each", &[3, 7]),
            ],
            ..GraphProto::default()
        };
        Model::of(graph, 17)
    }

    fn reduced(nodes: Vec<NodeProto>) -> (Reduced, Model) {
        let mut model = model(nodes);
        let reduced = largest_logits(&mut model, 3).unwrap();
        (reduced, model)
    }

    fn values(model: &Model, name: &str) -> Option<Vec<f32>> {
        let found = model
            .graph()
            .initializer
            .iter()
            .find(|it| it.name() == name);
        found.map(|it| it.floats().unwrap())
    }

    #[test]
    fn the_last_product_is_cut_into_blocks_of_terms_however_it_is_written() {
        let turn = || node("Transpose", &["words"], "columns").with_ints("perm", &[1, 0]);
        let tied = vec![
            turn(),
            node("MatMul", &["hidden", "columns"], "product"),
            node("Add", &["bias", "product"], "sum"),
            node("Identity", &["sum"], "logits"),
        ];
        let (found, model) = reduced(tied);
        assert_eq!((found.terms, found.at_once), (7, 3));
        let block = |number: usize| values(&model, &format!("ebb.terms.{number}"));
        assert_eq!(block(0).unwrap(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(block(2).unwrap(), [12.0, 13.0]);
        assert!(block(3).is_none());
        assert!(
            values(&model, "words").is_none(),
            "nobody takes it any more"
        );
        let operators = model.graph().node.iter().map(NodeProto::op_type);
        assert_eq!(operators.filter(|it| *it == "MatMul").count(), 3);
        let (_, model) = reduced(vec![node("MatMul", &["hidden", "turned"], "logits")]);
        let block = values(&model, "ebb.terms.1").unwrap();
        assert_eq!(block, [3.0, 4.0, 5.0, 10.0, 11.0, 12.0]);
    }

    #[test]
    fn weights_in_a_file_are_cut_by_the_runtime() {
        let mut model = model(vec![node("MatMul", &["hidden", "turned"], "logits")]);
        model.graph_mut().initializer[1].raw_data = None;
        largest_logits(&mut model, 3).unwrap();
        let operators = model.graph().node.iter().map(NodeProto::op_type);
        assert_eq!(operators.filter(|it| *it == "Slice").count(), 3);
    }

    #[test]
    fn logits_whose_product_is_not_found_are_reduced_whole() {
        for nodes in [
            // Something else than a sum follows.
            vec![
                node("MatMul", &["hidden", "turned"], "product"),
                node("Tanh", &["product"], "logits"),
            ],
            // What is added differs from token to token.
            vec![
                node("MatMul", &["hidden", "turned"], "product"),
                node("Add", &["product", "each"], "logits"),
            ],
            // The other factor is no constant.
            vec![node("MatMul", &["hidden", "hidden"], "logits")],
            // What is added is made of itself.
            vec![
                node("Identity", &["circle"], "circle"),
                node("MatMul", &["hidden", "turned"], "product"),
                node("Add", &["product", "circle"], "logits"),
            ],
            vec![node("Identity", &["logits"], "logits")],
        ] {
            let (found, model) = reduced(nodes);
            assert_eq!((found.terms, found.at_once), (7, 7));
            assert_eq!(model.graph().output[0].name(), LARGEST);
        }
    }

    #[test]
    fn a_graph_without_logits_is_refused() {
        let mut model = model(Vec::new());
        model.graph_mut().output = vec![value("pooled", FLOAT, &dims(&[None, Some(2)]))];
        let refused = largest_logits(&mut model, 3).unwrap_err();
        assert!(matches!(refused, EditError::NoLogits), "{refused}");
    }
}
