//! Format: what the bytes of an input mean, by the extension of its name.

use std::path::Path;

use clap::ValueEnum;

/// What the bytes of an input mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain text: one document.
    Text,
    /// Markdown: one document.
    Markdown,
    /// HTML: one document.
    Html,
    /// One JSON object per line: many documents.
    Jsonl,
    /// Comma-separated values with a header: many documents.
    Csv,
    /// Tab-separated values with a header, without quoting: many documents.
    Tsv,
    /// PDF: one document.
    Pdf,
    /// Parquet: many documents, one in each row.
    Parquet,
    /// A text of Word: one document.
    Docx,
    /// A presentation of PowerPoint: one document.
    Pptx,
    /// A workbook of Excel: one document.
    Xlsx,
    /// A text of OpenDocument: one document.
    Odt,
    /// A spreadsheet of OpenDocument: one document.
    Ods,
    /// A presentation of OpenDocument: one document.
    Odp,
    /// Rich Text Format: one document.
    Rtf,
    /// A book: one document.
    Epub,
    /// A notebook of Jupyter: one document.
    Ipynb,
    /// reStructuredText: one document.
    Rst,
    /// AsciiDoc: one document.
    Asciidoc,
    /// Org: one document.
    Org,
    /// LaTeX: one document.
    Latex,
    /// XML, such as JATS, DocBook or TEI: one document.
    Xml,
    /// Subtitles of SubRip: one document.
    Srt,
    /// Subtitles of WebVTT: one document.
    Vtt,
    /// Source code of a shell: one document.
    Bash,
    /// Source code of C: one document.
    C,
    /// Source code of C++: one document.
    Cpp,
    /// Source code of C#: one document.
    Csharp,
    /// Source code of Go: one document.
    Go,
    /// Source code of Java: one document.
    Java,
    /// Source code of JavaScript: one document.
    Javascript,
    /// Source code of Kotlin: one document.
    Kotlin,
    /// Source code of PHP: one document.
    Php,
    /// Source code of Python: one document.
    Python,
    /// Source code of Ruby: one document.
    Ruby,
    /// Source code of Rust: one document.
    Rust,
    /// Source code of TypeScript: one document.
    Typescript,
    /// Source code of TypeScript with elements of pages in it: one document.
    Tsx,
    /// A mail: one document, and those of its attachments.
    Eml,
    /// A mailbox: the documents of each of its mails.
    Mbox,
    /// A zip archive: the documents of its members.
    Zip,
    /// A tar archive: the documents of its members.
    Tar,
}

/// What an input of a format holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One document with the id of the input.
    Document,
    /// One document with the id of the input, and others inside it.
    Mail,
    /// Records with ids of their own.
    Records,
    /// Files, each with documents.
    Archive(Archive),
}

/// The kinds of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    Zip,
    Tar,
    Mbox,
}

/// The extensions that are known, for messages.
pub const EXTENSIONS: &str = "txt, text, md, markdown, html, htm, jsonl, ndjson, csv, tsv, pdf, parquet, docx, pptx, \
     xlsx, odt, ods, odp, rtf, epub, ipynb, rst, adoc, asciidoc, org, tex, xml, nxml, dbk, srt, vtt, those of source code, \
     eml, mbox, zip, tar, tgz, each also with .gz or .zst behind it";

impl Format {
    /// The name that options give it.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The format of a name that [`Format::name`] gave.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }

    /// The format that a file's extension stands for, in any case; of a compressed file, the extension before that.
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = extension_of(path)?;
        if matches!(extension.as_str(), "gz" | "zst") {
            return Self::of_extension(&extension_of(Path::new(path.file_stem()?))?);
        }
        Self::of_extension(&extension)
    }

    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension {
            "txt" | "text" => Self::Text,
            "md" | "markdown" => Self::Markdown,
            "html" | "htm" => Self::Html,
            "jsonl" | "ndjson" => Self::Jsonl,
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "pdf" => Self::Pdf,
            "parquet" => Self::Parquet,
            "docx" | "docm" | "dotx" | "dotm" => Self::Docx,
            "pptx" | "pptm" | "ppsx" | "ppsm" | "potx" => Self::Pptx,
            "xlsx" | "xlsm" | "xltx" => Self::Xlsx,
            "odt" | "ott" => Self::Odt,
            "ods" | "ots" => Self::Ods,
            "odp" | "otp" => Self::Odp,
            "rtf" => Self::Rtf,
            "epub" => Self::Epub,
            "ipynb" => Self::Ipynb,
            "eml" => Self::Eml,
            "mbox" | "mbx" => Self::Mbox,
            "rst" | "rest" => Self::Rst,
            "adoc" | "asciidoc" | "asc" => Self::Asciidoc,
            "org" => Self::Org,
            "tex" | "ltx" => Self::Latex,
            "xml" | "nxml" | "dbk" | "tei" => Self::Xml,
            "srt" => Self::Srt,
            "vtt" => Self::Vtt,
            "sh" | "bash" => Self::Bash,
            "c" | "h" => Self::C,
            "cc" | "cpp" | "cxx" | "hh" | "hpp" | "hxx" => Self::Cpp,
            "cs" => Self::Csharp,
            "go" => Self::Go,
            "java" => Self::Java,
            "js" | "mjs" | "cjs" | "jsx" => Self::Javascript,
            "kt" | "kts" => Self::Kotlin,
            "php" => Self::Php,
            "py" | "pyi" => Self::Python,
            "rb" => Self::Ruby,
            "rs" => Self::Rust,
            "ts" | "mts" | "cts" => Self::Typescript,
            "tsx" => Self::Tsx,
            "zip" => Self::Zip,
            "tar" | "tgz" | "tzst" => Self::Tar,
            _ => return None,
        })
    }

    /// What an input of this format holds.
    pub fn shape(self) -> Shape {
        match self {
            Self::Text
            | Self::Markdown
            | Self::Html
            | Self::Pdf
            | Self::Docx
            | Self::Pptx
            | Self::Xlsx
            | Self::Odt
            | Self::Ods
            | Self::Odp
            | Self::Rtf
            | Self::Epub
            | Self::Ipynb
            | Self::Rst
            | Self::Asciidoc
            | Self::Org
            | Self::Latex
            | Self::Xml
            | Self::Srt
            | Self::Vtt
            | Self::Bash
            | Self::C
            | Self::Cpp
            | Self::Csharp
            | Self::Go
            | Self::Java
            | Self::Javascript
            | Self::Kotlin
            | Self::Php
            | Self::Python
            | Self::Ruby
            | Self::Rust
            | Self::Typescript
            | Self::Tsx => Shape::Document,
            Self::Eml => Shape::Mail,
            Self::Jsonl | Self::Csv | Self::Tsv | Self::Parquet => Shape::Records,
            Self::Zip => Shape::Archive(Archive::Zip),
            Self::Tar => Shape::Archive(Archive::Tar),
            Self::Mbox => Shape::Archive(Archive::Mbox),
        }
    }
}

fn extension_of(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// How a whole file is compressed, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub fn of_name(name: &str) -> Option<Self> {
        match extension_of(Path::new(name))?.as_str() {
            "gz" | "tgz" => Some(Self::Gzip),
            "zst" | "tzst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_file_has_the_format_of_what_is_in_it() {
        let of = |name: &str| Format::of_path(Path::new(name));
        assert_eq!(of("a.jsonl.gz"), Some(Format::Jsonl));
        assert_eq!(of("a.CSV.ZST"), Some(Format::Csv));
        assert_eq!(of("a.tar.gz"), Some(Format::Tar));
        assert_eq!(of("a.tgz"), Some(Format::Tar));
        assert_eq!(of("a.gz"), None);
        assert_eq!(of("a.bin.gz"), None);
        assert_eq!(Compression::of_name("a.tgz"), Some(Compression::Gzip));
        assert_eq!(Compression::of_name("a.tar"), None);
    }
}
