//! What Excel shows for numbers and dates.

use super::*;

fn shown(code: &str, number: f64) -> String {
    NumberFormat::parse(code).show(number, false)
}

#[test]
fn numbers_are_shown_by_their_format() {
    for (code, number, expected) in [
        ("General", 0.1 + 0.2, "0.3"),
        ("General", 1234.0, "1234"),
        ("General", -0.5, "-0.5"),
        ("General", 1e20, "1E+20"),
        ("0", 2.5, "3"),
        ("0.00", 0.125, "0.13"),
        ("0.00", 999.999, "1000.00"),
        ("0", 3.7, "4"),
        ("0.00", 2.6178, "2.62"),
        ("#,##0", 1_234_567.0, "1,234,567"),
        ("#,##0.00", 0.5, "0.50"),
        ("#,##0.##", 1234.5, "1,234.5"),
        ("0%", 0.256, "26%"),
        ("0.0%", -0.256, "-25.6%"),
        ("0.00E+00", 12345.0, "1.23E+04"),
        ("0.0E+0", 0.00012, "1.2E-4"),
        ("00000", 42.0, "00042"),
        ("0.0,,\" M\"", 2_500_000.0, "2.5 M"),
        ("\"$\"#,##0.00_);(\"$\"#,##0.00)", -1234.5, "($1,234.50)"),
        ("\"$\"#,##0.00_);[Red](\"$\"#,##0.00)", 1234.5, "$1,234.50"),
        ("[$€-407] #,##0.00", 5.0, "€ 5.00"),
        ("0;-0;\"none\"", 0.0, "none"),
        ("[<100]\"few\";\"many\"", 5.0, "few"),
        ("0.00", -0.001, "0.00"),
        ("@", 7.0, "7"),
        ("#", 0.0, "0"),
    ] {
        assert_eq!(shown(code, number), expected, "{code} of {number}");
    }
}

#[test]
fn dates_and_times_are_shown_by_their_format() {
    for (code, number, expected) in [
        ("yyyy-mm-dd", 45429.0, "2024-05-17"),
        ("d.m.yy", 45429.0, "17.5.24"),
        ("dddd, d mmmm yyyy", 45429.0, "Friday, 17 May 2024"),
        ("mmm-yy", 45429.0, "May-24"),
        ("yyyy-mm-dd hh:mm:ss", 45429.75, "2024-05-17 18:00:00"),
        ("h:mm AM/PM", 0.75, "6:00 PM"),
        ("h:mm AM/PM", 0.0, "12:00 AM"),
        ("mm:ss", 0.5 / 24.0, "30:00"),
        ("[h]:mm", 1.5, "36:00"),
        ("mm:ss.0", 1.25 / 86_400.0, "00:01.2"),
        ("yyyy-mm-dd", 1.0, "1900-01-01"),
        ("yyyy-mm-dd", 60.0, "1900-02-29"),
        ("yyyy-mm-dd", 61.0, "1900-03-01"),
        ("yyyy-mm-dd", 36525.0, "1999-12-31"),
        ("yyyy\"年\"m\"月\"d\"日\"", 45429.0, "2024年5月17日"),
        // No date at all.
        ("yyyy-mm-dd", -5.0, "-5"),
    ] {
        assert_eq!(shown(code, number), expected, "{code} of {number}");
    }
    let from_1904 = NumberFormat::parse("yyyy-mm-dd ddd").show(43967.0, true);
    assert_eq!(from_1904, "2024-05-17 Fri");
}

#[test]
fn any_code_is_shown_somehow() {
    for code in [
        "", ";;;", "[", "\"", "\\", "_", "*", "0.0.0", "E+", "[$", "ggge", "AM/PM", "[h", "?/?",
        "\u{feff}",
    ] {
        for number in [0.0, -1.5, 1e300, 45000.5] {
            shown(code, number);
        }
    }
}
