//! Elements of JATS, DocBook, TEI and the like, by what they do to a text.

/// How letters of a sentence are set, perhaps in the middle of a word.
const FORMATS: [&str; 23] = [
    "italic",
    "bold",
    "sub",
    "sup",
    "monospace",
    "sc",
    "underline",
    "strike",
    "named-content",
    "styled-content",
    "inline-formula",
    "em",
    "i",
    "b",
    "u",
    "span",
    "strong",
    "tt",
    "small",
    "emphasis",
    "replaceable",
    "phrase",
    "hi",
];
/// Facts, such as the parts of a name: each is a word of its own.
const DATA: [&str; 19] = [
    "name",
    "date",
    "surname",
    "given-names",
    "year",
    "volume",
    "issue",
    "fpage",
    "lpage",
    "source",
    "month",
    "day",
    "prefix",
    "suffix",
    "persName",
    "placeName",
    "orgName",
    "email",
    "uri",
];
/// Other elements inside of a sentence.
const INLINE: [&str; 28] = [
    "xref",
    "ext-link",
    "a",
    "code",
    "literal",
    "command",
    "filename",
    "option",
    "function",
    "type",
    "varname",
    "constant",
    "ulink",
    "link",
    "application",
    "productname",
    "firstterm",
    "parameter",
    "userinput",
    "computeroutput",
    "quote",
    "citetitle",
    "acronym",
    "abbrev",
    "ref",
    "num",
    "term",
    "foreign",
];
/// Elements whose text is one block although their parts are blocks elsewhere.
const WHOLE: [&str; 9] = [
    "element-citation",
    "mixed-citation",
    "citation",
    "nlm-citation",
    "biblioentry",
    "bibl",
    "contrib",
    "disp-formula",
    "math",
];
const HEADINGS: [&str; 6] = [
    "title",
    "article-title",
    "head",
    "subtitle",
    "bridgehead",
    "label-title",
];
const SECTIONS: [&str; 19] = [
    "sec", "section", "sect1", "sect2", "sect3", "sect4", "sect5", "chapter", "part", "appendix",
    "abstract", "ack", "app", "ref-list", "div", "div1", "div2", "refsect1", "preface",
];
const VERBATIM: [&str; 7] = [
    "preformat",
    "programlisting",
    "screen",
    "literallayout",
    "pre",
    "synopsis",
    "eg",
];
const ITEMS: [&str; 3] = ["list-item", "listitem", "item"];
const TABLES: [&str; 3] = ["table", "informaltable", "tgroup"];
const ROWS: [&str; 2] = ["tr", "row"];
const CELLS: [&str; 4] = ["td", "th", "entry", "cell"];

/// What an element does to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    Inline(Inline),
    Block,
    Whole,
    Heading,
    Section,
    Verbatim,
    Item,
    Table,
    Row,
    Cell,
}

impl Open {
    pub fn of(name: &str) -> Self {
        let is = |names: &[&str]| names.contains(&name);
        if is(&FORMATS) {
            Self::Inline(Inline::Format)
        } else if is(&DATA) {
            Self::Inline(Inline::Data)
        } else if is(&INLINE) {
            Self::Inline(Inline::Other)
        } else if is(&WHOLE) {
            Self::Whole
        } else if is(&HEADINGS) {
            Self::Heading
        } else if is(&SECTIONS) {
            Self::Section
        } else if is(&VERBATIM) {
            Self::Verbatim
        } else if is(&ITEMS) {
            Self::Item
        } else if is(&TABLES) {
            Self::Table
        } else if is(&ROWS) {
            Self::Row
        } else if is(&CELLS) {
            Self::Cell
        } else {
            Self::Block
        }
    }
}

/// What an element inside of a sentence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    Format,
    Data,
    Other,
}
