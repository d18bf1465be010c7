//! The text of one page: letters at places, put together to words, lines and paragraphs.
//!
//! Letters come in the order in which the page draws them, which is the order of reading in nearly all files, columns
//! included. Between two letters, the way from the end of the one to the start of the other tells whether a word, a line or
//! a paragraph ends.

use hayro_interpret::font::GlyphRun;
use hayro_interpret::hayro_cmap::WritingMode;
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Vec2};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps,
    InterpreterCache, InterpreterSettings, SoftMask, interpret_page,
};
use hayro_syntax::Pdf;
use hayro_syntax::object::{self, Dict};
use hayro_syntax::page::Page;

use super::letters::{Fonts, Letter};

/// Units of a glyph in the square that its size spans.
const UNITS: f64 = 1000.0;
/// Widths of gaps and heights of steps, in parts of the size of letters.
const WORD_GAP: f64 = 0.18;
const SAME_LINE: f64 = 0.5;
const PARAGRAPH_STEP: f64 = 1.75;

/// What a page says.
#[derive(Debug, Default)]
pub struct Read {
    pub text: String,
    /// Letters that nobody can know: their fonts do not say what they mean.
    pub unknown: u64,
}

/// Reads a page.
pub fn read<'a>(
    page: &Page<'a>,
    pdf: &'a Pdf,
    cache: &InterpreterCache<'a>,
    fonts: &mut Fonts,
) -> Read {
    let bounds = Rect::new(0.0, 0.0, 1.0, 1.0);
    let settings = InterpreterSettings::default();
    let mut context = Context::new(Affine::IDENTITY, bounds, cache, pdf.xref(), settings);
    let mut writer = Writer::new(fonts);
    interpret_page(page, &mut context, &mut writer);
    writer.read
}

/// Where the last letter ended.
#[derive(Clone, Copy, Debug)]
struct Pen {
    start: Point,
    end: Point,
    /// The direction of writing, of length 1.
    along: Vec2,
    size: f64,
}

/// Collects letters.
struct Writer<'f> {
    fonts: &'f mut Fonts,
    read: Read,
    pen: Option<Pen>,
    /// The last run: some pages draw the same one twice, filled and stroked.
    last: Option<(Point, usize, u32)>,
    /// Marked contents that are open: inside one with a text of its own, letters do not count.
    marked: Vec<Option<String>>,
}

impl<'f> Writer<'f> {
    fn new(fonts: &'f mut Fonts) -> Self {
        Self {
            fonts,
            read: Read::default(),
            pen: None,
            last: None,
            marked: Vec::new(),
        }
    }

    /// Places a letter.
    fn put(&mut self, letter: &Letter, pen: Pen) {
        if let Some(before) = self.pen {
            self.separate(before, pen, letter);
        }
        self.pen = Some(pen);
        match letter {
            Letter::Text(text) => self.write(text),
            Letter::Unknown => self.read.unknown += 1,
        }
    }

    /// Where a glyph of a width begins and ends.
    fn pen_of(&self, transform: Affine, width: f64, is_vertical: bool) -> Pen {
        let (start, end) = if is_vertical {
            (Point::new(0.0, UNITS), Point::ORIGIN)
        } else {
            (Point::ORIGIN, Point::new(width, 0.0))
        };
        let (start, end) = (transform * start, transform * end);
        let size = (transform * Point::new(0.0, UNITS) - transform * Point::ORIGIN).hypot();
        let (way, length) = (end - start, (end - start).hypot());
        let along = if length > 0.0 {
            way / length
        } else {
            // A mark above a letter has no width.
            self.pen.map_or(Vec2::new(1.0, 0.0), |pen| pen.along)
        };
        Pen {
            start,
            end,
            along,
            size,
        }
    }

    /// Writes what is between two letters.
    fn separate(&mut self, before: Pen, next: Pen, letter: &Letter) {
        let size = before.size.max(next.size).max(f64::MIN_POSITIVE);
        let way = next.start - before.end;
        let along = way.dot(before.along);
        let across = way.cross(before.along).abs();
        let is_turned = before.along.dot(next.along) < 0.9;
        if is_turned || across > PARAGRAPH_STEP * size {
            self.end("\n\n");
        } else if across > SAME_LINE * size {
            self.end("\n");
        } else if along > WORD_GAP * size || (along < -size && !is_right_to_left(letter)) {
            self.end(" ");
        }
    }

    fn end(&mut self, separator: &str) {
        let text = &mut self.read.text;
        if text.ends_with('\n') || text.is_empty() {
            return;
        }
        let kept = text.trim_end_matches(' ').len();
        text.truncate(kept);
        text.push_str(separator);
    }

    fn write(&mut self, letters: &str) {
        for letter in letters.chars() {
            if letter.is_whitespace() || letter == '\u{a0}' {
                if !self.read.text.ends_with([' ', '\n']) && !self.read.text.is_empty() {
                    self.read.text.push(' ');
                }
            } else if !letter.is_control() {
                self.read.text.push(letter);
            }
        }
    }

    /// Whether this run was drawn at the same place just before.
    fn is_repeated(&mut self, place: Point, glyphs: usize, code: u32) -> bool {
        let run = (place, glyphs, code);
        let is_same = self.last.is_some_and(|(before, count, first)| {
            (before - place).hypot() < 0.01 && (count, first) == (glyphs, code)
        });
        self.last = Some(run);
        is_same
    }

    fn is_replaced(&self) -> bool {
        self.marked.iter().any(Option::is_some)
    }
}

/// In text that runs to the left, the next letter starts before the last one.
fn is_right_to_left(letter: &Letter) -> bool {
    let is_of_such_script = |c: char| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}');
    matches!(letter, Letter::Text(text) if text.contains(is_of_such_script))
}

impl<'a> Device<'a> for Writer<'_> {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        let glyphs = run.glyphs();
        let Some(first) = glyphs.first() else {
            return;
        };
        let place = (props.transform * first.transform()) * Point::ORIGIN;
        if self.is_repeated(place, glyphs.len(), first.char_code()) {
            return;
        }
        let is_vertical = run.writing_mode() == WritingMode::Vertical;
        for glyph in glyphs {
            let transform = props.transform * glyph.transform();
            let pen = self.pen_of(transform, Fonts::width(glyph, is_vertical), is_vertical);
            if self.is_replaced() {
                self.put_replacement(pen);
            } else {
                let letter = self.fonts.letter(glyph);
                self.put(&letter, pen);
            }
        }
    }

    fn begin_marked_content(&mut self, _: &[u8], properties: Option<&Dict<'_>>) {
        let text = properties.and_then(|it| it.get::<object::String<'_>>(b"ActualText".as_slice()));
        self.marked.push(text.map(|text| decoded(text.as_bytes())));
    }

    fn end_marked_content(&mut self) {
        // A text in place of something that draws no letters is said all the same.
        if let Some(Some(text)) = self.marked.pop()
            && !self.is_replaced()
        {
            self.write(&text);
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_clip_rect(&mut self, _: &Rect) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
    fn draw_rect(&mut self, _: &Rect, _: DrawProps<'a>, _: &DrawMode) {}
}

impl Writer<'_> {
    /// Writes the text that stands for the letters here, at the first of them.
    fn put_replacement(&mut self, pen: Pen) {
        let replacement = self.marked.iter_mut().find_map(|text| text.as_mut());
        let text = replacement.map(std::mem::take).unwrap_or_default();
        if text.is_empty() {
            self.pen = Some(pen);
        } else {
            self.put(&Letter::Text(text), pen);
        }
    }
}

/// A text string of a PDF: UTF-16 with a mark, or bytes that are Latin 1 as far as letters go.
fn decoded(bytes: &[u8]) -> String {
    let wide = |bytes: &[u8]| -> Vec<u16> {
        bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect()
    };
    match bytes {
        [0xfe, 0xff, rest @ ..] => String::from_utf16_lossy(&wide(rest)),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}
