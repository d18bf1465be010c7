//! Damaged files: cut, changed, nested and repeated ones give a result or a reason. `EBB_MUTATIONS` says how many of each
//! format; by default a few.

use std::time::{Duration, Instant};

use super::tests::ALL;
use crate::extract::extracted::{Extract, Extracted};
use crate::extract::guarded;
use crate::source::Format;

/// Longest time and largest text of all.
#[derive(Debug, Default)]
struct Worst {
    time: Duration,
    bytes: usize,
}

/// A sequence of numbers that is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap()
    }
}

/// Signs that mean something in one of the formats.
const SIGNS: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    "|",
    "\\",
    "`",
    "``",
    "*",
    "**",
    "_",
    "\n",
    "\n\n",
    "    ",
    "\t",
    ".. ",
    "::",
    "|===\n",
    "----\n",
    "#+BEGIN_SRC\n",
    "\\begin{a}",
    "\\end{a}",
    "\\item ",
    "\\def\\x{\\x\\x}\\x ",
    "$",
    "%",
    "&",
    "&x;",
    "<a>",
    "</a>",
    "-->",
    "+--+\n",
    "==  ==\n",
    "\u{3000}é\u{301}",
];

fn mutated(seed: &str, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.as_bytes().to_vec();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len());
        let end = at + numbers.below((bytes.len() - at).min(200));
        match numbers.below(7) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                let most = if numbers.below(50) == 0 { 2000 } else { 8 };
                let times = 1 + numbers.below(most);
                bytes.splice(at..at, part.repeat(times));
            }
            4 => {
                let sign = SIGNS[numbers.below(SIGNS.len())];
                let most = if numbers.below(20) == 0 { 20_000 } else { 3 };
                let times = 1 + numbers.below(most);
                bytes.splice(at..at, sign.repeat(times).into_bytes());
            }
            5 => {
                let other = numbers.below(bytes.len());
                let last = bytes.len().saturating_sub(1);
                bytes.swap(at.min(last), other.min(last));
            }
            _ => {
                let sign = SIGNS[numbers.below(SIGNS.len())];
                bytes.extend(sign.as_bytes());
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    // Encodings are settled before.
    String::from_utf8_lossy(&bytes).into_owned().into_bytes()
}

fn check(name: &str, extract: Extract, seed: &str, count: usize) -> Worst {
    let (mut numbers, mut worst) = (Numbers(17), Worst::default());
    for number in 0..count {
        let bytes = mutated(seed, &mut numbers);
        let began = Instant::now();
        let mut out = Extracted::default();
        let done = guarded(|| extract(&bytes, &mut out).is_ok());
        assert!(
            done.is_some(),
            "{name} panics at mutation {number}: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        worst.time = worst.time.max(began.elapsed());
        worst.bytes = worst.bytes.max(out.text.len());
    }
    worst
}

fn count() -> usize {
    let count = std::env::var("EBB_MUTATIONS")
        .ok()
        .and_then(|count| count.parse().ok());
    count.unwrap_or(100)
}

/// Says what the worst was, where many were asked for.
fn report(name: &str, worst: &Worst) {
    if std::env::var_os("EBB_MUTATIONS").is_some() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap_or_default()
            .to_owned();
        println!("{name}: {worst:?} {peak}");
        assert!(worst.time < Duration::from_secs(10), "{name}: {worst:?}");
    }
}

#[test]
fn damaged_markup_gives_a_result_or_a_reason() {
    for (name, extract, seed) in ALL {
        report(name, &check(name, extract, seed, count()));
    }
}

#[test]
fn damaged_source_code_gives_a_result_or_a_reason() {
    let code = include_str!("inline.rs");
    let languages = [
        Format::Bash,
        Format::C,
        Format::Cpp,
        Format::Csharp,
        Format::Go,
        Format::Java,
        Format::Javascript,
        Format::Kotlin,
        Format::Php,
        Format::Python,
        Format::Ruby,
        Format::Rust,
        Format::Typescript,
        Format::Tsx,
    ];
    for format in languages {
        let extract = crate::extract::reader::Reader::of(format)
            .isolated()
            .unwrap();
        let name = format.name();
        report(
            &name,
            &check(&name, extract, &code[..1500], count().div_ceil(4)),
        );
    }
}
