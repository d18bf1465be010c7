//! Mail: the text of a mail, and the files that are attached to it.
//!
//! Subject, sender, receivers and date stand before the text, as a reader of mail shows them. Of a text that is there in
//! several forms the plain one is taken, unless it has far fewer words than the one in HTML. Attachments are documents of
//! their own; a mail that is attached is one as well. Pictures and other attachments of formats that are not read are counted
//! by their names.

use std::collections::HashMap;
use std::panic::catch_unwind;

use mail_parser::{
    Address, Encoding, Message, MessageParser, MessagePart, MimeHeaders as _, PartType,
};

use super::Extractor;
use super::archive::Opened;
use super::encoding::narrowed;
use super::extracted::{Attachment, Block, Extracted};
use super::html;
use crate::document::{Ledger, Reason};
use crate::source::{Format, Input, Member, SourceError, clean_name};

mod repair;

/// The plain form of a text has at least one of so many words of the form in HTML.
const LEAST_PART: usize = 2;

/// Reads the text of a mail.
pub fn mail(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    // Some programs save the whole mail in UTF-16.
    let bytes = narrowed(bytes);
    let (closed, valid);
    let mut message = parse(&bytes)?;
    if repair::is_broken(&message) {
        closed = repair::with_closed_parts(&bytes);
        // A repair that cannot be parsed is left.
        if let Ok(repaired) = parse(&closed) {
            message = repaired;
            if let Some(repaired) = repair::with_valid_encodings(&closed, &message) {
                valid = repaired;
                message = parse(&valid).unwrap_or(message);
            }
        }
    }
    refuse_encrypted(&message)?;
    head(&message, extracted);
    let form = form_of(&message);
    for place in bodies(&message) {
        body(&message, place, form, extracted);
    }
    for place in &message.attachments {
        if let Some(part) = message.part(*place) {
            attach(&message, part, *place as usize, extracted);
        }
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Message<'_>, String> {
    // Some mails whose parts end inside each other make the library panic.
    let message = catch_unwind(|| MessageParser::default().parse(bytes));
    let message = message.map_err(|_| "its parts end inside each other")?;
    let message = message.filter(|message| !message.headers().is_empty());
    Ok(message.ok_or("it has no header of a mail")?)
}

fn refuse_encrypted(message: &Message<'_>) -> Result<(), String> {
    let kind = message.content_type();
    let is = |main: &str, sub: &[&str]| {
        kind.is_some_and(|kind| {
            let subtype = kind.subtype().unwrap_or_default();
            kind.ctype().eq_ignore_ascii_case(main)
                && sub.iter().any(|sub| sub.eq_ignore_ascii_case(subtype))
        })
    };
    if is("multipart", &["encrypted"]) {
        return Err("it is encrypted (OpenPGP)".to_owned());
    }
    let smime = kind.and_then(|kind| kind.attribute("smime-type"));
    let is_signed = smime.is_some_and(|kind| kind.eq_ignore_ascii_case("signed-data"));
    if is("application", &["pkcs7-mime", "x-pkcs7-mime"]) && !is_signed {
        return Err("it is encrypted (S/MIME)".to_owned());
    }
    Ok(())
}

/// What a reader of mail shows above the text.
fn head(message: &Message<'_>, extracted: &mut Extracted) {
    let subject = message.subject().unwrap_or_default();
    let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    extracted.add(Block::Heading(1, &subject));
    extracted.title = (!subject.is_empty()).then_some(subject);
    let people = [
        ("From", message.from()),
        ("To", message.to()),
        ("Cc", message.cc()),
    ];
    let mut lines: Vec<String> = people
        .into_iter()
        .filter_map(|(name, people)| Some(format!("{name}: {}", people_of(people?))))
        .collect();
    if let Some(date) = message.date() {
        lines.push(format!("Date: {}", date.to_rfc3339()));
    }
    extracted.add(Block::Paragraph(&lines.join("\n")));
}

fn people_of(people: &Address<'_>) -> String {
    let names = people
        .iter()
        .map(|person| match (person.name(), person.address()) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (Some(name), None) => name.to_owned(),
            (None, address) => address.unwrap_or_default().to_owned(),
        });
    names.collect::<Vec<_>>().join(", ")
}

/// The parts that are the text, in their order.
fn bodies(message: &Message<'_>) -> Vec<u32> {
    let mut places: Vec<u32> = message.text_body.clone();
    places.extend(&message.html_body);
    places.sort_unstable();
    places.dedup();
    places
}

fn body(message: &Message<'_>, place: u32, form: Form, extracted: &mut Extracted) {
    let Some(part) = message.part(place) else {
        return;
    };
    let in_both = message.text_body.contains(&place) && message.html_body.contains(&place);
    match &part.body {
        PartType::Text(text) if in_both || form == Form::Plain => {
            extracted.add(Block::Paragraph(text));
        }
        PartType::Html(page) if in_both || form == Form::Page => {
            let mut dropped = Ledger::default();
            match html::page_of(page, &mut dropped) {
                Some(page) => extracted.add(Block::Markdown(&page.text)),
                None => extracted
                    .dropped
                    .add(Reason::BrokenPart, 0, Some("a page".to_owned())),
            }
            extracted.dropped.absorb(&dropped);
        }
        // The other form of a text, or a picture in it.
        PartType::Text(_)
        | PartType::Html(_)
        | PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Message(_)
        | PartType::Multipart(_) => {}
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The form that a text is taken in, where a mail has it in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Page,
}

/// The plain form of a whole mail, unless it says little of what the pages say.
fn form_of(message: &Message<'_>) -> Form {
    let only = |of: &[u32], other: &[u32]| -> Vec<u32> {
        of.iter()
            .copied()
            .filter(|it| !other.contains(it))
            .collect()
    };
    let (texts, pages) = (&message.text_body, &message.html_body);
    let plain: usize = only(texts, pages)
        .into_iter()
        .map(|place| words_of(message, place))
        .sum();
    let page: usize = only(pages, texts)
        .into_iter()
        .map(|place| words_of(message, place))
        .sum();
    if plain.saturating_mul(LEAST_PART) < page {
        Form::Page
    } else {
        Form::Plain
    }
}

fn words_of(message: &Message<'_>, place: u32) -> usize {
    match message.part(place).map(|part| &part.body) {
        Some(PartType::Text(text)) => words(text),
        Some(PartType::Html(page)) => {
            let page = html::page_of(page, &mut Ledger::default());
            page.map_or(0, |page| words(&page.text))
        }
        Some(
            PartType::Binary(_)
            | PartType::InlineBinary(_)
            | PartType::Message(_)
            | PartType::Multipart(_),
        )
        | None => 0,
    }
}

fn attach(message: &Message<'_>, part: &MessagePart<'_>, place: usize, extracted: &mut Extracted) {
    let bytes = match &part.body {
        // A mail inside is a range of the whole one, unless it was encoded on its own.
        PartType::Message(_) if part.encoding == Encoding::None => {
            let range = part.offset_body as usize..part.offset_end as usize;
            message.raw_message.get(range).unwrap_or_default().to_vec()
        }
        PartType::Message(inside) => inside.raw_message.to_vec(),
        PartType::Text(text) | PartType::Html(text) => text.as_bytes().to_vec(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.to_vec(),
        PartType::Multipart(_) => return,
    };
    if bytes.is_empty() {
        return;
    }
    extracted.attachments.push(Attachment {
        name: name_of(part, place),
        bytes,
    });
}

/// The name of an attachment, with the extension of its type if it has none.
fn name_of(part: &MessagePart<'_>, place: usize) -> String {
    let name = part.attachment_name().map(|name| {
        // Some mailers put the whole path.
        name.rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    });
    let name = name
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("part-{place}"));
    if Format::of_path(std::path::Path::new(&name)).is_some() {
        return name;
    }
    let kind = part.content_type();
    let kind = kind.map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
    let extension = match (
        &part.body,
        kind.unwrap_or_default().to_ascii_lowercase().as_str(),
    ) {
        (PartType::Message(_), _) | (_, "message/rfc822") => "eml",
        (PartType::Html(_), _) => "html",
        (_, "text/plain") => "txt",
        (_, "text/markdown") => "md",
        (_, "application/pdf") => "pdf",
        (_, "application/rtf" | "text/rtf") => "rtf",
        (_, "application/zip") => "zip",
        (_, "application/vnd.openxmlformats-officedocument.wordprocessingml.document") => "docx",
        (_, "application/vnd.openxmlformats-officedocument.presentationml.presentation") => "pptx",
        (_, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet") => "xlsx",
        (_, "application/vnd.oasis.opendocument.text") => "odt",
        (_, "application/vnd.oasis.opendocument.spreadsheet") => "ods",
        _ => return name,
    };
    format!("{name}.{extension}")
}

/// The attachments of a mail as inputs. What is not read goes into the ledger.
pub fn attached(
    mail: &Input,
    attachments: Vec<Attachment>,
    extractor: &Extractor,
    dropped: &mut Ledger,
) -> Result<Vec<Result<Input, SourceError>>, SourceError> {
    if attachments.is_empty() {
        return Ok(Vec::new());
    }
    let opened = Opened::new(mail, extractor)?;
    let mut names: HashMap<String, u32> = HashMap::new();
    let mut found = Vec::new();
    for Attachment { name, bytes } in attachments {
        let name = clean_name(&name);
        let copies = names.entry(name.clone()).or_insert(0);
        *copies += 1;
        let format = Format::of_path(std::path::Path::new(&name));
        let unique = if *copies > 1 {
            format!("{name}~{copies}")
        } else {
            name
        };
        let size = bytes.len() as u64;
        let container = opened.container();
        let member = opened.member(&unique, format, |path| {
            Member::of_bytes(path, bytes.into(), container)
        });
        match member.transpose() {
            Some(member) => found.push(member),
            None => dropped.add(Reason::UnreadAttachment, size, Some(unique)),
        }
    }
    Ok(found)
}
