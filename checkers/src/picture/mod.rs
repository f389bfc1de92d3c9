//! A history as a picture: one HTML file that needs nothing else.
//!
//! Client lanes on a time axis, drawn on a canvas so that a hundred thousand operations
//! scroll without delay; what contradicts each other is marked, with what was expected
//! and what was there. [`Picture::to_porcupine_json`] gives the same to Porcupine's
//! visualiser.

mod collect;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use crate::verdict::{Verdict, Violation};
pub use collect::PictureOptions;
use veridical_histories::OperationId;

/// One operation of a picture.
#[derive(Clone, Debug, Default)]
pub struct PictureOperation {
    /// Its number; 0 where it has none.
    pub op: OperationId,
    /// The lane.
    pub client: u64,
    /// When it was called, in nanoseconds.
    pub call_ns: u64,
    /// When it returned; `None` where its outcome is unknown.
    pub return_ns: Option<u64>,
    /// The object, for filtering.
    pub key: String,
    /// What was asked and answered.
    pub text: String,
    /// When it can have taken effect, where that is known.
    pub point_ns: Option<u64>,
}

/// A history that is drawn.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// What stands above it.
    pub title: String,
    operations: Vec<PictureOperation>,
    violation: Option<Violation>,
    verdict: String,
}

const PAGE: &str = include_str!("page.html");
/// The page's script, in the order in which it runs.
const SCRIPTS: [&str; 3] = [
    include_str!("page.js"),
    include_str!("page_input.js"),
    include_str!("page_selftest.js"),
];

impl Picture {
    /// An empty picture.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            verdict: "not checked".to_owned(),
            ..Self::default()
        }
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: PictureOperation) {
        self.operations.push(operation);
    }

    /// Operations so far.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Shows a verdict: the operations of a violation are marked, and added where the
    /// picture does not have them.
    pub fn show(&mut self, verdict: &Verdict) {
        self.verdict = verdict.word().to_owned();
        let Some(violation) = verdict.violation() else {
            return;
        };
        for witness in &violation.operations {
            let is_known = witness.op.is_some()
                && self
                    .operations
                    .iter()
                    .any(|known| Some(known.op) == witness.op);
            if !is_known {
                self.operations.push(PictureOperation {
                    op: witness.op.unwrap_or_default(),
                    client: witness.client,
                    call_ns: witness.call_ns,
                    return_ns: witness.return_ns,
                    key: violation.key.clone().unwrap_or_default(),
                    text: witness.text.clone(),
                    point_ns: None,
                });
            }
        }
        self.violation = Some(violation.clone());
    }

    /// Writes the page.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn write_html(&self, sink: &mut impl io::Write) -> io::Result<()> {
        let (head, tail) = PAGE
            .split_once("/*DATA*/")
            .expect("the page has a place for data");
        let (before_script, after_script) = tail
            .split_once("/*SCRIPT*/")
            .expect("the page has a place for its script");
        sink.write_all(head.as_bytes())?;
        sink.write_all(self.data().as_bytes())?;
        sink.write_all(before_script.as_bytes())?;
        for script in SCRIPTS {
            sink.write_all(script.as_bytes())?;
        }
        sink.write_all(after_script.as_bytes())
    }

    /// The page's data: columns, so that it stays small; texts and keys once each.
    fn data(&self) -> String {
        let mut texts = Strings::default();
        let mut keys = Strings::default();
        let origin = self
            .operations
            .iter()
            .map(|op| op.call_ns)
            .min()
            .unwrap_or(0);
        let marked: BTreeSet<OperationId> = match &self.violation {
            Some(violation) => violation
                .operations
                .iter()
                .filter_map(|witness| witness.op)
                .collect(),
            None => BTreeSet::new(),
        };
        let mut columns = Columns::default();
        for operation in &self.operations {
            let since = |at: u64| at.saturating_sub(origin) as i64;
            let is_marked = match operation.op {
                OperationId(0) => self.is_unnumbered_witness(operation),
                op => marked.contains(&op),
            };
            columns.push([
                operation.op.0 as i64,
                operation.client as i64,
                since(operation.call_ns),
                operation.return_ns.map_or(-1, since),
                keys.number(&operation.key) as i64,
                texts.number(&operation.text) as i64,
                operation.point_ns.map_or(-1, since),
                i64::from(is_marked),
            ]);
        }
        let violation = self.violation.as_ref().map(|violation| {
            serde_json::json!({
                "kind": violation.kind,
                "key": violation.key,
                "expected": violation.expected,
                "got": violation.got,
            })
        });
        let json = format!(
            "{{\"title\":{},\"verdict\":{},\"origin\":\"{origin}\",\"keys\":{},\"texts\":{},\
             \"violation\":{},{}}}",
            serde_json::json!(self.title),
            serde_json::json!(self.verdict),
            serde_json::json!(keys.all),
            serde_json::json!(texts.all),
            serde_json::json!(violation),
            columns.json()
        );
        // Nothing in the data may end the script element it stands in.
        json.replace('<', "\\u003c")
    }

    fn is_unnumbered_witness(&self, operation: &PictureOperation) -> bool {
        self.violation
            .iter()
            .flat_map(|violation| &violation.operations)
            .any(|witness| {
                witness.op.is_none()
                    && witness.call_ns == operation.call_ns
                    && witness.text == operation.text
            })
    }

    /// The data that Porcupine's visualiser shows, one partition a key.
    pub fn to_porcupine_json(&self) -> String {
        let mut partitions: std::collections::BTreeMap<&str, Vec<&PictureOperation>> =
            std::collections::BTreeMap::new();
        for operation in &self.operations {
            partitions
                .entry(&operation.key)
                .or_default()
                .push(operation);
        }
        let end = self
            .operations
            .iter()
            .map(|operation| operation.return_ns.unwrap_or(operation.call_ns))
            .max()
            .unwrap_or(0);
        let partitions: Vec<serde_json::Value> = partitions
            .into_values()
            .map(|operations| {
                let mut points: Vec<(u64, usize)> = operations
                    .iter()
                    .enumerate()
                    .filter_map(|(index, operation)| Some((operation.point_ns?, index)))
                    .collect();
                points.sort_unstable();
                let steps: Vec<serde_json::Value> = points
                    .iter()
                    .map(|(_, index)| serde_json::json!({ "Index": index, "StateDescription": "" }))
                    .collect();
                let largest: serde_json::Map<String, serde_json::Value> = points
                    .iter()
                    .map(|(_, index)| (index.to_string(), serde_json::json!(0)))
                    .collect();
                let history: Vec<serde_json::Value> = operations
                    .iter()
                    .map(|operation| {
                        let return_ns = operation.return_ns.unwrap_or(end);
                        serde_json::json!({
                            "ClientId": operation.client,
                            "Start": operation.call_ns,
                            "OriginalStart": operation.call_ns.to_string(),
                            "End": return_ns,
                            "OriginalEnd": return_ns.to_string(),
                            "Description": operation.text,
                        })
                    })
                    .collect();
                serde_json::json!({
                    "History": history,
                    "PartialLinearizations": if steps.is_empty() { vec![] } else { vec![steps] },
                    "Largest": largest,
                })
            })
            .collect();
        serde_json::json!({ "Partitions": partitions, "Annotations": [] }).to_string()
    }
}

/// The columns of the page's data.
const COLUMNS: [&str; 8] = [
    "op", "client", "call", "return", "key", "text", "point", "marked",
];

/// Numbers by column, as JSON.
#[derive(Default)]
struct Columns([String; COLUMNS.len()]);

impl Columns {
    fn push(&mut self, row: [i64; COLUMNS.len()]) {
        for (column, number) in self.0.iter_mut().zip(row) {
            if !column.is_empty() {
                column.push(',');
            }
            write!(column, "{number}").expect("writing to a String does not fail");
        }
    }

    /// Members of an object, one a column.
    fn json(&self) -> String {
        let member = |(name, numbers): (&&str, &String)| format!("\"{name}\":[{numbers}]");
        let members: Vec<String> = COLUMNS.iter().zip(&self.0).map(member).collect();
        members.join(",")
    }
}

/// Strings by number, each once.
#[derive(Default)]
struct Strings {
    numbers: rustc_hash::FxHashMap<String, usize>,
    all: Vec<String>,
}

impl Strings {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{ViolationKind, WitnessOperation};

    fn operation(op: u64, call_ns: u64) -> PictureOperation {
        PictureOperation {
            op: OperationId(op),
            client: op % 3,
            call_ns,
            return_ns: Some(call_ns + 5),
            key: "k</script>".to_owned(),
            text: format!("write {op}"),
            point_ns: Some(call_ns + 1),
        }
    }

    fn picture() -> Picture {
        let mut picture = Picture::new("a \"title\"");
        (1..5).for_each(|op| picture.push(operation(op, 10 * op)));
        picture.show(&Verdict::Violation(Box::new(Violation {
            kind: ViolationKind::NotLinearizable,
            key: Some("k</script>".to_owned()),
            event: 7,
            expected: "this".to_owned(),
            got: "that".to_owned(),
            operations: vec![WitnessOperation {
                op: Some(OperationId(2)),
                client: 2,
                call_ns: 20,
                return_ns: Some(25),
                text: "write 2".to_owned(),
            }],
        })));
        picture
    }

    #[test]
    fn the_page_stands_alone_and_its_data_cannot_end_its_script() {
        let mut page = Vec::new();
        picture().write_html(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert_eq!(
            page.matches("</script>").count(),
            page.matches("<script").count()
        );
        assert!(!page.contains("http://") && !page.contains("https://"));
        for column in [
            "\"op\":[1,2,3,4]",
            "\"client\":[1,2,0,1]",
            "\"call\":[0,10,20,30]",
            "\"return\":[5,15,25,35]",
            "\"key\":[0,0,0,0]",
            "\"text\":[0,1,2,3]",
            "\"point\":[1,11,21,31]",
            "\"marked\":[0,1,0,0]",
        ] {
            assert!(page.contains(column), "{column}: operation 2 is marked");
        }
    }

    #[test]
    fn porcupine_gets_one_partition_a_key_with_the_order_that_was_found() {
        let json: serde_json::Value = serde_json::from_str(&picture().to_porcupine_json()).unwrap();
        let partition = &json["Partitions"][0];
        assert_eq!(partition["History"].as_array().unwrap().len(), 4);
        assert_eq!(partition["PartialLinearizations"][0][3]["Index"], 3);
        assert_eq!(partition["Largest"]["2"], 0);
    }
}
