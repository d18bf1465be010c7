//! Definitions of each language.

use super::*;
use crate::extract::reader::Reader;
use crate::source::Format;

fn names(format: Format, text: &str) -> Vec<String> {
    let mut out = Extracted::default();
    Reader::of(format).isolated().unwrap()(text.as_bytes(), &mut out).unwrap();
    assert_eq!(out.text, text);
    let found = out.definitions.unwrap();
    assert!(found.is_sorted_by_key(|it| it.start));
    let opened = found.iter().filter(|it| it.opens);
    opened.map(|it| it.path.join(" > ")).collect()
}

/// A text of each language, and what it defines.
const CASES: [(Format, &str, &str); 14] = [
    (
        Format::Python,
        "import x\n\nclass A:\n    @d\n    def f(self):\n        pass\n\ndef g():\n    pass\n",
        "A|A > f|g",
    ),
    (
        Format::Rust,
        "mod m {\n  struct S { a: u8 }\n  impl T for S { fn f(&self) {} }\n}\nfn g() {}\n",
        "m|m > S|m > T for S|m > T for S > f|g",
    ),
    (
        Format::Java,
        "class A { int x; A() {} void f() {} interface I {} }",
        "A|A > A|A > f|A > I",
    ),
    (
        Format::Javascript,
        "class A { m() {} }\nconst f = () => 1;\nfunction g() {}\n",
        "A|A > m|f|g",
    ),
    (
        Format::Typescript,
        "interface I { a: string }\nnamespace N { export class A { m(): void {} } }\ntype T = string;\n",
        "I|N|N > A|N > A > m|T",
    ),
    (Format::Tsx, "export const C = () => <p>x</p>;\n", "C"),
    (
        Format::Go,
        "package p\n\ntype T struct{}\n\nfunc (t *T) M() {}\n\nfunc f() {}\n",
        "T|T.M|f",
    ),
    (
        Format::C,
        "struct s { int a; };\nstatic char *f(int a) { return 0; }\n",
        "s|f",
    ),
    (
        Format::Cpp,
        "namespace n { class A { void m() {} }; }\nvoid n::A::k() {}\n",
        "n|n > A|n > A > m|n::A::k",
    ),
    (
        Format::Csharp,
        "namespace N { class A { void M() {} } }",
        "N|N > A|N > A > M",
    ),
    (
        Format::Ruby,
        "module M\n  class A\n    def f; end\n    def self.g; end\n  end\nend\n",
        "M|M > A|M > A > f|M > A > g",
    ),
    (
        Format::Php,
        "<?php\nclass A { function f() {} }\nfunction g() {}\n",
        "A|A > f|g",
    ),
    (
        Format::Kotlin,
        "class A {\n    fun f() {}\n}\n\nobject O {\n    fun g() {}\n}\n",
        "A|A > f|O|O > g",
    ),
    (
        Format::Bash,
        "f() {\n  echo x\n}\nfunction g { echo y; }\n",
        "f|g",
    ),
];

#[test]
fn functions_and_classes_have_the_names_around_them() {
    for (format, text, expected) in CASES {
        assert_eq!(names(format, text).join("|"), expected, "{}", format.name());
    }
}

#[test]
fn comments_and_attributes_belong_to_what_they_stand_before() {
    let text = "use a;\n\n// apart\n\n/// About f.\n#[test]\nfn f() {}\n\nconst X: u8 = 1;\n";
    let mut out = Extracted::default();
    rust(text.as_bytes(), &mut out).unwrap();
    let found = out.definitions.unwrap();
    let starts: Vec<_> = found
        .iter()
        .map(|it| &text[usize::try_from(it.start).unwrap()..])
        .collect();
    assert!(starts[0].starts_with("/// About f."), "{starts:?}");
    assert!(starts[1].trim_start().starts_with("const X"), "{starts:?}");
    assert_eq!((found.len(), found[1].opens), (2, false));
}

#[test]
fn broken_code_keeps_its_text() {
    for text in ["class {{{{", "def f(:\n", "}}}}", "\u{0}"] {
        for format in [Format::Python, Format::Java, Format::Cpp] {
            names(format, text);
        }
    }
    let deep = "{".repeat(100_000);
    names(Format::Javascript, &deep);
}

#[test]
fn code_whose_grammar_takes_too_many_steps_has_no_tree() {
    let language = tree_sitter_rust::LANGUAGE.into();
    let text = "fn a() { b(c, d); }\n".repeat(2000);
    let tree = |steps| parsed(&language, &text, steps).unwrap();
    assert!(tree(0).is_none());
    let found = definitions(&text, &tree(u64::MAX).unwrap());
    assert_eq!(found.iter().filter(|it| it.opens).count(), 2000);
}
