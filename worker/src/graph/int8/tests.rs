use super::*;
use crate::graph::proto::ValueInfoProto;

const WEIGHTS: [f32; 6] = [1.0, 0.0, -0.5, 0.25, 0.0, 1e-3];

fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        ..ValueInfoProto::default()
    }
}

/// Two products of the same activation.
fn graph() -> GraphProto {
    GraphProto {
        node: vec![
            node("MatMul", &["x", "w"], "y"),
            node("MatMul", &["x", "v"], "z"),
        ],
        initializer: vec![
            floats("w", &[2, 3], &WEIGHTS),
            floats("v", &[2, 3], &WEIGHTS),
        ],
        // Old formats name weights among the inputs.
        input: vec![named("x"), named("w"), named("v")],
        output: vec![named("y"), named("z")],
        ..GraphProto::default()
    }
}

fn quantized(graph: GraphProto) -> Result<GraphProto, EditError> {
    let mut model = Model::of(graph, OPSET);
    quantize(&mut model)?;
    Ok(model.graph().clone())
}

fn operators(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(|node| node.op_type()).collect()
}

#[test]
fn an_activation_is_quantized_once() {
    let graph = quantized(graph()).unwrap();
    let product = ["MatMulInteger", "Cast", "Mul", "Mul"];
    let expected = [&["DynamicQuantizeLinear"][..], &product, &product].concat();
    assert_eq!(operators(&graph), expected);
    let inputs: Vec<_> = graph.input.iter().map(|input| input.name()).collect();
    assert_eq!(inputs, ["x"]);
}

#[test]
fn weights_are_within_half_a_step_of_seven_bits() {
    let graph = quantized(graph()).unwrap();
    let [bytes, scales] = &graph.initializer[..2] else {
        panic!("there are no weights");
    };
    let bytes: Vec<_> = bytes
        .raw_data()
        .iter()
        .map(|byte| byte.cast_signed())
        .collect();
    let scales = scales.floats().unwrap();
    assert_eq!(bytes, [64, 0, -64, 16, 0, 0]);
    for (at, value) in WEIGHTS.iter().enumerate() {
        let scale = scales[at % 3];
        let found = f32::from(bytes[at]) * scale;
        assert!((found - value).abs() <= scale / 2.0, "{found}, not {value}");
    }
}

#[test]
fn a_weight_that_is_used_otherwise_as_well_stays() {
    let mut graph = graph();
    graph.node.push(node("Transpose", &["v"], "t"));
    let graph = quantized(graph).unwrap();
    let operators = operators(&graph);
    assert_eq!(operators[operators.len() - 2..], ["MatMul", "Transpose"]);
    let names: Vec<_> = graph.initializer.iter().map(|it| it.name()).collect();
    assert_eq!(names, ["ebb.w.int8", "ebb.w.scale", "v"]);
}

#[test]
fn what_cannot_be_quantized_is_named() {
    let old = quantize(&mut Model::of(graph(), OPSET - 1)).unwrap_err();
    assert!(matches!(
        old,
        EditError::Opset {
            found: 10,
            needed: 11
        }
    ));
    let again = quantized(quantized(graph()).unwrap()).unwrap_err();
    assert!(
        again.to_string().contains("DynamicQuantizeLinear"),
        "{again}"
    );
    let nothing = quantized(GraphProto::default()).unwrap_err();
    assert!(matches!(nothing, EditError::NoWeights));
}
