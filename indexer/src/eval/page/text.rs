//! Text: what others wrote, so that a page shows it and never obeys it.

/// The text with everything escaped that HTML could read as markup, in content and in attributes alike. Control
/// characters, and those that turn the direction of what follows, are shown as replacement characters.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\r' | '\t' => out.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The beginning of a text, escaped.
pub fn excerpt(text: &str, chars: usize) -> String {
    let short: String = text.chars().take(chars).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", escaped(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_html_reads_as_markup_is_left() {
        let hostile = "</td><script>alert('1')</script>\" onload=\"x&\u{0}\u{202e}\n";
        let shown = escaped(hostile);
        assert!(
            !shown.contains(['<', '>', '"', '\'', '\0', '\u{202e}', '\n']),
            "{shown}"
        );
        assert!(shown.starts_with("&lt;/td&gt;&lt;script&gt;"), "{shown}");
        assert_eq!(excerpt("a<b>c", 2), "a&lt;…");
        assert_eq!(excerpt("abc", 3), "abc");
    }
}
