//! Recorded arrivals as users write them: one a line, in order of time, each line beginning with its time.
//!
//! The same text stands in the ConfigMap that an InferenceApp names (`spec.trace`) and in the files of `--trace`.

use k8s_openapi::jiff::civil::DateTime;

/// Most characters of a line that an error repeats: enough to find it by, and no more of a text that may be something else altogether.
const SHOWN: usize = 40;

/// Why arrivals cannot be read. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalTimesError {
    /// A line does not begin with a time.
    #[error("line {line}: {found:?} is no time: write seconds such as 12.5, or YYYY-MM-DD HH:MM:SS")]
    NoTime {
        /// The line.
        line: usize,
        /// What it begins with.
        found: String,
    },
    /// A line has seconds where the first has a date, or the other way round.
    #[error(
        "line {line}: {found:?} is not written as the times before it: write all in seconds, or all as YYYY-MM-DD HH:MM:SS"
    )]
    OtherForm {
        /// The line.
        line: usize,
        /// What it begins with.
        found: String,
    },
    /// A line is earlier than the one before it.
    #[error("line {line}: {found:?} is earlier than the time before it: write the arrivals in order of time")]
    Earlier {
        /// The line.
        line: usize,
        /// What it begins with.
        found: String,
    },
}

/// A time as it is written.
#[derive(Clone, Copy)]
enum Written {
    Seconds(f64),
    Date(DateTime),
}

impl Written {
    /// A number of seconds, or a date and time of day in any one time zone.
    fn parse(text: &str) -> Option<Self> {
        match text.parse::<f64>() {
            Ok(seconds) => seconds.is_finite().then_some(Self::Seconds(seconds)),
            Err(_) => text.trim_end_matches(['Z', 'z']).parse().ok().map(Self::Date),
        }
    }

    /// Seconds since `first`, or since the moment that seconds count from; none where it is written in another way.
    fn since(self, first: Self) -> Option<f64> {
        match (self, first) {
            (Self::Seconds(seconds), Self::Seconds(_)) => Some(seconds),
            // Not from a fixed day: the digits that it would take are missing behind the point.
            (Self::Date(date), Self::Date(first)) => Some(date.duration_since(first).as_secs_f64()),
            (Self::Seconds(_), Self::Date(_)) | (Self::Date(_), Self::Seconds(_)) => None,
        }
    }
}

/// The times in seconds, in order, from any moment: what each line begins with, up to a comma. A first line that is no time is a header; empty
/// lines are passed over.
pub fn read(text: &str) -> Result<Vec<f64>, ArrivalTimesError> {
    let mut times: Vec<f64> = Vec::new();
    let mut first: Option<Written> = None;
    for (line, written) in (1..).zip(text.lines()) {
        let field = written.split(',').next().unwrap_or_default().trim();
        if field.is_empty() {
            continue;
        }
        let found = || field.chars().take(SHOWN).collect::<String>();
        let Some(time) = Written::parse(field) else {
            if line == 1 {
                continue;
            }
            return Err(ArrivalTimesError::NoTime { line, found: found() });
        };
        let Some(seconds) = time.since(*first.get_or_insert(time)) else {
            return Err(ArrivalTimesError::OtherForm { line, found: found() });
        };
        if times.last().is_some_and(|last| seconds < *last) {
            return Err(ArrivalTimesError::Earlier { line, found: found() });
        }
        times.push(seconds);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        let dates = "TIMESTAMP,Tokens\n2023-12-31 23:59:59.5,1\n2024-01-01T00:00:01Z,2\n2024-02-28 00:00:00\n2024-03-01 00:00:00\n";
        let gaps: Vec<f64> = read(dates)
            .unwrap_or_default()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        // 58 days from New Year to 28 February; 2024 is a leap year.
        assert_eq!(gaps, [1.5, 58.0 * 86_400.0 - 1.0, 2.0 * 86_400.0]);
        // Seven digits behind the point, as the Azure traces have them, and Windows' line ends.
        let azure = "2023-11-16 18:17:03.9799600,374,44\r\n2023-11-16 18:17:04.0319600,396,109\r\n";
        assert_eq!(read(azure), Ok(vec![0.0, 0.052]));
        assert_eq!(read("0\n0.5\n\n2e1"), Ok(vec![0.0, 0.5, 20.0]));
        assert_eq!(
            read("-3, a\n -3, b\n1700000000.25"),
            Ok(vec![-3.0, -3.0, 1_700_000_000.25])
        );
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("TIMESTAMP\n"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let long = format!("0\n{}", "password".repeat(100));
        for (text, said) in [
            (
                "0\nsoon\n",
                "line 2: \"soon\" is no time: write seconds such as 12.5, or YYYY-MM-DD HH:MM:SS",
            ),
            ("time\ntime\n0\n", "line 2: \"time\" is no time"),
            ("0\n\nNaN\n", "line 3: \"NaN\" is no time"),
            ("0\ninf\n", "line 2: \"inf\" is no time"),
            ("0\n1e999\n", "line 2: \"1e999\" is no time"),
            (
                "2024-01-01 00:00:00\n2024-13-01 00:00:00\n",
                "line 2: \"2024-13-01 00:00:00\" is no time",
            ),
            (
                "2024-01-01 00:00:00\n2024-02-30 00:00:00\n",
                "line 2: \"2024-02-30 00:00:00\" is no time",
            ),
            (
                "1\n2024-01-01 00:00:00\n",
                "line 2: \"2024-01-01 00:00:00\" is not written as the times before it",
            ),
            (
                "2024-01-01 00:00:00\n5\n",
                "line 2: \"5\" is not written as the times before it",
            ),
            (
                "1\n2\n1.5\n",
                "line 3: \"1.5\" is earlier than the time before it: write the arrivals in order of time",
            ),
            (
                &long,
                "line 2: \"passwordpasswordpasswordpasswordpassword\" is no time",
            ),
        ] {
            let error = read(text)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(error.starts_with(said), "{text:?}: {error}");
        }
    }
}
