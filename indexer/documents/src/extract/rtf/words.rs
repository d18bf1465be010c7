//! Words of RTF and what they mean: what a group is for, a letter, an encoding.

use encoding_rs::Encoding;

use super::Destination;

/// What a group is for that begins with a word.
pub fn destination_of(word: &str) -> Option<Destination> {
    Some(match word {
        "fonttbl" => Destination::Fonts,
        "stylesheet" => Destination::Styles,
        "title" => Destination::Title,
        "pntext" | "listtext" => Destination::Sign,
        "footnote" => Destination::Note,
        "shptxt" | "fldrslt" | "result" => Destination::Text,
        "annotation" => Destination::Comment,
        "header" | "headerl" | "headerr" | "headerf" | "footer" | "footerl" | "footerr"
        | "footerf" => Destination::Furniture,
        "colortbl" | "info" | "pict" | "objdata" | "objclass" | "fldinst" | "shpinst"
        | "nonshppict" | "nonesttables" | "atnid" | "atnauthor" | "bkmkstart" | "bkmkend"
        | "listtable" | "listoverridetable" | "pgptbl" | "revtbl" | "rsidtbl" | "generator"
        | "filetbl" | "xe" | "tc" | "ftnsep" | "ftnsepc" | "ftncn" | "aftnsep" | "aftnsepc"
        | "aftncn" | "themedata" | "datastore" | "latentstyles" | "pnseclvl" => Destination::Passed,
        _ => return None,
    })
}

/// Words that stand for a letter.
pub fn letter_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "emdash" => "\u{2014}",
        "endash" => "\u{2013}",
        "lquote" => "\u{2018}",
        "rquote" => "\u{2019}",
        "ldblquote" => "\u{201c}",
        "rdblquote" => "\u{201d}",
        "bullet" => "\u{2022}",
        "emspace" | "enspace" | "qmspace" => " ",
        _ => return None,
    })
}

/// The encoding of a code page of Windows.
pub fn code_page(number: i32) -> Option<&'static Encoding> {
    let label = match number {
        874 => "windows-874".to_owned(),
        932 => "shift_jis".to_owned(),
        936 => "gb18030".to_owned(),
        949 => "euc-kr".to_owned(),
        950 => "big5".to_owned(),
        866 => "ibm866".to_owned(),
        10_000 => "macintosh".to_owned(),
        65_001 => "utf-8".to_owned(),
        1250..=1258 => format!("windows-{number}"),
        _ => return None,
    };
    Encoding::for_label(label.as_bytes())
}

/// The code page of a charset of fonts.
pub fn charset(number: i32) -> Option<&'static Encoding> {
    code_page(match number {
        77 => 10_000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178..=180 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    })
}
