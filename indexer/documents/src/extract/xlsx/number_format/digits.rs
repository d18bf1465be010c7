//! Digits: writes a number at the places that a section of a format has.

use super::Token;

/// Digits behind the point that a number without a format has at most.
const GENERAL_DIGITS: usize = 10;

/// Digits of a run of places: how many stand behind the point at least and at most.
fn decimals(places: &str) -> (usize, usize) {
    let behind = places.split_once('.').map_or("", |(_, behind)| behind);
    let most = behind
        .chars()
        .filter(|c| matches!(c, '0' | '#' | '?'))
        .count();
    let least = behind.rfind('0').map_or(0, |last| {
        behind[..=last].chars().filter(|&c| c != ',').count()
    });
    (least, most)
}

/// A number with a point at a place that a section says.
pub fn fixed(size: f64, places: &str) -> String {
    /// More digits tell nothing.
    const MOST_DIGITS: usize = 30;
    let whole = places.split('.').next().unwrap_or_default();
    // Commas behind the last place divide by a thousand each.
    let commas = |places: &str| places.len() - places.trim_end_matches(',').len();
    let behind = places.contains('.');
    let scales = commas(whole) + if behind { commas(places) } else { 0 };
    let size = (0..scales).fold(size, |size, _| size / 1000.0);
    let groups = whole.trim_end_matches(',').contains(',');
    let (least, most) = decimals(places);
    let shown = rounded(size, most.min(MOST_DIGITS));
    let (digits, behind) = shown.split_once('.').unwrap_or((&shown, ""));
    let wanted = whole.chars().filter(|&c| c == '0').count().min(MOST_DIGITS);
    let digits = digits.trim_start_matches('0');
    let digits = format!(
        "{}{digits}",
        "0".repeat(wanted.saturating_sub(digits.len()))
    );
    let digits = if groups { grouped(&digits) } else { digits };
    let mut behind = behind.to_owned();
    while behind.len() > least && behind.ends_with('0') {
        behind.pop();
    }
    match (behind.is_empty(), digits.is_empty()) {
        (true, true) => "0".to_owned(),
        (true, false) => digits,
        (false, _) => format!("{digits}.{behind}"),
    }
}

/// A number with so many digits behind the point, a half rounded up as people do.
fn rounded(size: f64, decimals: usize) -> String {
    let shown = format!("{size}");
    let (whole, behind) = shown.split_once('.').unwrap_or((&shown, ""));
    let kept = behind.get(..decimals).unwrap_or(behind);
    let mut digits: Vec<u8> = format!("0{whole}{kept:0<decimals$}").into_bytes();
    if behind
        .as_bytes()
        .get(decimals)
        .is_some_and(|&digit| digit >= b'5')
    {
        for digit in digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
    }
    let digits = String::from_utf8_lossy(&digits).into_owned();
    let (whole, behind) = digits.split_at(digits.len() - decimals);
    if behind.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{behind}")
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with an exponent, whose places the tokens say.
pub fn scientific(size: f64, places: &str, tokens: &[Token]) -> String {
    let digits = tokens.iter().find_map(|token| match token {
        Token::Exponent(digits) => Some(*digits),
        Token::Literal(_) | Token::Digits(_) | Token::Percent | Token::General | Token::Date(_) => {
            None
        }
    });
    let (_, most) = decimals(places);
    let shown = format!("{size:.most$e}");
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let (sign, exponent) = exponent
        .strip_prefix('-')
        .map_or(("+", exponent), |rest| ("-", rest));
    format!(
        "{mantissa}E{sign}{exponent:0>width$}",
        width = digits.unwrap_or(1)
    )
}

/// A number without a format.
pub fn general(number: f64) -> String {
    /// Whole numbers from here on, and fractions below, are shown with an exponent.
    const LARGE: f64 = 1e15;
    const SMALL: f64 = 1e-9;
    let size = number.abs();
    if !number.is_finite() {
        return number.to_string();
    }
    if size >= LARGE || (size > 0.0 && size < SMALL) {
        let shown = format!("{number:E}");
        return if shown.contains("E-") {
            shown
        } else {
            shown.replace('E', "E+")
        };
    }
    let shown = format!("{number:.GENERAL_DIGITS$}");
    let shown = shown.trim_end_matches('0').trim_end_matches('.');
    if shown == "-0" {
        "0".to_owned()
    } else {
        shown.to_owned()
    }
}
