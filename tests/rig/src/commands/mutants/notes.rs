//! What a guest's report says, and which of it is the same in each run: times and addresses are not, counts and
//! lengths are. A mutant that makes another count of them is one that a reader of the report sees.

use std::collections::BTreeMap;

use crate::report::JobRecord;

/// What the checks said, by suite and name, in words and numbers.
pub(super) type Notes = BTreeMap<String, Vec<String>>;

/// The notes of a run, and what it left in the store.
pub(super) fn of(record: &JobRecord) -> Notes {
    let notes = record.suites.iter().flat_map(|suite| {
        let checks = suite.checks.iter();
        checks.map(|check| (format!("{}.{}", suite.name, check.name), words(&check.detail)))
    });
    let store = record.store.iter();
    notes.chain(store.map(|(key, value)| (format!("store {key}"), words(value)))).collect()
}

fn words(note: &str) -> Vec<String> {
    let words = note.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The notes of several runs of the same: a word is `None` where they differ, and so is a whole note whose runs differ
/// in length.
pub(super) struct Steady(BTreeMap<String, Option<Vec<Option<String>>>>);

impl Steady {
    /// What `runs` have in common. With few of them much seems to be.
    pub(super) fn of(runs: &[Notes]) -> Self {
        let Some((first, others)) = runs.split_first() else { return Self(BTreeMap::new()) };
        let common = |(check, words): (&String, &Vec<String>)| {
            let others: Vec<_> = others.iter().map(|run| run.get(check)).collect();
            let same_length = others.iter().all(|o| o.is_some_and(|o| o.len() == words.len()));
            let same = |at: &usize| others.iter().flatten().all(|other| other[*at] == words[*at]);
            let steady =
                || (0..words.len()).map(|at| Some(at).filter(same).map(|at| words[at].clone()));
            (check.clone(), same_length.then(|| steady().collect()))
        };
        Self(first.iter().map(common).collect())
    }

    /// The first check of which a run says something else, or nothing.
    pub(super) fn differs<'a>(&'a self, run: &'a Notes) -> Option<&'a str> {
        let said = |words: &Vec<String>, steady: &Option<Vec<Option<String>>>| match steady {
            None => true,
            Some(steady) => {
                let mut pairs = words.iter().zip(steady);
                words.len() == steady.len()
                    && pairs.all(|(word, steady)| steady.as_ref().is_none_or(|s| s == word))
            }
        };
        let other = self
            .0
            .iter()
            .find(|(check, steady)| run.get(*check).is_none_or(|words| !said(words, steady)));
        let more = || run.keys().find(|check| !self.0.contains_key(*check));
        other.map(|(check, _)| check.as_str()).or_else(|| more().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(notes: &[(&str, &str)]) -> Notes {
        notes.iter().map(|(check, note)| ((*check).to_owned(), words(note))).collect()
    }

    #[test]
    fn what_differs_from_run_to_run_may_differ_and_nothing_else() {
        let steady = Steady::of(&[
            run(&[("a", "7 frames in 31 ms"), ("b", "none")]),
            run(&[("a", "7 frames in 32 ms"), ("b", "one is left")]),
        ]);
        for (a, b, differs) in [
            ("7 frames in 40 ms", "two", None),
            ("8 frames in 31 ms", "none", Some("a")),
            ("7 frames", "none", Some("a")),
            ("7 frames in 31 ms more", "none", Some("a")),
        ] {
            assert_eq!(steady.differs(&run(&[("a", a), ("b", b)])), differs, "{a}");
        }
        let frames = ("a", "7 frames in 1 ms");
        assert_eq!(steady.differs(&run(&[frames])), Some("b"), "it is gone");
        assert_eq!(steady.differs(&run(&[frames, ("b", ""), ("c", "")])), Some("c"), "it is new");
    }
}
