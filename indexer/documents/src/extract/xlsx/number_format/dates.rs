//! Dates and times, which are numbers of days.

use super::Token;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const DAY_SECONDS: i64 = 86_400;
/// The day after the last one of the year 9999.
const MAX_DAY: f64 = 2_958_466.0;
/// Days from 0000-03-01, where the calendar that repeats begins, to the day 0 of workbooks.
const EPOCH_1900: i64 = 693_899;
const EPOCH_1904: i64 = 695_361;

/// A moment with its parts.
struct Moment {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    /// Since midnight, with what is left of a second in thousandths.
    seconds: i64,
    thousandths: i64,
    /// Since day 0.
    all_seconds: i64,
}

impl Moment {
    fn of(days: f64, from_1904: bool) -> Option<Self> {
        if !(0.0..MAX_DAY).contains(&days) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a day of this calendar fits many times"
        )]
        let thousandths = (days * DAY_SECONDS as f64 * 1000.0).round() as i64;
        let (all_seconds, thousandths) = (thousandths / 1000, thousandths % 1000);
        let (days, seconds) = (all_seconds / DAY_SECONDS, all_seconds % DAY_SECONDS);
        let (year, month, day) = date_of(days, from_1904);
        // Day 1 of 1900 counts as a Sunday there; 1904 began on a Friday.
        let weekday = if from_1904 {
            (days + 5) % 7
        } else {
            (days + 6) % 7
        };
        Some(Self {
            year,
            month,
            day,
            weekday: usize::try_from(weekday).unwrap_or(0),
            seconds,
            thousandths,
            all_seconds,
        })
    }
}

/// Year, month and day of a number of days. Workbooks count a 29th of February in 1900, which there was not.
fn date_of(days: i64, from_1904: bool) -> (i64, usize, i64) {
    const LEAP_DAY: i64 = 60;
    let since = match (from_1904, days) {
        (true, days) => EPOCH_1904 + days,
        (false, 0) => return (1900, 1, 0),
        (false, LEAP_DAY) => return (1900, 2, 29),
        (false, ..LEAP_DAY) => EPOCH_1900 + days + 1,
        (false, days) => EPOCH_1900 + days,
    };
    // Years that begin in March, so that the day that is left out is the last one.
    let era = since / 146_097;
    let day_of_era = since % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, usize::try_from(month).unwrap_or(1), day)
}

/// A number of days as a format shows it; `None` for one that is no date.
pub fn show_date(tokens: &[Token], number: f64, from_1904: bool) -> Option<String> {
    let moment = Moment::of(number, from_1904)?;
    let has_halves = tokens
        .iter()
        .any(|token| matches!(token, Token::Date(places) if places == "am/pm"));
    let mut text = String::new();
    let mut before = "";
    for (place, token) in tokens.iter().enumerate() {
        match token {
            Token::Date(places) => {
                let after = tokens[place + 1..]
                    .iter()
                    .find_map(date_places)
                    .unwrap_or_default();
                let is_minute =
                    before.trim_start_matches('[').starts_with('h') || after.starts_with('s');
                text.push_str(&moment.show(places, is_minute, has_halves));
                before = places;
            }
            Token::Literal(literal) => text.push_str(literal),
            Token::Digits(places) if places.starts_with('.') => {
                let digits = places.len() - 1;
                let thousandths = format!("{:03}", moment.thousandths);
                text.push('.');
                text.push_str(&thousandths[..digits.min(thousandths.len())]);
            }
            Token::Digits(places) => text.push_str(places),
            Token::General | Token::Percent | Token::Exponent(_) => {}
        }
    }
    Some(text)
}

fn date_places(token: &Token) -> Option<&str> {
    match token {
        Token::Date(places) => Some(places),
        Token::Literal(_)
        | Token::Digits(_)
        | Token::Exponent(_)
        | Token::Percent
        | Token::General => None,
    }
}

impl Moment {
    fn show(&self, places: &str, is_minute: bool, has_halves: bool) -> String {
        let (hour, minute, second) = (
            self.seconds / 3600,
            self.seconds / 60 % 60,
            self.seconds % 60,
        );
        let month = MONTHS[(self.month - 1).min(11)];
        let shown_hour = match (has_halves, hour % 12) {
            (false, _) => hour,
            (true, 0) => 12,
            (true, hour) => hour,
        };
        match places {
            "y" | "yy" => format!("{:02}", self.year % 100),
            "m" if is_minute => minute.to_string(),
            "mm" if is_minute => format!("{minute:02}"),
            "m" => self.month.to_string(),
            "mm" => format!("{:02}", self.month),
            "mmm" => month[..3].to_owned(),
            "mmmm" => month.to_owned(),
            "mmmmm" => month[..1].to_owned(),
            "d" => self.day.to_string(),
            "dd" => format!("{:02}", self.day),
            "ddd" => DAYS[self.weekday][..3].to_owned(),
            "h" => shown_hour.to_string(),
            "hh" => format!("{shown_hour:02}"),
            "s" => second.to_string(),
            "ss" => format!("{second:02}"),
            "[h" | "[hh" => (self.all_seconds / 3600).to_string(),
            "[m" | "[mm" => (self.all_seconds / 60).to_string(),
            "[s" | "[ss" => self.all_seconds.to_string(),
            "am/pm" => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            places if places.starts_with('y') => format!("{:04}", self.year),
            places if places.starts_with('d') => DAYS[self.weekday].to_owned(),
            _ => String::new(),
        }
    }
}
