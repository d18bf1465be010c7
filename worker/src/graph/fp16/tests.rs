use super::*;
use crate::graph::node::node;
use crate::graph::proto::{TensorTypeProto, TypeProto, ValueInfoProto};
use crate::graph::tensor::floats;

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(FLOAT),
                shape: None,
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A product, and what the nodes after it make of it.
fn halved(after: Vec<NodeProto>, constant: f32) -> GraphProto {
    let product = node("MatMul", &["x", "w"], "p");
    let output = after
        .last()
        .map_or("p".to_owned(), |node| node.output[0].clone());
    let graph = GraphProto {
        node: [vec![product], after].concat(),
        initializer: vec![
            floats("w", &[2, 2], &[1.0; 4]),
            floats("c", &[], &[constant]),
        ],
        input: vec![value("x")],
        output: vec![value(&output)],
        ..GraphProto::default()
    };
    let mut model = Model::of(graph, OPSET);
    halve(&mut model).unwrap();
    model.graph().clone()
}

/// Each node as its operator and its inputs.
fn steps(graph: &GraphProto) -> Vec<String> {
    let step = |node: &NodeProto| format!("{} {}", node.op_type(), node.input.join(" "));
    graph.node.iter().map(step).collect()
}

#[test]
fn products_and_what_scales_them_are_in_16_bits_and_outputs_in_32() {
    let graph = halved(vec![node("Mul", &["p", "c"], "y")], 2.0);
    let expected = [
        "Cast x",
        "MatMul ebb.x.half ebb.w.half",
        "Mul p ebb.c.half",
        "Cast ebb.y.half",
    ];
    assert_eq!(steps(&graph), expected);
    let types: Vec<_> = graph.initializer.iter().map(|it| it.data_type()).collect();
    assert_eq!(types, [FLOAT16, FLOAT16]);
}

#[test]
fn tables_are_in_16_bits_and_their_rows_in_32() {
    let nodes = vec![
        node("Gather", &["w", "i"], "r"),
        node("Add", &["r", "c"], "s"),
        node("MatMul", &["r", "s"], "y"),
    ];
    let expected = [
        "Gather ebb.w.half i",
        "Cast ebb.r.half",
        "Add r c",
        "Cast s",
        "MatMul ebb.r.half ebb.s.half",
    ];
    assert_eq!(steps(&halved(nodes, 2.0))[2..7], expected);
}

#[test]
fn softmax_is_in_32_bits() {
    let graph = halved(vec![node("Softmax", &["p"], "y")], 2.0);
    let expected = [
        "Cast x",
        "MatMul ebb.x.half ebb.w.half",
        "Cast p",
        "Softmax ebb.p.float",
    ];
    assert_eq!(steps(&graph), expected);
}

#[test]
fn a_constant_that_16_bits_cannot_hold_keeps_its_operator_in_32() {
    let graph = halved(vec![node("Add", &["p", "c"], "y")], f32::MIN);
    assert_eq!(steps(&graph)[2..], ["Cast p", "Add ebb.p.float c"]);
    let constant = graph.initializer.iter().find(|it| it.name() == "c");
    assert_eq!(constant.map(|it| it.data_type()), Some(FLOAT));
}

#[test]
fn what_meets_a_value_in_32_bits_is_in_32_bits() {
    let nodes = vec![
        node("Add", &["p", "x"], "s"),
        node("MatMul", &["s", "w"], "y"),
    ];
    let expected = [
        "Cast p",
        "Add ebb.p.float x",
        "Cast s",
        "MatMul ebb.s.half ebb.w.half",
    ];
    assert_eq!(steps(&halved(nodes, 2.0))[2..6], expected);
}

#[test]
fn a_graph_within_a_graph_or_without_products_is_refused() {
    let inner = crate::graph::proto::AttributeProto {
        g: Some(GraphProto::default()),
        ..Default::default()
    };
    let mut branch = node("If", &["x"], "y");
    branch.attribute.push(inner);
    let graph = |node| GraphProto {
        node: vec![node],
        ..GraphProto::default()
    };
    let refused = halve(&mut Model::of(graph(branch), OPSET)).unwrap_err();
    assert!(matches!(refused, EditError::Operator { .. }));
    let empty = halve(&mut Model::of(graph(node("Relu", &["x"], "y")), OPSET)).unwrap_err();
    assert!(matches!(empty, EditError::NoWeights));
}
