//! What was measured as one HTML page, which needs nothing else: no script, no network.

mod chart;

use std::fmt::Write;

use super::series::{Point, Table};
use chart::{Chart, Line, Scale};

/// Colours and measures of the page.
const STYLE: &str = include_str!("style.css");

/// Which figure of a point a line shows, if the point has it.
type Figure = fn(&Point) -> Option<f64>;

/// The page of a series.
pub(crate) fn page(title: &str, command: &str, points: &[Point], table: &Table) -> String {
    let mut html = String::new();
    write_page(&mut html, title, command, points, table).expect("a text takes everything");
    html
}

fn write_page(
    html: &mut String,
    title: &str,
    command: &str,
    points: &[Point],
    table: &Table,
) -> std::fmt::Result {
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<p><code>{1}</code></p>\n\
         <div class=\"charts\">\n",
        escape(title),
        escape(command)
    )?;
    for chart in charts(points) {
        html.push_str(&chart.to_html());
    }
    html.push_str("</div>\n<div class=\"wide\"><table>\n<thead><tr>");
    for heading in table.headings() {
        write!(html, "<th>{}</th>", escape(heading))?;
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in table.rows() {
        html.push_str("<tr>");
        for cell in row {
            write!(html, "<td>{}</td>", escape(cell))?;
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    for note in table.notes() {
        writeln!(html, "<p class=\"note\">{}</p>", escape(note))?;
    }
    html.push_str("</body>\n</html>\n");
    Ok(())
}

fn charts(points: &[Point]) -> Vec<Chart> {
    let chart = |title, unit, scale, figures: &[(&str, bool, Figure)]| Chart {
        title,
        unit,
        scale,
        lines: lines(points, figures),
    };
    let all = [
        chart(
            "Throughput",
            "ops/s",
            Scale::Linear,
            &[("", false, |point| Some(point.operations_per_second))],
        ),
        chart(
            "Latency",
            "ms",
            Scale::Logarithmic,
            &[
                ("p50", true, |point| Some(point.p50_us as f64 / 1_000.0)),
                ("p99", false, |point| Some(point.p99_us as f64 / 1_000.0)),
            ],
        ),
        chart(
            "Processor time of all members",
            "µs/op",
            Scale::Linear,
            &[("", false, |point| point.cpu_us_per_operation)],
        ),
        chart(
            "Processor time of the clients",
            "µs/op",
            Scale::Linear,
            &[("", false, |point| point.clients_cpu_us_per_operation)],
        ),
    ];
    all.into()
}

/// One line for each figure of each program.
fn lines(points: &[Point], figures: &[(&str, bool, Figure)]) -> Vec<Line> {
    let mut programs: Vec<Option<&str>> = Vec::new();
    for point in points {
        if !programs.contains(&point.program) {
            programs.push(point.program);
        }
    }
    let mut lines = Vec::new();
    for (colour, program) in programs.into_iter().enumerate() {
        for (figure_name, is_dashed, figure) in figures {
            let of_program = points.iter().filter(|point| point.program == program);
            let dots: Vec<_> = of_program
                .filter_map(|point| Some((point.clients as f64, figure(point)?)))
                .collect();
            if dots.is_empty() {
                continue;
            }
            let names = [program.unwrap_or_default(), figure_name];
            let names = names.into_iter().filter(|name| !name.is_empty());
            lines.push(Line {
                name: names.collect::<Vec<_>>().join(" "),
                colour,
                is_dashed: *is_dashed,
                dots,
            });
        }
    }
    lines
}

/// A text as HTML shows it, also within quotation marks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::point;

    #[test]
    fn what_is_written_into_a_page_is_a_text_and_no_markup() {
        let mut suspicious = point(8);
        suspicious.remarks = vec!["first error: <b>\"&'".to_owned()];
        let points = [point(1), suspicious];
        let table = Table::new(&points);
        let html = page("</title><script>", "bench --history='<i>'", &points, &table);
        assert!(html.contains("first error: &lt;b&gt;&quot;&amp;&#39;"));
        assert!(html.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"));
        assert!(html.contains("bench --history=&#39;&lt;i&gt;&#39;"));
        assert!(!html.contains("<script") && !html.contains("<i>"));
    }

    #[test]
    fn each_program_has_a_line_of_its_own_for_each_figure_that_it_has() {
        let of = |program, clients, cpu_us_per_operation| Point {
            program: Some(program),
            cpu_us_per_operation,
            ..point(clients)
        };
        let points = [
            of("veridical", 1, Some(9.0)),
            of("etcd", 1, None),
            of("veridical", 8, Some(7.0)),
            of("etcd", 8, None),
        ];
        let charts = charts(&points);
        let names = |chart: &Chart| -> Vec<String> {
            chart.lines.iter().map(|line| line.name.clone()).collect()
        };
        assert_eq!(names(&charts[0]), ["veridical", "etcd"]);
        assert_eq!(
            names(&charts[1]),
            ["veridical p50", "veridical p99", "etcd p50", "etcd p99"]
        );
        assert_eq!(names(&charts[2]), ["veridical"], "etcd's is not known");
        assert!(charts[3].lines.is_empty());
        assert_eq!(charts[2].lines[0].dots, [(1.0, 9.0), (8.0, 7.0)]);
    }
}
