//! A kernel's modules: which ones dom0 and a Linux guest need, in load order, and where they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::packed::unpacked;
use crate::error::{Context, Error, Result};

/// dom0's, in the order they are loaded. One that is built into the kernel is not missed.
pub(crate) const DOM0: [&str; 5] =
    ["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs"];

/// What dom0 has for its channel to the rig, a virtio console's port, in load order.
pub(crate) const CHANNEL: [&str; 6] =
    ["virtio", "virtio_ring", VIRTIO_PARTS[0], VIRTIO_PARTS[1], "virtio_pci", "virtio_console"];

/// Parts of the one that follows, in newer kernels.
const VIRTIO_PARTS: [&str; 2] = ["virtio_pci_modern_dev", "virtio_pci_legacy_dev"];

/// The one that is told whose the devices are, and is loaded when that is known.
pub(crate) const PCIBACK: &str = "xen-pciback";

/// What a Linux guest may need for a passed-through card, in load order. Not every distribution has each of them in the
/// packages that are fetched; a guest is only asked to do what they allow.
pub(crate) const PEER: [&str; 19] = [
    "xen-pcifront",
    "mii",
    "8139cp",
    "pcnet32",
    "pps_core",
    "ptp",
    "e1000",
    "e1000e",
    "dca",
    "i2c-algo-bit",
    "igb",
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];

/// The list of what is no module, but in the kernel.
pub(super) const BUILTIN: &str = "modules.builtin";

/// Whether a file of this name is one of those.
pub(super) fn is_wanted(file: &str) -> bool {
    let stem = file.split_once(".ko").map(|(stem, _)| stem);
    let mut all = DOM0.iter().chain(&CHANNEL).chain([&PCIBACK]).chain(&PEER);
    stem.is_some_and(|stem| all.any(|name| *name == stem))
}

/// Those of one kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: String,
}

impl Modules {
    /// Those in a folder, or below it: of packages, as `make modules_install` leaves them, or a build tree.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self> {
        let mut found = Self::default();
        found.look(folder).on("read", folder)?;
        if found.files.is_empty() && found.builtin.is_empty() {
            return Err(Error::unfit(
                format!("{} has neither modules for dom0 nor a {BUILTIN}", folder.display()),
                "name the folder that `make modules_install` filled, or the kernel's build tree",
            ));
        }
        Ok(found)
    }

    // No link is followed: an installed kernel's lead to its source.
    fn look(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type()?.is_dir() {
                self.look(&path)?;
            } else if name == BUILTIN {
                self.builtin.push_str(&fs::read_to_string(&path)?);
            } else if is_wanted(&name) {
                let stem = name.split_once(".ko").map_or("", |(stem, _)| stem);
                self.files.entry(stem.to_owned()).or_insert(path);
            }
        }
        Ok(())
    }

    /// Whether it is in the kernel itself.
    pub(crate) fn has_built_in(&self, module: &str) -> bool {
        self.builtin.lines().any(|line| line.ends_with(&format!("/{module}.ko")))
    }

    /// Its bytes, unpacked; none if there is no such file.
    pub(crate) fn read(&self, module: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.files.get(module) else { return Ok(None) };
        let bytes = fs::read(path).on("read", path)?;
        unpacked(bytes).on("unpack", path).map(Some)
    }

    /// Those without which a dom0 is none, and that are nowhere.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let needed = DOM0.into_iter().chain(CHANNEL).chain([PCIBACK]);
        let needed = needed.filter(|name| !VIRTIO_PARTS.contains(name));
        needed.filter(|name| !self.files.contains_key(*name) && !self.has_built_in(name)).collect()
    }

    /// The kernel that they say to be for, if there is one that says so.
    pub(crate) fn kernel(&self) -> Result<Option<String>> {
        const KEY: &[u8] = b"vermagic=";
        for module in self.files.keys() {
            let bytes = self.read(module)?.unwrap_or_default();
            let at = bytes.windows(KEY.len()).position(|window| window == KEY);
            if let Some(at) = at {
                let word = bytes[at + KEY.len()..].split(|byte| matches!(byte, b' ' | 0)).next();
                return Ok(word.map(|word| String::from_utf8_lossy(word).into_owned()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_not_missed_and_what_is_nowhere_is() {
        let home = tempfile::tempdir().unwrap();
        assert!(Modules::in_folder(home.path()).is_err(), "nothing there");
        let drivers = home.path().join("kernel/drivers");
        fs::create_dir_all(&drivers).unwrap();
        for name in [PCIBACK, "virtio_ring", "virtio_pci", "virtio_console"] {
            fs::write(drivers.join(format!("{name}.ko")), "\0vermagic=7.2.0-own SMP\0").unwrap();
        }
        let builtin = "kernel/drivers/xen/xen-evtchn.ko\nkernel/fs/xenfs/xenfs.ko\n";
        fs::write(home.path().join(BUILTIN), builtin).unwrap();
        // As an installed kernel's `build` does: without end, if it were followed.
        std::os::unix::fs::symlink("..", drivers.join("build")).unwrap();
        let modules = Modules::in_folder(home.path()).unwrap();
        assert_eq!(modules.missing(), ["xen-gntdev", "xen-gntalloc", "xen-privcmd", "virtio"]);
        assert_eq!(modules.kernel().unwrap().as_deref(), Some("7.2.0-own"));
        assert!(!modules.has_built_in("evtchn"), "not by the end of a name");
    }

    #[test]
    fn a_module_is_known_by_its_whole_name() {
        assert!(is_wanted("xen-evtchn.ko.xz") && is_wanted("virtio.ko"));
        assert!(!is_wanted("rpmsg-virtio.ko") && !is_wanted("virtio.c"));
    }
}
