//! Which job of `test` comes to which reason code, as docs/testing.md says; and those jobs that are there for that alone.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::Device;
use crate::report::JobRecord;

const DOCS: &str = include_str!("../../../../docs/testing.md");
const TABLE: &str = "Codes that it comes to";

/// Domains that lack what they are asked for, each for a reason that a config alone can bring about: few suites, little memory.
pub(super) fn jobs() -> [Job; 3] {
    let bare = |name: &str| Job::new(name, "no-device.cfg", None);
    let mut small = bare("hog-too-small").word("suite=hog").expect(
        Verdict::Error,
        &[("hog.low_memory_is_taken_held_and_given_back", "hog-too-small")],
    );
    small.memory = Some(16);
    let pair = Job::new("no-pair", "smoke-late.cfg", Some(Device::Nic)).word("suite=pair");
    let unneeded = bare("pool-unneeded").word("suite=swiotlb").word("swiotlb=early");
    [small, pair.expect(Verdict::Skip, &[]), unneeded]
}

/// What the docs say of jobs, and their records do not bear out.
pub(super) fn unshown(records: &[JobRecord]) -> Vec<String> {
    let shown = |job: &str, code: &String| {
        let mut codes = records.iter().filter(|record| record.name == job).flat_map(codes);
        codes.any(|shown| shown == *code)
    };
    let claims = claims(DOCS)
        .into_iter()
        .flat_map(|(job, codes)| codes.into_iter().map(move |code| (job.clone(), code)));
    let unshown = claims.filter(|(job, code)| !shown(job, code));
    unshown.map(|(job, code)| format!("{job} does not come to {code}")).collect()
}

/// The codes in a record: of the rig's, of suites and of checks.
fn codes(record: &JobRecord) -> impl Iterator<Item = String> + use<'_> {
    let problems = record.problems().map(|problem| problem.code.clone());
    let suites = record.suites.iter();
    let whole = suites.clone().map(|suite| {
        suite.reason.split_once(": ").map_or(&*suite.reason, |(code, _)| code).to_owned()
    });
    let checks = suites.flat_map(|suite| suite.checks.iter().map(|check| check.code.clone()));
    problems.chain(whole).chain(checks)
}

/// The jobs of the docs' table, each with its codes.
fn claims(docs: &str) -> BTreeMap<String, Vec<String>> {
    let (mut head, mut row) = (String::new(), Vec::new());
    let mut claims = BTreeMap::new();
    for event in Parser::new_ext(docs, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableHead) => head.clear(),
            Event::Text(text) => head.push_str(&text),
            Event::Start(Tag::TableRow) => (row, head) = (Vec::new(), head + "\n"),
            Event::Code(code) => row.push(code.to_string()),
            Event::End(TagEnd::TableRow)
                if head.lines().next().is_some_and(|h| h.ends_with(TABLE)) =>
            {
                let mut cells = std::mem::take(&mut row).into_iter();
                claims.extend(cells.next().map(|job| (job, cells.collect())));
            }
            _ => {}
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_table_is_read_and_nothing_else_of_them() {
        let claims = claims(DOCS);
        assert!(claims.len() > 20, "{claims:?}");
        assert_eq!(claims["pool-off"], ["dma-no-pool", "swiotlb-off"]);
        assert!(claims.keys().all(|job| !job.contains(' ')), "{claims:?}");
    }

    #[test]
    fn what_a_job_does_not_come_to_is_named() {
        let none = unshown(&[]);
        assert_eq!(none.len(), claims(DOCS).values().map(Vec::len).sum::<usize>());
        assert!(none.contains(&"pool-off does not come to dma-no-pool".to_owned()), "{none:?}");
    }
}
