//! Vocabulary: how many token ids a graph has rows for.

use super::proto::{GraphProto, NodeProto};

/// The input with the token ids.
const TOKENS: &str = "input_ids";
/// Operators whose result is the first value that they take, in another form.
const SAME: [&str; 3] = ["Cast", "Identity", "DequantizeLinear"];

impl GraphProto {
    /// Rows of the table in which token ids are looked up, the smallest if there are several. `None` if no table is a constant.
    pub(super) fn vocabulary(&self) -> Option<usize> {
        let tables = self.node.iter().filter_map(|node| self.table_of(node));
        let rows = tables.filter_map(|table| self.rows_of(table));
        rows.min()
    }

    /// The table in which a node looks up token ids, if it does.
    fn table_of<'a>(&self, node: &'a NodeProto) -> Option<&'a str> {
        let (table, ids) = match node.op_type() {
            "Gather" if node.int("axis").unwrap_or(0) == 0 => (0, 1),
            // Operators of the runtime itself, made by its own tools.
            "GatherBlockQuantized" => (0, 1),
            "EmbedLayerNormalization" | "QEmbedLayerNormalization" => (2, 0),
            _ => return None,
        };
        let ids = self.origin(node.input.get(ids)?)?;
        let table = node.input.get(table)?;
        (ids == TOKENS).then_some(table)
    }

    fn rows_of(&self, table: &str) -> Option<usize> {
        let table = self.origin(table)?;
        let initializer = self.initializer.iter().find(|it| it.name() == table);
        let constant = || {
            let node = self.producer(table)?;
            node.is_one_of(&["Constant"]).then_some(())?;
            node.find("value")?.t.as_ref()
        };
        let table = initializer.or_else(constant)?;
        usize::try_from(*table.dims.first()?).ok()
    }

    /// What a value is another form of; itself if of nothing. `None` in a graph whose nodes go round in circles.
    fn origin<'a>(&'a self, value: &'a str) -> Option<&'a str> {
        let mut value = value;
        for _ in 0..=self.node.len() {
            let same = self.producer(value).filter(|node| node.is_one_of(&SAME));
            match same.and_then(|node| node.input.first()) {
                Some(origin) => value = origin,
                None => return Some(value),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{cast, node};
    use super::super::proto::data_type;
    use super::super::tensor::{floats, signed_bytes};
    use super::*;

    #[test]
    fn rows_are_those_of_the_table_in_which_tokens_are_looked_up() {
        let mut graph = GraphProto {
            node: vec![
                cast(TOKENS, "ids", data_type::INT64),
                node("DequantizeLinear", &["words", "scale"], "table"),
                node("Gather", &["table", "ids"], "embedded"),
                node("Gather", &["places", "position_ids"], "placed"),
            ],
            initializer: vec![
                signed_bytes("words", &[5, 2], &[0; 10]),
                floats("places", &[3, 2], &[0.0; 6]),
            ],
            ..GraphProto::default()
        };
        assert_eq!(graph.vocabulary(), Some(5));
        let fused = node("EmbedLayerNormalization", &[TOKENS, "", "places"], "fused");
        graph.node.push(fused);
        assert_eq!(graph.vocabulary(), Some(3));
        graph.initializer.clear();
        assert_eq!(graph.vocabulary(), None);
    }

    #[test]
    fn a_graph_in_a_circle_has_no_table() {
        let graph = GraphProto {
            node: vec![
                node("Cast", &["a"], "b"),
                node("Cast", &["b"], "a"),
                node("Gather", &["a", "b"], "embedded"),
            ],
            ..GraphProto::default()
        };
        assert_eq!(graph.vocabulary(), None);
    }
}
