//! The commands `up`, `down` and `status`, as a sequence of steps.

use std::fs::File;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::image::{self, Archive};
use crate::knative;
use crate::node::{Layout, Node};
use crate::parts::{self, Parts};
use crate::product;
use crate::progress::Progress;
use crate::requirements;
use crate::summary;

/// How far `up` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A Ready node that resolves names.
    Node,
    /// With the release and the samples, installed again even if nothing has changed.
    Product,
    /// The same, but an installation from the same images, charts and samples is left as it is.
    ProductUnlessUnchanged,
}

/// Brings the cluster up as far as wanted; what is up already is kept, what has changed is brought up to date. With `knative`, it also
/// gets the kinds of Knative and the stand-in for its controllers. Returns what to tell the user.
///
/// # Errors
/// Name the step and the component, with the end of its log.
pub fn up(extent: Extent, knative: bool, progress: &Progress) -> Result<String> {
    requirements::check()?;
    let cache = Cache::locate()?;
    let _lock = lock(&cache)?;
    let parts = Parts::build(&cache, progress)?;
    if extent == Extent::Node {
        return Ok(summary::of_the_node(&start_node(
            &cache, &parts, knative, progress,
        )?));
    }
    let images = product_images(&cache, progress)?;
    let node = start_node(&cache, &parts, knative, progress)?;
    install(&node, &parts, &images, extent, progress)
}

fn start_node(cache: &Cache, parts: &Parts, knative: bool, progress: &Progress) -> Result<Node> {
    let images = progress.step("Making the images of pause and CoreDNS", || {
        image::of_the_node(cache, parts)
    })?;
    let node = Node::start(cache, parts, &images, progress)?;
    if knative {
        progress.step("Starting the stand-in for Knative's controllers", || {
            knative::install_on(&node)
        })?;
    }
    Ok(node)
}

/// The images of what users run.
struct ProductImages {
    product: Archive,
    demo_runtime: Archive,
}

fn product_images(cache: &Cache, progress: &Progress) -> Result<ProductImages> {
    Ok(ProductImages {
        product: image::of_the_product(cache, progress)?,
        demo_runtime: image::of_the_demo_runtime(cache, progress)?,
    })
}

fn install(
    node: &Node,
    parts: &Parts,
    images: &ProductImages,
    extent: Extent,
    progress: &Progress,
) -> Result<String> {
    let ProductImages {
        product,
        demo_runtime,
    } = images;
    let installed = node.layout().root().join("installed");
    let fingerprint = product::fingerprint(&[product, demo_runtime])?;
    let unchanged = std::fs::read_to_string(&installed).is_ok_and(|found| found == fingerprint);
    if unchanged && extent == Extent::ProductUnlessUnchanged {
        progress.say("Installed already, and nothing has changed");
    } else {
        progress.step("Importing the images of product and demo runtime", || {
            node.import(product).and_then(|()| node.import(demo_runtime))
        })?;
        product::install(node, &parts.program(&parts::HELM, "helm"), product, progress)?;
        product::apply_samples(node, progress)?;
        std::fs::write(&installed, &fingerprint).context("cannot note what is installed")?;
    }
    let sample = product::first_request(node, progress)?;
    summary::of_the_product(node, &sample)
}

/// Ends the cluster and removes everything that it made.
///
/// # Errors
/// Name what could not be removed.
pub fn down(progress: &Progress) -> Result<()> {
    let cache = Cache::locate()?;
    let _lock = lock(&cache)?;
    let found = progress.step("Taking the cluster down", || Node::remove(&Layout::of(&cache)))?;
    progress.say(if found {
        "Nothing of the cluster is left"
    } else {
        "There was no cluster"
    });
    Ok(())
}

/// What runs.
///
/// # Errors
/// Where the node does not answer.
pub fn status() -> Result<String> {
    let cache = Cache::locate()?;
    let Ok(parts) = Parts::built(&cache) else {
        return Ok("No cluster: nothing has been built yet.\n".to_owned());
    };
    let node = Node::of(&cache, &parts);
    if node.is_running() {
        summary::of_what_runs(&node)
    } else {
        Ok("No cluster runs.\n".to_owned())
    }
}

/// Held until it is dropped. Another harness's `up` takes minutes at most, and ends by itself.
fn lock(cache: &Cache) -> Result<File> {
    let path = cache.cluster_lock();
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
