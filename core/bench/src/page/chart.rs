//! A chart of lines as SVG.

use std::fmt::Write;

use super::escape;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Steps of a linear axis at most, and of a logarithmic one with more than decades on it.
const STEPS_MAX: f64 = 6.0;

/// Labels below the chart at most; the numbers between them have lines without one.
const X_LABELS_MAX: usize = 12;

/// How numbers become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// What is not above 0 has no place.
    Logarithmic,
}

/// One line.
pub(super) struct Line {
    /// What it is of, for the legend.
    pub(super) name: String,
    /// Its colour, by number, and the form of its dots.
    pub(super) colour: usize,
    pub(super) is_dashed: bool,
    /// Clients, and the figure.
    pub(super) dots: Vec<(f64, f64)>,
}

/// A chart over numbers of clients.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
}

/// Where a number is.
struct Axes {
    scale: Scale,
    x_range: (f64, f64),
    y_range: (f64, f64),
}

impl Axes {
    fn x(&self, clients: f64) -> f64 {
        let (from, to) = self.x_range;
        let share = match to > from {
            true => (clients.log2() - from) / (to - from),
            false => 0.5,
        };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, figure: f64) -> f64 {
        let (from, to) = self.y_range;
        let place = match self.scale {
            Scale::Linear => figure,
            Scale::Logarithmic => figure.log10(),
        };
        HEIGHT - BOTTOM - (place - from) / (to - from) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart {
    fn figures(&self) -> impl Iterator<Item = f64> {
        let dots = self.lines.iter().flat_map(|line| &line.dots);
        dots.map(|(_, figure)| *figure)
    }

    fn clients(&self) -> Vec<f64> {
        let dots = self.lines.iter().flat_map(|line| &line.dots);
        let mut clients: Vec<f64> = dots.map(|(clients, _)| *clients).collect();
        clients.sort_by(f64::total_cmp);
        clients.dedup();
        clients
    }

    /// Labels of the axis at the left, the lowest and the highest at its ends.
    fn steps(&self) -> Vec<f64> {
        let highest = self.figures().fold(0.0, f64::max);
        match self.scale {
            Scale::Linear => linear_steps(highest),
            Scale::Logarithmic => {
                let above = self.figures().filter(|figure| *figure > 0.0);
                logarithmic_steps(above.fold(highest, f64::min), highest)
            }
        }
    }

    /// A figure with a caption and a legend. Nothing if there is nothing to show.
    pub(super) fn to_html(&self) -> String {
        let mut html = String::new();
        self.write_to(&mut html).expect("a text takes everything");
        html
    }

    fn write_to(&self, html: &mut String) -> std::fmt::Result {
        let (clients, steps) = (self.clients(), self.steps());
        let (Some(first), Some(last)) = (clients.first(), clients.last()) else {
            return Ok(());
        };
        let (Some(lowest), Some(highest)) = (steps.first(), steps.last()) else {
            return Ok(());
        };
        let place = |step: f64| match self.scale {
            Scale::Linear => step,
            Scale::Logarithmic => step.log10(),
        };
        let axes = Axes {
            scale: self.scale,
            x_range: (first.log2(), last.log2()),
            y_range: (place(*lowest), place(*highest)),
        };
        write!(
            html,
            "<figure>\n<figcaption><b>{}</b> {}{}</figcaption>\n",
            escape(self.title),
            escape(self.unit),
            match self.scale {
                Scale::Linear => "",
                Scale::Logarithmic => ", logarithmic",
            }
        )?;
        self.write_legend(html)?;
        writeln!(
            html,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} against clients\">",
            escape(self.title)
        )?;
        write_grid(html, &axes, &clients, &steps)?;
        for line in &self.lines {
            line.write_to(html, &axes, self.unit)?;
        }
        html.push_str("</svg>\n</figure>\n");
        Ok(())
    }

    fn write_legend(&self, html: &mut String) -> std::fmt::Result {
        html.push_str("<p class=\"legend\">");
        for line in self.lines.iter().filter(|line| !line.name.is_empty()) {
            write!(
                html,
                "<span><svg class=\"key {}\" viewBox=\"0 0 30 10\"><path class=\"line\" \
                 d=\"M1 5H29\"/>{}</svg>{}</span>",
                line.class(),
                line.dot(15.0, 5.0),
                escape(&line.name)
            )?;
        }
        html.push_str("</p>\n");
        Ok(())
    }
}

impl Line {
    /// A colour, and hollow dots where the line is dashed: a dot may be alone.
    fn class(&self) -> String {
        let dashed = if self.is_dashed { " dashed" } else { "" };
        format!("c{}{dashed}", self.colour)
    }

    /// Lines that differ in colour differ in the form of their dots, too.
    fn dot(&self, x: f64, y: f64) -> String {
        match self.colour % 2 {
            0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\"/>"),
            _ => format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"6.4\" height=\"6.4\"/>",
                x - 3.2,
                y - 3.2
            ),
        }
    }

    fn write_to(&self, html: &mut String, axes: &Axes, unit: &str) -> std::fmt::Result {
        let dots = self.dots.iter();
        let has_place = |figure: f64| axes.scale == Scale::Linear || figure > 0.0;
        let dots: Vec<_> = dots.filter(|(_, figure)| has_place(*figure)).collect();
        let path: Vec<String> = dots
            .iter()
            .map(|(clients, figure)| format!("{:.1} {:.1}", axes.x(*clients), axes.y(*figure)))
            .collect();
        writeln!(
            html,
            "<g class=\"{}\"><path class=\"line\" d=\"M{}\"/>",
            self.class(),
            path.join("L")
        )?;
        for (clients, figure) in dots {
            let at = self.dot(axes.x(*clients), axes.y(*figure));
            let shown = short(*figure);
            writeln!(
                html,
                "<g>{at}<title>{}{}{clients} clients: {shown} {}</title></g>",
                escape(&self.name),
                if self.name.is_empty() { "" } else { ", " },
                escape(unit),
            )?;
        }
        html.push_str("</g>\n");
        Ok(())
    }
}

fn write_grid(html: &mut String, axes: &Axes, clients: &[f64], steps: &[f64]) -> std::fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for step in steps {
        let y = axes.y(*step);
        writeln!(
            html,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            LEFT - 7.0,
            y + 4.0,
            short(*step)
        )?;
    }
    let labels_apart = clients.len().div_ceil(X_LABELS_MAX);
    for (number, clients) in clients.iter().enumerate() {
        let x = axes.x(*clients);
        let tick = bottom + 4.0;
        write!(html, "<path class=\"grid\" d=\"M{x:.1} {bottom}V{tick}\"/>")?;
        if number.is_multiple_of(labels_apart) {
            writeln!(
                html,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{clients}</text>",
                bottom + 18.0
            )?;
        }
    }
    writeln!(
        html,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">clients</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 6.0
    )
}

/// From 0 to at least that number, in steps of 1, 2 or 5 times a power of ten.
fn linear_steps(highest: f64) -> Vec<f64> {
    if highest <= 0.0 {
        return vec![0.0, 1.0];
    }
    let power = 10_f64.powf((highest / STEPS_MAX).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| highest / step <= STEPS_MAX)
        .unwrap_or(10.0 * power);
    let count = (highest / step).ceil() as u32;
    (0..=count).map(|number| f64::from(number) * step).collect()
}

/// From at most the lowest to at least the highest: powers of ten, with 2 and 5 times those
/// where they are few.
fn logarithmic_steps(lowest: f64, highest: f64) -> Vec<f64> {
    if lowest <= 0.0 {
        return Vec::new();
    }
    let factors: &[f64] = match (highest / lowest).log10() * 3.0 <= STEPS_MAX {
        true => &[1.0, 2.0, 5.0],
        false => &[1.0],
    };
    let (first, last) = (lowest.log10().floor() as i32, highest.log10().ceil() as i32);
    let all: Vec<f64> = (first..=last)
        .flat_map(|exponent| factors.iter().map(move |f| f * 10_f64.powi(exponent)))
        .collect();
    // What a power of ten is told as may differ from it in the last digit.
    let near = 1.0 + 1e-9;
    let from = all.iter().rposition(|step| *step <= lowest * near);
    let to = all.iter().position(|step| *step * near >= highest);
    match (from, to) {
        // One figure alone: it is on a line, and there has to be another one.
        (Some(from), Some(to)) if from == to => match all.get(to + 1) {
            Some(_) => all[from..=to + 1].to_vec(),
            None => all[from - 1..=to].to_vec(),
        },
        (Some(from), Some(to)) => all[from..=to].to_vec(),
        (None, _) | (_, None) => all,
    }
}

/// A number in at most four digits or so.
pub(super) fn short(number: f64) -> String {
    let (number, suffix) = match number {
        _ if number >= 999_500.0 => (number / 1_000_000.0, " M"),
        _ if number >= 9_999.5 => (number / 1_000.0, " k"),
        _ => (number, ""),
    };
    let decimals = match number {
        _ if number >= 100.0 || number == 0.0 => 0,
        _ if number >= 10.0 => 1,
        _ if number >= 0.1 => 2,
        _ => 3,
    };
    let mut text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_above_everything() {
        assert_eq!(linear_steps(13_358.0), [0.0, 5_000.0, 10_000.0, 15_000.0]);
        assert_eq!(linear_steps(6.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(linear_steps(0.0), [0.0, 1.0]);
        for highest in (1..2_000).map(|number| f64::from(number) * 0.37) {
            let steps = linear_steps(highest);
            assert!(steps.len() <= 8, "{highest}: {steps:?}");
            assert!(*steps.last().unwrap() >= highest, "{highest}: {steps:?}");
        }
    }

    #[test]
    fn a_logarithmic_axis_has_everything_between_its_ends() {
        assert_eq!(logarithmic_steps(0.3, 7.0), [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
        let wide = logarithmic_steps(0.3, 7_000.0);
        assert_eq!(wide.len(), 6, "{wide:?}");
        assert!(logarithmic_steps(0.0, 0.0).is_empty());
        for lowest in (1..200).map(|number| f64::from(number) * 0.013) {
            for factor in [1.0, 1.5, 10.0, 333.0, 1e5] {
                let highest = lowest * factor;
                let steps = logarithmic_steps(lowest, highest);
                assert!(steps.len() >= 2, "{lowest} {highest}: {steps:?}");
                assert!(steps[0] <= lowest * 1.001, "{lowest}: {steps:?}");
                assert!(*steps.last().unwrap() >= highest * 0.999, "{highest}");
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.0, "0"),
            (0.126, "0.13"),
            (0.05, "0.05"),
            (2.0, "2"),
            (4.25, "4.25"),
            (31.36, "31.4"),
            (697.4, "697"),
            (8_000.0, "8000"),
            (13_358.0, "13.4 k"),
            (1_500_000.0, "1.5 M"),
        ] {
            assert_eq!(short(number), expected);
        }
    }

    #[test]
    fn a_chart_without_figures_is_nothing() {
        let chart = Chart {
            title: "t",
            unit: "u",
            scale: Scale::Logarithmic,
            lines: Vec::new(),
        };
        assert_eq!(chart.to_html(), "");
    }

    #[test]
    fn no_figure_is_outside_of_the_chart() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let dots = vec![(1.0, 0.0), (8.0, 0.4), (512.0, 90.0), (600.0, 1_234.5)];
            let chart = Chart {
                title: "t",
                unit: "u",
                scale,
                lines: vec![Line {
                    name: "<&\">".to_owned(),
                    colour: 0,
                    is_dashed: false,
                    dots,
                }],
            };
            let html = chart.to_html();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
            assert!(html.contains("&lt;&amp;&quot;&gt;, 8 clients"), "{html}");
            let heights = html.split("cy=\"").skip(1);
            for height in heights.filter_map(|rest| rest.split('"').next()) {
                let height: f64 = height.parse().unwrap();
                assert!((0.0..=HEIGHT - BOTTOM).contains(&height), "{html}");
            }
        }
    }
}
