//! Texts of many languages are cut where their readers would.

use super::cut::{cuts, inside};
use super::outline::{Outline, OutlineState};
use crate::document::Markup;

/// The parts of a text between the places where it may be cut.
fn sentences(text: &str) -> Vec<&str> {
    let outline = Outline::of(text, Markup::Plain, &[], &mut OutlineState::default());
    let places = cuts(text, &outline, outline.sections[0]);
    let ends = places.iter().map(|cut| cut.at).chain([text.len()]);
    let mut start = 0;
    let parts = ends.map(|end| {
        let part = text[start..end].trim();
        start = end;
        part
    });
    parts.collect()
}

#[test]
fn sentences_end_where_readers_see_their_end() {
    let texts: [&[&str]; 12] = [
        &["The queue holds jobs.", "Is it full?", "No!"],
        &["队列保存任务。", "它满了吗？", "没有！"],
        &["キューは仕事を保持します。", "いっぱいですか？", "いいえ！"],
        &["대기열은 작업을 보관합니다.", "가득 찼나요?", "아니요!"],
        &["الطابور يحفظ المهام.", "هل هو ممتلئ؟", "لا!"],
        &["صف کارها را نگه می‌دارد.", "آیا پر است؟", "نه!"],
        &["قطار کام رکھتی ہے۔", "کیا یہ بھری ہے؟", "نہیں!"],
        &["कतार काम रखती है।", "क्या यह भरी है?", "नहीं!"],
        &["התור מחזיק משימות.", "האם הוא מלא?", "לא!"],
        &["Очередь хранит задания.", "Она полна?", "Нет!"],
        &["Հերթը պահում է։", "Լի՞ է։", "Ոչ։"],
        &["ተራው ስራዎችን ይይዛል።", "ሞልቷል።", "አይደለም።"],
    ];
    for expected in texts {
        let has_spaces = expected[0].contains(' ');
        let text = expected.join(if has_spaces { " " } else { "" });
        assert_eq!(sentences(&text), expected, "{text}");
    }
}

/// Where a text is cut that has to end within so many bytes, for each of these.
fn words(text: &str) -> Vec<&str> {
    let ends = (text.len() / 2..text.len()).map(|limit| inside(text, 0, limit));
    let mut ends: Vec<usize> = ends.collect();
    ends.dedup();
    ends.iter().map(|end| &text[..*end]).collect()
}

#[test]
fn words_are_whole_in_scripts_without_spaces() {
    // No place between the letters of these words is a place to cut.
    let texts = [
        (
            "自然语言处理是人工智能的重要领域",
            &["语言", "处理", "人工", "智能", "重要", "领域"][..],
        ),
        (
            "東京都の図書館で日本語を勉強しました",
            &["図書館", "日本", "勉強"][..],
        ),
        (
            "ภาษาไทยเป็นภาษาที่มีวรรณยุกต์",
            &["ภาษา", "ไทย", "เป็น", "วรรณยุกต์"][..],
        ),
        ("ພາສາລາວເປັນພາສາຂອງປະເທດລາວ", &["ພາສາ", "ປະເທດ"][..]),
        ("ភាសាខ្មែរជាភាសាផ្លូវការ", &["ភាសា"][..]),
        ("မြန်မာဘာသာစကားသည်", &["မြန်မာ"][..]),
    ];
    for (text, whole) in texts {
        for head in words(text) {
            for word in whole {
                for (at, _) in text.match_indices(word) {
                    let is_inside = (at + 1..at + word.len()).contains(&head.len());
                    assert!(!is_inside, "{word} is cut in {head}");
                }
            }
        }
    }
}

#[test]
fn a_long_sentence_without_spaces_is_cut_behind_its_clauses() {
    let text = "队列保存任务，工作者取走任务，然后写入结果，最后确认";
    assert_eq!(inside(text, 0, text.len() - 6), text.rfind("最后").unwrap());
    let limit = text.find("然后").unwrap() + 6;
    assert_eq!(inside(text, 0, limit), text.find("然后").unwrap());
}
