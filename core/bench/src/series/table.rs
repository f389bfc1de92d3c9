//! All points of a series in one table.

use std::fmt::Write;

/// One run, as a series compares it with others.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// What the members ran, if the benchmark started them.
    pub(crate) program: Option<&'static str>,
    pub(crate) clients: usize,
    pub(crate) operations_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) errors: u64,
    /// Of all members together, as the next ones.
    pub(crate) cpu_us_per_operation: Option<f64>,
    pub(crate) peak_resident_bytes: Option<u64>,
    pub(crate) written_bytes_per_operation: Option<f64>,
    pub(crate) network_bytes_per_operation: Option<f64>,
    pub(crate) clients_cpu_us_per_operation: Option<f64>,
    /// What a reader of its figures has to know, too.
    pub(crate) remarks: Vec<String>,
}

/// One figure of each point.
struct Column {
    heading: &'static str,
    cell: fn(&Point) -> Option<String>,
}

const COLUMNS: [Column; 12] = [
    Column {
        heading: "members",
        cell: |point| point.program.map(str::to_owned),
    },
    Column {
        heading: "clients",
        cell: |point| Some(point.clients.to_string()),
    },
    Column {
        heading: "ops/s",
        cell: |point| Some(format!("{:.0}", point.operations_per_second)),
    },
    Column {
        heading: "p50 ms",
        cell: |point| Some(ms(point.p50_us)),
    },
    Column {
        heading: "p99 ms",
        cell: |point| Some(ms(point.p99_us)),
    },
    Column {
        heading: "p99.9 ms",
        cell: |point| Some(ms(point.p999_us)),
    },
    Column {
        heading: "errors",
        cell: |point| Some(point.errors.to_string()),
    },
    Column {
        heading: "CPU µs/op",
        cell: |point| point.cpu_us_per_operation.map(tenths),
    },
    Column {
        heading: "peak MiB",
        cell: |point| {
            let bytes = point.peak_resident_bytes?;
            Some(tenths(bytes as f64 / f64::from(1 << 20)))
        },
    },
    Column {
        heading: "disk B/op",
        cell: |point| point.written_bytes_per_operation.map(whole),
    },
    Column {
        heading: "net B/op",
        cell: |point| point.network_bytes_per_operation.map(whole),
    },
    Column {
        heading: "clients' CPU µs/op",
        cell: |point| point.clients_cpu_us_per_operation.map(tenths),
    },
];

/// So many clients, for people.
pub(crate) fn clients_text(clients: usize) -> String {
    match clients {
        1 => "1 client".to_owned(),
        _ => format!("{clients} clients"),
    }
}

fn ms(us: u64) -> String {
    format!("{:.3}", us as f64 / 1_000.0)
}

fn tenths(figure: f64) -> String {
    format!("{figure:.1}")
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

/// All points of a series, a row for each, with the columns that at least one of them has.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(points: &[Point]) -> Self {
        let is_told = |column: &&Column| points.iter().any(|point| (column.cell)(point).is_some());
        let columns: Vec<_> = COLUMNS.iter().filter(is_told).collect();
        let cell = |column: &Column, point| (column.cell)(point).unwrap_or_else(|| "-".to_owned());
        let row = |point| {
            let cells = columns.iter().map(|column| cell(column, point));
            cells.collect()
        };
        let mut notes = Vec::new();
        for point in points {
            let program = point.program.map(|program| format!("{program}, "));
            let program = program.unwrap_or_default();
            for remark in &point.remarks {
                notes.push(format!(
                    "{program}{}: {remark}",
                    clients_text(point.clients)
                ));
            }
        }
        Self {
            headings: columns.iter().map(|column| column.heading).collect(),
            rows: points.iter().map(row).collect(),
            notes,
        }
    }

    pub(crate) fn headings(&self) -> &[&'static str] {
        &self.headings
    }

    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// What has to be known of single points.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let headings: Vec<String> = self.headings.iter().map(ToString::to_string).collect();
        let rows = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| {
            let cells = rows().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let mut text = String::new();
        for row in rows() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                }
                .expect("a text takes everything");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(note);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A point that has only what every point has.
    pub(crate) fn point(clients: usize) -> Point {
        Point {
            program: None,
            clients,
            operations_per_second: 1_234.5,
            p50_us: 500,
            p99_us: 12_345,
            p999_us: 20_000,
            errors: 0,
            cpu_us_per_operation: None,
            peak_resident_bytes: None,
            written_bytes_per_operation: None,
            network_bytes_per_operation: None,
            clients_cpu_us_per_operation: None,
            remarks: Vec::new(),
        }
    }

    #[test]
    fn columns_that_no_point_has_are_left_out() {
        let text = Table::new(&[point(1), point(64)]).to_text();
        assert_eq!(
            text,
            "clients  ops/s  p50 ms  p99 ms  p99.9 ms  errors\n\
             1         1234   0.500  12.345    20.000       0\n\
             64        1234   0.500  12.345    20.000       0\n"
        );
    }

    #[test]
    fn what_one_point_does_not_have_is_a_dash() {
        let local = Point {
            program: Some("etcd"),
            peak_resident_bytes: Some(3 << 20),
            written_bytes_per_operation: Some(99.6),
            remarks: vec!["interrupted".to_owned()],
            ..point(8)
        };
        let text = Table::new(&[local, point(8)]).to_text();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("etcd") && lines[1].ends_with("3.0        100"));
        assert!(lines[2].starts_with('-') && lines[2].ends_with('-'));
        assert_eq!(lines[3], "etcd, 8 clients: interrupted");
    }
}
