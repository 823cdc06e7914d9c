//! Forms of the options.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::names::MAX_NAME_LENGTH;
use harmonybatch_api::quantity::{self, Decimal};

/// A percentage, such as 5%.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percent(f64);

impl Percent {
    /// As a part of one.
    pub(super) fn part(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').ok_or("write a percentage, such as 5%")?;
        let number: Decimal = number
            .parse()
            .map_err(|error: quantity::QuantityError| error.to_string())?;
        Ok(Self(number.to_f64()))
    }
}

/// What a server speaks, by the names of the API.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Spoken {
    /// HTTP with JSON tensors
    #[value(name = "OIPv2JSON")]
    Json,
    /// HTTP with the binary tensor extension
    #[value(name = "OIPv2Binary")]
    Binary,
    /// gRPC without TLS, with raw tensors
    #[value(name = "OIPv2GRPC")]
    Grpc,
}

impl Spoken {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Json => Protocol::OipV2Json,
            Self::Binary => Protocol::OipV2Binary,
            Self::Grpc => Protocol::OipV2Grpc,
        }
    }
}

/// The dimensions of an input past the batch, such as `image=3,224,224`.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) input: String,
    pub(super) row: Vec<usize>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "write INPUT=SIZE,SIZE.. without the batch, such as image=3,224,224";
        // An input's name may hold an equals sign, sizes may not.
        let (input, sizes) = text.rsplit_once('=').ok_or(wrong)?;
        let row = sizes.split(',').map(str::parse).collect::<Result<_, _>>();
        Ok(Self {
            input: input.to_owned(),
            row: row.map_err(|_| wrong)?,
        })
    }
}

/// A time such as 90s, 5m or 1.5h; the API's durations, which are latencies, have neither minutes nor hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |_| "write a time with unit ms, s, m or h, such as 90s or 5m".to_owned();
    let scaled = |number: &str, seconds: f64| {
        let number: Decimal = number.parse().map_err(wrong)?;
        Duration::try_from_secs_f64(number.to_f64() * seconds).map_err(|error| error.to_string())
    };
    match (text.strip_suffix('m'), text.strip_suffix('h')) {
        (Some(minutes), _) => scaled(minutes, 60.0),
        (_, Some(hours)) => scaled(hours, 3600.0),
        _ => Ok(text.parse::<quantity::Duration>().map_err(wrong)?.into()),
    }
}

/// Memory as Kubernetes writes it, as it was written.
pub(super) fn memory(text: &str) -> Result<String, String> {
    let memory = text.parse::<quantity::Memory>();
    memory.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Refuses a name that no InferenceModel may have.
pub(super) fn check_object_name(name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        is_object_name(name),
        "{name} cannot name an InferenceModel: give at most 40 small letters, digits and hyphens, beginning with a letter, by --name"
    );
    Ok(())
}

/// Whether a model may be called so.
fn is_object_name(name: &str) -> bool {
    let allowed = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    name.len() <= MAX_NAME_LENGTH
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_minutes_and_hours() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1.5h", 5_400), ("2000ms", 2)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["5", "m", "-1m", "5d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_percentage_has_its_sign() {
        let part = |text: &str| text.parse::<Percent>().map(Percent::part);
        assert_eq!(part("5%"), Ok(0.05));
        assert!(part("5").is_err() && part("-5%").is_err());
    }

    #[test]
    fn a_shape_is_an_input_and_sizes() {
        let shape = |text: &str| text.parse::<Shape>().map(|shape| (shape.input, shape.row));
        assert_eq!(
            shape("image=3,224,224"),
            Ok(("image".to_owned(), vec![3, 224, 224]))
        );
        assert!(shape("image").is_err() && shape("image=3,-1").is_err());
    }

    #[test]
    fn names_are_those_of_the_api() {
        assert!(is_object_name("vgg-19"));
        for bad in ["", "VGG", "19vgg", "vgg_19", "vgg-", &"a".repeat(41)] {
            assert!(!is_object_name(bad), "{bad}");
        }
    }
}
