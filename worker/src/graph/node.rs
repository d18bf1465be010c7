//! Node: makes new nodes, and reads attributes of existing ones.

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto, attribute_type,
};

/// A node of ONNX's own operators with one output. Its name is made of that of the output: the runtime refuses two
/// nodes of one name.
pub(super) fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("ebb/{output}")),
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    }
}

/// A conversion to an element type.
pub(super) fn cast(input: &str, output: &str, to: i32) -> NodeProto {
    node("Cast", &[input], output).with_int("to", i64::from(to))
}

/// An input or output of a graph, with its type and shape.
pub(super) fn value(name: &str, element: i32, dims: &[DimensionProto]) -> ValueInfoProto {
    let shape = TensorShapeProto { dim: dims.to_vec() };
    let tensor = TensorTypeProto {
        elem_type: Some(element),
        shape: Some(shape),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

impl NodeProto {
    /// Whether its operator is one of ONNX's own with one of these names.
    pub fn is_one_of(&self, operators: &[&str]) -> bool {
        matches!(self.domain(), "" | "ai.onnx") && operators.contains(&self.op_type())
    }

    /// The value of an integer attribute, if it has that.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.find(name)?.i
    }

    pub fn find(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|it| it.name() == name)
    }

    /// The inner graphs, as of `If` and `Loop`.
    pub fn graphs(&self) -> impl Iterator<Item = &GraphProto> {
        let attributes = self.attribute.iter();
        attributes.flat_map(|attribute| attribute.graphs.iter().chain(&attribute.g))
    }

    pub fn with_int(mut self, name: &str, value: i64) -> Self {
        self.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(attribute_type::INT),
            i: Some(value),
            ..AttributeProto::default()
        });
        self
    }

    pub fn with_ints(mut self, name: &str, values: &[i64]) -> Self {
        self.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(attribute_type::INTS),
            ints: values.to_vec(),
            ..AttributeProto::default()
        });
        self
    }
}
