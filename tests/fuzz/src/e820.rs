//! Memory maps of any entries, and runs of pages looked up in them.
//!
//! Asserts: an accepted map is sorted, without overlaps, and has RAM; the parts of a run that are RAM and the parts
//! that are not make up the run, in order and without overlaps; a part of RAM has pages of kind RAM only.

use crate::Input;
use pvbounce::{
    addr::Pfn,
    mm::{
        e820::{Kind, MAX_ENTRIES, Map},
        p2m::PfnRange,
    },
};

/// Mostly entries near page and GiB borders and near their neighbours: anywhere at all nothing meets.
fn entry(input: &Input) -> [u8; 20] {
    let number = || match input.below(4) {
        0 => input.u64(),
        1 => u64::from(input.u8()) << 30,
        2 => u64::from(input.u16()) << 12,
        _ => (u64::from(input.u8()) << 12).wrapping_sub(u64::from(input.u8())),
    };
    let (start, len) = (number(), number());
    let kind = if input.once_in(16) { input.u32() } else { input.below(6).try_into().unwrap_or(1) };
    let mut raw = [0; 20];
    raw[..8].copy_from_slice(&start.to_le_bytes());
    raw[8..16].copy_from_slice(&len.to_le_bytes());
    raw[16..].copy_from_slice(&kind.to_le_bytes());
    raw
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let count = if input.once_in(16) { input.below(MAX_ENTRIES + 8) } else { input.below(8) };
    let raw: Vec<[u8; 20]> = (0..count).map(|_| entry(&input)).collect();
    let Ok(map) = Map::from_raw(&raw) else { return };
    check(&map, &input);
    check(&map.with_hole(), &input);
}

fn check(map: &Map, input: &Input) {
    let entries = map.entries();
    assert!(entries.iter().any(|entry| entry.kind == Kind::Ram) && map.ram_bytes() > 0);
    assert!(entries.iter().all(|entry| entry.len > 0), "{entries:?}");
    assert!(entries.windows(2).all(|two| two[0].end() <= two[1].start.0), "{entries:?}");
    for _ in 0..4 {
        let start = if input.once_in(8) { input.u64() >> 12 } else { u64::from(input.u32()) };
        let run = PfnRange { start: Pfn(start), count: u64::from(input.u16()) };
        check_run(map, run);
    }
}

fn check_run(map: &Map, run: PfnRange) {
    let mut parts: Vec<(PfnRange, bool)> = map.ram_in(run).map(|part| (part, true)).collect();
    for (part, _) in &parts {
        for pfn in [part.start, Pfn(part.end().0 - 1)] {
            assert_eq!(map.kind_of(pfn), Some(Kind::Ram), "{pfn:?} of {part:?}");
        }
    }
    parts.extend(map.gaps_in(run).map(|part| (part, false)));
    parts.sort_by_key(|(part, _)| part.start);
    let mut next = run.start;
    for (part, _) in &parts {
        assert!(part.start == next && part.count > 0, "{parts:?} of {run:?}");
        next = part.end();
    }
    assert_eq!(next, run.end(), "{parts:?} of {run:?}");
}
