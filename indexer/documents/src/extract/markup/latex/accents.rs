//! Accents and letters that commands stand for.

use unicode_normalization::UnicodeNormalization as _;

/// The mark that a command puts on a letter.
pub fn mark(name: &str) -> Option<char> {
    Some(match name {
        "`" => '\u{300}',
        "'" => '\u{301}',
        "^" => '\u{302}',
        "~" => '\u{303}',
        "=" => '\u{304}',
        "u" => '\u{306}',
        "." => '\u{307}',
        "\"" => '\u{308}',
        "r" => '\u{30a}',
        "H" => '\u{30b}',
        "v" => '\u{30c}',
        "d" => '\u{323}',
        "c" => '\u{327}',
        "k" => '\u{328}',
        "b" => '\u{331}',
        _ => return None,
    })
}

/// A text whose first letter has a mark.
pub fn marked(text: &str, mark: char) -> String {
    let text = text.trim();
    let text = match text {
        "\\i" | "\\i " | "ı" => "i",
        "\\j" | "ȷ" => "j",
        text => text,
    };
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| [letter, mark].iter().collect::<String>());
    let first = first.unwrap_or_default();
    first.nfc().chain(letters).collect()
}

/// What a command stands for.
pub fn letter(name: &str) -> Option<&'static str> {
    Some(match name {
        "ss" => "ß",
        "ae" => "æ",
        "AE" => "Æ",
        "oe" => "œ",
        "OE" => "Œ",
        "o" => "ø",
        "O" => "Ø",
        "aa" => "å",
        "AA" => "Å",
        "l" => "ł",
        "L" => "Ł",
        "i" => "ı",
        "j" => "ȷ",
        "dh" => "ð",
        "th" => "þ",
        "&" => "&",
        "%" => "%",
        "$" => "$",
        "#" => "#",
        "_" => "_",
        "{" => "{",
        "}" => "}",
        " " | "\n" | "," | ";" | ":" | ">" | "quad" | "qquad" | "enspace" | "space" | "hfill"
        | "hspace" => " ",
        "!" | "/" | "-" | "@" | "(" | ")" => "",
        "ldots" | "dots" | "textellipsis" => "…",
        "textbackslash" => "\\",
        "textasciitilde" | "sim" => "~",
        "textasciicircum" => "^",
        "textbar" => "|",
        "textless" => "<",
        "textgreater" => ">",
        "textendash" => "–",
        "textemdash" => "—",
        "textquotedblleft" => "“",
        "textquotedblright" => "”",
        "textregistered" => "®",
        "texttrademark" => "™",
        "copyright" | "textcopyright" => "©",
        "S" => "§",
        "P" => "¶",
        "dag" => "†",
        "ddag" => "‡",
        "pounds" | "textsterling" => "£",
        "euro" | "texteuro" => "€",
        "textdegree" | "degree" => "°",
        "textbullet" => "•",
        "LaTeX" => "LaTeX",
        "TeX" => "TeX",
        "BibTeX" => "BibTeX",
        _ => return None,
    })
}
