//! Which distribution release the pieces come from, and which mirror: the one this host's own apt uses.

use std::fmt;
use std::process::Command;

use crate::child;
use crate::error::{Advice, Error, Result};

/// A distribution release that has Xen, a kernel that can be dom0, and a QEMU with an emulated IOMMU.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// The archive's name for it.
    pub(crate) name: &'static str,
    /// What apt calls the archive's origin.
    pub(super) origin: &'static str,
    /// The archive sections the packages are in.
    pub(super) components: &'static str,
    /// The key that signs the archive.
    pub(super) keyring: &'static str,
    /// The package that depends on the current kernel.
    pub(super) kernel: &'static str,
    /// The processor to emulate without KVM.
    ///
    /// QEMU before 9.1 reads the stack of a ring-3 `iretq` with supervisor rights: with SMAP, a PV kernel dies of it.
    pub(crate) emulated_cpu: &'static str,
    /// What Xen has to be told because of this release's QEMU.
    pub(crate) xen: &'static str,
    /// Properties of devices that its QEMU does not know: its devices do without.
    unknown: &'static [&'static str],
}

/// All of them, oldest first.
pub(crate) const RELEASES: [Release; 6] = [
    // Xen 4.14, Linux 5.10, QEMU 5.2. To this Xen, a device that nobody has is in a table that leads each of its 2^27 pages to
    // one; and this QEMU, told of a device that has moved, walks the table from end to end: 100 s in each `xl pci-detach`.
    Release {
        name: "bullseye",
        emulated_cpu: OLD_CPU,
        xen: "iommu=no-quarantine",
        unknown: &[DMA_REMAP, MSI],
        ..TRIXIE
    },
    // Xen 4.17, Linux 6.1, QEMU 7.2.
    Release { name: "bookworm", emulated_cpu: OLD_CPU, unknown: &[DMA_REMAP, MSI], ..TRIXIE },
    // Ubuntu 24.04: Xen 4.17, Linux 6.8, QEMU 8.2.
    Release {
        name: "noble",
        origin: "Ubuntu",
        components: "main universe",
        keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        kernel: "linux-image-generic",
        emulated_cpu: OLD_CPU,
        xen: "",
        unknown: &[DMA_REMAP, MSI],
    },
    TRIXIE,
    // Debian's testing: Xen 4.20, Linux 7.2, QEMU 11.1 by the end of 2026.
    Release { name: "forky", unknown: &[], ..TRIXIE },
    // Its unstable.
    Release { name: "sid", unknown: &[], ..TRIXIE },
];

/// Debian 13: Xen 4.20, Linux 6.12, QEMU 10.0.
const TRIXIE: Release = Release {
    name: "trixie",
    origin: "Debian",
    components: "main",
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    kernel: "linux-image-amd64",
    emulated_cpu: "max",
    xen: "",
    unknown: &[DMA_REMAP],
};

const OLD_CPU: &str = "max,-smap";

/// Has AMD's IOMMU translate, since QEMU 10.2; before it always did.
const DMA_REMAP: &str = "dma-remap=on";
/// Gives qemu-xhci MSI beside MSI-X, since QEMU 10.0; before it had none.
const MSI: &str = "msi=on";

impl Release {
    /// A device as its QEMU takes it.
    pub(crate) fn device(&self, words: &str) -> String {
        let known = words.split(',').filter(|word| !self.unknown.contains(word));
        known.collect::<Vec<_>>().join(",")
    }

    /// The one of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        const { &RELEASES }.iter().find(|release| release.name == name)
    }

    /// The release to take when none is asked for: Debian 13 on any Debian, else the host's own.
    pub(crate) fn of_host() -> Result<&'static Self> {
        let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let (id, name) = (field("ID"), field("VERSION_CODENAME"));
        let wanted = if id == "debian" { TRIXIE.name } else { &name };
        Self::find(wanted).ok_or_else(|| {
            Error::unfit(
                format!("no packages are known for this host (ID={id}, VERSION_CODENAME={name})"),
                "use Debian 12 or 13 or Ubuntu 24.04, or name a release with --release and its mirror \
                 with PVBOUNCE_MIRROR",
            )
        })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.origin, self.name)
    }
}

/// The mirror to fetch a release from: `PVBOUNCE_MIRROR`, or the one that this host's apt has for the same archive.
pub(super) fn mirror(release: &Release) -> Result<String> {
    if let Ok(uri) = std::env::var("PVBOUNCE_MIRROR") {
        return Ok(uri);
    }
    let format = "$(ORIGIN) $(CODENAME) $(CREATED_BY) $(REPO_URI)";
    let listed = child::output(Command::new("apt-get").args(["indextargets", "--format", format]))
        .advise("this needs apt: use Debian or Ubuntu")?;
    let origin = release.origin;
    choose(&listed, origin).ok_or_else(|| {
        Error::unfit(
            format!("this host's apt has no mirror of {origin} that {release} could come from"),
            format!("set PVBOUNCE_MIRROR to the URI of a mirror of {origin}"),
        )
    })
}

/// The first mirror of this origin that is not the security archive, which has no whole release.
///
/// A fresh container has sources but no lists yet, and apt then leaves `$(ORIGIN)` as it is: there the last part of the
/// URI's path says whose archive it is.
fn choose(listed: &str, origin: &str) -> Option<String> {
    let folder = format!("/{}", origin.to_lowercase());
    listed.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (said, codename, kind) = (words.next()?, words.next()?, words.next()?);
        let uri = words.next()?.trim_end_matches('/');
        let ours = said == origin || (said.starts_with('$') && uri.ends_with(&folder));
        let whole = !codename.ends_with("-security") && !uri.ends_with("-security");
        (ours && whole && kind == "Packages").then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_by_its_name() {
        for release in &RELEASES {
            assert_eq!(Release::find(release.name), Some(release));
        }
        assert_eq!(Release::find("sarge"), None);
        assert_eq!(RELEASES[0].to_string(), "Debian bullseye");
    }

    #[test]
    fn takes_the_hosts_own_mirror() {
        let listed = "Other stable Packages http://a.example/other/\n\
                      Debian bookworm-security Packages http://b.example/debian-security/\n\
                      Debian bookworm DEP-11 http://c.example/debian/\n\
                      Debian bookworm Packages http://d.example/debian/\n";
        assert_eq!(choose(listed, "Debian").unwrap(), "http://d.example/debian");
        assert_eq!(choose(listed, "Ubuntu"), None);
    }

    #[test]
    fn works_before_the_first_apt_update() {
        let listed = "$(ORIGIN) noble-security Packages http://a.example/ubuntu/\n\
                      $(ORIGIN) noble Packages http://b.example/ubuntu/\n";
        assert_eq!(choose(listed, "Ubuntu").unwrap(), "http://b.example/ubuntu");
        assert_eq!(choose(listed, "Debian"), None);
    }

    #[test]
    fn a_device_has_no_words_that_its_qemu_does_not_know() {
        let device = |name| Release::find(name).unwrap().device("qemu-xhci,msi=on,addr=0xe");
        assert_eq!(device("bookworm"), "qemu-xhci,addr=0xe");
        assert_eq!(device("sid"), "qemu-xhci,msi=on,addr=0xe");
        assert_eq!(TRIXIE.device("amd-iommu,intremap=on,dma-remap=on"), "amd-iommu,intremap=on");
    }
}
