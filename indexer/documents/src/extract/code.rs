//! Source code: the text as it is, with the places of its functions and classes, so that chunks are cut there and know the
//! names that they stand below.

use std::ops::ControlFlow;

use tree_sitter::{Language, Node, ParseOptions, ParseState, Parser, Tree, TreeCursor};

use super::extracted::Extracted;
use crate::document::{Definition, Reason};

#[cfg(test)]
mod tests;

/// Steps that a grammar may take for any text, and for each thousand bytes of one: in code that is broken in many places it
/// can try for minutes. Of 2,000 files of source code that are whole, none took more than 42 for each thousand bytes. Steps are
/// counted, not time, so that the same file gives the same chunks on every machine.
const MOST_STEPS: u64 = 2_000;
const MOST_STEPS_PER_THOUSAND: u64 = 100;
/// Longest name that is kept, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Definitions inside of so many others are parts of these.
const DEEPEST: usize = 6;

/// What defines something with a name, in any of the languages.
const DEFINITIONS: [&str; 44] = [
    "function_definition",
    "function_declaration",
    "function_item",
    "generator_function_declaration",
    "method_definition",
    "method_declaration",
    "method",
    "singleton_method",
    "constructor_declaration",
    "destructor_declaration",
    "operator_declaration",
    "property_declaration",
    "class_definition",
    "class_declaration",
    "abstract_class_declaration",
    "class_specifier",
    "class",
    "singleton_class",
    "struct_specifier",
    "struct_item",
    "struct_declaration",
    "union_specifier",
    "union_item",
    "enum_specifier",
    "enum_item",
    "enum_declaration",
    "record_declaration",
    "interface_declaration",
    "annotation_type_declaration",
    "trait_item",
    "trait_declaration",
    "impl_item",
    "mod_item",
    "module",
    "namespace_definition",
    "namespace_declaration",
    "file_scoped_namespace_declaration",
    "internal_module",
    "object_declaration",
    "companion_object",
    "type_spec",
    "type_alias_declaration",
    "macro_definition",
    "secondary_constructor",
];
/// Those that are definitions only with what is in them: without it they name a type.
const WITH_BODY: [&str; 5] = [
    "struct_specifier",
    "union_specifier",
    "enum_specifier",
    "class_specifier",
    "mod_item",
];
/// What stands before a definition and belongs to it.
const LEADING: [&str; 8] = [
    "comment",
    "line_comment",
    "block_comment",
    "multiline_comment",
    "attribute_item",
    "attribute_list",
    "decorator",
    "annotation",
];

pub fn bash(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_bash::LANGUAGE, bytes, out)
}

pub fn c(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_c::LANGUAGE, bytes, out)
}

pub fn cpp(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_cpp::LANGUAGE, bytes, out)
}

pub fn csharp(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_c_sharp::LANGUAGE, bytes, out)
}

pub fn go(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_go::LANGUAGE, bytes, out)
}

pub fn java(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_java::LANGUAGE, bytes, out)
}

pub fn javascript(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_javascript::LANGUAGE, bytes, out)
}

pub fn kotlin(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_kotlin_ng::LANGUAGE, bytes, out)
}

pub fn php(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_php::LANGUAGE_PHP, bytes, out)
}

pub fn python(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_python::LANGUAGE, bytes, out)
}

pub fn ruby(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_ruby::LANGUAGE, bytes, out)
}

pub fn rust(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_rust::LANGUAGE, bytes, out)
}

pub fn typescript(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_typescript::LANGUAGE_TYPESCRIPT, bytes, out)
}

pub fn tsx(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(tree_sitter_typescript::LANGUAGE_TSX, bytes, out)
}

fn read(language: impl Into<Language>, bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|error| format!("it is not utf-8 at byte {}", error.valid_up_to()))?;
    let most = MOST_STEPS + text.len() as u64 * MOST_STEPS_PER_THOUSAND / 1000;
    let tree = parsed(&language.into(), text, most)?;
    text.clone_into(&mut out.text);
    if tree.is_none() {
        out.dropped.add(Reason::UnknownDefinitions, 0, None);
    }
    // Without a tree the text is cut as any other.
    out.definitions = Some(tree.map_or_else(Vec::new, |tree| definitions(text, &tree)));
    Ok(())
}

/// The tree of a text; `None` if that takes more steps.
fn parsed(language: &Language, text: &str, mut steps: u64) -> Result<Option<Tree>, String> {
    let mut parser = Parser::new();
    let set = parser.set_language(language);
    set.map_err(|error| format!("its grammar does not suit the parser: {error}"))?;
    let mut check = |_: &ParseState| match steps.checked_sub(1) {
        Some(left) => {
            steps = left;
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    };
    let options = ParseOptions::new().progress_callback(&mut check);
    let mut rest = |at: usize, _| text.as_bytes().get(at..).unwrap_or_default();
    Ok(parser.parse_with_options(&mut rest, None, Some(options)))
}

fn definitions(text: &str, tree: &Tree) -> Vec<Definition> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes());
    let mut walk = Walk {
        text,
        lines: std::iter::once(0).chain(ends.map(|end| end + 1)).collect(),
        found: Vec::new(),
        around: Vec::new(),
    };
    walk.all(&mut tree.walk());
    walk.finish()
}

struct Walk<'t> {
    text: &'t str,
    /// Where lines start, so that a line of any length is not looked through for each definition on it.
    lines: Vec<usize>,
    found: Vec<Definition>,
    /// Definitions that are open, with how deep they lie in the tree.
    around: Vec<(String, usize)>,
}

impl Walk<'_> {
    /// Goes through the tree without recursion: code may nest as deep as it likes.
    fn all(&mut self, cursor: &mut TreeCursor<'_>) {
        // Where what leads the next sibling starts, for each level.
        let mut leads: Vec<Option<usize>> = vec![None];
        loop {
            let depth = leads.len();
            let node = cursor.node();
            self.enter(node, leads.last().copied().flatten(), depth);
            if cursor.goto_first_child() {
                leads.push(None);
                continue;
            }
            loop {
                let left = cursor.node();
                self.leave(left, leads.len());
                if let Some(lead) = leads.last_mut() {
                    *lead = self.lead_after(left, *lead);
                }
                if cursor.goto_next_sibling() {
                    break;
                }
                if !cursor.goto_parent() {
                    return;
                }
                leads.pop();
            }
        }
    }

    fn enter(&mut self, node: Node<'_>, lead: Option<usize>, depth: usize) {
        if self.around.len() >= DEEPEST {
            return;
        }
        let Some(name) = self.name(node) else {
            return;
        };
        let start = self.line_start(lead.unwrap_or(node.start_byte()));
        self.around.push((name, depth));
        self.found.push(self.here(start, true));
    }

    fn leave(&mut self, node: Node<'_>, depth: usize) {
        if self.around.last().is_some_and(|(_, known)| *known == depth) {
            self.around.pop();
            let next = self
                .lines
                .partition_point(|start| *start <= node.end_byte());
            let next = self.lines.get(next).copied().unwrap_or(self.text.len());
            self.found.push(self.here(next, false));
        }
    }

    fn here(&self, start: usize, opens: bool) -> Definition {
        Definition {
            start: start as u64,
            path: self.around.iter().map(|(name, _)| name.clone()).collect(),
            opens,
        }
    }

    /// Where what leads the next sibling starts: comments and attributes do, unless a blank line is behind them.
    fn lead_after(&self, node: Node<'_>, lead: Option<usize>) -> Option<usize> {
        if !LEADING.contains(&node.kind()) {
            return None;
        }
        let behind = &self.text[node.end_byte().min(self.text.len())..];
        let space = &behind[..behind.len() - behind.trim_start().len()];
        let breaks = space.matches('\n').count();
        // Some comments have their line end in them.
        let own = usize::from(self.text[..node.end_byte().min(self.text.len())].ends_with('\n'));
        if breaks + own > 1 {
            return None;
        }
        // A comment behind code on the same line belongs to that.
        let start = node.start_byte();
        let is_own_line = self.text[self.line_start(start)..start].trim().is_empty();
        lead.or(is_own_line.then_some(start))
    }

    /// The start of the line, if nothing but white space is before the place on it.
    fn line_start(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        let line = self.lines[self.lines.partition_point(|start| *start <= at) - 1];
        if self.text[line..at].trim().is_empty() {
            line
        } else {
            at
        }
    }

    /// The name of what a node defines, if it defines something.
    fn name(&self, node: Node<'_>) -> Option<String> {
        let kind = node.kind();
        if !node.is_named() {
            return None;
        }
        if kind == "variable_declarator" {
            let value = node.child_by_field_name("value")?.kind();
            let is_function = matches!(value, "arrow_function" | "function_expression" | "class");
            return is_function.then(|| self.of_field(node, "name")).flatten();
        }
        if !DEFINITIONS.contains(&kind) {
            return None;
        }
        let has_body = node.child_by_field_name("body").is_some();
        if (WITH_BODY.contains(&kind) && !has_body) || kind == "property_declaration" {
            return None;
        }
        match kind {
            "impl_item" => {
                let of = self.of_field(node, "type")?;
                let of_trait = self.of_field(node, "trait");
                Some(cut(
                    &of_trait.map_or(of.clone(), |it| format!("{it} for {of}"))
                ))
            }
            "method_declaration" if node.child_by_field_name("receiver").is_some() => {
                let receiver = self.of_field(node, "receiver")?;
                let of = receiver.trim_matches(['(', ')']);
                let of = of.rsplit([' ', '*']).next().unwrap_or(of).to_owned();
                Some(cut(&format!("{of}.{}", self.of_field(node, "name")?)))
            }
            "companion_object" => Some(
                self.of_field(node, "name")
                    .unwrap_or("companion".to_owned()),
            ),
            "secondary_constructor" => Some("constructor".to_owned()),
            _ => self
                .of_field(node, "name")
                .or_else(|| self.declared(node))
                .or_else(|| self.first_identifier(node)),
        }
    }

    fn of_field(&self, node: Node<'_>, field: &str) -> Option<String> {
        let range = node.child_by_field_name(field)?.byte_range();
        Some(cut(self.text.get(range)?))
    }

    /// The name inside of the declarators of C.
    fn declared(&self, node: Node<'_>) -> Option<String> {
        let mut inner = node.child_by_field_name("declarator")?;
        // Pointers, references and parameters are around the name.
        for _ in 0..16 {
            let Some(next) = inner.child_by_field_name("declarator") else {
                break;
            };
            inner = next;
        }
        Some(cut(self.text.get(inner.byte_range())?))
    }

    fn first_identifier(&self, node: Node<'_>) -> Option<String> {
        let mut cursor = node.walk();
        let mut children = node.named_children(&mut cursor);
        let name = children
            .find(|child| child.kind().ends_with("identifier") || child.kind() == "constant")?;
        Some(cut(self.text.get(name.byte_range())?))
    }

    /// The definitions in order. What goes on behind one begins nothing where it is but a sign that closes something.
    fn finish(mut self) -> Vec<Definition> {
        self.found
            .sort_by_key(|definition| (definition.start, definition.opens));
        let starts: Vec<u64> = self.found.iter().skip(1).map(|it| it.start).collect();
        let ends = starts.into_iter().chain([self.text.len() as u64]);
        let text = self.text;
        let is_something = |(definition, end): (&Definition, u64)| {
            let range = usize::try_from(definition.start).ok()?..usize::try_from(end).ok()?;
            let part = text.get(range)?;
            let closes = |c: char| c.is_whitespace() || "{}()[];,".contains(c);
            let is_end = part.trim() == "end" || part.trim_matches(closes).is_empty();
            Some(definition.opens || !is_end)
        };
        let kept: Vec<bool> = self
            .found
            .iter()
            .zip(ends)
            .map(|it| is_something(it).unwrap_or(false))
            .collect();
        let mut kept = kept.into_iter();
        self.found.retain(|_| kept.next().unwrap_or(false));
        self.found
    }
}

fn cut(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    let name = words.join(" ");
    name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned()
}
