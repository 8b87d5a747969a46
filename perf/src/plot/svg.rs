//! Draws a chart as SVG text, without any library: lines, paths and text are all it takes.

use std::fmt::Write;

use super::scale::{Latency, Nines, duration};
use super::{Chart, Curve};
use crate::histogram::CurvePoint;

/// Returns the whole SVG document.
pub(super) fn draw(chart: &Chart) -> String {
    let points = || chart.curves.iter().flat_map(|curve| &curve.points);
    let quantile_max = points().map(|point| point.quantile).fold(0.9, f64::max);
    let least = points().map(|point| point.latency_us).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.latency_us).fold(0.0, f64::max);
    let across = Nines::new(LEFT, RIGHT, quantile_max);
    let up = Latency::new(TOP, BOTTOM, least, most);

    let mut out = Svg::begin();
    out.text(LEFT, 34.0, "font-size=\"20\" font-weight=\"600\" fill=\"#1a1a1a\"", &chart.title);
    out.text(LEFT, 56.0, "font-size=\"14\" fill=\"#555\"", &chart.subtitle);
    draw_grid(&mut out, &across, &up);
    let mut entries: Vec<Entry<'_>> = chart.curves.iter().map(Entry::new).collect();
    entries.sort_by(|a, b| b.level_us.total_cmp(&a.level_us));
    for (index, entry) in entries.iter().enumerate() {
        let style = Style::of(entry.curve, index);
        draw_curve(&mut out, &across, &up, entry.curve, &style);
        draw_legend(&mut out, index, entry, &style);
    }
    out.text(LEFT, HEIGHT - 14.0, "font-size=\"12\" fill=\"#777\"", &chart.footer);
    out.end()
}

fn draw_grid(out: &mut Svg, across: &Nines, up: &Latency) {
    for (y, label, is_decade) in up.ticks() {
        let colour = if is_decade { "#c4c4c4" } else { "#e9e9e9" };
        out.line((LEFT, y), (RIGHT, y), colour);
        out.text(LEFT - 10.0, y + 4.5, "font-size=\"13\" text-anchor=\"end\" fill=\"#444\"", &label);
    }
    for (x, label) in across.ticks() {
        out.line((x, TOP), (x, BOTTOM), "#e0e0e0");
        out.text(x, BOTTOM + 20.0, "font-size=\"13\" text-anchor=\"middle\" fill=\"#444\"", label);
    }
    out.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "#555");
    out.line((LEFT, TOP), (LEFT, BOTTOM), "#555");
    let middle = f64::midpoint(LEFT, RIGHT);
    out.text(middle, BOTTOM + 44.0, "font-size=\"13\" text-anchor=\"middle\" fill=\"#444\"", "share of requests");
    let middle = f64::midpoint(TOP, BOTTOM);
    let turned = format!("font-size=\"13\" text-anchor=\"middle\" fill=\"#444\" transform=\"rotate(-90 22 {middle})\"");
    out.text(22.0, middle, &turned, "answered within (log scale)");
}

fn draw_curve(out: &mut Svg, across: &Nines, up: &Latency, curve: &Curve, style: &Style) {
    let mut path = String::new();
    for (index, point) in curve.points.iter().enumerate() {
        let verb = if index == 0 { 'M' } else { 'L' };
        write!(path, "{verb}{:.1} {:.1}", across.x(point.quantile), up.y(point.latency_us))
            .expect("a string takes all");
    }
    out.path(&path, style);
}

/// One legend entry: the stroke, the name, and two figures. Entries stand in the order of the curves at their right.
fn draw_legend(out: &mut Svg, index: usize, entry: &Entry<'_>, style: &Style) {
    let y = TOP + 12.0 + LEGEND_STEP * index as f64;
    out.path(&format!("M{:.1} {y:.1}L{:.1} {y:.1}", LEGEND_LEFT, LEGEND_LEFT + 26.0), style);
    let name = "font-size=\"14\" font-weight=\"600\" fill=\"#1a1a1a\"";
    out.text(LEGEND_LEFT + 36.0, y + 4.5, name, &entry.curve.label);
    let figures = format!("p50 {}   p99 {}", duration(entry.p50_us), duration(entry.level_us));
    out.text(LEGEND_LEFT + 36.0, y + 22.0, "font-size=\"12\" fill=\"#555\" xml:space=\"preserve\"", &figures);
}

/// A curve with the figures of its legend entry.
struct Entry<'a> {
    curve: &'a Curve,
    p50_us: f64,
    /// p99, which also orders the legend.
    level_us: f64,
}

impl<'a> Entry<'a> {
    fn new(curve: &'a Curve) -> Self {
        Self { curve, p50_us: at(&curve.points, 0.5), level_us: at(&curve.points, 0.99) }
    }
}

/// The latency of the first point at or after a quantile.
fn at(points: &[CurvePoint], quantile: f64) -> f64 {
    let found = points.iter().find(|point| point.quantile >= quantile - 1e-9).or(points.last());
    found.map_or(0.0, |point| point.latency_us)
}

struct Style {
    colour: &'static str,
    width: f64,
    dashes: &'static str,
}

impl Style {
    /// Systems keep their colour from chart to chart; others take one by their place.
    fn of(curve: &Curve, index: usize) -> Self {
        let known = KNOWN_COLOURS.iter().find(|(system, _)| *system == curve.system).map(|(_, colour)| *colour);
        let colour = known.unwrap_or(OTHER_COLOURS[index % OTHER_COLOURS.len()]);
        let width = if curve.system == "quorate" { 3.2 } else { 2.2 };
        let dashes = match (curve.is_uncorrected, curve.system.as_str()) {
            (true, _) => "2 4",
            (false, "floor") => "8 4",
            (false, "quorate") if curve.label.contains("resp") => "12 3",
            (false, _) => "",
        };
        Self { colour, width, dashes }
    }
}

/// An SVG document being written.
struct Svg(String);

impl Svg {
    fn begin() -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        ))
    }

    fn text(&mut self, x: f64, y: f64, attributes: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.push(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>"));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"1\"/>"
        ));
    }

    fn path(&mut self, path: &str, style: &Style) {
        let Style { colour, width, dashes } = style;
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        self.push(&format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dashes}/>"
        ));
    }

    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn end(mut self) -> String {
        self.push("</svg>");
        self.0
    }
}

const WIDTH: f64 = 1060.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 80.0;
const BOTTOM: f64 = 510.0;
const LEGEND_LEFT: f64 = 826.0;
const LEGEND_STEP: f64 = 46.0;

/// Colours that people with colour blindness tell apart.  Source: Okabe and Ito, "Color universal design", 2008.
const KNOWN_COLOURS: [(&str, &str); 7] = [
    ("floor", "#777777"),
    ("quorate", "#D55E00"),
    ("redis-set", "#56B4E9"),
    ("redis-wait", "#0072B2"),
    ("redis-wait-window", "#CC79A7"),
    ("nats-r3", "#009E73"),
    ("etcd", "#E69F00"),
];
const OTHER_COLOURS: [&str; 4] = ["#000000", "#0072B2", "#009E73", "#CC79A7"];

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let points = [(0.0, 20.0), (0.5, 27.0), (0.9, 30.0), (0.99, 66.0), (0.999, 400.0)];
        let points = points.map(|(quantile, latency_us)| CurvePoint { quantile, latency_us }).to_vec();
        let curve = |system: &str| Curve {
            label: format!("{system} <a & b>"),
            system: system.to_owned(),
            is_uncorrected: false,
            points: points.clone(),
        };
        let curves = vec![curve("floor"), curve("etcd")];
        Chart { title: "Title".to_owned(), subtitle: String::new(), footer: String::new(), curves }
    }

    #[test]
    fn document_has_a_path_and_a_legend_entry_for_each_curve() {
        let text = draw(&chart());
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("<path ").count(), 4);
        assert_eq!(text.matches("p50 27 µs   p99 66 µs").count(), 2);
        assert!(text.contains("floor &lt;a &amp; b&gt;"));
        assert!(text.contains(">99.9 %</text>") && text.contains(">20 µs</text>"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }

    #[test]
    fn every_point_lies_inside_the_frame() {
        let text = draw(&chart());
        let path = text.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        for pair in path.split(['M', 'L']).filter(|pair| !pair.is_empty()) {
            let (x, y) = pair.split_once(' ').unwrap();
            assert!((LEFT..=RIGHT).contains(&x.parse().unwrap()), "{pair}");
            assert!((TOP..=BOTTOM).contains(&y.parse().unwrap()), "{pair}");
        }
    }
}
