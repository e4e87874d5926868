//! The pieces a nested Xen is made of: hypervisor, dom0's kernel and tools, QEMU. All from the distribution's packages.
//!
//! ```text
//! release, mirror   which distribution release, fetched from where      (source.rs)
//!   -> .deb files   by apt, in a private state: no root, host untouched (apt.rs)
//!   -> files        the few that are needed                             (unpack.rs)
//!   -> Stack        xen, vmlinuz, dom0.cpio, a QEMU with its libraries  (here; dom0 packs the archives, modules.rs knows what of)
//!   -> with Own     a Xen or a kernel of somebody's own in their place  (own.rs)
//!   -> Tools        what a boot stick is made and tried with            (tools.rs)
//! ```
//!
//! A finished stack is one folder that appears by a rename; what an interruption leaves is a folder nobody reads. Of a
//! finished one each file is looked at before it is used; where one is not what it was, all of it is made anew (shelf.rs). With a
//! whole stack in the cache nothing here uses the network.

mod apt;
mod elf;
mod modules;
mod own;
mod packed;
mod shelf;
mod source;
mod sources;
mod sums;
mod tools;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use elf::library_closure;
pub(crate) use modules::{CHANNEL, DOM0, Modules, PCIBACK, PEER};
pub(crate) use own::Own;
pub(crate) use source::{RELEASES, Release};
pub(crate) use sources::kernel_sources;
pub(crate) use sums::of as sum;
pub(crate) use tools::Tools;
pub(crate) use unpack::find;

use crate::dom0;
use crate::error::{Context, Error, Result};
use crate::progress::Stage;

/// Bumped when what a stack holds changes, so that an older cache is not mistaken for a newer one.
const FORMAT: &str = "stack-11";
const DOM0_MODULES: &str = "modules.cpio";
const PEER_FILES: &str = "peer.cpio";
const SSHD: &str = "sshd.cpio";
const PEER_DRIVERS: &str = "peer-drivers";

/// Which versions a stack is made of, as its packages call them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// The hypervisor's.
    pub(crate) xen: String,
    /// dom0's kernel's.
    pub(crate) linux: String,
    /// QEMU's.
    pub(crate) qemu: String,
}

/// A complete set of pieces, on disk.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    folder: PathBuf,
    /// The hypervisor, unpacked: QEMU's `-kernel` does not gunzip.
    pub(crate) xen: PathBuf,
    /// The name of the file that it came as, if it is somebody's own.
    pub(crate) xen_of: Option<String>,
    /// dom0's kernel.
    pub(crate) dom0_kernel: PathBuf,
    /// That one's modules for dom0, as a cpio archive.
    pub(crate) modules: PathBuf,
    /// Those that dom0 has the devices with where it is to have them, as any host has.
    pub(crate) drivers: PathBuf,
    /// Whether dom0's pciback is in its kernel, where it can't be told anything new.
    pub(crate) pciback_stays: bool,
    /// What it is made of.
    pub(crate) versions: Versions,
}

impl Stack {
    fn in_its_folder(folder: PathBuf, versions: Versions) -> Self {
        Self {
            xen: folder.join("xen"),
            xen_of: None,
            dom0_kernel: folder.join("vmlinuz"),
            modules: folder.join(DOM0_MODULES),
            drivers: folder.join(PEER_FILES),
            pciback_stays: false,
            versions,
            folder,
        }
    }

    /// The distribution's kernel.
    pub(crate) fn linux(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// dom0's files, as a cpio archive without its kernel's modules, the init script and the jobs.
    pub(crate) fn dom0(&self) -> PathBuf {
        self.folder.join("dom0.cpio")
    }

    /// The files of a Linux guest, as a cpio archive without the init script.
    pub(crate) fn peer(&self) -> PathBuf {
        self.folder.join(PEER_FILES)
    }

    /// What dom0 has beside its other files to be reached by ssh, as a cpio archive.
    pub(crate) fn sshd(&self) -> PathBuf {
        self.folder.join(SSHD)
    }

    /// The drivers that a Linux guest has, in its kernel or in that archive.
    pub(crate) fn peer_drivers(&self) -> Result<Vec<String>> {
        let path = self.folder.join(PEER_DRIVERS);
        let text = fs::read_to_string(&path).on("read", &path)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The unpacked packages: QEMU, its libraries and its firmware.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// One of which nothing is there.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let version = || "0".to_owned();
        let versions = Versions { xen: version(), linux: version(), qemu: version() };
        Self::in_its_folder(folder.to_owned(), versions)
    }

    fn load(folder: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(folder.join("versions.json")).ok()?;
        let versions = serde_json::from_str(&text).ok()?;
        Some(Self::in_its_folder(folder, versions))
    }
}

/// The folder that everything fetched or found out is kept in.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    base.map(|base| base.join("pvbounce")).ok_or_else(|| {
        Error::unfit("neither XDG_CACHE_HOME nor HOME is set", "set XDG_CACHE_HOME to a folder")
    })
}

/// The stack of a release: from the cache, or fetched now.
pub(crate) fn ensure(release: &Release) -> Result<Stack> {
    let folder = shelf::whole(release, FORMAT, |home, part| build(release, home, part))?;
    Stack::load(folder).ok_or_else(|| {
        Error::unfit(
            "the cache is not readable right after it was written",
            "run `./run.sh clean --cache`",
        )
    })
}

/// Waits until no other rig changes what is kept for this release; the lock goes with the file.
pub(crate) fn lock(home: &Path) -> Result<File> {
    let path = home.join("lock");
    let file = File::create(&path).on("create", &path)?;
    file.lock().on("lock", &path)?;
    Ok(file)
}

fn build(release: &Release, home: &Path, part: &Path) -> Result {
    let stage = Stage::start("fetch", format!("packages of {release}"));
    let debs = apt::fetch(release, &home.join("apt"), &stage)?;
    stage.done(format!("{} packages of {release}, {} MiB", debs.files.len(), debs.mebibytes()));

    let stage = Stage::start("unpack", "packages");
    unpack_all(&debs.files, &part.join("root"), unpack::STACK, &stage)?;
    assemble(part, &debs)?;
    remove(&home.join("apt"))?;
    stage.done(format!("Xen {}, Linux {}", debs.versions.xen, debs.versions.linux));
    Ok(())
}

/// Unpacks what is kept of these packages.
fn unpack_all(debs: &[PathBuf], root: &Path, kept: &[&str], stage: &Stage) -> Result {
    fs::create_dir_all(root).on("create", root)?;
    debs.iter().try_for_each(|deb| {
        stage.doing(deb.file_name().unwrap_or_default().to_string_lossy());
        unpack::deb(deb, root, kept)
    })
}

/// Makes the hypervisor, the kernel and dom0's image out of unpacked packages.
fn assemble(part: &Path, debs: &apt::Debs) -> Result {
    let root = part.join("root");
    let boot = root.join("boot");
    let gz = find(&boot, |name| name.starts_with("xen-") && name.ends_with(".gz"))?;
    // Debian's Linux 7 lies beside its modules.
    let linux = find(&boot, |name| name.starts_with("vmlinuz-"))
        .or_else(|_| find(&root.join("usr/lib/modules"), |name| name == "vmlinuz"))?;
    let xen = fs::read(&gz).and_then(packed::unpacked).on("unpack", &gz)?;
    fs::write(part.join("xen"), xen).on("write", part.join("xen"))?;
    fs::rename(&linux, part.join("vmlinuz")).on("move", &linux)?;
    let modules = Modules::in_folder(&root.join("usr/lib/modules"))?;
    if let missing @ [_, ..] = &modules.missing()[..] {
        return Err(Error::unfit(
            format!("the packages hold no kernel module of these: {}", missing.join(", ")),
            "the release may have renamed it: try another --release",
        ));
    }
    dom0::pack_base(&root, &part.join("dom0.cpio"))?;
    dom0::pack_modules(&modules, &part.join(DOM0_MODULES))?;
    dom0::pack_sshd(&root, &part.join(SSHD))?;
    let drivers = dom0::pack_peer(&root, &modules, &part.join(PEER_FILES))?;
    let list = part.join(PEER_DRIVERS);
    fs::write(&list, drivers.join("\n")).on("write", &list)?;
    // dom0's image has them now; QEMU needs none of them.
    remove(&boot)?;
    remove(&root.join("usr/lib/modules"))?;

    let versions = part.join("versions.json");
    let text = serde_json::to_string_pretty(&debs.versions).map_err(io::Error::from);
    fs::write(&versions, text.on("encode", &versions)?).on("write", &versions)
}

/// Removes a folder and all in it; one that isn't there is fine.
pub(crate) fn remove(folder: &Path) -> Result {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", folder),
        _ => Ok(()),
    }
}
