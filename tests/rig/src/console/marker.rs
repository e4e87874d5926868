//! The lines on COM2 that dom0's init script means for the rig: `@rig KIND key=value …`.

use serde::Serialize;

/// One such line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Marker {
    /// dom0 is up and its daemons run.
    Ready,
    /// dom0 waits for a word before it starts this job.
    Ask(String),
    /// `xl create` starts.
    Begin(String),
    /// What the guest left in the store: key and value.
    Store(String, String),
    /// A line that xl printed.
    Xl(String),
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
    /// dom0 itself, after it.
    pub(crate) dom0: Option<Dom0>,
}

/// What dom0 has and holds while no guest is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    /// Reads a line; `None` for what is no marker.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("@rig ")?;
        let (kind, fields) = rest.split_once(' ').unwrap_or((rest, ""));
        let owned = |key| value(fields, key).map(str::to_owned);
        Some(match kind {
            "ready" => Self::Ready,
            "ask" => Self::Ask(owned("job")?),
            "begin" => Self::Begin(owned("job")?),
            "store" => Self::Store(owned("key")?, rest_after(fields, "value")?.to_owned()),
            "xl" => Self::Xl(rest_after(fields, "text")?.to_owned()),
            "end" => Self::End(end(fields)),
            "ruined" => Self::Ruined,
            "done" => Self::Done,
            _ => return None,
        })
    }
}

fn end(fields: &str) -> JobEnd {
    let seconds = |key| value(fields, key).and_then(|v| v.parse::<f64>().ok());
    let number = |key| value(fields, key).and_then(|v| v.parse().ok());
    JobEnd {
        seconds: seconds("gone").zip(seconds("start")).map_or(0.0, |(gone, start)| gone - start),
        code: value(fields, "code").and_then(|v| v.parse().ok()),
        reason: value(fields, "reason").and_then(|v| v.parse().ok()),
        late: value(fields, "late") == Some("1"),
        stuck: value(fields, "stuck") == Some("1"),
        free_mib: number("free-before").zip(number("free-after")),
        low_pages: number("low-before").zip(number("low-after")),
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

    #[test]
    fn an_end_carries_what_dom0_saw() {
        let line = "@rig end job=x start=14.20 gone=17.45 code=0 reason=3 late=0 stuck=1 \
                    free-before=100 free-after=99 low-before=7 low-after=8 dom0-kib=9 dom0-ports=10 domains=1";
        let Some(Marker::End(end)) = Marker::parse(line) else { panic!("no end") };
        assert!((end.seconds - 3.25).abs() < 1e-9);
        assert!(end.crashed() && !end.late && end.stuck);
        assert_eq!((end.free_mib, end.low_pages), (Some((100, 99)), Some((7, 8))));
        assert_eq!(end.dom0, Some(Dom0 { available_kib: 9, ports: 10, domains: 1 }));
    }

    #[test]
    fn a_domain_without_a_reason_has_none() {
        let Some(Marker::End(end)) = Marker::parse("@rig end job=x reason=none late=1") else {
            panic!()
        };
        assert_eq!((end.reason, end.late, end.code), (None, true, None));
    }

    #[test]
    fn values_keep_their_spaces() {
        let marker = Marker::parse("@rig xl job=x text=Parsing config a = b");
        assert_eq!(marker, Some(Marker::Xl("Parsing config a = b".to_owned())));
    }

    #[test]
    fn other_lines_are_none() {
        for line in ["", "@rig", "@rig what=1", "ok 1 x", "@rig ask", "x @rig done"] {
            assert_eq!(Marker::parse(line), None, "{line}");
        }
    }
}
