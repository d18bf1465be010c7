//! The text of one page: letters at places, put together to words, lines and paragraphs.
//!
//! Letters come in the order in which the page draws them, which is the order of reading in nearly all files, columns
//! included. Between two letters, the distance from the end of the one to the start of the other tells whether a line or a
//! paragraph ends; what a line says is told by all of its letters, see [`Line`]. Lines with letters that run to the left are
//! read last, as it is the page that says from which side.

use hayro_interpret::font::GlyphRun;
use hayro_interpret::hayro_cmap::WritingMode;
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Vec2};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps,
    InterpreterCache, InterpreterSettings, RenderContent, SoftMask, interpret_page,
};
use hayro_syntax::Pdf;
use hayro_syntax::object::{self, Dict};
use hayro_syntax::page::Page;

use super::form::Fields;
use super::letters::{Fonts, Letter};
use super::line::{DirectionCounts, Line};
use super::strings::decoded;

/// Units of a glyph in the square that its size spans.
const UNITS: f64 = 1000.0;
/// Heights of steps, in parts of the size of letters.
const SAME_LINE: f64 = 0.5;
const PARAGRAPH_STEP: f64 = 1.75;

/// What a page says.
#[derive(Debug, Default)]
pub struct Read {
    pub text: String,
    /// Letters that nobody can know: their fonts do not say what they mean.
    pub unknown: u64,
}

pub fn read<'a>(
    page: &Page<'a>,
    pdf: &'a Pdf,
    cache: &InterpreterCache<'a>,
    fonts: &mut Fonts<'a>,
) -> Read {
    let bounds = Rect::new(0.0, 0.0, 1.0, 1.0);
    let mut writer = Writer::new(fonts);
    let draw = |writer: &mut Writer<'_, '_>, render_content| {
        let settings = InterpreterSettings {
            render_content,
            ..InterpreterSettings::default()
        };
        let mut context = Context::new(Affine::IDENTITY, bounds, cache, pdf.xref(), settings);
        interpret_page(page, &mut context, writer);
    };
    draw(&mut writer, RenderContent::PAGE);
    writer.end_all_marked_content();
    if page.raw().contains_key(b"Annots") {
        let mut fields = Fields::of(page);
        writer.drawn = Some(Vec::new());
        draw(&mut writer, RenderContent::ANNOTATIONS);
        fields.see(writer.drawn.take().unwrap_or_default());
        // What a field holds may not be drawn: whoever filled it in left that to the reader.
        for value in fields.unseen() {
            writer.end("\n\n");
            writer.add(&value);
        }
    }
    writer.read()
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

/// Where a letter stands along its line.
fn places(pen: Pen) -> (f64, f64) {
    let place = |point: Point| point.to_vec2().dot(pen.along);
    (place(pen.start), place(pen.end))
}

struct Writer<'f, 'p> {
    fonts: &'f mut Fonts<'p>,
    parts: Vec<Part>,
    /// What stands behind the last line.
    separator: &'static str,
    directions: DirectionCounts,
    unknown: u64,
    /// The line that is being read.
    line: Line,
    pen: Option<Pen>,
    /// The last run: some pages draw the same one twice, filled and stroked.
    last: Option<(Point, usize, u32)>,
    /// Marked contents that are open: inside one with a text of its own, letters do not count.
    marked: Vec<Option<String>>,
    /// The letters of fields with their places, while these are drawn.
    drawn: Option<Vec<(Point, String)>>,
}

/// A part of the text of a page.
enum Part {
    Text(String),
    /// What is before a line, and a line with letters that run to the left.
    Leftward(&'static str, Line),
}

impl<'f, 'p> Writer<'f, 'p> {
    fn new(fonts: &'f mut Fonts<'p>) -> Self {
        Self {
            fonts,
            parts: Vec::new(),
            separator: "",
            directions: DirectionCounts::default(),
            unknown: 0,
            line: Line::default(),
            pen: None,
            last: None,
            marked: Vec::new(),
            drawn: None,
        }
    }

    fn read(mut self) -> Read {
        self.end_line();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Leftward(separator, line) => {
                    text.push_str(separator);
                    text.push_str(line.read_leftward(self.directions.are_leftward()).trim());
                }
            }
        }
        Read {
            text,
            unknown: self.unknown,
        }
    }

    /// Places what a glyph says.
    fn put(&mut self, letter: &Letter, pen: Pen) {
        let text = match letter {
            Letter::Text(text) => text.as_str(),
            Letter::Unknown => {
                self.unknown += 1;
                ""
            }
        };
        let gap = self.step(pen, text);
        self.line.place_glyph(text, places(pen), gap, pen.size);
    }

    /// Goes to a place where something is said; gives the distance to it.
    fn step(&mut self, pen: Pen, text: &str) -> f64 {
        let gap = self.pen.map_or(0.0, |before| self.separate(before, pen));
        self.pen = Some(pen);
        if let Some(drawn) = &mut self.drawn {
            drawn.push((pen.start.midpoint(pen.end), text.to_owned()));
        }
        gap
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
        let (step, length) = (end - start, (end - start).hypot());
        let along = if length > 0.0 {
            step / length
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

    /// Ends the line or the paragraph if the next letter stands in another one; else gives the distance between both, in parts
    /// of their size.
    fn separate(&mut self, before: Pen, next: Pen) -> f64 {
        let size = before.size.max(next.size).max(f64::MIN_POSITIVE);
        let step = next.start - before.end;
        let across = step.cross(before.along).abs();
        let is_turned = before.along.dot(next.along) < 0.9;
        if is_turned || across > PARAGRAPH_STEP * size {
            self.end("\n\n");
        } else if across > SAME_LINE * size {
            self.end("\n");
        } else {
            return step.dot(before.along) / size;
        }
        0.0
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.directions.add(line.directions);
        if line.directions.left > 0 {
            let separator = std::mem::take(&mut self.separator);
            self.parts.push(Part::Leftward(separator, line));
        } else {
            self.add(line.read().trim());
        }
    }

    /// Adds a line, if there is anything in it.
    fn add(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        let separator = std::mem::take(&mut self.separator);
        match self.parts.last_mut() {
            Some(Part::Text(text)) => {
                text.push_str(separator);
                text.push_str(line);
            }
            _ => self.parts.push(Part::Text(format!("{separator}{line}"))),
        }
    }

    fn end(&mut self, separator: &'static str) {
        self.end_line();
        if self.separator.is_empty() && !self.parts.is_empty() {
            self.separator = separator;
        }
    }

    /// Says something that is not drawn where the last letter ended.
    fn say(&mut self, text: &str) {
        let place = self.pen.map_or(0.0, |pen| pen.end.to_vec2().dot(pen.along));
        let size = self.pen.map_or(1.0, |pen| pen.size);
        self.line.place(text, (place, place), 0.0, size);
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

impl<'a> Device<'a> for Writer<'_, '_> {
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
            self.say(&text);
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

impl Writer<'_, '_> {
    /// Ends what the content of a page has left open: what is drawn next is none of it.
    fn end_all_marked_content(&mut self) {
        while !self.marked.is_empty() {
            self.end_marked_content();
        }
    }

    /// Writes the text that stands for the letters here, at the first of them, and as wide as those of its line.
    fn put_replacement(&mut self, pen: Pen) {
        let replacement = self.marked.iter_mut().find_map(|text| text.as_mut());
        let text = replacement.map(std::mem::take).unwrap_or_default();
        let gap = self.step(pen, &text);
        if text.is_empty() {
            self.line.extend(places(pen));
        } else {
            self.line.place(&text, places(pen), gap, pen.size);
        }
    }
}
