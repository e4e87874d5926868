//! Which distribution release the pieces come from, and which mirror: the one this host's own apt uses.

use std::fmt;
use std::process::Command;

use clap::ValueEnum;

use crate::child;
use crate::error::{Advice, Error, Result};

/// A distribution release that has Xen, a kernel that can be dom0, and a QEMU with an emulated IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Debian 12: Xen 4.17, Linux 6.1, QEMU 7.2.
    Bookworm,
    /// Debian 13: Xen 4.20, Linux 6.12, QEMU 10.0.
    Trixie,
    /// Ubuntu 24.04: Xen 4.17, Linux 6.8, QEMU 8.2.
    Noble,
}

impl Release {
    /// The release to take when none is asked for: Debian 13 on any Debian, else the host's own.
    pub(crate) fn of_host() -> Result<Self> {
        let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        match (field("ID").as_str(), field("VERSION_CODENAME").as_str()) {
            ("debian", _) => Ok(Self::Trixie),
            (_, "noble") => Ok(Self::Noble),
            (id, name) => Err(Error::unfit(
                format!("no packages are known for this host (ID={id}, VERSION_CODENAME={name})"),
                "use Debian 12 or 13 or Ubuntu 24.04, or name a release with --release and its mirror \
                 with PVBOUNCE_MIRROR",
            )),
        }
    }

    /// The archive's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Noble => "noble",
        }
    }

    /// What apt calls the archive's origin.
    pub(super) const fn origin(self) -> &'static str {
        match self {
            Self::Bookworm | Self::Trixie => "Debian",
            Self::Noble => "Ubuntu",
        }
    }

    /// The archive sections the packages are in.
    pub(super) const fn components(self) -> &'static str {
        match self {
            Self::Bookworm | Self::Trixie => "main",
            Self::Noble => "main universe",
        }
    }

    /// The key that signs the archive.
    pub(super) const fn keyring(self) -> &'static str {
        match self {
            Self::Bookworm | Self::Trixie => "/usr/share/keyrings/debian-archive-keyring.gpg",
            Self::Noble => "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        }
    }

    /// The package that depends on the current kernel.
    pub(super) const fn kernel(self) -> &'static str {
        match self {
            Self::Bookworm | Self::Trixie => "linux-image-amd64",
            Self::Noble => "linux-image-generic",
        }
    }

    /// The processor to emulate without KVM.
    ///
    /// Without x2APIC: with it Xen writes whole APIC numbers where interrupts are remapped, of which QEMU's IOMMU reads
    /// only the bits that xAPIC has, so that messages for any other processor go to the first.
    ///
    /// QEMU before 9.1 reads the stack of a ring-3 `iretq` with supervisor rights: with SMAP, a PV kernel dies of it.
    pub(crate) const fn emulated_cpu(self) -> &'static str {
        match self {
            Self::Bookworm | Self::Noble => "max,-smap,-x2apic",
            Self::Trixie => "max,-x2apic",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.origin(), self.name())
    }
}

/// The mirror to fetch a release from: `PVBOUNCE_MIRROR`, or the one that this host's apt has for the same archive.
pub(super) fn mirror(release: Release) -> Result<String> {
    if let Ok(uri) = std::env::var("PVBOUNCE_MIRROR") {
        return Ok(uri);
    }
    let format = "$(ORIGIN) $(CODENAME) $(CREATED_BY) $(REPO_URI)";
    let listed = child::output(Command::new("apt-get").args(["indextargets", "--format", format]))
        .advise("this needs apt: use Debian or Ubuntu")?;
    choose(&listed, release.origin()).ok_or_else(|| {
        let origin = release.origin();
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
}
