//! Ends of words. Scripts that write no spaces between words, as those of China, Japan and Thailand, need a dictionary of their
//! words; all others follow the rules of Unicode.

use std::sync::LazyLock;

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use unicode_segmentation::UnicodeSegmentation as _;

/// The last end of a word in `text` that `suits`.
pub fn last_bound(text: &str, suits: impl Fn(usize) -> bool) -> Option<usize> {
    static DICTIONARY: LazyLock<WordSegmenterBorrowed<'static>> =
        LazyLock::new(|| WordSegmenter::new_auto(WordBreakInvariantOptions::default()));
    if text.contains(needs_dictionary) {
        let ends = DICTIONARY.segment_str(text);
        return ends.filter(|at| suits(*at)).last();
    }
    let ends = text.split_word_bound_indices().map(|(at, _)| at);
    ends.filter(|at| suits(*at)).last()
}

fn needs_dictionary(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Marks between the parts of a sentence, in scripts that write no space behind them.
pub fn is_clause_mark(c: char) -> bool {
    matches!(c, '，' | '、' | '；' | '：' | '､')
}
