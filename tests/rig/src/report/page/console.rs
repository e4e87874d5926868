//! The guest's console with numbered lines. A page has room for so many: those of jobs that went wrong come first.

use maud::{Markup, html};

use super::super::record::{JobRecord, RunRecord};

/// Lines of all consoles together.
const ROOM: usize = 10_000;
/// Lines of one: so many from its begin, and so many from its end.
const PART: usize = 1_500;
/// Characters of a line.
const LONGEST: usize = 1_000;

/// Which lines of a console are on the page: these from its begin, and those from here on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    head: usize,
    tail: usize,
}

impl Shown {
    /// Whether this line, counted from 1, is there.
    pub(super) const fn has(self, line: usize) -> bool {
        line != 0 && (line <= self.head || line > self.tail)
    }
}

/// What of each job's console is shown, with those first that come first.
pub(super) fn budget(run: &RunRecord, order: &[usize]) -> Vec<Shown> {
    let mut shown = vec![Shown { head: 0, tail: usize::MAX }; run.jobs.len()];
    let mut room = ROOM;
    for &n in order {
        let lines = run.jobs[n].console.len();
        let taken = lines.min(2 * PART);
        if taken > room {
            continue;
        }
        room -= taken;
        let head = if lines <= 2 * PART { lines } else { PART };
        shown[n] = Shown { head, tail: lines.saturating_sub(PART).max(head) };
    }
    shown
}

pub(super) fn render(job: &JobRecord, n: usize, shown: Shown) -> Markup {
    let lines = job.console.len();
    if lines == 0 {
        return html! {};
    }
    if shown.head == 0 {
        return html! { p.facts { "The console has no room on this page: see guest-" (job.name) ".log." } };
    }
    let line = |number: usize| {
        let text: String = job.console[number - 1].text.chars().take(LONGEST).collect();
        html! { li #{ "j" (n) "l" (number) } value=(number) { (text) } "\n" }
    };
    let left_out = shown.tail.min(lines) - shown.head;
    html! {
        details.part {
            summary { "Console of the guest, " (lines) " lines" }
            div.scroll.console tabindex="0" role="group" aria-label={ "console of " (job.name) } {
                ol { @for number in 1..=shown.head { (line(number)) } }
                @if left_out > 0 {
                    p { (left_out) " lines are left out here: see guest-" (job.name) ".log." }
                    ol { @for number in shown.tail + 1..=lines { (line(number)) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::LineRecord;
    use super::*;

    fn job(lines: usize) -> JobRecord {
        let line = LineRecord { at: 0.0, text: "<b>".to_owned() };
        JobRecord { console: vec![line; lines], ..JobRecord::new("x") }
    }

    #[test]
    fn a_long_console_is_shown_from_both_ends() {
        let run = RunRecord { jobs: vec![job(4_000)], ..RunRecord::default() };
        let [shown] = budget(&run, &[0])[..] else { panic!("one job") };
        assert!([1, 1_500, 2_501, 4_000].into_iter().all(|line| shown.has(line)));
        assert!(![0, 1_501, 2_500].into_iter().any(|line| shown.has(line)));
        let text = render(&run.jobs[0], 0, shown).into_string();
        assert!(text.contains("1000 lines are left out") && !text.contains("<b>"));
        assert_eq!(text.matches("<li").count(), 3_000);
    }

    #[test]
    fn those_that_went_wrong_have_room_first() {
        let run = RunRecord { jobs: vec![job(1_250); 10], ..RunRecord::default() };
        let shown = budget(&run, &[9, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(shown[9].has(1) && shown[0].has(1_250) && !shown[8].has(1));
        assert!(render(&run.jobs[8], 8, shown[8]).into_string().contains("no room"));
    }
}
