//! Subtitles, SubRip and WebVTT: what is said, without times and signs. Cues are halves of sentences, so that what follows
//! without a pause is one paragraph; its section is the time at which it starts.

use super::super::extracted::{Block, Extracted};
use super::lines::{Line, lines};
use super::utf8;
use crate::document::{Location, Reason};

/// A pause that ends a paragraph.
const PAUSE_MILLIS: u64 = 4000;
/// Length from which the end of a sentence ends a paragraph.
const LONG: usize = 400;

pub fn srt(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    read(utf8(bytes)?, out)
}

pub fn vtt(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    let text = utf8(bytes)?;
    let start = text.trim_start_matches('\u{feff}');
    if !start.starts_with("WEBVTT") {
        return Err("it does not begin with WEBVTT".to_owned());
    }
    read(text, out)
}

#[derive(Default)]
struct Paragraph {
    text: String,
    start: u64,
    end: u64,
    line: u64,
}

fn read(text: &str, out: &mut Extracted) -> Result<(), String> {
    let all = lines(text);
    let (mut open, mut cues) = (Paragraph::default(), 0);
    for cue in all.split(|line| line.is_blank()) {
        let Some(time) = cue.iter().position(|line| line.text.contains("-->")) else {
            leave_out(cue, out);
            continue;
        };
        cues += 1;
        let Some((start, end)) = times(cue[time].text) else {
            continue;
        };
        let is_pause = start > open.end + PAUSE_MILLIS;
        if is_pause
            || (open.text.len() > LONG && open.text.ends_with(['.', '!', '?', '。', '？', '！']))
        {
            close(&mut open, out);
        }
        if open.text.is_empty() {
            (open.start, open.line) = (start, cue[time].number);
        }
        open.end = end.max(start);
        for line in &cue[time + 1..] {
            say(line.text, &mut open.text);
        }
    }
    close(&mut open, out);
    if cues == 0 {
        return Err("it has no line with the times of a subtitle".to_owned());
    }
    Ok(())
}

/// Blocks without a time are notes and styles, and the head of the file.
fn leave_out(cue: &[Line<'_>], out: &mut Extracted) {
    let Some(first) = cue.first().filter(|line| !line.text.starts_with("WEBVTT")) else {
        return;
    };
    let bytes = cue.iter().map(|line| line.text.len() as u64).sum();
    if first.text.chars().any(|c| !c.is_ascii_digit()) {
        out.dropped.add(Reason::Comment, bytes, None);
    }
}

fn close(open: &mut Paragraph, out: &mut Extracted) {
    if !open.text.trim().is_empty() {
        out.at(Location::Section(clock(open.start)));
        out.at(Location::Line(open.line));
        out.add(Block::Paragraph(&open.text));
    }
    open.text.clear();
}

fn clock(millis: u64) -> String {
    let seconds = millis / 1000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn times(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_once("-->")?;
    let end = end.split_whitespace().next().unwrap_or_default();
    Some((millis(start.trim())?, millis(end).unwrap_or(0)))
}

/// Hours may be missing, and the part of a second comes after a dot or a comma.
fn millis(time: &str) -> Option<u64> {
    let (whole, part) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    let mut seconds = 0_u64;
    for field in whole.split(':') {
        let field: u64 = field.trim().parse().ok()?;
        seconds = seconds.checked_mul(60)?.checked_add(field)?;
    }
    let part: u64 = part.trim().parse().unwrap_or(0);
    seconds.checked_mul(1000)?.checked_add(part.min(999))
}

/// Adds a line without tags and marks of places; who speaks is kept.
fn say(line: &str, text: &mut String) {
    if !text.is_empty() {
        text.push(' ');
    }
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let close = match rest.as_bytes()[0] {
            b'<' => rest.find('>'),
            b'{' if rest.starts_with("{\\") => rest.find('}'),
            _ => None,
        };
        if let Some(close) = close {
            if let Some(speaker) = rest[..close].strip_prefix("<v ") {
                text.push_str(speaker.trim());
                text.push_str(": ");
            }
            rest = &rest[close + 1..];
        } else {
            let known = [
                ("&amp;", "&"),
                ("&lt;", "<"),
                ("&gt;", ">"),
                ("&nbsp;", " "),
                ("&lrm;", ""),
                ("&rlm;", ""),
            ];
            let found = known.iter().find(|(name, _)| rest.starts_with(name));
            let (name, letters) = found.copied().unwrap_or((&rest[..1], &rest[..1]));
            text.push_str(letters);
            rest = &rest[name.len()..];
        }
    }
    text.push_str(rest);
}
