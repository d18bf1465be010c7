//! Texts that tokenizers stumble over.

use super::random::Random;

/// What texts are mixed of: words, white space of all kinds, marks without a letter, joined and reordered characters,
/// contents of added tokens, and what normalizers turn into something else.
const PIECES: [&str; 92] = [
    "the",
    "queue",
    "Worker",
    "VECTOR",
    "chunking",
    "s",
    "don't",
    "'LL",
    "'s",
    "123",
    "1234567",
    "3.14",
    "a_b",
    "x",
    " ",
    " ",
    " ",
    " ",
    "  ",
    "    ",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    "\u{b}",
    "\u{c}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{ad}",
    "\u{0}",
    "\u{1}",
    "\u{7f}",
    "\u{fffd}",
    "\u{e0001}",
    ".",
    ",",
    "!",
    "...",
    "--",
    "#",
    "## ",
    "- ",
    "*",
    "`",
    "```",
    "|",
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    "</",
    "http://a.b/c?d=e",
    "\u{301}",
    "e\u{301}",
    "é",
    "É",
    "\u{302e}",
    "\u{338}",
    "≮",
    "İ",
    "ß",
    "ς",
    "Σ",
    "ﬁ",
    "½",
    "²",
    "㎏",
    "\u{fdfa}",
    "ǅ",
    "漢字",
    "検索。",
    "かな",
    "ｶﾞ",
    "각",
    "\u{1100}\u{1161}\u{11a8}",
    "ไทย",
    "नमस्ते",
    "عربي",
    "👨‍👩‍👧‍👦",
    "🇩🇪",
    "[SEP]",
    "<s>",
    "<mask>",
    "<|endoftext|>",
];

fn mix(random: &mut Random) -> String {
    let pieces = 1 + random.below(16);
    (0..pieces)
        .map(|_| PIECES[random.index(PIECES.len())])
        .collect()
}

/// Texts mixed of nasty pieces.
pub(crate) fn mixed(texts: usize) -> Vec<String> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    (0..texts).map(|_| mix(&mut random)).collect()
}

/// One such text.
pub(crate) fn mixed_from(seed: u64) -> String {
    mix(&mut Random(seed | 1))
}

/// All of Unicode in runs, and what is not an ideograph or unassigned between words, too.
pub(crate) fn every_character() -> Vec<String> {
    let all: Vec<char> = (0..=0x10_ffff).filter_map(char::from_u32).collect();
    let varied = all.iter().filter(|c| {
        matches!(u32::from(**c), 0..0x3400 | 0xa000..0xac80 | 0xf900..0x1_0000 | 0x1_0f00..0x1_1200 | 0x1_d400..0x1_fb00)
    });
    let between: Vec<String> = varied.map(|c| format!("a{c}b {c} {c}.{c}")).collect();
    let runs = all.chunks(64).map(|run| run.iter().collect());
    between
        .chunks(8)
        .map(|texts| texts.join(" "))
        .chain(runs)
        .collect()
}

/// Random bytes, as far as they are text.
pub(crate) fn bytes(texts: usize) -> Vec<String> {
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let mut text = || {
        let bytes: Vec<u8> = (0..random.below(200))
            .map(|_| random.below(256).to_le_bytes()[0])
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (0..texts).map(|_| text()).collect()
}

/// Words without an end, around the limits of the library and of what is kept.
pub(crate) fn long() -> Vec<String> {
    let lengths = [63, 64, 65, 99, 100, 101, 255, 256, 257, 3000];
    let letters = ["a", "é", "漢", "ab1", "\u{301}", "👩‍👩‍👧"];
    let words = lengths
        .iter()
        .flat_map(|&n| letters.map(|letter| letter.repeat(n)));
    let endless = "a".repeat(1 << 18);
    words
        .flat_map(|word| [format!("the {word} queue"), word])
        .chain([endless])
        .collect()
}
