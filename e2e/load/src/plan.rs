//! What to send, to whom, for how long.

use std::time::Duration;

/// A run of the generator. Everything is bounded: time, requests in flight, requests in all.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all requests go: `host:port`.
    pub target: String,
    /// The applications, each with a Poisson process of its own.
    pub apps: Vec<App>,
    /// How long requests are sent, the warm-up included.
    pub duration: Duration,
    /// Requests of this first part are sent but do not appear in the report.
    pub warm_up: Duration,
    /// Seed of the arrivals and of the nonces.
    pub seed: u64,
    /// How long after its intended time a request is given up.
    pub timeout: Duration,
    /// Requests that may be in flight at the same time; one more is reported as [`crate::Outcome::Unsent`].
    pub in_flight: usize,
    /// Requests in all; sending ends there.
    pub requests: usize,
}

/// One application of a [`Plan`].
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its name in the report.
    pub name: String,
    /// The Host header.
    pub host: String,
    /// What comes before `/v2` in the path, empty or `/namespace/app`.
    pub path: String,
    /// Name of the model in the path.
    pub model: String,
    /// Numbers in a row.
    pub columns: usize,
    /// Rows of a request.
    pub rows: usize,
    /// Requests per second; 0 sends none until [`crate::Running::set_rate`].
    pub rate: f64,
    /// The latency that an answer should not exceed.
    pub slo: Duration,
}

/// What is wrong with a plan, or with the text of one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A text that is not an application.
    #[error(
        "\"{0}\" is not an application: expected NAME=HOST,RATE,SLO[,rows=N][,path=/PREFIX][,model=NAME][,columns=N]"
    )]
    App(String),
    /// A text that is not a duration.
    #[error("\"{0}\" is not a duration above 0 such as 500ms (us, ms, s or m)")]
    Duration(String),
    /// A text that is not a rate.
    #[error("\"{0}\" is not a rate such as 5/s (s, m or h)")]
    Rate(String),
    /// A plan that could send nothing.
    #[error("{0}")]
    Plan(&'static str),
}

impl Plan {
    /// A plan with the defaults: 30 s timeout, 4096 requests in flight, a million in all, no warm-up, seed 1.
    pub fn new(target: impl Into<String>, apps: Vec<App>, duration: Duration) -> Self {
        Self {
            target: target.into(),
            apps,
            duration,
            warm_up: Duration::ZERO,
            seed: 1,
            timeout: Duration::from_secs(30),
            in_flight: 4096,
            requests: 1_000_000,
        }
    }

    /// Whether it can be run at all.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        let rates = self
            .apps
            .iter()
            .all(|app| app.rate.is_finite() && app.rate >= 0.0);
        let sizes = self
            .apps
            .iter()
            .all(|app| app.rows > 0 && app.columns >= crate::exchange::TAG);
        match () {
            () if self.apps.is_empty() => Err(PlanError::Plan("a plan needs an application")),
            () if self.duration <= self.warm_up => {
                Err(PlanError::Plan("the warm-up takes the whole duration"))
            }
            () if !rates => Err(PlanError::Plan("a rate must be a finite number, 0 or more")),
            () if !sizes => Err(PlanError::Plan("a request needs at least 1 row of 2 columns")),
            () => Ok(()),
        }
    }
}

impl App {
    /// An application that asks the demo runtime's model (`mlp`, 64 columns) for one row at a time.
    pub fn new(name: impl Into<String>, host: impl Into<String>, rate: f64, slo: Duration) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            path: String::new(),
            model: "mlp".to_owned(),
            columns: 64,
            rows: 1,
            rate,
            slo,
        }
    }
}

impl std::str::FromStr for App {
    type Err = PlanError;

    /// `NAME=HOST,RATE,SLO`, then any of `rows=N`, `path=/PREFIX`, `model=NAME`, `columns=N`.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError::App(text.to_owned());
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.split(',');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(wrong);
        let (host, rate, slo) = (part()?, parse_rate(part()?)?, parse_duration(part()?)?);
        let mut app = Self::new(name, host, rate, slo);
        for option in parts {
            match option.split_once('=').ok_or_else(wrong)? {
                ("rows", value) => app.rows = value.parse().map_err(|_| wrong())?,
                ("columns", value) => app.columns = value.parse().map_err(|_| wrong())?,
                ("path", value) => value.trim_end_matches('/').clone_into(&mut app.path),
                ("model", value) => value.clone_into(&mut app.model),
                _ => return Err(wrong()),
            }
        }
        Ok(app)
    }
}

/// A duration above 0, as the API writes it: `500ms`, `1.5s`.
pub fn parse_duration(text: &str) -> Result<Duration, PlanError> {
    let wrong = || PlanError::Duration(text.to_owned());
    let (number, seconds) = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    let value = number
        .parse::<f64>()
        .ok()
        .filter(|value| *value > 0.0)
        .ok_or_else(wrong)?;
    Duration::try_from_secs_f64(value * seconds).map_err(|_| wrong())
}

/// A rate per second, as the API writes it: `5/s`, `30/m`, `7.5/h`.
pub fn parse_rate(text: &str) -> Result<f64, PlanError> {
    let wrong = || PlanError::Rate(text.to_owned());
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let value = number
        .parse::<f64>()
        .ok()
        .filter(|value| *value >= 0.0 && value.is_finite());
    Ok(value.ok_or_else(wrong)? / seconds)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_application_is_written_on_one_line() {
        let app = "search=search-infer.shop,5/s,500ms".parse::<App>().unwrap();
        assert_eq!(
            app,
            App::new("search", "search-infer.shop", 5.0, Duration::from_millis(500))
        );
        let app = "feed=gateway,90/m,1s,rows=3,path=/shop/feed/,model=ocr"
            .parse::<App>()
            .unwrap();
        assert_eq!(
            (app.rate, app.rows, app.path.as_str(), app.model.as_str()),
            (1.5, 3, "/shop/feed", "ocr")
        );
    }

    #[test]
    fn what_is_not_an_application_is_refused() {
        for text in [
            "",
            "search",
            "search=h",
            "search=h,5/s",
            "search=,5/s,1s",
            "a=h,5,1s",
            "a=h,-5/s,1s",
            "a=h,5/s,0s",
        ] {
            assert!(text.parse::<App>().is_err(), "{text}");
        }
        for text in [
            "a=h,5/s,1",
            "a=h,5/d,1s",
            "a=h,5/s,1s,rows=x",
            "a=h,5/s,1s,colour=red",
            "a=h,5/s,1s,rows",
        ] {
            assert!(text.parse::<App>().is_err(), "{text}");
        }
    }
}
