//! Price and lateness of every plan, as one SVG: a panel for each kind of trace, a point for each plan.

use std::fmt::Write;

use crate::found::{Found, Made};

/// The picture, in units of its own: a panel, and where the plot lies in it.
const PANEL: (f64, f64) = (340.0, 300.0);
const HEAD: f64 = 70.0;
const PLOT: (f64, f64, f64, f64) = (56.0, 24.0, 320.0, 244.0);

/// Late shares at the bottom and the top.
const LATE: (f64, f64) = (1e-4, 1.0);

/// The window that is drawn: the half that no plan has seen, as it came.
const HELD_OUT: usize = 1;

/// Colours of the plan's report, in the order of [`Made::ALL`].
const COLOURS: [&str; 3] = ["#1c1f24", "#d55e00", "#0072b2"];

/// Draws the cases with these traces, a panel for each entry.
pub(crate) fn render(found: &[Found], panels: &[(&str, &[&str])]) -> String {
    let mut width = 0.0;
    let mut body = String::new();
    for (title, traces) in panels {
        let of_these = found
            .iter()
            .filter(|found| traces.contains(&found.trace.as_str()));
        let _ = write!(
            body,
            r#"<g transform="translate({width} {HEAD})">{}</g>"#,
            panel(title, &of_these.collect::<Vec<_>>())
        );
        width += PANEL.0;
    }
    let mut legend = String::new();
    for (place, (made, colour)) in (0_u32..).zip(Made::ALL.into_iter().zip(COLOURS)) {
        let left = 20.0 + 170.0 * f64::from(place);
        let _ = write!(
            legend,
            r#"<circle cx="{left}" cy="52" r="4" fill="{colour}"/><text x="{}" y="56">for {}</text>"#,
            left + 10.0,
            made.name()
        );
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="12" fill="#1c1f24"><rect width="{width}" height="{height}" fill="#fcfbf8"/><text x="16" y="26" font-size="16">Late requests of the worst application in the half that was held out, and the price of the plan</text>{legend}{body}</svg>
"##,
        height = HEAD + PANEL.1
    )
}

fn panel(title: &str, found: &[&Found]) -> String {
    let (left, top, right, bottom) = PLOT;
    let dearest = found
        .iter()
        .flat_map(|found| found.outcomes.iter().flatten())
        .map(|outcome| outcome.price)
        .fold(1.5, f64::max)
        .ceil();
    let x = |price: f64| left + (right - left) * price / dearest;
    let y = |late: f64| {
        let part = (late.clamp(LATE.0, LATE.1) / LATE.0).ln() / (LATE.1 / LATE.0).ln();
        bottom - (bottom - top) * part
    };
    let mut text = format!(r#"<text x="{left}" y="14" font-weight="600">{title}</text>"#);
    let (usual, promised) = ("#e5e2da", "#1c1f24");
    for (late, label, colour) in [
        (1e-4, "≤0.01%", usual),
        (1e-3, "0.1%", usual),
        (1e-2, "1%", promised),
        (0.1, "10%", usual),
        (1.0, "100%", usual),
    ] {
        let at = y(late);
        let _ = write!(
            text,
            r#"<line x1="{left}" x2="{right}" y1="{at}" y2="{at}" stroke="{colour}"/><text x="{}" y="{}" text-anchor="end">{label}</text>"#,
            left - 6.0,
            at + 4.0
        );
    }
    let step = (dearest / 5.0).ceil();
    for price in
        std::iter::successors(Some(0.0), |price| Some(price + step)).take_while(|price| *price <= dearest)
    {
        let _ = write!(
            text,
            r#"<text x="{}" y="{}" text-anchor="middle">{price}x</text>"#,
            x(price),
            bottom + 18.0
        );
    }
    let _ = write!(
        text,
        r#"<text x="{}" y="{}" text-anchor="middle">price, by the plan for Poisson arrivals</text>"#,
        f64::midpoint(left, right),
        bottom + 38.0
    );
    for (index, colour) in COLOURS.iter().enumerate() {
        for outcome in found.iter().filter_map(|found| found.outcomes[index].as_ref()) {
            let _ = write!(
                text,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{colour}" fill-opacity="0.6"/>"#,
                x(outcome.price),
                y(1.0 - outcome.seen[HELD_OUT].attainment)
            );
        }
    }
    text
}
