//! The page of the documentation that says what conforms, and what does not.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Outcome, Report};

const HEAD: &str = "\
# Conformance with other autoscalers

Whoever migrates expects the answers they know. Other autoscalers' authors have written down what they expect of their
own decisions; these tables, as inputs and expected results, stand in `crates/headroom-conformance/cases`, and each case
is put to the very rules the live engine calls. The command does the same for any such file, and exits with a failure
if a case fails:

```text
headroom conformance crates/headroom-conformance/cases/hpa_behavior.json
headroom conformance -o json FILE…
```

This page is generated from the same run (`cargo run -p headroom-conformance --example page > docs/conformance.md`), and a
test fails when it has drifted.

";

/// The page for these reports.
#[must_use]
pub fn page(reports: &[Report]) -> String {
    let mut page = String::from(HEAD);
    page.push_str("| file | passed | failed | excepted | unsupported |\n|---|---|---|---|---|\n");
    for report in reports {
        // Writing into a string never fails.
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            report.file(),
            report.passed(),
            report.failed(),
            report.excepted(),
            report.unsupported()
        );
    }
    page.push_str("\n## Exceptions\n\nCases that are deliberately not followed, each with its reason.\n\n");
    let excepted: Vec<_> = reports
        .iter()
        .flat_map(Report::verdicts)
        .filter_map(|v| match &v.outcome {
            Outcome::Excepted(_, reason) => Some((&v.id, reason)),
            Outcome::Passed | Outcome::Failed(_) | Outcome::Unsupported(_) => None,
        })
        .collect();
    for (id, reason) in &excepted {
        let _ = writeln!(page, "- `{id}`: {reason}");
    }
    if excepted.is_empty() {
        page.push_str("None.\n");
    }
    page.push_str(
        "\n## What is not answered\n\n\
         Kinds of question that are no decision rule of headroom, with the number of cases and the reason.\n\n\
         | file | kind | cases | because |\n|---|---|---|---|\n",
    );
    for report in reports {
        let mut kinds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for verdict in report.verdicts() {
            if let Outcome::Unsupported(reason) = verdict.outcome {
                *kinds.entry((&verdict.kind, reason)).or_default() += 1;
            }
        }
        for ((kind, reason), count) in kinds {
            let _ = writeln!(page, "| {} | `{kind}` | {count} | {reason} |", report.file());
        }
    }
    page.push_str(
        "\n## What is modelled around the engine\n\n\
         - The HPA keeps its past in logs whose outdated slots are used again, and some of its tests look at the slots. \
         headroom keeps its past in order of time; the runner models the slots around headroom's answers.\n\
         - Names of conditions and texts of errors are the peer's; the runner translates headroom's reasons.\n\
         - Which pods of a watermark autoscaler's metric count is read from single pods; headroom's sources average over \
         the ready replicas.\n\
         - headroom's own defaults differ where a peer's are a compromise: without `behavior` there is no limit of \
         speed (the HPA's defaults are `ScalingRules::completed_as_hpa`, its limit without `behavior` is `burst`).\n",
    );
    page
}
