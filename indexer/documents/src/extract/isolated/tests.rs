//! What a file can do to the process that reads it, and what somebody else can.

use super::*;
use crate::document::{Location, Reason};
use crate::extract::tests::pdf_of;

const LIMITS: Limits = Limits {
    memory_bytes: 256 << 20,
    seconds: 10,
    text_bytes: 1 << 20,
};

/// The process that the tests start: this program, told to run this test alone.
#[test]
#[ignore = "serves the other tests"]
fn child() {
    serve::serve().unwrap();
}

pub fn program() -> Program {
    let arguments = [
        "extract::isolated::tests::child",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    Program::At {
        path: std::env::current_exe().unwrap(),
        arguments: arguments.map(str::to_owned).to_vec(),
    }
}

fn shell(script: &str) -> Program {
    Program::At {
        path: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
    }
}

fn read(pool: &Pool, pdf: &[u8], limits: Limits) -> Result<String, String> {
    let extracted = pool.extract(Format::Pdf, limits, pdf)?;
    Ok(extracted.text)
}

/// A page whose content draws the first of these forms; each draws what its content says.
fn forms(contents: &[&str]) -> Vec<u8> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R \
         /Resources << /XObject << /Fm0 5 0 R >> >> >>"
            .to_owned(),
        stream("", "/Fm0 Do"),
    ];
    let forms: String = (0..contents.len())
        .map(|number| format!("/Fm{number} {} 0 R ", number + 5))
        .collect();
    let entries = format!(
        "/Type /XObject /Subtype /Form /BBox [0 0 99 99] /Resources << /XObject << {forms} >> >>"
    );
    objects.extend(contents.iter().map(|content| stream(&entries, content)));
    pdf_of(&objects)
}

fn stream(entries: &str, content: &str) -> String {
    let length = content.len();
    format!("<< {entries} /Length {length} >>\nstream\n{content}\nendstream")
}

fn plain(text: &str) -> Vec<u8> {
    crate::extract::tests::one_page(text)
}

#[test]
fn a_form_that_draws_itself_costs_its_file_only() {
    let pool = Pool::new(program());
    assert_eq!(read(&pool, &plain("before"), LIMITS).unwrap(), "before");
    // With a library that draws what it met before no more, it is an empty page.
    if let Err(reason) = read(&pool, &forms(&["/Fm0 Do"]), LIMITS) {
        assert_eq!(reason, "it refers to itself, or nests without end");
    }
    assert_eq!(read(&pool, &plain("after"), LIMITS).unwrap(), "after");
}

#[test]
fn a_page_tree_that_is_its_own_parent_costs_its_file_only() {
    let pool = Pool::new(program());
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 2 /Parent 2 0 R >>",
        "<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>",
        &stream("", "BT (x) Tj ET"),
    ];
    let pdf = pdf_of(&objects.map(str::to_owned));
    drop(read(&pool, &pdf, LIMITS));
    assert_eq!(read(&pool, &plain("after"), LIMITS).unwrap(), "after");
}

#[test]
fn memory_is_limited() {
    let pool = Pool::new(program());
    let limits = Limits {
        memory_bytes: 1 << 20,
        ..LIMITS
    };
    // One text, larger than what the allocator ever takes from memory that it holds already.
    let content = format!("({}) Tj", "x".repeat(40 << 20));
    let pdf = pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>".to_owned(),
        stream("", &content),
    ]);
    let reason = read(&pool, &pdf, limits).unwrap_err();
    assert!(reason.contains("--max-extract-memory-bytes"), "{reason}");
    assert_eq!(read(&pool, &plain("after"), LIMITS).unwrap(), "after");
}

#[test]
fn time_is_limited() {
    let pool = Pool::new(program());
    let limits = Limits {
        seconds: 0,
        ..LIMITS
    };
    // Each form draws the next one ten times: a file of 1 kB that draws without end.
    let contents: Vec<String> = (1..12)
        .map(|next| format!("/Fm{next} Do ").repeat(10))
        .collect();
    let mut contents: Vec<&str> = contents.iter().map(String::as_str).collect();
    contents.push("q Q");
    if let Err(reason) = read(&pool, &forms(&contents), limits) {
        assert!(reason.contains("--max-extract-seconds"), "{reason}");
    }
    assert_eq!(read(&pool, &plain("after"), LIMITS).unwrap(), "after");
}

#[test]
fn text_is_limited() {
    let pool = Pool::new(program());
    let limits = Limits {
        text_bytes: 3,
        ..LIMITS
    };
    let reason = read(&pool, &plain("four"), limits).unwrap_err();
    assert_eq!(reason, "it has 4 bytes of text, more than 3");
}

#[test]
fn a_child_that_was_killed_between_two_files_is_replaced() {
    let pool = Pool::new(program());
    for text in ["one", "two", "three"] {
        assert_eq!(read(&pool, &plain(text), LIMITS).unwrap(), text);
        pool.idle.lock().unwrap()[0].kill_and_wait();
    }
}

#[test]
fn a_child_is_used_again() {
    let pool = Pool::new(program());
    for _ in 0..3 {
        read(&pool, &plain("text"), LIMITS).unwrap();
    }
    let idle = pool.idle.lock().unwrap();
    assert_eq!((idle.len(), idle[0].files()), (1, 3));
}

#[test]
fn a_program_that_is_no_child_costs_the_file_only() {
    for (script, said) in [
        ("exit 3", "ended without an answer"),
        ("yes >&0", "an answer that is none"),
        ("kill -9 $$", "died of signal 9"),
    ] {
        let reason = read(&Pool::new(shell(script)), &plain("x"), LIMITS).unwrap_err();
        assert!(reason.contains(said), "{script}: {reason}");
    }
    let missing = Program::At {
        path: "/nowhere/program".into(),
        arguments: Vec::new(),
    };
    let reason = read(&Pool::new(missing), &plain("x"), LIMITS).unwrap_err();
    assert!(reason.contains("cannot be started"), "{reason}");
    let reason = read(&Pool::default(), &plain("x"), LIMITS).unwrap_err();
    assert!(
        reason.ends_with("no program is set that does it"),
        "{reason}"
    );
}

#[test]
fn a_child_ends_with_its_parent() {
    let pool = Pool::new(program());
    read(&pool, &plain("x"), LIMITS).unwrap();
    let child = pool.take().unwrap();
    assert!(child.ends_when_the_socket_closes());
}

#[test]
fn pages_without_text_are_counted_and_named() {
    let pool = Pool::new(program());
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents";
    let font = "/Resources << /Font << /F1 6 0 R >> >> >>";
    let pdf = pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>".to_owned(),
        format!("{page} 7 0 R {font}"),
        format!("{page} 5 0 R {font}"),
        stream("", "BT /F1 12 Tf 72 720 Td (words) Tj ET"),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        stream("", "0 0 9 9 re f"),
    ]);
    let extracted = pool.extract(Format::Pdf, LIMITS, &pdf).unwrap();
    assert_eq!(extracted.text, "words");
    assert_eq!(extracted.locations, [(0, Location::Page(2))]);
    assert_eq!(extracted.dropped.count(Reason::PageWithoutText), 1);
    assert_eq!(
        extracted.dropped.to_string(),
        "1 pages have no text (page 1)"
    );
}
