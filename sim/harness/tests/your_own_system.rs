//! The guide shows what the example prints.
#![cfg(madsim)]

mod printed;

use std::path::Path;

#[test]
fn the_guide_shows_what_the_example_prints() {
    // A test program lies in `deps`, beside the folder of the examples.
    let test = std::env::current_exe().expect("this program has a file");
    let profile = test.ancestors().nth(2).expect("cargo has put it there");
    let program = printed::Program {
        command: "cargo sim-example",
        path: profile.join("examples/primary_backup"),
    };
    assert!(
        program.path.exists(),
        "`cargo test` builds the examples, too"
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let marked = printed::assert_documents_are_true(&root, &["docs/your-own-system.md"], &program);
    assert!(marked >= 2, "only {marked} blocks are marked");
}
