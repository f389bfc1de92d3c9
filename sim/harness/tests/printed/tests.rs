//! Marks, and what may differ.

use super::*;

const DOCUMENT: &str = "\
text
<!-- printed in part by: cargo sim run --seed 4 -->

```
$ cargo sim run --seed 4
  seeds      100
  …
  wall time              8.4 s (8.1 s of runs)
```
";

#[test]
fn a_mark_names_a_command_and_the_block_behind_it() {
    let block = Block {
        commands: vec![["run", "--seed", "4"].map(str::to_owned).to_vec()],
        is_part: true,
        lines: 5..8,
    };
    assert_eq!(blocks(DOCUMENT, "cargo sim"), [block]);
    let whole = DOCUMENT.replace(" in part", "");
    assert!(!blocks(&whole, "cargo sim")[0].is_part);
    assert_eq!(blocks(DOCUMENT, "cargo si"), []);
    let second = DOCUMENT.replace("--seed 4 -->", "--seed 4 && cargo sim replay DIR -->");
    let commands = &blocks(&second, "cargo sim")[0].commands;
    assert_eq!(commands[1], ["replay", "DIR"]);
}

#[test]
fn times_may_differ_and_nothing_else() {
    let block = |is_part| Block {
        commands: Vec::new(),
        is_part,
        lines: 0..0,
    };
    let shown = [
        "  seeds      100",
        "  wall time              8.4 s (8.1 s of runs)",
    ];
    let faster = [
        "  seeds      100",
        "  wall time              10.4 s (10.1 s of runs)",
    ];
    let other = [
        "  seeds      101",
        "  wall time              8.4 s (8.1 s of runs)",
    ];
    let more = ["  seeds      100", "  verdicts   1 ok", shown[1]];
    for is_part in [true, false] {
        assert_eq!(renewed(&block(is_part), &shown, &faster), shown);
        assert_eq!(renewed(&block(is_part), &shown, &other), other);
    }
    assert_eq!(renewed(&block(true), &shown, &more), shown);
    assert_eq!(renewed(&block(false), &shown, &more), more);
    assert_eq!(renewed(&block(true), &more, &shown), shown);
    let cut = ["  knobs a 1, b 2, …"];
    assert_eq!(renewed(&block(true), &cut, &["  knobs a 1, b 2, c 3"]), cut);
    let changed = renewed(&block(true), &cut, &["  knobs a 1, b 3, c 3, d 4"]);
    assert_eq!(changed, ["  knobs a 1, b 3, …"]);
    let recalled = "  torn-cut   yes   4  0.4  violation (wrong-result): cargo sim run --seed 4";
    assert_eq!(masked(recalled), masked(&recalled.replace("0.4", "12.9")));
    assert_ne!(
        masked(recalled),
        masked(&recalled.replace("yes   4", "yes   5"))
    );
    assert_eq!(
        masked("found 12 of 12; 7 s"),
        masked("found 12 of 12; 21 s")
    );
    assert_ne!(masked("found 12 of 12; 7 s"), masked("found 11 of 12; 7 s"));
}
