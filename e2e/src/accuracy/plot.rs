//! The outcomes as one SVG: predicted against measured latencies, and the distribution of batch sizes of each configuration.

use maud::{Markup, PreEscaped, html};

use super::record::{Compared, Outcome, Record};

/// Colours of networks that people with any colour vision tell apart (Okabe and Ito), in order of their first outcome.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const STYLE: &str = "
svg { font: 12px system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; background: #fcfbf8; fill: #1c1f24; }
.title { font-size: 14px; font-weight: 600; } .soft { fill: #5c636d; } .grid { stroke: #e5e2da; } .same { stroke: #8a867c; }
.goal { fill: #e9e6dd; } .predicted { fill: none; stroke: #1c1f24; stroke-width: 1.3; }
";
/// A scatter's side, and where its plot lies in it.
const SIDE: f64 = 460.0;
const PLOT: (f64, f64) = (58.0, 428.0);
const TOP: f64 = 80.0;
/// A small panel of batch sizes.
const SMALL: (f64, f64) = (230.0, 130.0);
const SMALL_COLUMNS: usize = 4;
const BARS: (f64, f64) = (30.0, 100.0);

/// Milliseconds on a logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(figures: &[(usize, Compared)]) -> Self {
        let values = figures
            .iter()
            .flat_map(|(_, it)| [it.predicted, it.measured, it.low, it.high]);
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if high > 0.0 { (low, high) } else { (0.001, 1.0) };
        Self {
            low: low / 1.3,
            high: high * 1.3,
        }
    }

    /// The share of the axis below a value.
    fn part(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    fn x(&self, value: f64) -> f64 {
        PLOT.0 + self.part(value) * (PLOT.1 - PLOT.0)
    }

    fn y(&self, value: f64) -> f64 {
        PLOT.1 - self.part(value) * (PLOT.1 - PLOT.0)
    }

    /// 1, 2 and 5 times powers of ten, in seconds.
    fn ticks(&self) -> Vec<f64> {
        let steps = (-4..3).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
        steps
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

/// The whole picture.
pub(super) fn render(record: &Record) -> String {
    let mut networks: Vec<&str> = Vec::new();
    for outcome in &record.outcomes {
        if !networks.contains(&outcome.network.as_str()) {
            networks.push(&outcome.network);
        }
    }
    let colour = |outcome: &Outcome| {
        networks
            .iter()
            .position(|network| *network == outcome.network)
            .unwrap_or(0)
    };
    let figures = |of: fn(&super::record::AppOutcome) -> Compared| {
        let own = |outcome| {
            let index = colour(outcome);
            outcome.apps.iter().map(move |app| (index, of(app)))
        };
        record.outcomes.iter().flat_map(own).collect::<Vec<_>>()
    };
    let rows = record.outcomes.len().div_ceil(SMALL_COLUMNS);
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let height = TOP + SIDE + 30.0 + rows as f64 * SMALL.1;
    let width = 2.0 * SIDE;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            title { "Predicted and measured latencies and batches" }
            style { (PreEscaped(STYLE)) }
            text.title x="16" y="24" { "What the plan said, and what pods did" }
            (legend(&networks))
            g transform={ "translate(0 " (TOP) ")" } { (scatter("mean latency, ms", &figures(|app| app.mean), 0.05)) }
            g transform={ "translate(" (SIDE) " " (TOP) ")" } { (scatter("99th percentile, ms", &figures(|app| app.p99), 0.10)) }
            @for (index, outcome) in record.outcomes.iter().enumerate() {
                g transform=(place(index)) { (sizes(outcome, COLOURS[colour(outcome) % COLOURS.len()])) }
            }
        }
    };
    picture.into_string() + "\n"
}

#[expect(clippy::cast_precision_loss, reason = "a few panels")]
fn place(index: usize) -> String {
    let (column, row) = (index % SMALL_COLUMNS, index / SMALL_COLUMNS);
    format!(
        "translate({} {})",
        SMALL.0 * column as f64,
        TOP + SIDE + 30.0 + SMALL.1 * row as f64
    )
}

#[expect(clippy::cast_precision_loss, reason = "a few networks")]
fn legend(networks: &[&str]) -> Markup {
    html! {
        @for (index, network) in networks.iter().enumerate() {
            circle cx=(20.0 + 90.0 * index as f64) cy="44" r="4" fill=(COLOURS[index % COLOURS.len()]) {}
            text.soft x=(29.0 + 90.0 * index as f64) y="48" { (network) }
        }
        text.soft x="16" y="68" { "bars: 95% intervals; shaded: within the goal; below: share of batches by rows, outlined as predicted" }
    }
}

/// Predicted on the abscissa, measured on the ordinate; `goal` is how far predictions may be off.
fn scatter(title: &str, figures: &[(usize, Compared)], goal: f64) -> Markup {
    let axis = Axis::of(figures);
    // Off by a part e of what was measured: measured = predicted / (1 +- e).
    let corner = |predicted: f64, error: f64| {
        format!(
            "{:.1},{:.1}",
            axis.x(predicted),
            axis.y((predicted / (1.0 + error)).clamp(axis.low, axis.high))
        )
    };
    let band = [
        corner(axis.low, goal),
        corner(axis.high, goal),
        corner(axis.high, -goal),
        corner(axis.low, -goal),
    ];
    html! {
        text.title x=(PLOT.0) y="20" { (title) }
        polygon.goal points=(band.join(" ")) {}
        @for tick in axis.ticks() {
            line.grid x1=(axis.x(tick)) x2=(axis.x(tick)) y1=(PLOT.0) y2=(PLOT.1) {}
            line.grid y1=(axis.y(tick)) y2=(axis.y(tick)) x1=(PLOT.0) x2=(PLOT.1) {}
            text.soft x=(axis.x(tick)) y=(PLOT.1 + 16.0) text-anchor="middle" { (tick * 1e3) }
            text.soft x=(PLOT.0 - 6.0) y=(axis.y(tick) + 4.0) text-anchor="end" { (tick * 1e3) }
        }
        line.same x1=(PLOT.0) y1=(PLOT.1) x2=(PLOT.1) y2=(PLOT.0) {}
        text.soft x=(PLOT.1) y=(PLOT.1 + 30.0) text-anchor="end" { "predicted" }
        text.soft x=(PLOT.0) y="42" { "measured" }
        @for (network, figure) in figures {
            @let colour = COLOURS[network % COLOURS.len()];
            line x1=(axis.x(figure.predicted)) x2=(axis.x(figure.predicted)) y1=(axis.y(figure.low)) y2=(axis.y(figure.high)) stroke=(colour) stroke-width="1.4" {}
            circle cx=(axis.x(figure.predicted)) cy=(axis.y(figure.measured)) r="3.4" fill=(colour) {}
        }
    }
}

/// Bars of what was measured, outlines of what was predicted.
#[expect(clippy::cast_precision_loss, reason = "a few sizes")]
fn sizes(outcome: &Outcome, colour: &str) -> Markup {
    let count = outcome
        .batches_predicted
        .len()
        .max(outcome.batches_measured.len());
    let step = (SMALL.0 - 30.0) / count.max(1) as f64;
    let share = |shares: &[f64], index: usize| shares.get(index).copied().unwrap_or(0.0);
    let height = |share: f64| share * (BARS.1 - BARS.0);
    html! {
        text x="16" y="18" { (outcome.network) "/" (outcome.configuration) " " tspan.soft { (outcome.device) } }
        @for index in 0..count {
            @let left = 16.0 + step * index as f64;
            @let measured = height(share(&outcome.batches_measured, index));
            @let predicted = height(share(&outcome.batches_predicted, index));
            rect x=(left) y=(BARS.1 - measured) width=(step - 4.0) height=(measured) fill=(colour) fill-opacity="0.55" {}
            rect.predicted x=(left) y=(BARS.1 - predicted) width=(step - 4.0) height=(predicted) {}
            text.soft x=(left + step / 2.0 - 2.0) y=(BARS.1 + 15.0) text-anchor="middle" { (index + 1) }
        }
    }
}
