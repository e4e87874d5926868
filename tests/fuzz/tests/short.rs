//! Each target on its corpus, and on some thousand inputs drawn from it: what any machine can run, in seconds.
//!
//! `FUZZ_INPUTS=100000 cargo test -p fuzz --release` runs it longer without a nightly compiler; a failure names its
//! input's number, which is the same each time.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use fuzz::{TARGETS, Target};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

const INPUTS: usize = 3000;
const LONGEST: usize = 2048;

/// Numbers that look random (xorshift64*), the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).join(name);
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A seed with a few bytes changed, put in, taken out or repeated; or bytes that have nothing to do with one.
fn draw(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    if seeds.is_empty() || random.below(4) == 0 {
        return (0..random.below(300)).map(|_| random.byte()).collect();
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 => bytes.insert(at, random.byte()),
            1 => bytes.truncate(at),
            2 => bytes.extend((0..random.below(60)).map(|_| random.byte()).collect::<Vec<_>>()),
            3 => bytes.extend_from_within(at..),
            _ if at < bytes.len() => bytes[at] = random.byte(),
            _ => {}
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// Runs one input; after a panic the input is said, ready for a file in the corpus.
fn play(target: Target, bytes: &[u8], what: &str) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    played.map_err(|_| format!("{what}: {}", bytes.escape_ascii()))
}

fn play_all(name: &str, target: Target, inputs: usize) -> Result<(), String> {
    let seeds = corpus(name);
    seeds.iter().try_for_each(|seed| play(target, seed, "a seed"))?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    (0..inputs).try_for_each(|n| play(target, &draw(&seeds, &mut random), &format!("input {n}")))
}

#[test]
fn every_target_holds_on_its_corpus_and_around_it() {
    let inputs = std::env::var("FUZZ_INPUTS").ok().and_then(|text| text.parse().ok());
    let only = std::env::var("FUZZ_TARGET").ok();
    let targets = TARGETS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    let broken: Vec<String> = targets
        .filter_map(|&(name, target)| {
            let failed = play_all(name, target, inputs.unwrap_or(INPUTS)).err()?;
            Some(format!("target {name}, {failed}"))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_target_has_a_program_and_seeds() {
    for (name, _) in TARGETS {
        let program = format!("{}/libfuzzer/targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(
            fs::read_to_string(&program).unwrap().contains(&format!("\"{name}\"")),
            "{program}"
        );
        assert!(!corpus(name).is_empty(), "{name} has no seeds");
    }
}
