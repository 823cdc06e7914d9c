//! Who asks: three sets of applications for each network.
//!
//! Rates are such that one function of at most one vCPU serves them, and such that 5,000 requests of the rarest application take a few
//! minutes; SLOs go from about ten times a row's time on a whole core to a hundred times.

use super::networks::Network;

/// Applications that are planned together.
#[derive(Debug, PartialEq)]
pub(super) struct Configuration {
    pub(super) name: &'static str,
    pub(super) apps: &'static [Asked],
}

/// One application.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) name: &'static str,
    /// As the API writes it.
    pub(super) slo: &'static str,
    /// Requests of one row a second.
    pub(super) rate: u32,
}

/// Names of the configurations of every network.
pub(super) const NAMES: [&str; 3] = ["tight", "loose", "shared"];

const fn asked(name: &'static str, slo: &'static str, rate: u32) -> Asked {
    Asked { name, slo, rate }
}

const fn configuration(index: usize, apps: &'static [Asked]) -> Configuration {
    Configuration {
        name: NAMES[index],
        apps,
    }
}

const MLP: [Configuration; 3] = [
    configuration(0, &[asked("search", "150ms", 70)]),
    configuration(1, &[asked("feed", "800ms", 80)]),
    configuration(
        2,
        &[
            asked("search", "200ms", 50),
            asked("cart", "400ms", 50),
            asked("feed", "800ms", 50),
        ],
    ),
];
const CONV: [Configuration; 3] = [
    configuration(0, &[asked("search", "120ms", 40)]),
    configuration(1, &[asked("feed", "600ms", 50)]),
    configuration(
        2,
        &[
            asked("search", "200ms", 20),
            asked("cart", "400ms", 20),
            asked("feed", "800ms", 20),
        ],
    ),
];
const ENCODER: [Configuration; 3] = [
    configuration(0, &[asked("search", "140ms", 70)]),
    configuration(1, &[asked("feed", "700ms", 80)]),
    configuration(
        2,
        &[
            asked("search", "250ms", 50),
            asked("cart", "500ms", 50),
            asked("feed", "1s", 50),
        ],
    ),
];
const OCR: [Configuration; 3] = [
    configuration(0, &[asked("search", "100ms", 70)]),
    configuration(1, &[asked("feed", "500ms", 80)]),
    configuration(
        2,
        &[
            asked("search", "150ms", 50),
            asked("cart", "300ms", 50),
            asked("feed", "600ms", 50),
        ],
    ),
];

const VGG19: [Configuration; 3] = [
    configuration(0, &[asked("search", "250ms", 50)]),
    configuration(1, &[asked("feed", "1s", 100)]),
    configuration(
        2,
        &[
            asked("search", "300ms", 50),
            asked("cart", "600ms", 80),
            asked("feed", "1s", 100),
        ],
    ),
];

/// The configurations of a network.
pub(super) fn of(network: &Network) -> &'static [Configuration] {
    match network.name {
        "mlp" => &MLP,
        "conv" => &CONV,
        "encoder" => &ENCODER,
        "ocr" => &OCR,
        _ => &VGG19,
    }
}
