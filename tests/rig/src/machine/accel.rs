//! What runs the machine's processors: KVM where it really runs Xen, QEMU's own translator where not.
//!
//! `/dev/kvm` alone says little: inside some clouds it is there, opens, and then fails or hangs in the middle of Xen's
//! boot. So Xen is booted with it, once per boot of this host, with a short limit.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use super::argv::QEMU_LOG;
use super::{Iommu, Machine, Next, Plan, Without};
use crate::artifacts::{self, Release, Stack};
use crate::error::{Context, Error, Result};
use crate::progress::Stage;

/// How long Xen may take to start dom0's kernel with KVM; it takes about two seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// What QEMU says when KVM can't go on.
const KVM_GAVE_UP: &str = "KVM internal error";

/// What runs the processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    /// The host's own processor.
    Kvm,
    /// Translation, and why.
    Tcg(String),
}

impl Accel {
    /// QEMU's words for it.
    pub(crate) fn args(&self, release: &Release, without: &Without) -> [String; 4] {
        let (accel, cpu) = match self {
            Self::Kvm => ("kvm", "host".to_owned()),
            Self::Tcg(_) => ("tcg,thread=multi", without.cpu(release.emulated_cpu)),
        };
        ["-accel".to_owned(), accel.to_owned(), "-cpu".to_owned(), cpu]
    }

    /// For the person.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Kvm => "KVM".to_owned(),
            Self::Tcg(why) => format!("TCG ({why})"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ').unwrap_or((text, "")) {
            ("kvm", _) => Some(Self::Kvm),
            ("tcg", why) => Some(Self::Tcg(why.to_owned())),
            _ => None,
        }
    }
}

/// Finds out what this host can do, or remembers.
pub(crate) fn probe(stack: &Stack, release: &'static Release) -> Result<Accel> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
        return Ok(Accel::Tcg(format!("/dev/kvm: {error}").to_lowercase()));
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let home = artifacts::cache()?.join(release.name);
    let remembered = home.join(format!("kvm-{}", boot.trim()));
    if let Some(accel) = fs::read_to_string(&remembered).ok().as_deref().and_then(Accel::parse) {
        return Ok(accel);
    }
    // One at a time: two machines would slow each other down past the limit.
    let _lock = artifacts::lock(&home)?;
    let stage = Stage::start("probe", "does KVM run Xen here?");
    let accel = try_kvm(stack, release, &home.join("probe"))?;
    stage.done(accel.describe());
    let text = match &accel {
        Accel::Kvm => "kvm".to_owned(),
        Accel::Tcg(why) => format!("tcg {why}"),
    };
    fs::write(&remembered, text).on("write", &remembered)?;
    Ok(accel)
}

fn try_kvm(stack: &Stack, release: &'static Release, folder: &Path) -> Result<Accel> {
    artifacts::remove(folder)?;
    fs::create_dir_all(folder).on("create", folder)?;
    let outcome = boot_xen(stack, release, folder);
    artifacts::remove(folder)?;
    match outcome {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Ok(true) => Ok(Accel::Kvm),
        Ok(false) => Ok(Accel::Tcg("kvm is there but does not run Xen".to_owned())),
        Err(_) => Ok(Accel::Tcg("qemu can't start with kvm".to_owned())),
    }
}

/// Whether dom0's kernel prints its first line in time.
fn boot_xen(stack: &Stack, release: &'static Release, folder: &Path) -> Result<bool> {
    let plan = Plan {
        modules: vec![(stack.linux(), "console=hvc0".to_owned())],
        memory_gib: 6,
        iommu: Iommu::All,
        ..Plan::bare(stack, release, Accel::Kvm, folder)
    };
    let mut machine = Machine::start(&plan)?;
    let log = folder.join(QEMU_LOG);
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        match machine.next()? {
            Next::Line(_, line) if line.contains("Linux version") => return Ok(true),
            Next::Line(..) => {}
            // QEMU then stops the processors, and waits for ever.
            Next::Quiet if fs::read_to_string(&log).is_ok_and(|log| log.contains(KVM_GAVE_UP)) => {
                return Ok(false);
            }
            Next::Quiet => {}
            Next::Ended => return Ok(false),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_remembered_with_its_reason() {
        assert_eq!(Accel::parse("kvm"), Some(Accel::Kvm));
        assert_eq!(Accel::parse("tcg no x"), Some(Accel::Tcg("no x".to_owned())));
        assert_eq!(Accel::parse("maybe"), None);
    }
}
