//! What plans do under recorded arrivals: `cargo bench -p harmonybatch-planner --bench replay -- [FOLDER] [--only TRACE] [--svg FILE]`.
//!
//! FOLDER holds `azure-llm-2023/{conv,code}.csv`, the arrival times of the Azure LLM inference traces of 2023; without it `shared/data` beside the
//! repository. The paper's four traces are counts of minutes, and stand beside the benchmark `paper`. Pods stay up; models, prices and SLOs are the paper's.
//!
//! A trace's time is scaled to the rate of the applications that send it. Of its two halves in time one is seen and the other held out: all is done for both. Three
//! plans are made for the mean rate of the whole: (a) for Poisson arrivals, (b) for the burst of each application that is fitted to the half that is seen
//! ([`harmonybatch_planner::Burst::fitted`]), and (c) for that half itself. Each is played under the whole trace, under the half that was held out as it came, and
//! under the same with its time scaled to the mean rate, so that what bursts do is told from what a drift of the rate does.
//!
//! A cell has the attainment of the worst application in percent and the 99th percentile of its latency in SLOs. The intervals behind `-` (surely short) and
//! `~` (nobody knows) are of 95 %, from ten parts of the record: they say how sure it is of other hours like this one, as far as the parts are independent. Records with bursts as long as
//! a part are surer of themselves than they may be.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints what it measures"
)]
#![expect(dead_code, reason = "only parts of the fixtures are used")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../../tests/planner/fixture.rs"]
mod fixture;
#[path = "../../tests/planner/random.rs"]
mod random;
#[path = "../../tests/planner/recorded.rs"]
mod recorded;

mod cases;
mod found;
mod played;
mod plot;
mod streams;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use found::Found;

const PAPER: [&str; 5] = ["app1", "app2", "app3", "app4", "app1-4"];

/// What the command line asks for.
struct Asked {
    folder: PathBuf,
    only: Option<String>,
    svg: Option<PathBuf>,
}

fn asked() -> Asked {
    let mut asked = Asked {
        folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        only: None,
        svg: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--only" => asked.only = arguments.next(),
            "--svg" => asked.svg = arguments.next().map(PathBuf::from),
            folder => asked.folder = PathBuf::from(folder),
        }
    }
    asked
}

fn main() -> ExitCode {
    let asked = asked();
    let azure = match streams::of_azure(&asked.folder) {
        Ok(azure) => azure,
        Err(error) => {
            eprintln!(
                "no Azure traces in {}: {error}\n\
                 Put AzureLLMInferenceTrace_conv.csv and AzureLLMInferenceTrace_code.csv of github.com/Azure/AzurePublicDataset (2023) there as \
                 azure-llm-2023/conv.csv and azure-llm-2023/code.csv, or name the folder that holds azure-llm-2023:\n\
                 cargo bench -p harmonybatch-planner --bench replay -- FOLDER",
                asked.folder.display()
            );
            return ExitCode::FAILURE;
        }
    };
    let paper = streams::of_the_paper();
    let mut cases: Vec<cases::Case> = azure.iter().flat_map(cases::of_one_stream).collect();
    cases.extend(
        paper
            .iter()
            .flat_map(|stream| cases::alone(stream, &[5.0, stream.rate()])),
    );
    cases.extend(
        [1.0, 0.25]
            .iter()
            .flat_map(|&factor| cases::together(&paper, factor)),
    );
    let turned: Vec<cases::Case> = cases.iter().map(cases::Case::turned).collect();
    cases.extend(turned);

    found::print_head();
    let found: Vec<Found> = cases
        .iter()
        .filter(|case| asked.only.as_ref().is_none_or(|only| case.trace == *only))
        .map(found::find)
        .collect();
    println!();
    found::print_sums(
        &found,
        &[
            ("Azure conv", &["conv"]),
            ("Azure code", &["code"]),
            ("paper's", &PAPER),
        ],
    );
    if let Some(file) = asked.svg {
        let panels: [(&str, &[&str]); 3] = [
            ("Azure, conversation", &["conv"]),
            ("Azure, code", &["code"]),
            ("The paper's, by the minute", &PAPER),
        ];
        if let Err(error) = std::fs::write(&file, plot::render(&found, &panels)) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
