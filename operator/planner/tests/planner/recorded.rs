//! Recorded arrivals as their publishers write them.

use std::path::Path;

/// Seconds of the day of each request of an Azure LLM inference trace: they lie within one day.
pub(crate) fn azure(file: &Path) -> std::io::Result<Vec<f64>> {
    let seconds = |line: &str| {
        let clock = line.split([' ', ',']).nth(1).unwrap();
        clock
            .split(':')
            .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
    };
    Ok(std::fs::read_to_string(file)?
        .lines()
        .skip(1)
        .map(seconds)
        .collect())
}
