//! What all charts are made of: a figure with its story and its table, and rows of label, plot and value.

use maud::{Markup, html};

use super::axis::Axis;

/// A position or length in an SVG that stretches.
pub(super) fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

/// A chart with what it says in words above it, and its numbers as a table below it.
pub(super) fn figure(heading: &str, story: &Markup, chart: &Markup, numbers: &Markup) -> Markup {
    html! {
        figure {
            figcaption { h3 { (heading) } p { (story) } }
            (chart)
            details { summary { "The numbers as a table" } (numbers) }
        }
    }
}

/// A table whose columns of numbers are set to the right.
pub(super) fn table(columns: &[&str], rows: &[Vec<String>]) -> Markup {
    let class = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column));
        if !rows.is_empty() && cells.all(|cell| is_number(cell)) {
            "n"
        } else {
            "t"
        }
    };
    let classes: Vec<&str> = (0..columns.len()).map(class).collect();
    html! {
        div.scroll tabindex="0" role="group" aria-label=(sentence_case(columns.first().unwrap_or(&"Table"))) {
            table {
                thead { tr { @for (column, class) in columns.iter().zip(&classes) { th scope="col" class=(class) { (sentence_case(column)) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (cell, class) in row.iter().zip(&classes) { td class=(class) { (cell) } } }
                    }
                }
            }
        }
    }
}

/// Amounts, durations, counts, `-` and nothing.
fn is_number(cell: &str) -> bool {
    let rest = cell.trim_start_matches(['+', '-']);
    rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit())
}

/// `COST/MONTH` as `Cost/month`, but `WITHIN SLO` as `Within SLO`.
fn sentence_case(title: &str) -> String {
    let lower = title.to_lowercase().replace("slo", "SLO");
    let mut letters = lower.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// One line of a chart.
pub(super) struct Row {
    /// What is measured.
    pub(super) label: Markup,
    /// A few words on it.
    pub(super) note: Markup,
    /// The plot in words, for those who do not see it.
    pub(super) title: String,
    /// Elements of an SVG as wide as the plot and `height` high.
    pub(super) plot: Markup,
    /// In pixels.
    pub(super) height: u32,
    /// The figure that the plot shows.
    pub(super) value: Markup,
    /// The application that the row is about, to be found on other charts.
    pub(super) app: Option<String>,
}

/// The row with the axis' lines behind its plot.
pub(super) fn row(row: &Row, axis: &Axis) -> Markup {
    html! {
        div.row data-app=[&row.app] {
            div.label { (row.label) }
            div.note { (row.note) }
            svg.plot role="img" width="100%" height=(row.height) {
                title { (row.title) }
                (grid(axis))
                (row.plot)
            }
            div.value { (row.value) }
        }
    }
}

fn grid(axis: &Axis) -> Markup {
    html! {
        @for &tick in axis.ticks() {
            @let x = percent(axis.at(tick));
            line.grid x1=(x) x2=(x) y1="0" y2="100%" {}
        }
    }
}

/// What stands above the rows: the axis, and what it and the figures on the right are.
pub(super) fn scale(axis: &Axis, label: impl Fn(f64) -> String, what: &str, value: &str) -> Markup {
    html! {
        div.row.scale aria-hidden="true" {
            div.label { span.note { (what) } }
            @if !axis.ticks().is_empty() {
                svg.plot width="100%" height="22" {
                    @for &tick in axis.ticks() {
                        @let x = percent(axis.at(tick));
                        line.grid x1=(x) x2=(x) y1="17" y2="22" {}
                        text x=(x) y="12" text-anchor="middle" { (label(tick)) }
                    }
                }
            }
            div.value { span.note { (value) } }
        }
    }
}

/// Figures on the right without an axis.
pub(super) fn heading(value: &str) -> Markup {
    html! { div.row.scale aria-hidden="true" { div.value { span.note { (value) } } } }
}

/// A bar from one place to another, or from the left.
pub(super) fn bar(class: &str, from: f64, to: f64) -> Markup {
    html! { rect.bar.(class) x=(percent(from)) y="50%" width=(percent(to - from)) height="12" {} }
}

/// `1 group`, `2 groups`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_numbers_are_known_by_their_cells() {
        for number in ["1", "+3.42", "-0.1", "-", "", "500ms to 1s", "99.9%"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["cpu 100m", "search", "yes"] {
            assert!(!is_number(text), "{text}");
        }
        assert_eq!(sentence_case("COST/MONTH"), "Cost/month");
        assert_eq!(sentence_case("WITHIN SLO"), "Within SLO");
    }
}
