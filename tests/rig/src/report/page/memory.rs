//! A map of the machine's addresses: what the memory map says, where devices answer, where the domain's frames were at three
//! moments, where the device was let and where it was. Drawn as lanes, once for the whole machine, once below 4 GiB, once about
//! the pool; a script adds closer looks, and a table has each range in numbers.

use maud::{Markup, html};

use super::super::record::{JobRecord, MapRecord};
use super::size;

const GIB_4: u64 = 1 << 32;
const PAGE: u64 = 4096;
/// What a lane is drawn on: fine enough for a page of a large machine.
const WIDTH: f64 = 1_000_000.0;

/// One range in a lane.
struct Block {
    first: u64,
    last: u64,
    class: &'static str,
    // How much of it is meant, from 0 to 1.
    density: f64,
    says: String,
}

/// One row of the map.
struct Lane {
    label: &'static str,
    blocks: Vec<Block>,
}

/// Part of the addresses.
struct View {
    name: &'static str,
    first: u64,
    last: u64,
}

pub(super) fn render(job: &JobRecord, n: usize) -> Markup {
    let lanes: Vec<_> = lanes(job).into_iter().filter(|lane| !lane.blocks.is_empty()).collect();
    if lanes.is_empty() {
        return html! {};
    }
    html! {
        details.part open {
            summary { "Map of the machine's addresses" }
            p.facts {
                "Solid is RAM, frames, a pool; low is reserved; a thin line is unusable. The paler, the fewer of a block's frames are the \
                 domain's. The dashed line is at 4 GiB. The memory map of a domU is in the domain's own numbering, with the host's holes."
            }
            @for view in views(job) { (drawn(&view, &lanes)) }
            (e820(job, n))
            (table(&lanes))
        }
    }
}

/// The whole machine as far as anything is known to be used, what is below 4 GiB, and the pool with what is about it.
fn views(job: &JobRecord) -> Vec<View> {
    let is_used = |line: &&MapRecord| line.kind != "e820" || line.word == "Ram";
    let used = job.evidence.iter().flat_map(|seen| seen.used.iter().chain(&seen.strayed));
    let ends = job.map.iter().filter(is_used).map(|line| line.last);
    let ends =
        ends.chain(job.ranges.iter().map(|range| range.last)).chain(used.map(|span| span.last));
    let end = ends.max().unwrap_or(0);
    let mut views = Vec::new();
    if end >= GIB_4 {
        views.push(View { name: "The whole machine", first: 0, last: end });
    }
    views.push(View { name: "Below 4 GiB", first: 0, last: GIB_4 - 1 });
    let pool = || job.ranges.iter().filter(|range| range.kind == "pool");
    let ends = pool().map(|range| range.first).min().zip(pool().map(|range| range.last).max());
    views.extend(ends.map(|(first, last)| {
        let about = (last - first) / 4 + 1;
        let (first, last) = (first.saturating_sub(about), last.saturating_add(about));
        View { name: "The pool", first, last }
    }));
    views
}

fn lanes(job: &JobRecord) -> Vec<Lane> {
    let of = |kind: &'static str, label| {
        let lines = job.map.iter().filter(|line| line.kind == kind);
        Lane { label, blocks: lines.map(known).collect() }
    };
    let given = job.ranges.iter().map(|range| {
        let class = if range.kind == "pool" { "pool" } else { "given" };
        block((range.first, range.last), class, &range.kind)
    });
    let seen = job.evidence.iter();
    let used = seen.clone().flat_map(|seen| &seen.used).map(|span| (span, "used", "used"));
    let stray = seen.flat_map(|seen| &seen.strayed).map(|span| (span, "stray", "OUTSIDE"));
    let was_there = used.chain(stray).map(|(span, class, word)| {
        let says = format!("{word}, {} pages", span.pages);
        Block {
            density: share(span.pages, span.first, span.last),
            ..block((span.first, span.last), class, &says)
        }
    });
    vec![
        of("e820", "memory map"),
        of("bar", "device registers"),
        of("frames-at-boot", "frames at boot"),
        of("frames-with-pool", "frames with the pool"),
        of("frames-at-end", "frames at the end"),
        Lane { label: "mapped for DMA", blocks: given.collect() },
        Lane { label: "used by the device", blocks: was_there.collect() },
    ]
}

/// A range of which the guest told.
fn known(line: &MapRecord) -> Block {
    let ends = (line.first, line.last);
    match (line.kind.as_str(), line.word.as_str()) {
        ("e820", "Ram") => block(ends, "ram", "RAM"),
        ("e820", "Unusable") => block(ends, "unusable", "unusable"),
        ("e820", word) => block(ends, "reserved", word),
        ("bar", word) => block(ends, "bar", word),
        (_, word) => {
            let frames = word.parse().unwrap_or(0);
            let says = format!("{frames} frames");
            Block { density: share(frames, line.first, line.last), ..block(ends, "frames", &says) }
        }
    }
}

fn block((first, last): (u64, u64), class: &'static str, says: &str) -> Block {
    Block { first, last, class, density: 1.0, says: says.to_owned() }
}

/// How much of a range so many pages are.
#[expect(clippy::cast_precision_loss, reason = "a share of what is drawn")]
fn share(pages: u64, first: u64, last: u64) -> f64 {
    let all = last.saturating_sub(first) / PAGE + 1;
    (pages as f64 / all as f64).clamp(0.0, 1.0)
}

fn drawn(view: &View, lanes: &[Lane]) -> Markup {
    html! {
        figure.map data-first=(view.first) data-last=(view.last) {
            figcaption { (view.name) }
            @for lane in lanes {
                div.lane {
                    span.what { (lane.label) }
                    svg viewBox="0 0 1000000 10" preserveAspectRatio="none" role="img" aria-label=(summary(view, lane)) {
                        rect.ground x="0" y="0" width="1000000" height="10" {}
                        @for block in lane.blocks.iter().filter(|block| meets(view, block)) { (rect(view, block)) }
                        @if view.last >= GIB_4 && view.first < GIB_4 {
                            line.four x1=(place(view, GIB_4)) x2=(place(view, GIB_4)) y1="0" y2="10" {}
                        }
                    }
                }
            }
            div.lane.scale {
                span.what {}
                span.ends { code { (format!("{:#x}", view.first)) } code { (format!("{:#x}", view.last)) } }
            }
        }
    }
}

fn rect(view: &View, block: &Block) -> Markup {
    let (from, to) =
        (place(view, block.first.max(view.first)), place(view, block.last.min(view.last)));
    let (y, height) = match block.class {
        "reserved" => ("6", "4"),
        "unusable" => ("9", "1"),
        _ => ("1", "9"),
    };
    html! {
        rect.(block.class) x=(format!("{from:.3}")) y=(y) width=(format!("{:.3}", to - from)) height=(height)
            fill-opacity=(format!("{:.2}", 0.25 + 0.75 * block.density)) {
            title { (format!("{:#x} to {:#x}: {}", block.first, block.last, block.says)) }
        }
    }
}

const fn meets(view: &View, block: &Block) -> bool {
    block.first <= view.last && view.first <= block.last
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn place(view: &View, address: u64) -> f64 {
    let all = (view.last - view.first).max(1) as f64;
    address.saturating_sub(view.first) as f64 / all * WIDTH
}

/// What a lane shows, for whoever does not see it.
fn summary(view: &View, lane: &Lane) -> String {
    let blocks: Vec<_> = lane.blocks.iter().filter(|block| meets(view, block)).collect();
    let first = blocks.iter().take(4);
    let some: Vec<_> = first
        .map(|block| format!("{:#x} to {:#x} {}", block.first, block.last, block.says))
        .collect();
    let more = blocks.len().saturating_sub(some.len());
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    match some.is_empty() {
        true => format!("{}: none here", lane.label),
        false => format!("{}: {}{more}", lane.label, some.join(", ")),
    }
}

/// The memory map by itself.
fn e820(job: &JobRecord, n: usize) -> Markup {
    let lines: Vec<_> = job.map.iter().filter(|line| line.kind == "e820").collect();
    let rows = lines.iter().map(|line| (line.first, line.last, line.word.as_str()));
    html! {
        @if !lines.is_empty() {
            details.part #{ "j" (n) "-e820" } {
                summary { "Memory map (e820), " (lines.len()) " ranges" }
                (ranges("memory map", rows.map(|(first, last, word)| (first, last, word.to_owned()))))
            }
        }
    }
}

/// All lanes in numbers.
fn table(lanes: &[Lane]) -> Markup {
    let others = || lanes.iter().filter(|lane| lane.label != "memory map");
    let rows = others().flat_map(|lane| {
        lane.blocks
            .iter()
            .map(move |block| (block.first, block.last, format!("{}: {}", lane.label, block.says)))
    });
    html! {
        details.part {
            summary { "The same in numbers" }
            (ranges("ranges of the map", rows))
        }
    }
}

fn ranges(name: &str, rows: impl Iterator<Item = (u64, u64, String)>) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(name) {
            table.ranges {
                thead { tr { th scope="col" { "first byte" } th scope="col" { "last byte" } th scope="col" { "size" } th scope="col" { "what" } } }
                tbody {
                    @for (first, last, what) in rows {
                        tr {
                            td { code { (format!("{first:#x}")) } }
                            td { code { (format!("{last:#x}")) } }
                            td.number { (size(u128::from(last.saturating_sub(first)) + 1)) }
                            td { (what) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Evidence, UsedSpan};
    use crate::report::record::RangeRecord;

    fn line(kind: &str, first: u64, last: u64, word: &str) -> MapRecord {
        MapRecord { kind: kind.into(), first, last, word: word.into() }
    }

    #[test]
    fn each_range_has_its_place_and_what_strays_is_said() {
        let pool = RangeRecord { first: 0x7e00_0000, last: 0x7eff_ffff, kind: "pool".into() };
        let span = |first: u64| vec![UsedSpan { first, last: first + 0xfff, pages: 1 }];
        let evidence =
            Evidence { used: span(0x7e00_0000), strayed: span(0x9999_9000), ..Evidence::default() };
        let map = vec![
            line("e820", 0, 0xfff_ffff, "Ram"),
            line("e820", 1 << 40, u64::MAX, "Reserved"),
            line("frames-at-boot", 1 << 32, (2 << 32) - 1, "16"),
        ];
        let job =
            JobRecord { map, ranges: vec![pool], evidence: Some(evidence), ..JobRecord::new("x") };
        let views = views(&job);
        let ends: Vec<_> = views.iter().map(|view| (view.first, view.last)).collect();
        assert_eq!(ends[..2], [(0, (2 << 32) - 1), (0, (1 << 32) - 1)]);
        assert_eq!(ends[2], (0x7dc0_0000, 0x7f3f_ffff));
        let text = render(&job, 0).into_string();
        assert!(text.contains("OUTSIDE, 1 pages") && text.contains("0x99999000 to 0x99999fff"));
        assert!(text.contains("memory map: 0x0 to 0xfffffff RAM"));
        assert!(text.contains(r#"x="499999.942""#) || text.contains(r#"x="500000"#), "{text}");
    }

    #[test]
    fn addresses_at_the_end_of_all_are_drawn_too() {
        let whole = RangeRecord { first: 0, last: u64::MAX, kind: "pool".into() };
        let map =
            vec![line("bar", u64::MAX, u64::MAX, "x"), line("frames-at-end", 0, 0, "no number")];
        let job = JobRecord { map, ranges: vec![whole], ..JobRecord::new("x") };
        let text = render(&job, 0).into_string();
        assert!(!text.contains("NaN") && !text.contains("inf\""), "{text}");
        assert!(text.contains("16777216 TiB"));
    }
}
