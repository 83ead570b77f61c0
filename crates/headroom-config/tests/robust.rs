//! No text makes the loader panic, run on without end, or blame what is right.

use std::fs;
use std::path::Path;

use headroom_config::{MAX_FILE_BYTES, parse};
use proptest::prelude::*;

fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in [root.join("tests/bad"), root.join("../../examples")] {
        let mut paths: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()).collect();
        paths.sort();
        texts.extend(paths.iter().filter_map(|path| fs::read_to_string(path).ok()));
    }
    texts
}

/// Reads and renders; what it says must be well formed whatever the text.
fn survives(text: &str) {
    if let Err(error) = parse("fleet.yaml", text) {
        assert!(!error.diagnostics().is_empty());
        let lines = text.lines().count().max(1);
        for diagnostic in error.diagnostics() {
            if let Some(place) = &diagnostic.place {
                assert!((1..=lines + 1).contains(&place.line), "line {} of {lines}", place.line);
                assert!(place.length >= 1 && place.column > place.offset);
            }
        }
        let shown = error.render(true);
        assert!(!shown.is_empty());
        let plain = error.to_string();
        assert!(plain.chars().all(|c| c == '\n' || !c.is_control()), "a control character is shown");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,400}|[ -~\n\t{}\\[\\]:,&*!|>'\"#%@`-]{0,400}") {
        survives(&text);
    }

    #[test]
    fn no_slip_in_a_policy_makes_it_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in 0usize..40,
        put in "[ -~\n\t]{0,12}|\u{202e}|é|상|\u{0}",
    ) {
        let sources = sources();
        let mut text = which.get(&sources).clone();
        let places: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
        let start = at.index(places.len());
        let end = (start + cut).min(places.len() - 1);
        text.replace_range(places[start]..places[end], &put);
        survives(&text);
    }

    #[test]
    fn a_value_in_any_place_is_judged_without_panic(
        at in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "null", "[]", "{}", "-1", "1e308", ".inf", ".nan", "0x10", "''", "'x'", "[[]]", "{a: {b: c}}", "*x", "5s",
        ]),
    ) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web.yaml"))
            .expect("the example");
        let colons: Vec<usize> = text.match_indices(": ").map(|(i, _)| i).collect();
        let colon = colons[at.index(colons.len())];
        let end = text[colon + 2..].find([',', '}', '\n', ']']).map_or(text.len(), |n| colon + 2 + n);
        survives(&format!("{}: {value}{}", &text[..colon], &text[end..]));
    }
}

/// Texts of the largest size allowed, each built to make one step slow. What takes more than a few seconds even in
/// a debug build hangs the test.
#[test]
fn the_largest_garbage_is_judged_in_bounded_time() {
    let size = usize::try_from(MAX_FILE_BYTES).expect("a megabyte");
    let fill = |piece: &str| piece.repeat(size / piece.len());
    let policy = |workloads: &str| {
        let head =
            "apiVersion: headroom.dev/v1alpha1\nkind: Fleet\nmetadata: { name: shop }\nspec:\n  workloads:\n";
        let mut text = format!("{head}{workloads}");
        text.truncate(size);
        let end = text.rfind('\n').unwrap_or(text.len());
        text.truncate(end);
        text
    };
    let numbered = |line: &dyn Fn(usize) -> String| (0..size / 40).map(line).collect::<String>();
    let texts = [
        fill("x"),
        fill("\n"),
        fill("- "),
        fill("- x\n"),
        fill("["),
        fill("[],"),
        fill("{a: "),
        fill("? "),
        fill("a: b: "),
        fill("\"\\"),
        fill("'"),
        fill("# c\n"),
        fill("&a [*a, "),
        fill("!t "),
        fill("상"),
        fill("\u{202e}"),
        format!("kind: {}", fill("x")),
        format!("[{}]", fill("x,")),
        numbered(&|n| format!("key{n}: {n}\n")),
        numbered(&|n| format!("a{n}: &a{n} [x]\n")),
        policy(&numbered(&|n| format!("    w{n}: {{ target: [] }}\n"))),
        policy(&numbered(&|n| format!("    w{n}: {{ balancer: {{ listen: x }} }}\n"))),
        policy(&numbered(&|n| format!("    W{n}: {{ replicas: {{ min: 2, max: 1 }} }}\n"))),
        policy(&numbered(&|n| format!("    w{n}: {{ signals: {{ s: {{}} }}, strategies: [] }}\n"))),
    ];
    for mut text in texts {
        text.truncate((0..=size).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0));
        survives(&text);
    }
}

/// What is right is not blamed: a policy stays good however it is laid out.
#[test]
fn block_and_flow_style_are_the_same_policy() {
    let block = "\
apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata:
  name: shop
spec:
  workloads:
    web:
      target:
        process:
          command:
          - ./web
          - |
            two
            lines
      replicas:
        min: 0x1
        max: +5
      signals:
        cpu:
          process: cpu
      strategies:
      - threshold:
          signal: cpu
";
    let flow = r#"{"apiVersion":"headroom.dev/v1alpha1","kind":"Fleet","metadata":{"name":"shop"},"spec":{"workloads":
        {"web":{"target":{"process":{"command":["./web","two\nlines\n"]}},"replicas":{"min":1,"max":5},
        "signals":{"cpu":{"process":"cpu"}},"strategies":[{"threshold":{"signal":"cpu"}}]}}}}"#;
    let read = |text| parse("fleet.yaml", text).unwrap_or_else(|error| panic!("{error}")).fleet;
    assert_eq!(read(block), read(flow));
}
