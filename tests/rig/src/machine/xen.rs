//! What a Xen says that it is: asked in a machine with nothing for it to boot, where it gives up within half a second.

use std::path::Path;
use std::time::{Duration, Instant};

use super::argv::QEMU_LOG;
use super::{Accel, Machine, Next, Plan};
use crate::artifacts::{self, Release, Stack};
use crate::error::{Context, Error, Result};

/// How long it may take, on a host with other things to do.
const LIMIT: Duration = Duration::from_secs(30);

/// The version of the stack's Xen, as it says it in its first line; the machine's files are in a folder below this one.
pub(crate) fn version(stack: &Stack, release: &'static Release, folder: &Path) -> Result<String> {
    let folder = folder.join("asked");
    std::fs::create_dir(&folder).on("create", &folder)?;
    // Enough for a first line, wherever it runs later.
    let plan = Plan::bare(stack, release, Accel::Tcg(String::new()), &folder);
    let mut machine = Machine::start(&plan)?;
    let start = Instant::now();
    let mut last = String::new();
    while start.elapsed() < LIMIT {
        match machine.next()? {
            Next::Line(_, line) => {
                if let Some(version) = said(&line) {
                    let version = version.to_owned();
                    machine.stop()?;
                    return artifacts::remove(&folder).map(|()| version);
                }
                last = line;
            }
            Next::Quiet => {}
            Next::Ended => break,
        }
    }
    Err(Error::unfit(
        format!(
            "{} does not say its version on COM1; its last words: {last:?}",
            stack.xen_of.as_deref().unwrap_or("Xen")
        ),
        format!("see {}; a debug build says more", folder.join(QEMU_LOG).display()),
    ))
}

/// `4.20.3` of `(XEN) Xen version 4.20.3 (who@where) (compiler) date`.
fn said(line: &str) -> Option<&str> {
    line.split_once("Xen version ")?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_lines() {
        let line = "(XEN) [0000000e3d01d37e] Xen version 4.23-unstable (me@here) (gcc 15) debug=y";
        assert_eq!(said(line), Some("4.23-unstable"));
        assert_eq!(said("(XEN) Bootloader: qemu"), None);
    }
}
