//! How far a plan's predictions are from what pods do: `e2e accuracy`.
//!
//! Each of the [`networks`] is measured by the product itself (`spec.profile.from: Measure`), then every one of its [`configurations`] is
//! planned, deployed on pods with real CPU limits, and driven by an open Poisson load ([`drive`]). What the plan had said ([`predicted`]) and
//! what came of it ([`interval`] says how well that is known) become an [`record::Outcome`] each; [`table`] and [`plot`] show them.
//!
//! Who calls whom: [`run`] -> [`place`] (namespaces, objects, waits) -> [`drive`] -> [`predicted`] -> [`record`]. Nothing here is asserted: the report
//! says which goals were kept. A configuration that could not be planned or deployed ends the run, with what was found until then in the file.
//!
//! Invariants: plans follow the measured profile alone (`correction: Never`), so that no prediction learns from what it is held against; the
//! file is written after each configuration, and a run goes on from it; a namespace is gone before the next network has its turn.

mod configurations;
mod drive;
mod interval;
mod networks;
mod place;
mod plot;
mod predicted;
mod record;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cache::Cache;
use crate::cluster::Cluster;
use crate::image;
use crate::progress::Progress;
use configurations::Configuration;
use drive::Driven;
use networks::Network;
use place::{Place, Served};
use record::{Hindsight, Machine, Outcome, Record, Work};

/// What to look at, and where to write it.
#[derive(Debug, Args)]
pub struct Options {
    /// Requests of each application that are looked at.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
    /// Time in which each network is measured, pods' starts and warm-ups apart.
    #[arg(long, default_value = "200s", value_name = "TIME")]
    time_budget: String,
    /// Only this network, or this configuration of it: mlp, or mlp/shared; may be given several times.
    #[arg(long, value_name = "NETWORK[/CONFIGURATION]")]
    only: Vec<String>,
    /// Where every outcome is kept, as JSON; what stands there already is not measured again.
    #[arg(long, default_value = "accuracy.json", value_name = "FILE")]
    record: PathBuf,
    /// Draw the outcomes as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Measure nothing: show what the file holds.
    #[arg(long)]
    show: bool,
}

/// Measures, and returns the report.
///
/// # Errors
/// Where the cluster is of no use, or a configuration could not be planned or deployed.
pub async fn run(options: &Options, progress: &Progress) -> Result<String> {
    let mut record = Record::read(&options.record)?;
    let chosen = chosen(&options.only)?;
    if !options.show {
        let open: Vec<_> = chosen
            .into_iter()
            .map(|(network, configurations)| (network, record.without(network, configurations)))
            .filter(|(_, configurations)| !configurations.is_empty())
            .collect();
        if !open.is_empty() {
            record.machine = Machine::here();
            measure(options, &open, &mut record, progress).await?;
        }
    }
    if let Some(file) = &options.plot {
        std::fs::write(file, plot::render(&record))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(table::render(&record))
}

type Chosen = Vec<(&'static Network, Vec<&'static Configuration>)>;

/// The configurations that were asked for, all of them where none was named.
fn chosen(only: &[String]) -> Result<Chosen> {
    let mut found = Vec::new();
    let wanted = |text: &String, network: &Network, configuration: &Configuration| {
        *text == network.name || *text == format!("{}/{}", network.name, configuration.name)
    };
    for text in only {
        let exists = networks::ALL.iter().any(|network| {
            configurations::of(network)
                .iter()
                .any(|configuration| wanted(text, network, configuration))
        });
        if !exists {
            let names: Vec<_> = networks::ALL.iter().map(|network| network.name).collect();
            bail!(
                "--only {text}: there is no such configuration; networks are {}, each with {}",
                names.join(", "),
                configurations::NAMES.join(", ")
            );
        }
    }
    for network in networks::ALL {
        let own: Vec<_> = configurations::of(network)
            .iter()
            .filter(|configuration| {
                only.is_empty() || only.iter().any(|text| wanted(text, network, configuration))
            })
            .collect();
        if !own.is_empty() {
            found.push((network, own));
        }
    }
    Ok(found)
}

async fn measure(options: &Options, chosen: &Chosen, record: &mut Record, progress: &Progress) -> Result<()> {
    let cluster = Cluster::ensure().await?;
    let cache = Cache::locate()?;
    let product = image::program_of_the_product(&cache, progress)?;
    let total: usize = chosen
        .iter()
        .map(|(_, configurations)| configurations.len())
        .sum();
    let mut done = 0;
    for (network, configurations) in chosen {
        networks::import(network, &cluster, &cache, progress)?;
        let place = Place::begin(&cluster, network).await?;
        progress.say(&format!(
            "Measuring {} for {}: {}",
            network.name, options.time_budget, network.what
        ));
        let profiled = place.profile(&options.time_budget, progress).await?;
        record.profiles.insert(network.name.to_owned(), profiled);
        for configuration in configurations {
            done += 1;
            let what = format!("{}/{} ({done} of {total})", network.name, configuration.name);
            let outcome = one(&place, &product, configuration, options.requests, &what, progress)
                .await
                .with_context(|| format!("{what} failed"))?;
            progress.say(&format!("{what}: {}", table::line(&outcome)));
            record.outcomes.push(outcome);
            record.write(&options.record)?;
        }
        place.end().await?;
    }
    Ok(())
}

/// Plans, deploys, drives and compares one configuration.
async fn one(
    place: &Place<'_>,
    product: &Path,
    configuration: &Configuration,
    requests: u32,
    what: &str,
    progress: &Progress,
) -> Result<Outcome> {
    let served = place.serve(configuration).await?;
    let predicted = predicted::of(place, &served, product).await?;
    progress.say(&format!(
        "{what}: {}, sending for {:.0} s",
        served.in_words(),
        drive::seconds(configuration, requests)
    ));
    let driven = drive::drive(place, configuration, &served, requests).await?;
    let cost = place.cost(&served)?;
    let hindsight = hindsight(place, product, configuration, &served, &driven).await?;
    place.clear().await?;
    record::compare(
        place.network,
        configuration,
        &served,
        &predicted,
        &driven,
        &hindsight,
        cost,
    )
}

/// Predicts anew, for the arrivals that came and the work that batches took.
async fn hindsight(
    place: &Place<'_>,
    product: &Path,
    configuration: &Configuration,
    served: &Served,
    driven: &Driven,
) -> Result<Hindsight> {
    let at = async |slowdown| {
        predicted::in_hindsight(place, configuration, served, driven, product, slowdown).await
    };
    let played = at(1.0).await?;
    let by_profile = predicted::cpu_time_by_profile(place, &driven.batches).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of batches")]
    let batches = driven.batches.iter().sum::<u64>() as f64;
    let known = by_profile.zip(played.cpu_cost).zip(driven.cpu_time);
    let work = known.map(|((by_profile, cost), measured)| Work {
        by_profile,
        cost: cost * batches,
        measured,
    });
    Ok(Hindsight {
        at_arrivals: played.apps,
        at_work: match work {
            Some(work) => Some((work, at(work.slowdown()).await?.apps)),
            None => None,
        },
    })
}
