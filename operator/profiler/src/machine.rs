//! Where and when a measurement was taken.

use std::net::ToSocketAddrs;
use std::time::SystemTime;

use hyper::Uri;
use k8s_openapi::jiff::Timestamp;

/// A machine, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Processor and number of cores.
    pub hardware: Option<String>,
    /// Release of its kernel.
    pub kernel: Option<String>,
}

/// The machine that an endpoint runs on: this one if its address is of the loopback interface, else nothing is known of it.
pub fn of_endpoint(endpoint: &str) -> Machine {
    if is_here(endpoint) {
        here()
    } else {
        Machine::default()
    }
}

/// This machine.
pub fn here() -> Machine {
    let read = |file| std::fs::read_to_string(file).ok();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Machine {
        hardware: read("/proc/cpuinfo").and_then(|text| processor(&text, cores)),
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
    }
}

fn is_here(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let addresses = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs();
    addresses.is_ok_and(|mut addresses| addresses.all(|address| address.ip().is_loopback()))
}

/// The processor's name in `/proc/cpuinfo`, with its model, because names of virtual ones say little.
fn processor(cpuinfo: &str, cores: usize) -> Option<String> {
    let field = |wanted: &str| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields
            .map(|(name, value)| (name.trim(), value.trim()))
            .find(|(name, _)| *name == wanted)?;
        Some(value)
    };
    let model = field("model").map_or_else(String::new, |model| format!(" (model {model})"));
    Some(format!("{}{model}, {cores} cores", field("model name")?))
}

/// The day in UTC, such as 2026-03-31.
pub fn day(now: SystemTime) -> String {
    Timestamp::try_from(now)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%d")
        .to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_an_endpoint_on_loopback_is_here() {
        for (endpoint, here) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/a", true),
            ("http://192.0.2.1:8080", false),
            ("nowhere", false),
        ] {
            assert_eq!(is_here(endpoint), here, "{endpoint}");
        }
        assert_eq!(of_endpoint("http://192.0.2.1:8080"), Machine::default());
    }

    #[test]
    fn a_processor_has_name_model_and_cores() {
        let text = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\n";
        assert_eq!(
            processor(text, 2).as_deref(),
            Some("Intel(R) Xeon(R) Processor (model 207), 2 cores")
        );
        assert_eq!(processor("Features: fp\n", 2), None);
    }

    #[test]
    fn a_day_is_that_of_utc() {
        // 2026-03-31 is day 20,543 since 1970.
        let day_of = |seconds| day(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(day_of(20_543 * 86_400), "2026-03-31");
        assert_eq!(day_of(20_544 * 86_400 - 1), "2026-03-31");
    }
}
