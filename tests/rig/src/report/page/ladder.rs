//! The ladder of interrupts: each way that the device has, the best on top, and the one that it stays on.

use maud::{Markup, html};

use super::super::record::{CheckRecord, JobRecord, SuiteRecord};
use super::badge;

/// The checks, and what the way is called in what they say.
const RUNGS: [(&str, &str); 3] =
    [("msix_interrupts", "MSI-X"), ("msi_interrupts", "MSI"), ("intx_interrupts", "INTx")];
const STAYS: &str = "best_one_stays";

pub(super) fn render(job: &JobRecord) -> Markup {
    let is_irq = |suite: &&SuiteRecord| suite.name.split('@').next() == Some("irq");
    html! { @for suite in job.suites.iter().filter(is_irq) { (of_suite(suite)) } }
}

fn of_suite(suite: &SuiteRecord) -> Markup {
    let check = |name: &str| suite.checks.iter().find(|check| check.name == name);
    let rungs: Vec<(&CheckRecord, &str)> =
        RUNGS.iter().filter_map(|(name, way)| Some((check(name)?, *way))).collect();
    if rungs.is_empty() {
        return html! {};
    }
    let stays = check(STAYS).map_or("", |check| &check.detail);
    // `…, MSI-X, pirq 21 on event channel 4`
    let stays_on = |way: &str| stays.split(", ").any(|part| part == way);
    html! {
        details.part open {
            summary { "Interrupts: " (suite.name) }
            ol.ladder {
                @for (check, way) in rungs {
                    li.stays[stays_on(way)] {
                        (badge(check.verdict)) " " b { (way) }
                        @if stays_on(way) { " " span.here { "\u{25c0} the device stays here" } }
                        div.detail { (check.detail) }
                    }
                }
            }
        }
    }
}
