//! The page: one HTML file that needs nothing else.

use std::io;

use crate::Timeline;
use crate::page_data::PageData;

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

/// Writes the page of a timeline.
pub(crate) fn write(timeline: &Timeline, sink: &mut impl io::Write) -> io::Result<()> {
    let data = serde_json::to_string(&PageData::new(timeline))?;
    // Nothing in the data may end the script element it stands in.
    let data = data.replace('<', "\\u003c");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, Finding, Operation, Witness};

    fn page() -> String {
        let mut timeline = Timeline::new("a \"title\"");
        let lane = timeline.client_lane("clients");
        let track = timeline.track(lane, "client 0");
        let key = timeline.key("k</script>");
        timeline.origin_ns = 10;
        for op in 1..5 {
            let mut operation = Operation::new(track, 0, 10 * op, format!("write {op}"));
            operation.op = Some(op);
            operation.end(10 * op + 5, Ending::Done);
            operation.point_ns = Some(10 * op + 1);
            operation.keys.push(key);
            timeline.operations.push(operation);
        }
        timeline.finding = Some(Finding {
            witness: vec![Witness::of(&timeline.operations[1])],
            ..Finding::default()
        });
        let mut page = Vec::new();
        timeline.write_page(&mut page).expect("memory");
        String::from_utf8(page).expect("text")
    }

    #[test]
    fn the_page_stands_alone_and_its_data_cannot_end_its_script() {
        let page = page();
        assert_eq!(
            page.matches("</script>").count(),
            page.matches("<script").count()
        );
        assert!(!page.contains("http://") && !page.contains("https://"));
    }

    #[test]
    fn times_count_from_the_origin_and_the_operations_of_the_witness_are_marked() {
        let page = page();
        for column in [
            "\"op\":[1,2,3,4]",
            "\"call\":[0,10,20,30]",
            "\"end\":[5,15,25,35]",
            "\"keys\":[[0],[0],[0],[0]]",
            "\"text\":[0,1,2,3]",
            "\"point\":[1,11,21,31]",
            "\"witness\":[0,1,0,0]",
        ] {
            assert!(page.contains(column), "{column}");
        }
    }
}
