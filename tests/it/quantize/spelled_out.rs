//! Graphs as PyTorch exports them: layer normalization in nine operators, and scalars as nodes.

use contract::model::{Activation, OutputKind, Pooling};
use tests::tiny_embed;
use worker::graph::proto::{AttributeProto, NodeProto, TensorProto, attribute_type, data_type};
use worker::graph::{fp16, int8};
use worker::pool::Recipe;

use super::*;

/// Nodes with one output each, in order.
struct Nodes(Vec<NodeProto>);

impl Nodes {
    fn add(&mut self, operator: &str, inputs: &[&str], output: &str) -> &mut NodeProto {
        self.0.push(NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(format!("/{output}")),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
        self.0.last_mut().expect("it was just added")
    }

    fn scalar(&mut self, value: f32, output: &str) {
        let tensor = TensorProto {
            data_type: Some(data_type::FLOAT),
            raw_data: Some(value.to_le_bytes().to_vec().into()),
            ..TensorProto::default()
        };
        let value = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(attribute_type::TENSOR),
            t: Some(tensor),
            ..AttributeProto::default()
        };
        self.add("Constant", &[], output).attribute.push(value);
    }

    fn mean(&mut self, input: &str, output: &str) {
        let axes = AttributeProto {
            name: Some("axes".to_owned()),
            r#type: Some(attribute_type::INTS),
            ints: vec![-1],
            ..AttributeProto::default()
        };
        self.add("ReduceMean", &[input], output)
            .attribute
            .push(axes);
    }

    /// (x - mean) / sqrt(variance + epsilon) * scale + bias
    fn normalization(&mut self, old: &NodeProto) {
        let [x, scale, bias] = [0, 1, 2].map(|at: usize| old.input[at].as_str());
        let y = &old.output[0];
        let of = |part: &str| format!("{y}/{part}");
        self.mean(x, &of("mean"));
        self.add("Sub", &[x, &of("mean")], &of("centred"));
        self.scalar(2.0, &of("two"));
        self.add("Pow", &[&of("centred"), &of("two")], &of("squares"));
        self.mean(&of("squares"), &of("variance"));
        self.scalar(1e-12, &of("epsilon"));
        self.add("Add", &[&of("variance"), &of("epsilon")], &of("sum"));
        self.add("Sqrt", &[&of("sum")], &of("deviation"));
        self.add("Div", &[&of("centred"), &of("deviation")], &of("unit"));
        self.add("Mul", &[&of("unit"), scale], &of("scaled"));
        self.add("Add", &[&of("scaled"), bias], y);
    }
}

/// The tiny model with its normalizations spelled out.
fn spelled_out() -> anyhow::Result<Model> {
    let mut model = Model::read(&tiny_embed().join(GRAPH))?;
    let mut nodes = Nodes(Vec::new());
    for node in std::mem::take(&mut model.graph_mut().node) {
        match node.op_type() {
            "LayerNormalization" => nodes.normalization(&node),
            _ => nodes.0.push(node),
        }
    }
    model.graph_mut().node = nodes.0;
    Ok(model)
}

async fn vectors(graph: &Path) -> anyhow::Result<Vec<Vec<f32>>> {
    let recipe = Recipe {
        pooling: Pooling::Mean,
        dimensions: usize::MAX,
        normalize: true,
        activation: Activation::Raw,
        kind: OutputKind::Dense,
    };
    let mut session = Session::load(graph, &device().await?, recipe)?;
    let tokenizer = Tokenizer::load(&tiny_embed().join(TOKENIZER))?;
    run(&mut session, &tensors(&tokenizer, &texts()?, 64)?)
}

#[tokio::test]
async fn operators_that_make_up_others_are_quantized_as_those_are() -> anyhow::Result<()> {
    let expected = vectors(&tiny_embed().join(GRAPH)).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.onnx");
    let (mut bytes, mut halves) = (spelled_out()?, spelled_out()?);
    bytes.edit("quantize", &path, int8::quantize)?;
    halves.edit("quantize", &path, fp16::halve)?;
    for (model, cosine) in [
        (spelled_out()?, 0.999_999),
        (bytes, 0.999),
        (halves, 0.9999),
    ] {
        std::fs::write(&path, model.encode(&path)?)?;
        let (least, _) = cosines(&vectors(&path).await?, &expected);
        assert!(least >= cosine, "{least}");
    }
    Ok(())
}
