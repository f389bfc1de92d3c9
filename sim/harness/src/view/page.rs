//! The page of a scenario that draws none of its own.

use std::io;
use veridical_checkers::picture::{Picture, PictureOperation};
use veridical_histories::OperationId;

use super::View;
use crate::scenario::Scenario;

/// Writes the page: clients as lanes, the operations that contradict each other marked.
pub fn write<S: Scenario>(
    scenario: &S,
    view: &View<'_, S>,
    mut sink: &mut dyn io::Write,
) -> io::Result<()> {
    let mut picture = Picture::new(format!(
        "{}, seed {}",
        view.report.scenario, view.report.seed
    ));
    for operation in scenario.operations(view.plan, view.history) {
        let Some(op) = operation.op else { continue };
        picture.push(PictureOperation {
            op: OperationId(op),
            client: operation.session,
            call_ns: operation.call_ns,
            return_ns: operation.end_ns,
            key: operation.keys.join(", "),
            text: operation.text,
            point_ns: None,
        });
    }
    picture.write_html(&mut sink)
}
