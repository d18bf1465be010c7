//! Tensors: all those that a graph holds: its weights, the values of its constants, and those of graphs within it.

use super::proto::{GraphProto, NodeProto, TensorProto};

impl GraphProto {
    /// All tensors with values.
    pub fn tensors(&self) -> Vec<&TensorProto> {
        let mut found: Vec<_> = self.initializer.iter().collect();
        for attribute in self.node.iter().flat_map(|node| &node.attribute) {
            found.extend(attribute.t.iter().chain(&attribute.tensors));
            let graphs = attribute.g.iter().chain(&attribute.graphs);
            found.extend(graphs.flat_map(Self::tensors));
        }
        found
    }

    /// Changes all tensors with values.
    ///
    /// # Errors
    /// The first that `change` gives.
    pub fn change_tensors<E>(
        &mut self,
        change: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
    ) -> Result<(), E> {
        self.initializer.iter_mut().try_for_each(&mut *change)?;
        let nodes = self.node.iter_mut();
        nodes
            .flat_map(|node: &mut NodeProto| &mut node.attribute)
            .try_for_each(|attribute| {
                let own = attribute.t.iter_mut().chain(&mut attribute.tensors);
                own.into_iter().try_for_each(&mut *change)?;
                let graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
                graphs
                    .into_iter()
                    .try_for_each(|graph| graph.change_tensors(change))
            })
    }
}
