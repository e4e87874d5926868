//! The lines on its channel that dom0's init script means for the rig: `@rig KIND key=value …`.

use serde::{Deserialize, Serialize};

/// One such line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Marker {
    /// dom0 is up and its daemons run.
    Ready,
    /// xl does not get on with this Xen: what it says.
    Stranger(String),
    /// dom0 waits for a word before it starts this job.
    Ask(String),
    /// `xl create` starts.
    Begin(String),
    /// What the guest left in the store: key and value.
    Store(String, String),
    /// A line that xl printed.
    Xl(String),
    /// Something that dom0 itself found to be wrong.
    Found(String),
    /// What was to be done to the guest could not be.
    Undone,
    /// The domain is gone.
    End(JobEnd),
    /// No job can follow in this boot.
    Ruined,
    /// No more jobs.
    Done,
}

/// How a job's domain ended, as dom0 saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobEnd {
    /// Seconds from the start of `xl create` to the domain being gone.
    pub(crate) seconds: f64,
    /// xl's exit code.
    pub(crate) code: Option<i32>,
    /// Why the domain shut down, as Xen counts it: 0 is poweroff, 3 crash; `None` if it never did.
    pub(crate) reason: Option<u32>,
    /// Whether it had to be destroyed because its time was over.
    pub(crate) late: bool,
    /// Whether xl had to be killed: the guest's verdict was out, and yet it did not come to an end with the domain.
    pub(crate) stuck: bool,
    /// Xen's free memory in MiB before and after.
    pub(crate) free_mib: Option<(u64, u64)>,
    /// Xen's free pages below 4 GiB before and after.
    pub(crate) low_pages: Option<(u64, u64)>,
    /// What of its memory dom0 had in MiB before and after.
    pub(crate) own_mib: Option<(u64, u64)>,
    /// dom0 itself, after it.
    pub(crate) dom0: Option<Dom0>,
}

/// What dom0 has and holds while no guest is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dom0 {
    /// Its available memory in KiB.
    pub(crate) available_kib: u64,
    /// Its event channels that are bound to an interrupt.
    pub(crate) ports: u64,
    /// Domains that Xen still has, itself among them.
    pub(crate) domains: u64,
}

impl JobEnd {
    /// Whether Xen was told that the domain crashed.
    pub(crate) const fn crashed(&self) -> bool {
        matches!(self.reason, Some(3))
    }
}

impl Marker {
    /// Reads a line; `None` for what is no marker. Guests write to the same channel, so once there may be any dom0 puts the
    /// secret that it was told before each.
    pub(crate) fn parse(line: &str, secret: &str) -> Option<Self> {
        let rest = line.strip_prefix("@rig")?.strip_prefix(secret)?.strip_prefix(' ')?;
        let (kind, fields) = rest.split_once(' ').unwrap_or((rest, ""));
        let owned = |key| value(fields, key).map(str::to_owned);
        Some(match kind {
            "ready" => Self::Ready,
            "stranger" => Self::Stranger(rest_after(fields, "text")?.to_owned()),
            "ask" => Self::Ask(owned("job")?),
            "begin" => Self::Begin(owned("job")?),
            "store" => Self::Store(owned("key")?, rest_after(fields, "value")?.to_owned()),
            "xl" => Self::Xl(rest_after(fields, "text")?.to_owned()),
            "found" => Self::Found(rest_after(fields, "text")?.to_owned()),
            "end" => Self::End(end(fields)),
            "undone" => Self::Undone,
            "ruined" => Self::Ruined,
            "done" => Self::Done,
            _ => return None,
        })
    }
}

/// No clock of dom0's runs for longer: a century, in seconds.
const CENTURY: f64 = 3.2e9;

fn end(fields: &str) -> JobEnd {
    let moment = 0.0..CENTURY;
    let seconds = |key| value(fields, key)?.parse().ok().filter(|at: &f64| moment.contains(at));
    let number = |key| value(fields, key).and_then(|v| v.parse().ok());
    JobEnd {
        seconds: seconds("gone").zip(seconds("start")).map_or(0.0, |(gone, start)| gone - start),
        code: value(fields, "code").and_then(|v| v.parse().ok()),
        reason: value(fields, "reason").and_then(|v| v.parse().ok()),
        late: value(fields, "late") == Some("1"),
        stuck: value(fields, "stuck") == Some("1"),
        free_mib: number("free-before").zip(number("free-after")),
        low_pages: number("low-before").zip(number("low-after")),
        own_mib: number("own-before").zip(number("own-after")),
        dom0: number("dom0-kib")
            .zip(number("dom0-ports"))
            .zip(number("domains"))
            .map(|((available_kib, ports), domains)| Dom0 { available_kib, ports, domains }),
    }
}

fn value<'f>(fields: &'f str, key: &str) -> Option<&'f str> {
    fields.split_whitespace().find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

/// The last field, whose value may have spaces.
fn rest_after<'f>(fields: &'f str, key: &str) -> Option<&'f str> {
    Some(fields.split_once(&format!("{key}="))?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn an_end_carries_what_dom0_saw() {
        let line = "@rig end job=x start=14.20 gone=17.45 code=0 reason=3 late=0 stuck=1 \
                    free-before=100 free-after=99 low-before=7 low-after=8 dom0-kib=9 dom0-ports=10 domains=1";
        let Some(Marker::End(end)) = Marker::parse(line, "") else { panic!("no end") };
        assert!((end.seconds - 3.25).abs() < 1e-9);
        assert!(end.crashed() && !end.late && end.stuck);
        assert_eq!((end.free_mib, end.low_pages), (Some((100, 99)), Some((7, 8))));
        assert_eq!(end.dom0, Some(Dom0 { available_kib: 9, ports: 10, domains: 1 }));
    }

    #[test]
    fn a_domain_without_a_reason_has_none() {
        let Some(Marker::End(end)) = Marker::parse("@rig end job=x reason=none late=1", "") else {
            panic!()
        };
        assert_eq!((end.reason, end.late, end.code), (None, true, None));
    }

    #[test]
    fn a_guest_that_does_not_know_the_secret_says_nothing_for_dom0() {
        for line in ["@rig done", "@rig- done", "@rig-5ec2e7done", "@rig-5ec2e8 done"] {
            assert_eq!(Marker::parse(line, "-5ec2e7"), None, "{line}");
        }
        assert_eq!(Marker::parse("@rig-5ec2e7 done", "-5ec2e7"), Some(Marker::Done));
    }

    #[test]
    fn values_keep_their_spaces() {
        let marker = Marker::parse("@rig xl job=x text=Parsing config a = b", "");
        assert_eq!(marker, Some(Marker::Xl("Parsing config a = b".to_owned())));
    }

    #[test]
    fn other_lines_are_none() {
        for line in ["", "@rig", "@rig what=1", "ok 1 x", "@rig ask", "x @rig done"] {
            assert_eq!(Marker::parse(line, ""), None, "{line}");
        }
    }

    /// A line as dom0 prints it, and what it says.
    fn any_marker() -> impl Strategy<Value = (String, Marker)> {
        let word = "[a-z0-9_-]{1,12}";
        let text = "[ -~]{0,30}";
        prop_oneof![
            Just(("@rig ready t=3.5".to_owned(), Marker::Ready)),
            Just(("@rig done t=3.5".to_owned(), Marker::Done)),
            Just(("@rig undone".to_owned(), Marker::Undone)),
            word.prop_map(|job| (format!("@rig ask job={job}"), Marker::Ask(job))),
            word.prop_map(|job| (format!("@rig begin job={job}"), Marker::Begin(job))),
            (word, "[a-z-]{1,8}", text).prop_map(|(job, key, text)| {
                let line = format!("@rig store job={job} key={key} value={text}");
                (line, Marker::Store(key, text))
            }),
            (word, text).prop_map(|(job, text)| {
                (format!("@rig xl job={job} text={text}"), Marker::Xl(text))
            }),
            (word, text).prop_map(|(job, text)| {
                (format!("@rig found job={job} text={text}"), Marker::Found(text))
            }),
        ]
    }

    fn any_end() -> impl Strategy<Value = (String, JobEnd)> {
        let number = || prop::option::of(any::<u64>());
        let shown = |name: &str, value: Option<u64>| {
            value.map_or(format!("{name}="), |value| format!("{name}={value}"))
        };
        let codes = (any::<Option<i32>>(), any::<Option<u32>>(), any::<bool>(), any::<bool>());
        (codes, [number(), number(), number(), number()]).prop_map(
            move |((code, reason, late, stuck), [before, after, low, ports])| {
                let [a, b, c, d] = [
                    shown("free-before", before),
                    shown("free-after", after),
                    shown("low-before", low),
                    shown("dom0-ports", ports),
                ];
                let code_shown = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                let why = reason.map_or_else(|| "none".to_owned(), |reason| reason.to_string());
                let [late_shown, stuck_shown] = [late, stuck].map(u8::from);
                let line = format!(
                    "@rig end job=x start=1.25 gone=3.5 code={code_shown} reason={why} \
                     late={late_shown} stuck={stuck_shown} {a} {b} {c} low-after=1 \
                     dom0-kib=9 {d} domains=1 own-before=700 own-after=444"
                );
                let own = |ports| Dom0 { available_kib: 9, ports, domains: 1 };
                let end = JobEnd {
                    seconds: 2.25,
                    code,
                    reason,
                    late,
                    stuck,
                    free_mib: before.zip(after),
                    low_pages: low.zip(Some(1)),
                    own_mib: Some((700, 444)),
                    dom0: ports.map(own),
                };
                (line, end)
            },
        )
    }

    proptest! {
        #[test]
        fn what_dom0_writes_is_what_is_read((line, marker) in any_marker(), (end, ended) in any_end()) {
            prop_assert_eq!(Marker::parse(&line, ""), Some(marker));
            prop_assert_eq!(Marker::parse(&end, ""), Some(Marker::End(ended)));
        }

        #[test]
        fn a_line_that_dom0_did_not_mean_for_the_rig_is_no_marker(
            line in "\\PC{0,60}",
            before in "\\PC{1,10}",
            kind in "[a-z]{0,10}",
        ) {
            prop_assume!(!line.starts_with("@rig ") && !before.starts_with("@rig "));
            prop_assert_eq!(Marker::parse(&line, ""), None);
            prop_assert_eq!(Marker::parse(&format!("{before}@rig done"), ""), None);
            let known = ["ready", "ask", "begin", "store", "xl", "found", "end", "undone", "ruined", "done"];
            prop_assume!(!known.contains(&kind.as_str()));
            prop_assert_eq!(Marker::parse(&format!("@rig {kind} job=x key=y value=z text=w"), ""), None);
        }

        /// How long a job took can be shown and written, whatever stands there.
        #[test]
        fn a_time_is_one(
            start in "-?[0-9]{0,400}\\.?[0-9]{0,3}|inf|-inf|NaN|[0-9]e[0-9]{1,4}",
            gone in "-?[0-9]{0,400}\\.?[0-9]{0,3}|inf|-inf|NaN|[0-9]e[0-9]{1,4}",
            fields in "\\PC{0,40}",
        ) {
            let line = format!("@rig end start={start} gone={gone} {fields}");
            let Some(Marker::End(end)) = Marker::parse(&line, "") else { panic!("no end: {line}") };
            prop_assert!(Duration::try_from_secs_f64(end.seconds.max(0.0)).is_ok(), "{}", end.seconds);
        }
    }
}
