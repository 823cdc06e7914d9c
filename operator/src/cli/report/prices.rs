//! What other SLOs would cost: a small curve for each application, all of a model on one scale.

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::units::Seconds;
use maud::{Markup, html};

use super::chart::{self, count};
use super::{ModelReport, Priced};

/// The most curves that are drawn; the table has all that were priced.
const DRAWN: usize = 24;

/// So many curves are drawn though they are flat; of more, the flat ones are only named.
const FLAT_DRAWN: usize = 6;

/// The most applications that are named because nothing moves for them.
const NAMED: usize = 30;

/// Differences below this part of the plan's cost are rounding.
const ROUNDING: f64 = 1e-9;

/// The picture, in units of its own: it is never stretched, only shown smaller.
const WIDTH: f64 = 224.0;
const HEIGHT: f64 = 104.0;
/// Left and right of the outermost points.
const SIDE: f64 = 28.0;
/// Where the highest and the lowest point stand.
const TOP: f64 = 26.0;
const BOTTOM: f64 = 72.0;

/// One point of a curve.
struct Point {
    factor: f64,
    slo: Seconds,
    /// How much more all plans of the platform cost per second; none where the application could not be served.
    difference: Option<f64>,
}

impl Priced<'_> {
    /// Tightest first, what is declared among them.
    fn points(&self) -> Vec<Point> {
        let declared = Point {
            factor: 1.0,
            slo: self.slo,
            difference: Some(0.0),
        };
        let others = self.prices.iter().map(|price| Point {
            factor: price.factor,
            slo: price.value,
            difference: price.change.map(|change| {
                let difference = change.difference_per_second;
                if difference.abs() > change.plan_per_second * ROUNDING {
                    difference
                } else {
                    0.0
                }
            }),
        });
        let mut points: Vec<Point> = others.chain([declared]).collect();
        points.sort_by(|a, b| a.factor.total_cmp(&b.factor));
        points
    }

    /// Whether any other SLO makes a difference.
    fn moves(&self) -> bool {
        let points = self.points();
        let mut differences = points.iter().map(|point| point.difference);
        differences.any(|difference| difference.is_none_or(|difference| difference.abs() > 0.0))
    }

    /// Between the dearest and the cheapest.
    fn spread(&self) -> f64 {
        let points = self.points();
        let (least, most) = range(points.iter());
        most - least
    }
}

/// Least and largest difference; zero is always among them.
fn range<'a>(points: impl Iterator<Item = &'a Point>) -> (f64, f64) {
    let differences = points.filter_map(|point| point.difference);
    differences.fold((0.0, 0.0), |(least, most), difference| {
        (f64::min(least, difference), f64::max(most, difference))
    })
}

pub(super) fn render(model: &ModelReport<'_>) -> Markup {
    let mut drawn: Vec<&Priced<'_>> = model.priced.iter().collect();
    drawn.sort_by(|a, b| b.spread().total_cmp(&a.spread()));
    let mut flat: Vec<&str> = Vec::new();
    if drawn.len() > FLAT_DRAWN {
        flat.extend(
            drawn
                .iter()
                .filter(|priced| !priced.moves())
                .map(|priced| priced.app),
        );
        drawn.retain(|priced| priced.moves());
        flat.sort_unstable();
    }
    let undrawn = drawn.len().saturating_sub(DRAWN);
    drawn.truncate(DRAWN);
    let points: Vec<Vec<Point>> = drawn.iter().map(|priced| priced.points()).collect();
    let scale = range(points.iter().flatten());
    let story = html! {
        "How much more or less the whole plan would cost a month, in " (model.named.currency) ", if one application promised another latency and "
        "everything else stayed: each point is the model planned anew. All curves have one scale; those that move most come first."
        @if undrawn > 0 { " Of those that move it, the table has " (undrawn) " more." }
        @let left_out = model.unpriced();
        @if left_out > 0 {
            " " (count(left_out, "application", "applications")) " that cost less "
            @if left_out == 1 { "is" } @else { "are" }
            " left out, since every curve takes three plans of the whole platform; " code { "--report-prices" } " sets how many are priced."
        }
    };
    let cards = html! {
        @if !drawn.is_empty() {
            div.cards { @for (priced, points) in drawn.iter().zip(&points) { (card(model, priced, points, scale)) } }
        }
        @if !flat.is_empty() {
            p.flat {
                "Between 0.8 and 1.5 times its SLO the plan costs the same for "
                strong { (flat.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ")) }
                @if flat.len() > NAMED { " and " (count(flat.len() - NAMED, "other", "others")) }
                "."
            }
        }
    };
    let columns = [
        "APP",
        "0.8X SLO",
        "COST/MONTH",
        "SLO NOW",
        "1.25X SLO",
        "COST/MONTH",
        "1.5X SLO",
        "COST/MONTH",
    ];
    let rows: Vec<Vec<String>> = model.priced.iter().map(numbers).collect();
    chart::figure(
        "What another SLO would cost",
        &story,
        &cards,
        &chart::table(&columns, &rows),
    )
}

fn numbers(priced: &Priced<'_>) -> Vec<String> {
    let mut cells = vec![priced.app.to_owned()];
    for factor in [0.8, 1.0, 1.25, 1.5] {
        let points = priced.points();
        let point = points.iter().find(|point| (point.factor - factor).abs() < 1e-9);
        cells.push(point.map_or_else(|| "-".to_owned(), |point| plan::duration(point.slo)));
        if (factor - 1.0_f64).abs() > 1e-9 {
            cells.push(point.map_or_else(|| "-".to_owned(), said));
        }
    }
    cells
}

fn said(point: &Point) -> String {
    match point.difference {
        Some(difference) => money::difference_per_month(difference),
        None => "cannot be served".to_owned(),
    }
}

fn card(model: &ModelReport<'_>, priced: &Priced<'_>, points: &[Point], (least, most): (f64, f64)) -> Markup {
    #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
    let x = |index: usize| SIDE + (WIDTH - 2.0 * SIDE) * index as f64 / (points.len().max(2) - 1) as f64;
    let y = |difference: f64| {
        if most > least {
            BOTTOM - (BOTTOM - TOP) * (difference - least) / (most - least)
        } else {
            f64::midpoint(TOP, BOTTOM)
        }
    };
    let served: Vec<String> = points
        .iter()
        .enumerate()
        .filter_map(|(index, point)| Some(format!("{:.1},{:.1}", x(index), y(point.difference?))))
        .collect();
    html! {
        div.card data-app=(model.key(priced.app)) {
            h4 { (priced.app) }
            svg.curve role="img" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
                title { (priced.app) ": what another SLO would cost" }
                desc { @for point in points { (plan::duration(point.slo)) ": " (said(point)) ". " } }
                line.zero x1="0" x2=(WIDTH) y1=(format!("{:.1}", y(0.0))) y2=(format!("{:.1}", y(0.0))) {}
                polyline points=(served.join(" ")) {}
                @for (index, point) in points.iter().enumerate() {
                    @let x = format!("{:.1}", x(index));
                    @match point.difference {
                        Some(difference) => {
                            @let now = (point.factor - 1.0).abs() < 1e-9;
                            circle.now[now] cx=(x) cy=(format!("{:.1}", y(difference))) r="4" {}
                            text.amount x=(x) y=(format!("{:.1}", y(difference) - 9.0)) text-anchor="middle" {
                                @if now { "now" } @else { (said(point)) }
                            }
                        }
                        None => text.impossible x=(x) y=(format!("{:.1}", TOP)) text-anchor="middle" { "✕" },
                    }
                    text.slo.now[(point.factor - 1.0).abs() < 1e-9] x=(x) y=(HEIGHT - 8.0) text-anchor="middle" { (plan::duration(point.slo)) }
                }
            }
        }
    }
}
