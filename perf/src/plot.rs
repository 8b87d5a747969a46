//! Percentile curves as an SVG that a person can look at: kept histograms in, one file out.
//!
//! The horizontal axis counts nines, so that the last thousandth of the requests has as much room as the first nine
//! tenths; the vertical axis is logarithmic too. A curve ends where it would say more than its number of requests can
//! show. Everything in one chart was measured at the client.

mod scale;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::histogram::{CurvePoint, parse_hgrm};
use crate::report::{KeptCurve, ResultLine};

/// One curve with what the legend says about it.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Name in the legend.
    pub label: String,
    /// The system, which decides colour and stroke.
    pub system: String,
    /// Whether latency counts from the real send time.
    pub is_uncorrected: bool,
    /// The points, by rising quantile.
    pub points: Vec<CurvePoint>,
}

/// What a chart shows.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// A line below the title: what all curves have in common.
    pub subtitle: String,
    /// A line below the axis: where it was measured.
    pub footer: String,
    /// The curves.
    pub curves: Vec<Curve>,
}

impl Chart {
    /// Reads kept `.json` and `.hgrm` files; of a folder, every `.json` that is not of a single round or probe.
    ///
    /// # Errors
    /// A file cannot be read, or there is nothing to draw.
    pub fn read(paths: &[PathBuf], title: Option<String>) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                files.extend(curves_of_folder(path)?);
            } else {
                files.push(path.clone());
            }
        }
        ensure!(files.len() <= CURVES_MAX, "{} curves: at most {CURVES_MAX} are legible", files.len());
        let loaded = files.iter().map(|path| Loaded::read(path)).collect::<Result<Vec<_>>>()?;
        let lines: Vec<&ResultLine> = loaded.iter().filter_map(|file| file.line.as_ref()).collect();
        let common = common_load(&lines);
        let mut curves: Vec<Curve> = loaded.iter().map(|file| file.curve(common.is_some())).collect();
        curves.retain(|curve| !curve.points.is_empty());
        if curves.is_empty() {
            bail!("nothing to draw: keep histograms with --out DIR first");
        }
        let footer = loaded.iter().find_map(|file| file.machine.clone()).unwrap_or_default();
        let merged = lines.iter().any(|line| line.note.starts_with("median of"));
        let subtitle = match (common, merged) {
            (Some(load), true) => format!("{load}, all rounds together"),
            (Some(load), false) => load,
            (None, true) => "all rounds together".to_owned(),
            (None, false) => String::new(),
        };
        let title = title.unwrap_or_else(|| "Latency by percentile, client to client".to_owned());
        Ok(Self { title, subtitle, footer, curves })
    }

    /// Draws the chart.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }
}

/// A file that was read.
struct Loaded {
    stem: String,
    line: Option<ResultLine>,
    points: Vec<CurvePoint>,
    machine: Option<String>,
}

/// The parts of a fingerprint that are shown.
#[derive(Deserialize)]
struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    commit: String,
}

#[derive(Deserialize)]
struct WithMachine {
    machine: Machine,
}

impl Loaded {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "hgrm") {
            return Ok(Self { stem, line: None, points: shown(parse_hgrm(&text), None), machine: None });
        }
        let kept: KeptCurve = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a kept histogram (.json or .hgrm)", path.display()))?;
        let machine = serde_json::from_str(&text).ok().map(|WithMachine { machine }| {
            let Machine { cpu, cpus, kernel, commit } = machine;
            format!("{cpus} x {cpu}, Linux {kernel}, harness {commit}")
        });
        let points = shown(kept.curve, Some(kept.result.count));
        Ok(Self { stem, line: Some(kept.result), points, machine })
    }

    fn curve(&self, load_is_common: bool) -> Curve {
        let Some(line) = &self.line else {
            let system = self.stem.split('-').next().unwrap_or_default().to_owned();
            return Curve { label: self.stem.clone(), system, is_uncorrected: false, points: self.points.clone() };
        };
        let mut label = line.system.clone();
        if line.system == "quorate" {
            label = format!("{label} {}", line.protocol);
        }
        if !load_is_common {
            label = format!("{label}, {}", load_text(line));
        }
        let is_uncorrected = line.mode.ends_with(UNCORRECTED);
        if is_uncorrected {
            label.push_str(" (from send)");
        }
        Curve { label, system: line.system.clone(), is_uncorrected, points: self.points.clone() }
    }
}

fn curves_of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".json") && !name.contains("-round") && !name.contains("-sweep")
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Keeps the points that the number of requests can show.
fn shown(points: Vec<CurvePoint>, count: Option<u64>) -> Vec<CurvePoint> {
    let limit = count.map_or(f64::INFINITY, |count| count as f64);
    points
        .into_iter()
        .filter(|point| point.quantile < 1.0 && point.latency_us > 0.0 && 1.0 / (1.0 - point.quantile) <= limit)
        .collect()
}

/// Returns the load in words if all lines have the same one.
fn common_load(lines: &[&ResultLine]) -> Option<String> {
    let first = lines.first()?;
    let load = |line: &ResultLine| (line.window, line.rate, line.value_bytes);
    lines.iter().all(|line| load(line) == load(first)).then(|| load_text(first))
}

fn load_text(line: &ResultLine) -> String {
    let load = match (line.window, line.rate) {
        (Some(1), _) => "one request at a time".to_owned(),
        (Some(window), _) => format!("{window} requests in flight"),
        (None, Some(rate)) if line.mode.contains("poisson") => format!("Poisson arrivals, {rate}/s"),
        (None, Some(rate)) => format!("{rate} requests/s"),
        (None, None) => String::new(),
    };
    format!("{load}, {} B values", line.value_bytes)
}

/// Curves in one chart.
const CURVES_MAX: usize = 12;
const UNCORRECTED: &str = "-uncorrected";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &str, window: u32) -> ResultLine {
        serde_json::from_value(serde_json::json!({
            "system": system, "mode": "closed", "protocol": "resp", "window": window, "rate": null,
            "value_bytes": 64, "count": 1000, "errors": 0, "per_second": 1.0, "p50_us": 1.0, "p90_us": 1.0,
            "p99_us": 1.0, "p999_us": 1.0, "p9999_us": 1.0, "max_us": 1.0, "valid": true, "note": "",
        }))
        .unwrap()
    }

    #[test]
    fn load_that_all_share_is_said_once() {
        let (a, b, c) = (line("floor", 1), line("etcd", 1), line("etcd", 64));
        assert_eq!(common_load(&[&a, &b]).as_deref(), Some("one request at a time, 64 B values"));
        assert_eq!(common_load(&[&a, &c]), None);
        let loaded = Loaded { stem: String::new(), line: Some(c), points: Vec::new(), machine: None };
        assert_eq!(loaded.curve(true).label, "etcd");
        assert_eq!(loaded.curve(false).label, "etcd, 64 requests in flight, 64 B values");
    }

    #[test]
    fn curve_ends_where_its_requests_do() {
        let point = |quantile| CurvePoint { quantile, latency_us: 5.0 };
        let points = vec![point(0.0), point(0.99), point(0.9995), point(1.0)];
        assert_eq!(shown(points.clone(), Some(1_000)).len(), 2);
        assert_eq!(shown(points, None).len(), 3);
    }
}
