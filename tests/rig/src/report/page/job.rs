//! A job: what is wrong first, then what matters, then everything else, folded.

use maud::{Markup, html};

use super::super::record::{FiguresRecord, JobRecord};
use super::super::table::counts;
use super::console::Shown;
use super::{as_it_has_to, checks, console, curves, ended, figures, ladder, memory, timeline};

/// Jobs of a run whose page has drawings of all of them.
const DRAWN: usize = 30;

/// The job of that number, of so many.
pub(super) fn render(job: &JobRecord, (n, all): (usize, usize), shown: Shown) -> Markup {
    let open = all == 1 || !job.is_as_expected();
    let drawn = open || all <= DRAWN;
    let name = format!("j{n}-name");
    let body = html! {
        (problem(job))
        (cards(job))
        (checks::render(job, n, shown))
        @if drawn {
            (timeline::render(job, n, shown))
            (memory::render(job, n))
            (ladder::render(job))
            @for table in &job.figures { (measured(table)) }
        } @else {
            p.facts { "Of this many jobs only those that did not end as they have to are drawn; records.jsonl has all there is." }
        }
        (console::render(job, n, shown))
    };
    let head = html! {
        h2 #(name) { (job.name) " " (ended(job)) small { (as_it_has_to(job)) } }
    };
    html! {
        @if open {
            section.card #{ "j" (n) } aria-labelledby=(name) { (head) (body) }
        } @else {
            section.card.folded #{ "j" (n) } aria-labelledby=(name) {
                details.more {
                    summary { (head) " " span.facts { (counts(|verdict| job.count(verdict))) (format!(", {:.1} s", job.seconds)) } }
                    (body)
                }
            }
        }
    }
}

fn problem(job: &JobRecord) -> Markup {
    let Some(problem) = &job.problem else {
        return html! {};
    };
    let surprises = job.said_surprises();
    html! {
        div.problem.(job.verdict.class()) {
            p { code { (problem.at) " " (problem.code) } br; (problem.detail) }
            @if !problem.remedy.is_empty() { p { b { "Remedy: " } (problem.remedy) } }
            @if !job.also.is_empty() || !surprises.is_empty() {
                ul {
                    @for other in &job.also {
                        li { code { (other.at) " " (other.code) } " " (other.detail) }
                    }
                    @for text in surprises { li { "not as it has to be: " (text) } }
                }
            }
            @if !job.backtrace.is_empty() {
                pre tabindex="0" { (job.backtrace.join("\n")) }
            }
        }
    }
}

/// The figures that matter, and below them what else is known in a word.
fn cards(job: &JobRecord) -> Markup {
    let mut cards = vec![(counts(|verdict| job.count(verdict)), "checks")];
    if let Some(seen) = &job.evidence {
        let place = match seen.outside {
            0 => "all inside what the guest mapped for DMA".to_owned(),
            outside => format!("{outside} OUTSIDE what the guest mapped for DMA"),
        };
        cards.push((format!("{} DMA addresses", seen.addresses), "traced by QEMU"));
        cards.push((place, "the second witness"));
        cards.push((
            format!(
                "{} pages, {}",
                seen.pool_pages,
                match seen.segments {
                    1 => "1 segment".to_owned(),
                    segments => format!("{segments} segments"),
                }
            ),
            "of the pool the device was in",
        ));
    }
    // A log has no time.
    if job.seconds > 0.0 {
        cards.push((format!("{:.1} s", job.seconds), "from its creation to its end"));
    }
    let mut facts = Vec::new();
    facts.extend(job.no_witness.as_ref().map(|why| format!("no witness of DMA: {why}")));
    facts.extend(job.wire.map(|wire| format!("on the wire, {wire}")));
    facts.extend(job.free_mib.map(|(before, after)| {
        format!("Xen's free memory {before} MiB before, {after} MiB after")
    }));
    facts.extend(
        job.low_pages.map(|(before, after)| {
            format!("of it below 4 GiB {before} pages before, {after} after")
        }),
    );
    facts.extend(job.taken.as_ref().map(|taken| format!("still held at the end: {taken}")));
    facts.extend(job.store.iter().map(|(key, value)| format!("in the store: {key}={value}")));
    html! {
        dl.cards { @for (value, what) in cards { div { dt { (what) } dd { (value) } } } }
        @if !facts.is_empty() { ul.facts { @for fact in facts { li { (fact) } } } }
    }
}

/// What was measured: as curves where it can be, and as a table.
fn measured(table: &FiguresRecord) -> Markup {
    let curves = curves::render(table);
    html! {
        details.part open[curves.is_some()] {
            summary { "Figures: " (table.table) }
            @if let Some(curves) = curves { (curves) }
            (figures(table))
        }
    }
}
