//! A table of figures as curves: what something costs by how large it is, both by powers of ten.

use maud::{Markup, html};

use super::super::record::FiguresRecord;

/// Width and height of the plot, which is stretched to what there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 400.0;
/// How lines are told apart without colour.
const DASHES: [&str; 6] = ["none", "8 3", "2 3", "12 3 2 3", "1 5", "6 2 2 2 2 2"];

/// One line.
struct Curve<'t> {
    name: &'t str,
    points: Vec<(f64, f64)>,
}

/// The curves of a table whose first column counts bytes and that has columns of nanoseconds.
pub(super) fn render(table: &FiguresRecord) -> Option<Markup> {
    if table.columns.first()? != "bytes" {
        return None;
    }
    let columns = table.columns.iter().enumerate().filter(|(_, name)| name.ends_with("-ns"));
    let curves: Vec<_> = columns
        .take(DASHES.len())
        .map(|(n, name)| Curve { name, points: points(table, n) })
        .filter(|curve| curve.points.len() > 1)
        .collect();
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::over(all().map(|point| point.0))?;
    let y = Axis::over(all().map(|point| point.1))?;
    Some(html! {
        figure.curves {
            figcaption {
                "Nanoseconds (upwards) by bytes, both by powers of ten: "
                @for (n, (curve, dash)) in curves.iter().zip(DASHES).enumerate() {
                    span.key {
                        svg viewBox="0 0 30 10" aria-hidden="true" focusable="false" {
                            line.curve.(format!("c{n}")) x1="0" x2="30" y1="5" y2="5" stroke-dasharray=(dash) {}
                        }
                        (curve.name)
                    } " "
                }
            }
            div.plot {
                div.y { span { (nice(y.high)) } span { (nice(y.low)) } }
                svg viewBox="0 0 1000 400" preserveAspectRatio="none" role="img" aria-label="the same figures as in the table below" {
                    @for at in y.tens() {
                        line.grid x1="0" x2="1000" y1=(place(HEIGHT - y.at(at) * HEIGHT)) y2=(place(HEIGHT - y.at(at) * HEIGHT)) {}
                    }
                    @for (n, (curve, dash)) in curves.iter().zip(DASHES).enumerate() {
                        polyline.curve.(format!("c{n}")) stroke-dasharray=(dash) points=(path(curve, &x, &y)) {}
                    }
                }
                div.x { span { (nice(x.low)) } span { (nice(x.high)) } }
            }
        }
    })
}

fn points(table: &FiguresRecord, column: usize) -> Vec<(f64, f64)> {
    let number = |row: &Vec<String>, column: usize| {
        row.get(column)?.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0)
    };
    table.rows.iter().filter_map(|row| Some((number(row, 0)?, number(row, column)?))).collect()
}

fn path(curve: &Curve<'_>, x: &Axis, y: &Axis) -> String {
    let point = |(across, up): &(f64, f64)| {
        format!("{},{}", place(x.at(*across) * WIDTH), place(HEIGHT - y.at(*up) * HEIGHT))
    };
    curve.points.iter().map(point).collect::<Vec<_>>().join(" ")
}

/// From the least to the most, by powers of ten.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(0.0, f64::max);
        (low < high).then_some(Self { low, high })
    }

    /// Where a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        (value / self.low).log10() / (self.high / self.low).log10()
    }

    /// The powers of ten within.
    fn tens(&self) -> Vec<f64> {
        let all = (0..20).map(|power| 10_f64.powi(power));
        all.filter(|at| (self.low..=self.high).contains(at)).collect()
    }
}

fn place(at: f64) -> String {
    format!("{at:.1}")
}

fn nice(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[&str]]) -> FiguresRecord {
        let owned = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let rows = rows.iter().map(|row| owned(row)).collect();
        FiguresRecord { table: "map".to_owned(), columns: owned(columns), rows }
    }

    #[test]
    fn what_costs_by_size_is_a_curve_and_nothing_else_is() {
        let good =
            table(&["bytes", "to-ns", "ratio"], &[&["64", "10", "2"], &["6400", "1000", "3"]]);
        let drawn = render(&good).unwrap().into_string();
        assert!(drawn.contains("0.0,400.0 1000.0,0.0"), "{drawn}");
        assert_eq!(drawn.matches("<polyline").count(), 1);
        assert!(render(&table(&["KiB", "to-ns"], &[&["1", "2"], &["2", "3"]])).is_none());
        assert!(render(&table(&["bytes", "to-ns"], &[&["1", "2"]])).is_none());
        let odd = [["0", "2"], ["NaN", "1"], ["inf", "1"], ["-1", "3"], ["x", "y"]];
        let odd: Vec<&[&str]> = odd.iter().map(|row| &row[..]).collect();
        assert!(render(&table(&["bytes", "to-ns"], &odd)).is_none());
        assert!(render(&table(&[], &[])).is_none());
    }
}
