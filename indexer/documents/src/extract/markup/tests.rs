//! What each reader keeps of a text: a list of its words, and its structure.

use super::*;
use crate::document::{Ledger, Location, Reason};
use crate::extract::extracted::{Extract, Extracted};

pub const RST: &str = "\
.. |product| replace:: Ebb Server

=====
Guide
=====

.. note:: Mind the *gap*.

   It is ``a * b`` wide.

First steps
-----------

See :ref:`the page <target>`, `a link <https://x.y>`_ and |product|; name_ ends. Escaped\\ word::

    literal *code*

* one
  more

  - inner ``x``
* two

1. first
#. next

term
    its meaning

:param name: of it

.. code-block:: python
   :caption: A caption

   print(\"hi\")

.. function:: open(path, *args)

   Opens *it*.

.. list-table:: Sizes
   :header-rows: 1

   * - Key
     - Value
   * - alpha
     - 10 MB

+------+-------+
| Name | Count |
+======+=======+
| pear | 3     |
|      | or 4  |
+------+-------+

=====  =====
A      B
=====  =====
x      y z
=====  =====

.. toctree::

   other

.. a remark

.. [1] A footnote.
";

pub const ASCIIDOC: &str = "\
= The manual
:product: Ebb
:toc:

== Start *here*

{product} runs `a * b` and _fast_; see link:x.html[the page], https://a.b[site] and <<part,below>>.

// a remark
NOTE: Mind it.

[source,ruby]
----
puts \"hi\"
----

* one
** inner
. first
. next
+
more of it

term:: its meaning

.Sizes
[cols=\"1,1\"]
|===
|Key |Value
|alpha
|10 MB
|===

[quote, Ada]
____
Said so.
____

include::other.adoc[]

image::x.png[A picture]
";

pub const ORG: &str = "\
#+TITLE: The notes
#+OPTIONS: toc:nil

* DONE Start /here/ :work:
:PROPERTIES:
:ID: 17
:END:
Text with *bold*, =a * b= and [[https://x.y][a link]].
# a remark
** Below
- one
  more
  - inner
1. first
- term :: its meaning
#+BEGIN_SRC python
print(\"hi\")
#+END_SRC
| Key   | Value |
|-------+-------|
| alpha | 10 MB |
#+BEGIN_QUOTE
Said so.
#+END_QUOTE
: fixed width
";

pub const LATEX: &str = "\
\\documentclass{article}
\\title{The paper}
\\newcommand{\\name}{Ebb}
\\newcommand{\\pair}[2]{#1 and #2}
\\begin{document}
\\maketitle
% a remark
\\begin{abstract}Short.\\end{abstract}
\\section{Start \\emph{here}}
\\label{sec:a} Text by \\name{} of \\textbf{bold} $a_1 + b$ caf\\'e, M\\\"uller and \\pair{x}{y}~z\\footnote{A note.}.

See \\href{https://x.y}{the page} \\cite{key}.
\\begin{itemize}
\\item one
\\begin{enumerate}
\\item inner
\\end{enumerate}
\\item[term] its meaning
\\end{itemize}
\\begin{table}
\\caption{Sizes}
\\begin{tabular}{ll}
Key & Value \\\\ \\hline
alpha & 10 MB \\\\
\\end{tabular}
\\end{table}
\\begin{verbatim}
x_1 = {}
\\end{verbatim}
\\begin{equation} E = mc^2 \\end{equation}
\\input{other}
\\end{document}
";

pub const XML: &str = "\
<?xml version=\"1.0\"?>
<article><front><article-meta><title-group><article-title>The paper</article-title></title-group>
<abstract><p>Short &amp; good&#8211;ish &eacute;.</p></abstract></article-meta></front>
<body><sec><title>Start <italic>here</italic></title><p>Text of <bold>bold</bold> H<sub>2</sub>O
in lines.</p><!-- a remark --><list><list-item><p>one</p></list-item><list-item><p>two</p></list-item></list>
<sec><title>Below</title><table-wrap><caption><p>Sizes</p></caption><table><tr><th>Key</th><th>Value</th></tr>
<tr><td>alpha</td><td>10 <p>MB</p></td></tr></table></table-wrap><preformat>x
  y</preformat></sec></sec></body></article>
";

pub const SRT: &str = "\
1
00:00:01,000 --> 00:00:02,500
<i>The queue</i>

2
00:00:02,600 --> 00:00:04,000
{\\an8}holds jobs.

3
00:01:10,000 --> 00:01:12,000
Later.
";

pub const VTT: &str = "\
WEBVTT

NOTE a remark

00:01.000 --> 00:02.500
<v Ada>The queue &amp; more</v>

cue-2
00:02.600 --> 00:04.000 line:0
holds jobs.
";

pub const ALL: [(&str, Extract, &str); 7] = [
    ("rst", rst, RST),
    ("asciidoc", asciidoc, ASCIIDOC),
    ("org", org, ORG),
    ("latex", latex, LATEX),
    ("xml", xml, XML),
    ("srt", srt, SRT),
    ("vtt", vtt, VTT),
];

fn read(extract: Extract, text: &str) -> Extracted {
    let mut out = Extracted::default();
    extract(text.as_bytes(), &mut out).unwrap();
    out
}

/// Every part is in the text, in this order.
pub fn check(extract: Extract, text: &str, parts: &[&str]) -> Extracted {
    let out = read(extract, text);
    let mut at = 0;
    for part in parts {
        let found = out.text[at..].find(part);
        assert!(
            found.is_some(),
            "no {part:?} from byte {at} in\n{}",
            out.text
        );
        at += found.unwrap() + part.len();
    }
    out
}

pub fn dropped(ledger: &Ledger, reasons: &[Reason]) {
    for reason in reasons {
        assert!(ledger.count(*reason) > 0, "{reason:?} in {ledger}");
    }
}

#[test]
fn restructured_text_keeps_its_words_and_its_structure() {
    let out = check(
        rst,
        RST,
        &[
            "# Guide",
            "Note: Mind the gap.",
            "It is a * b wide.",
            "## First steps",
            "See the page, a link and Ebb Server; name ends. Escapedword:",
            "```\nliteral *code*\n```",
            "- one\nmore",
            "  - inner x",
            "- two",
            "1. first",
            "next",
            "term",
            "its meaning",
            "param name: of it",
            "A caption",
            "```\nprint(\"hi\")\n```",
            "open(path, *args)",
            "Opens it.",
            "Sizes",
            "| Key | Value |\n| --- | --- |\n| alpha | 10 MB |",
            "| Name | Count |\n| --- | --- |\n| pear | 3 or 4 |",
            "| A | B |\n| --- | --- |\n| x | y z |",
            "[1] A footnote.",
        ],
    );
    assert_eq!(out.title.as_deref(), Some("Guide"));
    dropped(&out.dropped, &[Reason::Include, Reason::Comment]);
    let heading = out.text.find("## First").unwrap() as u64;
    let mark = out
        .locations
        .iter()
        .rfind(|(at, _)| *at <= heading)
        .unwrap();
    assert_eq!(mark.1, Location::Line(11));
}

#[test]
fn asciidoc_keeps_its_words_and_its_structure() {
    let out = check(
        asciidoc,
        ASCIIDOC,
        &[
            "# The manual",
            "## Start here",
            "Ebb runs a * b and fast; see the page, site and below.",
            "NOTE: Mind it.",
            "```\nputs \"hi\"\n```",
            "- one\n  - inner\n- first\n- next",
            "more of it",
            "term\nits meaning",
            "Sizes",
            "| Key | Value |\n| --- | --- |\n| alpha | 10 MB |",
            "Said so.",
            "Ada",
            "A picture",
        ],
    );
    dropped(
        &out.dropped,
        &[Reason::Include, Reason::Comment, Reason::Properties],
    );
}

#[test]
fn org_keeps_its_words_and_its_structure() {
    let out = check(
        org,
        ORG,
        &[
            "The notes",
            "# DONE Start here (work)",
            "Text with bold, a * b and a link.",
            "## Below",
            "- one\nmore",
            "  - inner",
            "1. first",
            "- term: its meaning",
            "```\nprint(\"hi\")\n```",
            "| Key | Value |\n| --- | --- |\n| alpha | 10 MB |",
            "Said so.",
            "fixed width",
        ],
    );
    assert_eq!(out.title.as_deref(), Some("The notes"));
    dropped(&out.dropped, &[Reason::Comment, Reason::Properties]);
}

#[test]
fn latex_keeps_its_words_and_its_structure() {
    let out = check(
        latex,
        LATEX,
        &[
            "The paper",
            "## Abstract",
            "Short.",
            "## Start here",
            "Text by Ebb of bold $a_1 + b$ café, Müller and x and y z (A note.).",
            "See the page",
            "- one",
            "  1. inner",
            "- term: its meaning",
            "Sizes",
            "| Key | Value |\n| --- | --- |\n| alpha | 10 MB |",
            "```\nx_1 = {}\n```",
            "E = mc^2",
        ],
    );
    assert_eq!(out.title.as_deref(), Some("The paper"));
    dropped(&out.dropped, &[Reason::Comment, Reason::Include]);
}

#[test]
fn subtitles_are_what_is_said_at_a_time() {
    let out = read(srt, SRT);
    assert_eq!(out.text, "The queue holds jobs.\n\nLater.");
    let times = out.locations.iter().filter_map(|(_, it)| match it {
        Location::Section(time) => Some(time.as_str()),
        Location::Page(_)
        | Location::Slide(_)
        | Location::Sheet(_)
        | Location::Cell(_)
        | Location::Line(_) => None,
    });
    assert_eq!(times.collect::<Vec<_>>(), ["00:00:01", "00:01:10"]);
    let out = read(vtt, VTT);
    assert_eq!(out.text, "Ada: The queue & more holds jobs.");
    dropped(&out.dropped, &[Reason::Comment]);
}

#[test]
fn letters_of_any_script_may_stand_before_the_text() {
    let out = read(
        latex,
        "日本語 \\title{題名}\n\\begin{document}本文\\end{document}",
    );
    assert_eq!(out.title.as_deref(), Some("題名"));
    assert!(out.text.ends_with("本文"), "{}", out.text);
}

#[test]
fn macros_that_grow_without_end_are_bounded() {
    let mut text = "\\def\\a{xx}".to_owned();
    for letter in 'b'..='z' {
        let before = char::from(letter as u8 - 1);
        text.push_str(&format!(
            "\\def\\{letter}{{\\{before}\\{before}\\{before}\\{before}}}"
        ));
    }
    let out = read(
        latex,
        &format!("{text}\\begin{{document}}start \\z end\\def\\l{{\\l\\l}} \\l\\end{{document}}"),
    );
    assert!(out.text.len() < 4 << 20, "{}", out.text.len());
    assert!(out.text.contains("start"));
}

#[test]
fn what_begins_and_does_not_end_takes_time_by_its_length() {
    let stars = "*a **b __c __d** e ".repeat(2000);
    assert!(read(asciidoc, &stars).text.contains("e"));
    let brackets = format!("x{} \u{201c}link:a.html[words]\u{201d}", "[".repeat(20_000));
    let out = read(asciidoc, &brackets);
    assert!(
        out.text.ends_with("\u{201c}words\u{201d}"),
        "{}",
        out.text.len()
    );
    let blocks = (0..500_000).map(|name| format!("#+BEGIN_{name}\n"));
    let out = read(org, &blocks.collect::<String>());
    assert!(out.text.ends_with("#+BEGIN_499999"), "{}", out.text.len());
    let ties = format!("{}word \\verb|a|", "~ ".repeat(50_000));
    let out = read(latex, &ties);
    assert_eq!(out.text.trim(), "word a");
    let blanks = "\\ ".repeat(1_000_000);
    let out = read(latex, &format!("{blanks}word{blanks}end"));
    assert_eq!(out.text.trim(), "word end");
}

#[test]
fn a_table_with_one_long_row_is_not_made_as_large_as_all_its_rows() {
    let table = format!("|{}\n{}", "a|".repeat(5000), "|b|\n".repeat(5000));
    let out = read(org, &table);
    assert!(out.text.len() < 1 << 20, "{}", out.text.len());
    assert_eq!(out.text.matches('b').count(), 5000);
}

#[test]
fn attributes_of_asciidoc_take_in_so_much_of_a_file() {
    let source = format!(":a: {}\n\n{}", "x".repeat(100_000), "{a}\n\n".repeat(200));
    let out = read(asciidoc, &source);
    assert!(out.text.len() < 2 << 20, "{}", out.text.len());
}
