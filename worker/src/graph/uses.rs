//! Uses: which node of a graph makes a value, and what nobody takes.

use std::collections::HashSet;

use super::proto::{GraphProto, NodeProto};

impl GraphProto {
    /// The node that makes a value.
    pub(super) fn producer(&self, value: &str) -> Option<&NodeProto> {
        let makes = |node: &&NodeProto| node.output.iter().any(|output| output == value);
        self.node.iter().find(makes)
    }

    /// Takes out the nodes and constants that no output needs: the runtime would keep the constants until it has read all of
    /// them.
    pub(super) fn drop_unused(&mut self) {
        let mut needed: HashSet<String> = HashSet::new();
        needed.extend(self.output.iter().map(|output| output.name().to_owned()));
        // Nodes are in the order in which they are computed.
        let mut kept: Vec<_> = std::mem::take(&mut self.node)
            .into_iter()
            .rev()
            .filter(|node| {
                let is_needed = node.output.iter().any(|output| needed.contains(output));
                if is_needed {
                    needed.extend(node.input.iter().cloned());
                    needed.extend(node.graphs().flat_map(taken_within));
                }
                is_needed
            })
            .collect();
        kept.reverse();
        self.node = kept;
        self.initializer.retain(|it| needed.contains(it.name()));
    }
}

/// Names of all values that an inner graph takes, its own included.
fn taken_within(graph: &GraphProto) -> Vec<String> {
    let outputs = graph.output.iter().map(|it| it.name().to_owned());
    let inputs = graph.node.iter().flat_map(|node| {
        let deeper = node.graphs().flat_map(taken_within).collect::<Vec<_>>();
        node.input.iter().cloned().chain(deeper)
    });
    outputs.chain(inputs).collect()
}

#[cfg(test)]
mod tests {
    use super::super::node::{node, value};
    use super::super::proto::{AttributeProto, data_type};
    use super::super::tensor::floats;
    use super::*;

    #[test]
    fn only_what_an_output_needs_is_left_also_within_inner_graphs() {
        let within = GraphProto {
            node: vec![node("Add", &["x", "inside"], "y")],
            output: vec![value("y", data_type::FLOAT, &[])],
            ..GraphProto::default()
        };
        let branch = AttributeProto {
            g: Some(within),
            ..AttributeProto::default()
        };
        let mut choice = node("If", &["which"], "chosen");
        choice.attribute.push(branch);
        let mut graph = GraphProto {
            node: vec![
                node("Exp", &["weight"], "which"),
                node("Exp", &["other"], "pooled"),
                choice,
            ],
            initializer: ["weight", "other", "inside"]
                .map(|name| floats(name, &[1], &[1.0]))
                .into(),
            output: vec![value("chosen", data_type::FLOAT, &[])],
            ..GraphProto::default()
        };
        graph.drop_unused();
        let nodes: Vec<_> = graph.node.iter().map(NodeProto::op_type).collect();
        assert_eq!(nodes, ["Exp", "If"]);
        let left: Vec<_> = graph.initializer.iter().map(|it| it.name()).collect();
        assert_eq!(left, ["weight", "inside"]);
    }
}
