//! Reader: what reads each format, and whether it does so in a process of its own.

use super::extracted::Extract;
use super::{code, docx, epub, mail, markup, notebook, opendocument, pdf, pptx, rtf, xlsx};
use crate::source::{Archive, Format};

/// What reads a format. Those with an extractor are read in a process of their own.
#[derive(Debug, Clone, Copy)]
pub enum Reader {
    Text,
    Html,
    Jsonl,
    Table,
    Parquet,
    Archive(Archive),
    Pdf(Extract),
    /// Office files, books and notebooks.
    Office(Extract),
    /// What is attached to a mail is read by the readers of its formats.
    Mail(Extract),
    /// A text whose structure becomes Markdown.
    Markup(Extract),
    /// A text that stays as it is.
    Code(Extract),
}

impl Reader {
    pub fn of(format: Format) -> Self {
        match format {
            Format::Text | Format::Markdown => Self::Text,
            Format::Html => Self::Html,
            Format::Jsonl => Self::Jsonl,
            Format::Csv | Format::Tsv => Self::Table,
            Format::Parquet => Self::Parquet,
            Format::Zip => Self::Archive(Archive::Zip),
            Format::Tar => Self::Archive(Archive::Tar),
            Format::Mbox => Self::Archive(Archive::Mbox),
            Format::Pdf => Self::Pdf(pdf::pdf),
            Format::Docx => Self::Office(docx::docx),
            Format::Pptx => Self::Office(pptx::pptx),
            Format::Xlsx => Self::Office(xlsx::xlsx),
            Format::Odt | Format::Ods | Format::Odp => Self::Office(opendocument::opendocument),
            Format::Rtf => Self::Office(rtf::rtf),
            Format::Epub => Self::Office(epub::epub),
            Format::Ipynb => Self::Office(notebook::notebook),
            Format::Eml => Self::Mail(mail::mail),
            Format::Rst => Self::Markup(markup::rst),
            Format::Asciidoc => Self::Markup(markup::asciidoc),
            Format::Org => Self::Markup(markup::org),
            Format::Latex => Self::Markup(markup::latex),
            Format::Xml => Self::Markup(markup::xml),
            Format::Srt => Self::Markup(markup::srt),
            Format::Vtt => Self::Markup(markup::vtt),
            Format::Bash => Self::Code(code::bash),
            Format::C => Self::Code(code::c),
            Format::Cpp => Self::Code(code::cpp),
            Format::Csharp => Self::Code(code::csharp),
            Format::Go => Self::Code(code::go),
            Format::Java => Self::Code(code::java),
            Format::Javascript => Self::Code(code::javascript),
            Format::Kotlin => Self::Code(code::kotlin),
            Format::Php => Self::Code(code::php),
            Format::Python => Self::Code(code::python),
            Format::Ruby => Self::Code(code::ruby),
            Format::Rust => Self::Code(code::rust),
            Format::Typescript => Self::Code(code::typescript),
            Format::Tsx => Self::Code(code::tsx),
        }
    }

    /// The extractor, where it runs in a process of its own.
    pub fn isolated(self) -> Option<Extract> {
        match self {
            Self::Pdf(extract)
            | Self::Office(extract)
            | Self::Mail(extract)
            | Self::Markup(extract)
            | Self::Code(extract) => Some(extract),
            Self::Text
            | Self::Html
            | Self::Jsonl
            | Self::Table
            | Self::Parquet
            | Self::Archive(_) => None,
        }
    }
}
