//! A history as a picture: one HTML file that needs nothing else, made by
//! [`veridical_timeline`].
//!
//! Each client has a lane; what contradicts each other is marked, with what was expected and
//! what was there. [`Picture::to_porcupine_json`] gives the same to Porcupine's visualiser.

mod collect;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::abridged::abridged;
use crate::verdict::{Verdict, Violation};
pub use collect::PictureOptions;
use veridical_histories::OperationId;
use veridical_timeline::{Ending, Finding, Operation, Timeline, TrackId, Witness};

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

/// The first words of operations that only read.
const READS: [&str; 4] = ["range", "read", "contains", "check"];

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
        self.timeline().write_page(sink)
    }

    /// What the viewer shows: a lane for each client.
    pub fn timeline(&self) -> Timeline {
        let mut timeline = Timeline::new(self.title.as_str());
        timeline.verdict.clone_from(&self.verdict);
        let calls = self.operations.iter().map(|operation| operation.call_ns);
        timeline.origin_ns = calls.min().unwrap_or(0);
        timeline.finding = self.violation.as_ref().map(finding);
        let clients = self.operations.iter().map(|operation| operation.client);
        let clients: BTreeSet<u64> = clients.collect();
        let mut tracks: BTreeMap<u64, TrackId> = BTreeMap::new();
        for client in clients {
            let name = format!("client {client}");
            let lane = timeline.client_lane(&name);
            tracks.insert(client, timeline.track(lane, &name));
        }
        for operation in &self.operations {
            let shown = operation.shown(tracks[&operation.client], &mut timeline);
            timeline.operations.push(shown);
        }
        timeline
    }

    /// The data that Porcupine's visualiser shows, one partition a key.
    pub fn to_porcupine_json(&self) -> String {
        let mut partitions: BTreeMap<&str, Vec<&PictureOperation>> = BTreeMap::new();
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

impl PictureOperation {
    fn shown(&self, track: TrackId, timeline: &mut Timeline) -> Operation {
        let mut shown = Operation::new(track, self.client, self.call_ns, self.text.as_str());
        shown.op = (self.op != OperationId(0)).then_some(self.op.0);
        shown.is_read = READS.iter().any(|word| self.text.starts_with(word));
        shown.point_ns = self.point_ns;
        shown.end_ns = self.return_ns;
        shown.ending = match self.return_ns {
            Some(_) => Ending::Done,
            None => Ending::Unknown,
        };
        if !self.key.is_empty() {
            shown.keys.push(timeline.key(&self.key));
        }
        shown
    }
}

fn finding(violation: &Violation) -> Finding {
    let witness = violation.operations.iter().map(|operation| Witness {
        op: operation.op.map(|op| op.0),
        client: operation.client,
        call_ns: operation.call_ns,
        end_ns: operation.return_ns,
        text: abridged(&operation.text).into_owned(),
    });
    Finding {
        name: match serde_json::to_value(violation.kind) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(_) | Err(_) => format!("{:?}", violation.kind),
        },
        text: String::new(),
        key: violation.key.clone(),
        expected: Some(abridged(&violation.expected).into_owned()),
        got: Some(abridged(&violation.got).into_owned()),
        witness: witness.collect(),
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
    fn each_client_has_a_lane_and_the_operations_of_a_violation_are_its_witness() {
        let timeline = picture().timeline();
        assert_eq!(timeline.origin_ns, 10);
        let shown: Vec<_> = timeline
            .operations
            .iter()
            .map(|operation| (operation.op, operation.client, operation.end_ns))
            .collect();
        assert_eq!(shown[1], (Some(2), 2, Some(25)));
        assert_eq!(shown.len(), 4, "the witness was there already");
        let finding = timeline.finding.expect("a violation");
        assert_eq!(finding.name, "not-linearizable");
        assert_eq!(finding.witness[0].op, Some(2));
        let mut page = Vec::new();
        picture().write_html(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("\"witness\":[0,1,0,0]"));
        assert!(page.contains("k\\u003c/script>"));
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
