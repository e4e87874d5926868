//! What is not as it was in the run before of the same command.

use maud::{Markup, html};

use super::super::changes::ChangesRecord;
use super::super::record::RunRecord;

pub(super) fn render(run: &RunRecord, record: &ChangesRecord) -> Markup {
    let number = |job: &str| run.jobs.iter().position(|known| known.name == job);
    html! {
        section.card {
            h2 { "Since the last run" }
            @if record.changes.is_empty() {
                p { "Nothing changed since " code { (record.before) } ": each check ended as it did then." }
            } @else {
                details open[record.changes.len() <= 12] {
                    summary { (record.changes.len()) " changes since " code { (record.before) } }
                    ul.changes {
                        @for change in &record.changes {
                            li {
                                @match number(&change.job) {
                                    Some(n) => { a href={ "#j" (n) } { (change.job) } }
                                    None => { (change.job) }
                                }
                                " " b { (change.at) } ": "
                                @match (change.was.as_str(), change.is.as_str()) {
                                    ("", is) => { "new, " (is) }
                                    (was, "") => { "gone, was " (was) }
                                    (was, is) => { (was) " \u{2192} " (is) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
