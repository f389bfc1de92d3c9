//! The page: one HTML file that needs nothing else.

use std::io;

use super::View;
use super::page_data::PageData;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
/// The page's script, in the order in which it runs.
const SCRIPTS: [&str; 8] = [
    include_str!("page/data.js"),
    include_str!("page/layout.js"),
    include_str!("page/lanes.js"),
    include_str!("page/messages.js"),
    include_str!("page/panel.js"),
    include_str!("page/input.js"),
    include_str!("page/start.js"),
    include_str!("page/selftest.js"),
];

/// Writes the page.
pub fn write(view: &View<'_>, sink: &mut impl io::Write) -> io::Result<()> {
    let data = serde_json::to_string(&PageData::new(view))?;
    // Nothing in the data may end the script element it stands in.
    let data = data.replace('<', "\\u003c");
    write_with(&data, sink)
}

/// Writes the page with these data.
fn write_with(data: &str, sink: &mut impl io::Write) -> io::Result<()> {
    let mut rest = PAGE;
    for place in ["/*STYLE*/", "/*DATA*/", "/*SCRIPT*/"] {
        let (head, tail) = rest.split_once(place).expect("the page has this place");
        sink.write_all(head.as_bytes())?;
        match place {
            "/*STYLE*/" => sink.write_all(STYLE.as_bytes())?,
            "/*DATA*/" => sink.write_all(data.as_bytes())?,
            _ => {
                for script in SCRIPTS {
                    sink.write_all(script.as_bytes())?;
                }
            }
        }
        rest = tail;
    }
    sink.write_all(rest.as_bytes())
}
