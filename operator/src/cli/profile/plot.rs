//! What was measured and what was fitted, as one SVG: a panel for each batch size on CPU and for each GPU, with the residuals below it.

use std::fmt::Write;

use harmonybatch_profiler::fit::Fit;
use harmonybatch_profiler::fit::choice::Choice;
use harmonybatch_profiler::points::Point;
use harmonybatch_profiler::samples::Device;
use maud::{Markup, PreEscaped, html};

use crate::cli::report::Axis;

/// The most batch sizes that are drawn: the smallest, the largest, and others evenly between.
const DRAWN: usize = 8;
const COLUMNS: usize = 2;

/// The picture, in units of its own.
const PANEL: (f64, f64) = (460.0, 348.0);
const HEAD: f64 = 84.0;
/// Where the plots lie in a panel: left, right, and top and bottom of latencies and of residuals.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 440.0;
const LATENCY: (f64, f64) = (34.0, 222.0);
const RESIDUAL: (f64, f64) = (250.0, 314.0);
/// Points of a curve.
const STEPS: u32 = 240;

/// The colours of the plan's report.
const STYLE: &str = "
svg { font: 12px system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; background: #fcfbf8; fill: #1c1f24; }
.title { font-size: 20px; } .panel { font-size: 14px; font-weight: 600; } .soft { fill: #5c636d; }
.grid { stroke: #e5e2da; } .zero { stroke: #b9b5ab; } .mean { fill: none; stroke: #0072b2; stroke-width: 1.6; }
.bound { fill: none; stroke: #d55e00; stroke-width: 1.4; stroke-dasharray: 5 3; }
.point { fill: #0072b2; stroke: none; } .interval { stroke: #0072b2; stroke-width: 1.4; } .tail { fill: none; stroke: #d55e00; stroke-width: 1.4; }
";

/// One device and batch size, or one device.
struct Panel<'a> {
    title: String,
    /// What the abscissa is.
    unit: &'static str,
    marks: Vec<Mark>,
    mean: Box<dyn Fn(f64) -> f64 + 'a>,
    /// Of the longest latency, where there is one.
    bound: Option<Box<dyn Fn(f64) -> f64 + 'a>>,
}

/// One point: seconds but for the abscissa.
struct Mark {
    at: f64,
    mean: f64,
    half_width: f64,
    /// Upper end of the high percentile.
    tail: f64,
}

impl Mark {
    fn new(at: f64, point: &Point) -> Self {
        let summary = point.summary;
        Self {
            at,
            mean: summary.mean.value,
            half_width: summary.mean.half_width,
            tail: summary.tail.high.unwrap_or(summary.tail.value),
        }
    }
}

/// The whole picture.
pub(super) fn render(model: &str, percentile: &str, points: &[Point], fit: &Fit) -> String {
    let panels = panels(points, fit);
    #[expect(clippy::cast_precision_loss, reason = "a few panels")]
    let (columns, rows) = (
        panels.len().clamp(1, COLUMNS) as f64,
        panels.len().div_ceil(COLUMNS) as f64,
    );
    let (width, height) = (PANEL.0 * columns, HEAD + PANEL.1 * rows);
    let undrawn = fit.cpu.len().saturating_sub(DRAWN);
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            title { "Measured and fitted latencies of " (model) }
            style { (PreEscaped(STYLE)) }
            text.title x="16" y="32" { (model) }
            text.soft x="16" y="52" { (story(fit, undrawn)) }
            (legend(percentile))
            @for (index, panel) in panels.iter().enumerate() {
                @let (column, row) = (index % COLUMNS, index / COLUMNS);
                g transform=(place(column, row)) { (drawn(panel)) }
            }
        }
    };
    picture.into_string() + "\n"
}

#[expect(clippy::cast_precision_loss, reason = "a few panels")]
fn place(column: usize, row: usize) -> String {
    format!(
        "translate({} {})",
        PANEL.0 * column as f64,
        HEAD + PANEL.1 * row as f64
    )
}

fn story(fit: &Fit, undrawn: usize) -> String {
    let form = |choice: &Choice| format!("{} against vCPU, ", choice.form.name());
    let mut text = fit.choice.as_ref().map_or_else(String::new, form);
    // Writing to a string cannot fail.
    let _ = write!(text, "off by {:.1}% at most", fit.error() * 100.0);
    if undrawn > 0 {
        let _ = write!(text, "; {undrawn} of {} batch sizes are left out", fit.cpu.len());
    }
    text
}

fn legend(percentile: &str) -> Markup {
    html! {
        g transform="translate(16 70)" {
            circle.point cx="4" cy="-4" r="3.2" {}
            text.soft x="13" { "mean, 95% interval" }
            line.mean x1="140" x2="164" y1="-4" y2="-4" {}
            text.soft x="169" { "fitted" }
            circle.tail cx="220" cy="-4" r="3.2" {}
            text.soft x="229" { (percentile) " at most" }
            line.bound x1="306" x2="330" y1="-4" y2="-4" {}
            text.soft x="335" { "longest" }
        }
    }
}

fn panels<'a>(points: &[Point], fit: &'a Fit) -> Vec<Panel<'a>> {
    let sizes = fit.cpu.len();
    let kept: Vec<usize> = (0..sizes.min(DRAWN))
        .map(|place| place * sizes.saturating_sub(1) / (sizes.min(DRAWN) - 1).max(1))
        .collect();
    let by_limit = kept.into_iter().filter_map(|index| {
        let entry = fit.cpu.get(index)?;
        let own = points.iter().filter(|point| point.batch == entry.batch);
        Some(Panel {
            title: format!("batch {}", entry.batch),
            unit: "vCPU",
            marks: own
                .filter_map(|point| Some(Mark::new(point.vcpu()?, point)))
                .collect(),
            mean: Box::new(|vcpu| entry.mean.mean(vcpu)),
            bound: Some(Box::new(|vcpu| entry.tail.bound(vcpu))),
        })
    });
    let by_rows = fit.gpu.iter().map(|entry| {
        let own = points.iter().filter(|point| point.device == entry.device);
        Panel {
            title: match &entry.device {
                Device::Gpu { device, .. } => device.clone(),
                device @ Device::Cpu { .. } => device.to_string(),
            },
            unit: "rows",
            marks: own
                .map(|point| Mark::new(f64::from(point.batch), point))
                .collect(),
            mean: Box::new(|rows| entry.mean.at(rows)),
            bound: None,
        }
    });
    by_limit.chain(by_rows).collect()
}

/// From a place of 0 to 100 on an axis to one between two ends.
fn between(part: f64, (from, to): (f64, f64)) -> f64 {
    from + (to - from) * part / 100.0
}

fn drawn(panel: &Panel<'_>) -> Markup {
    let across = Axis::logarithmic(panel.marks.iter().map(|mark| mark.at));
    let latencies = panel.marks.iter().flat_map(|mark| {
        let longest = panel.bound.as_ref().map_or(mark.tail, |bound| bound(mark.at));
        [mark.mean, mark.mean - mark.half_width, mark.tail, longest]
    });
    // An interval that reaches below zero has no place on the axis.
    let up = Axis::logarithmic(latencies.filter(|seconds| *seconds > 0.0 && seconds.is_finite()));
    let x = |at: f64| between(across.at(at), (LEFT, RIGHT));
    let y = |seconds: f64| between(up.at(seconds), (LATENCY.1, LATENCY.0));
    let off = |mark: &Mark| mark.mean / (panel.mean)(mark.at) - 1.0;
    let interval = |mark: &Mark| mark.half_width / (panel.mean)(mark.at);
    let reach = round_up(
        panel
            .marks
            .iter()
            .map(|mark| off(mark).abs() + interval(mark))
            .filter(|reach| reach.is_finite())
            .fold(0.01, f64::max),
    );
    let residual = |off: f64| {
        let part = 50.0 + 50.0 * (off / reach).clamp(-1.0, 1.0);
        between(part, (RESIDUAL.1, RESIDUAL.0))
    };
    html! {
        text.panel x=(LEFT) y="22" { (panel.title) }
        @for &tick in up.ticks() {
            line.grid x1=(LEFT) x2=(RIGHT) y1=(one(y(tick))) y2=(one(y(tick))) {}
            text.soft x=(LEFT - 6.0) y=(one(y(tick) + 4.0)) text-anchor="end" { (milliseconds(tick)) }
        }
        @for &tick in across.ticks() {
            @for (top, bottom) in [LATENCY, RESIDUAL] {
                line.grid x1=(one(x(tick))) x2=(one(x(tick))) y1=(top) y2=(bottom) {}
            }
            text.soft x=(one(x(tick))) y=(RESIDUAL.1 + 15.0) text-anchor="middle" { (short(tick)) }
        }
        text.soft x=(RIGHT) y=(RESIDUAL.1 + 29.0) text-anchor="end" { (panel.unit) }
        text.soft x=(LEFT) y=(RESIDUAL.0 - 8.0) { "measured against fitted" }
        @for off in [reach, 0.0, -reach] {
            line.zero x1=(LEFT) x2=(RIGHT) y1=(one(residual(off))) y2=(one(residual(off))) {}
            text.soft x=(LEFT - 6.0) y=(one(residual(off) + 4.0)) text-anchor="end" { (signed(off)) }
        }
        @if let Some(bound) = &panel.bound { path.bound d=(path(&panel.marks, &x, &|at| y(bound(at)))) {} }
        path.mean d=(path(&panel.marks, &x, &|at| y((panel.mean)(at)))) {}
        @for mark in &panel.marks {
            @let at = one(x(mark.at));
            g {
                title { (short(mark.at)) " " (panel.unit) ": " (milliseconds(mark.mean)) ", " (signed(off(mark))) }
                line.interval x1=(at) x2=(at) y1=(one(y(mark.mean - mark.half_width))) y2=(one(y(mark.mean + mark.half_width))) {}
                circle.point cx=(at) cy=(one(y(mark.mean))) r="3.2" {}
                @if panel.bound.is_some() { circle.tail cx=(at) cy=(one(y(mark.tail))) r="3.2" {} }
                line.interval x1=(at) x2=(at) y1=(one(residual(off(mark) - interval(mark)))) y2=(one(residual(off(mark) + interval(mark)))) {}
                circle.point cx=(at) cy=(one(residual(off(mark)))) r="3.2" {}
            }
        }
    }
}

/// A curve from the first to the last point.
fn path(marks: &[Mark], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let least = marks.iter().map(|mark| mark.at).fold(f64::INFINITY, f64::min);
    let most = marks.iter().map(|mark| mark.at).fold(0.0, f64::max);
    let mut path = String::new();
    for step in 0..=STEPS {
        let at = least * (most / least).powf(f64::from(step) / f64::from(STEPS));
        // Writing to a string cannot fail.
        let _ = write!(
            path,
            "{}{:.1} {:.1}",
            if step == 0 { 'M' } else { 'L' },
            x(at),
            y(at)
        );
    }
    path
}

/// The next of 1, 2, 5, 10, 20, ... percent.
fn round_up(part: f64) -> f64 {
    let power = 10.0_f64.powf(part.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|&step| step >= part)
        .unwrap_or(10.0 * power)
}

fn one(place: f64) -> String {
    format!("{place:.1}")
}

fn signed(part: f64) -> String {
    if part.abs() < 5e-5 {
        "0".to_owned()
    } else {
        format!("{}%", short_signed(part * 100.0))
    }
}

fn short_signed(number: f64) -> String {
    format!("{}{}", if number > 0.0 { "+" } else { "" }, short(number))
}

/// At most three digits past the point, and no zeros there.
fn short(number: f64) -> String {
    ((number * 1e3).round() / 1e3).to_string()
}

fn milliseconds(seconds: f64) -> String {
    format!("{}ms", short(seconds * 1e3))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use harmonybatch_api::inference_model::Protocol;
    use harmonybatch_api::quantity::Cpu;
    use harmonybatch_profiler::design::Grid;
    use harmonybatch_profiler::fit;
    use harmonybatch_profiler::fit::after_idle::AfterIdle;
    use harmonybatch_profiler::goal::Goal;
    use harmonybatch_profiler::points;
    use harmonybatch_profiler::samples::{Header, Samples};
    use html5ever::tendril::TendrilSink;
    use markup5ever_rcdom::{Handle, NodeData, RcDom};

    use super::*;

    fn header(device: Device) -> Header {
        Header {
            endpoint: "http://a".to_owned(),
            model: "net".to_owned(),
            protocol: Protocol::OipV2Json,
            max_batch: 16,
            device,
            grid: Grid::Full,
            shapes: BTreeMap::new(),
            input: None,
            seed: 1,
            date: "2026-03-31".to_owned(),
            hardware: None,
            kernel: None,
            image: None,
            image_digest: None,
        }
    }

    /// 20 ms of one CPU for each row, under five limits, on so many rows; and on a GPU.
    fn points(sizes: u32) -> Vec<Point> {
        let sample = |mean: f64| [0.98 * mean, mean, 1.02 * mean].repeat(20);
        let by_limit = [100, 250, 500, 1000, 2000_u32].into_iter().map(|millis| {
            let vcpu = f64::from(millis) / 1e3;
            let samples: Samples = (1..=sizes)
                .map(|batch| (batch, sample(0.02 * f64::from(batch) / vcpu.min(1.0))))
                .collect();
            let limit = Cpu::from_millis(u64::from(millis));
            (header(Device::Cpu { limit }), samples)
        });
        let gpu = Device::Gpu {
            device: "<a10>".to_owned(),
            memory: "1Gi".to_owned(),
            memory_per_row: "0".to_owned(),
        };
        let by_rows: Samples = (1..=4)
            .map(|rows| (rows, sample(1e-3 * f64::from(rows))))
            .collect();
        let files: Vec<(Header, Samples)> = by_limit.chain([(header(gpu), by_rows)]).collect();
        points::points(&files, goal()).unwrap()
    }

    fn goal() -> Goal {
        Goal::new(0.05, 0.2, 0.9, 0.95).unwrap()
    }

    fn count(node: &Handle, element: &str, class: &str) -> usize {
        let here = match &node.data {
            NodeData::Element { name, attrs, .. } => {
                let attributes = attrs.borrow();
                let classes = attributes
                    .iter()
                    .find(|attribute| &*attribute.name.local == "class");
                usize::from(&*name.local == element && classes.is_some_and(|found| &*found.value == class))
            }
            _ => 0,
        };
        let children = node.children.borrow();
        here + children
            .iter()
            .map(|child| count(child, element, class))
            .sum::<usize>()
    }

    #[test]
    fn every_point_is_drawn_with_its_residual_and_every_panel_with_its_curves() {
        let points = points(2);
        let fit = fit::fit(&points, AfterIdle::NOTHING, goal()).unwrap();
        let picture = render("net", "P90", &points, &fit);
        let page = html5ever::parse_document(RcDom::default(), html5ever::ParseOpts::default())
            .one(picture.as_str());
        // 10 points on CPU and 4 on a GPU, each beside the one in the legend twice; the legend has lines, no paths.
        assert_eq!(count(&page.document, "circle", "point"), 1 + 2 * 14);
        assert_eq!(count(&page.document, "circle", "tail"), 1 + 10);
        assert_eq!(count(&page.document, "path", "mean"), 3);
        assert_eq!(count(&page.document, "path", "bound"), 2);
        assert!(
            picture.contains("&lt;a10&gt;") && !picture.contains("NaN"),
            "{picture}"
        );
    }

    #[test]
    fn of_many_sizes_the_smallest_the_largest_and_some_between_are_drawn() {
        let points = points(16);
        let fit = fit::fit(&points, AfterIdle::NOTHING, goal()).unwrap();
        let titles: Vec<String> = panels(&points, &fit)
            .into_iter()
            .map(|panel| panel.title)
            .collect();
        assert_eq!(titles.len(), DRAWN + 1);
        assert_eq!((titles[0].as_str(), titles[7].as_str()), ("batch 1", "batch 16"));
        assert!(render("net", "P90", &points, &fit).contains("8 of 16 batch sizes are left out"));
    }

    #[test]
    fn a_scale_ends_at_a_round_number() {
        for (part, end) in [(0.013, 0.02), (0.05, 0.05), (0.3, 0.5), (0.7, 1.0)] {
            assert!((round_up(part) - end).abs() < 1e-12, "{part}");
        }
    }
}
