//! Page: one file with its style and script in it, which loads nothing from anywhere.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use contract::digest::Digest;

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In this order; they are one script.
const SCRIPTS: [&str; 6] = [
    include_str!("page/base.js"),
    include_str!("page/curve.js"),
    include_str!("page/overview.js"),
    include_str!("page/lists.js"),
    include_str!("page/search.js"),
    include_str!("page/live.js"),
];

/// The page, and the policy that it is sent with.
#[derive(Debug)]
pub struct Page {
    pub html: String,
    /// What a browser lets it do: run this script and this style, and ask the server that it came from.
    pub policy: String,
}

impl Page {
    pub fn new() -> Self {
        let script = format!("\"use strict\";\n{}", SCRIPTS.concat());
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
            source(&script),
            source(STYLE)
        );
        let html = HTML.replacen("/*style*/", STYLE, 1);
        Self {
            html: html.replacen("/*script*/", &script, 1),
            policy,
        }
    }
}

/// The source by which the policy names a part of the page.
fn source(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    let bytes: Vec<u8> = digest
        .as_str()
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    format!("sha256-{}", BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_all_of_itself_and_asks_for_nothing_elsewhere() {
        let page = Page::new();
        for mark in [
            "/*style*/",
            "/*script*/",
            "http://",
            "https://",
            "url(",
            "@import",
            "innerHTML",
        ] {
            assert!(!page.html.contains(mark), "{mark}");
        }
        assert!(page.html.contains(STYLE) && page.html.contains(SCRIPTS[5]));
        assert_eq!(
            source(""),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }
}
