//! Damaged files: each gives a result or a reason, and takes no more than its time and memory.
//!
//! `EBB_MUTATIONS` says how many files of each format are tried, or which ones, like `7..=9`; a few are by default.

use std::ops::RangeInclusive;

use super::fixtures::{self, zip_of};
use super::pdf_of;
use crate::document::Reason;
use crate::extract::isolated::{Limits, Pool, tests_program};
use crate::source::Format;

/// What one file may take.
const LIMITS: Limits = Limits {
    memory_bytes: 512 << 20,
    seconds: 10,
    text_bytes: 64 << 20,
};

/// Numbers that look like chance and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most.max(1) as u64).unwrap()
    }

    /// Changes a few bytes: flips, cuts, repeats, moves, removes or nests them.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let length = bytes.len();
            let (start, some) = (self.below(length), self.below(64) + 1);
            let part = start..(start + some).min(length);
            match self.below(8) {
                0 if length > 0 => bytes[start] ^= 1 << self.below(8),
                1 => bytes.truncate(start),
                2 => {
                    let piece = bytes[part].repeat(self.below(200) + 1);
                    bytes.splice(start..start, piece);
                }
                3 => drop(bytes.drain(part)),
                4 => {
                    let piece = bytes[part].to_vec();
                    let to = self.below(length);
                    bytes.splice(to..to, piece);
                }
                5 => {
                    let digits = b"99999999999999999999";
                    bytes.splice(
                        start..start,
                        digits[..self.below(digits.len())].iter().copied(),
                    );
                }
                // An element or a group, from its start to another one, many times.
                6 => {
                    let opens: Vec<usize> = (0..length)
                        .filter(|&at| b"<{".contains(&bytes[at]))
                        .collect();
                    if let [first, .., last] = *opens.as_slice() {
                        let place = opens[self.below(opens.len())];
                        let piece = bytes[place..(place + some * 4).min(length)]
                            .repeat(self.below(500) + 1);
                        let to = if self.below(2) == 0 { first } else { last };
                        bytes.splice(to..to, piece);
                    }
                }
                _ => bytes.extend((0..some).map(|at| u8::try_from(at % 251).unwrap())),
            }
        }
    }
}

/// Damages a file in the way that has this number.
pub fn damage(number: u64, bytes: &mut Vec<u8>) {
    Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).damage(bytes);
}

/// The numbers of the files.
fn numbers() -> RangeInclusive<u64> {
    let said = std::env::var("EBB_MUTATIONS").unwrap_or("60".to_owned());
    let (first, last) = said.split_once("..=").unwrap_or(("1", &said));
    first.parse().unwrap()..=last.parse().unwrap()
}

/// Reads damaged copies: of a package, half have a damaged part and half are damaged as a whole.
fn try_all(format: Format, parts: &[(&'static str, String)], whole: &[u8]) {
    let pool = Pool::new(tests_program());
    let mut slowest = std::time::Duration::ZERO;
    let mut read = 0;
    for number in numbers() {
        let mut numbers = Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = whole.to_vec();
        if !parts.is_empty() && numbers.below(4) > 0 {
            let chosen = numbers.below(parts.len());
            let mut members: Vec<(&str, Vec<u8>)> = parts
                .iter()
                .map(|(name, text)| (*name, text.clone().into_bytes()))
                .collect();
            numbers.damage(&mut members[chosen].1);
            let members: Vec<(&str, &[u8])> = members
                .iter()
                .map(|(name, bytes)| (*name, bytes.as_slice()))
                .collect();
            bytes = zip_of(&members);
        } else {
            numbers.damage(&mut bytes);
        }
        let start = std::time::Instant::now();
        match pool.extract(format, LIMITS, &bytes) {
            Ok(extracted) => {
                // A page that cannot be read is what a panic in its reader looks like.
                let broken = extracted.dropped.count(Reason::BrokenPage);
                assert_eq!(broken, 0, "file {number} of {}", format.name());
                read += 1;
            }
            Err(reason) => {
                let is_reason = ![
                    "panicked",
                    "signal",
                    "without an answer",
                    "no end",
                    "more memory",
                    "more than 10 seconds",
                ]
                .iter()
                .any(|fault| reason.contains(fault));
                assert!(is_reason, "file {number} of {}: {reason}", format.name());
            }
        }
        slowest = slowest.max(start.elapsed());
    }
    eprintln!(
        "{}: files {:?}, {read} read, slowest {slowest:?}",
        format.name(),
        numbers()
    );
}

#[test]
fn damaged_packages_of_office_give_a_result_or_a_reason() {
    try_all(Format::Docx, &fixtures::docx_parts(), &fixtures::docx());
    try_all(Format::Pptx, &fixtures::pptx_parts(), &fixtures::pptx());
    try_all(Format::Xlsx, &fixtures::xlsx_parts(), &fixtures::xlsx());
}

#[test]
fn damaged_packages_of_opendocument_and_books_give_a_result_or_a_reason() {
    try_all(Format::Odt, &fixtures::odt_parts(), &fixtures::odt());
    try_all(Format::Ods, &fixtures::ods_parts(), &fixtures::ods());
    try_all(Format::Odp, &fixtures::odp_parts(), &fixtures::odp());
    try_all(Format::Epub, &fixtures::epub_parts(), &fixtures::epub());
}

#[test]
fn damaged_texts_mails_and_notebooks_give_a_result_or_a_reason() {
    try_all(Format::Rtf, &[], fixtures::RTF.as_bytes());
    try_all(Format::Eml, &[], fixtures::mail().as_bytes());
    try_all(Format::Ipynb, &[], fixtures::NOTEBOOK.as_bytes());
}

/// A page with text of both directions, a text in place of letters, and a field.
fn page() -> Vec<u8> {
    let stream = |content: &str| {
        let length = content.len();
        format!("<< /Length {length} >>\nstream\n{content}\nendstream")
    };
    pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [7 0 R] >> >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> /Annots [7 0 R] >>"
            .to_owned(),
        stream(
            "BT /F1 12 Tf 72 720 Td [(FE (DC) 12 xyz) -300 (BA)] TJ 0 -14 Td 2 Tc (words) Tj \
             /Span << /ActualText <FEFF05D0> >> BDC (A) Tj EMC 1 0 0 1 9 9 Tm (end) Tj ET",
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>".to_owned(),
        stream(
            "/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <FF> \
             endcodespacerange 1 beginbfrange <41> <46> <05D0> endbfrange endcmap end",
        ),
        "<< /Type /Annot /Subtype /Widget /Rect [0 0 9 9] /FT /Ch /V (a) /Opt [[(a) (A)]] >>"
            .to_owned(),
    ])
}

#[test]
fn damaged_pages_give_a_result_or_a_reason() {
    try_all(Format::Pdf, &[], &page());
}
