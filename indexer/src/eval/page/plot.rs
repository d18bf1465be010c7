//! Plot: bars as SVG inside the page.

use std::fmt::Write as _;

use super::text::escaped;

/// Inner size of a plot and the margin around it, in units of the drawing.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 180.0;
const MARGIN: f64 = 24.0;
/// Most bars of a plot.
const MOST_BARS: usize = 200;
/// Labels below a plot.
const LABELS: u32 = 5;

/// One kind of bars, each as a share of its kind.
pub struct Series {
    name: &'static str,
    class: &'static str,
    counts: Vec<u64>,
    shares: Vec<f64>,
}

/// Bars of equal width over a range.
pub struct Bars {
    pub from: f64,
    pub to: f64,
    pub series: Vec<Series>,
}

impl Series {
    pub fn new(name: &'static str, class: &'static str, counts: &[u64]) -> Self {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        Self {
            name,
            class,
            counts: counts.to_vec(),
            shares: counts.iter().map(|count| *count as f64 / all).collect(),
        }
    }
}

/// Several kinds of bars over each other.
pub fn histogram(title: &str, bars: &Bars) -> String {
    let shares = bars.series.iter().flat_map(|series| &series.shares);
    let highest = shares.copied().fold(f64::MIN_POSITIVE, f64::max);
    let (mut svg, mut keys) = (String::new(), String::new());
    for series in &bars.series {
        let count = series.counts.iter().sum::<u64>();
        let width = WIDTH / series.shares.len().max(1) as f64;
        for (index, share) in series.shares.iter().enumerate() {
            let height = share / highest * HEIGHT;
            let left = index as f64 * width;
            let label = format!("{}: {}", series.name, series.counts[index]);
            svg.push_str(&bar(
                series.class,
                [left, HEIGHT - height, width, height],
                &label,
            ));
        }
        keys += &format!(
            "<span class=\"key {}\">{} ({count})</span>\n",
            series.class, series.name
        );
    }
    let labels = labels(bars.from, bars.to);
    let note = format!(
        "{keys}<small>Highest bar: {:.1} % of its kind.</small>",
        highest * 100.0
    );
    figure(title, &note, &format!("{svg}{}{labels}", axis(HEIGHT)))
}

/// Bars of differences from the best to the worst, each with the query that it is of. Where there are many, several
/// neighbours are drawn as one bar.
pub fn differences(title: &str, deltas: &[(f64, &str)]) -> String {
    if deltas.is_empty() {
        return format!("<h2>{}</h2>\n<p>No query differs.</p>\n", escaped(title));
    }
    let together = deltas.len().div_ceil(MOST_BARS);
    let groups: Vec<_> = deltas.chunks(together).collect();
    let width = WIDTH / groups.len() as f64;
    let largest = deltas
        .iter()
        .map(|(delta, _)| delta.abs())
        .fold(f64::MIN_POSITIVE, f64::max);
    let (middle, mut svg) = (HEIGHT / 2.0, String::new());
    for (index, group) in groups.iter().enumerate() {
        let mean = group.iter().map(|(delta, _)| delta).sum::<f64>() / group.len() as f64;
        let height = mean.abs() / largest * middle;
        let (class, top) = if mean > 0.0 {
            ("win", middle - height)
        } else {
            ("loss", middle)
        };
        let label = match group {
            [(delta, id)] => format!("{id}: {delta:+.4}"),
            [..] => format!("{} queries: mean {mean:+.4}", group.len()),
        };
        svg.push_str(&bar(
            class,
            [index as f64 * width, top, width, height],
            &label,
        ));
    }
    let note = format!(
        "<small>{} queries that differ, best first, {together} to a bar. Full height: {largest:.4}.</small>",
        deltas.len()
    );
    figure(title, &note, &format!("{svg}{}", axis(middle)))
}

fn bar(class: &str, [left, top, width, height]: [f64; 4], label: &str) -> String {
    if height <= 0.0 {
        return String::new();
    }
    let (left, top) = (left + MARGIN, top + MARGIN);
    format!(
        "<rect class=\"{class}\" x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\">\
         <title>{}</title></rect>\n",
        escaped(label)
    )
}

fn axis(y: f64) -> String {
    let (y, right) = (y + MARGIN, WIDTH + MARGIN);
    format!("<line class=\"axis\" x1=\"{MARGIN}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\"/>\n")
}

fn labels(from: f64, to: f64) -> String {
    let mut svg = String::new();
    for label in 0..=LABELS {
        let share = f64::from(label) / f64::from(LABELS);
        let (x, y) = (MARGIN + share * WIDTH, HEIGHT + MARGIN * 1.7);
        let value = from + share * (to - from) + 0.0;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{value:.2}</text>"
        )
        .expect("writing to a string cannot fail");
    }
    svg
}

fn figure(title: &str, note: &str, content: &str) -> String {
    let title = escaped(title);
    let (width, height) = (WIDTH + 2.0 * MARGIN, HEIGHT + 2.0 * MARGIN);
    format!(
        "<h2>{title}</h2>\n<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         {content}</svg>\n<p>{note}</p>\n"
    )
}
