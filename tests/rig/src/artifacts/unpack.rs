//! Takes the files that are needed out of Debian packages.
//!
//! `dpkg-deb` opens the package, the `tar` crate reads what it prints: so a kernel package of 100 MB leaves 12 MB on
//! disk. Paths are led into `usr` where an older package still has `/lib` or `/bin`.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tar::{Archive, Entry, EntryType};

use super::modules::{self, BUILTIN};
use crate::child::Guard;
use crate::error::{Context, Error, Result};
use crate::interrupt;

/// What a stack needs of its packages: how the paths start.
pub(super) const STACK: &[&str] = &[
    "boot/vmlinuz-",
    "boot/xen-",
    "usr/bin/busybox",
    "usr/bin/qemu-system-x86_64",
    "usr/bin/xenstore",
    "usr/lib",
    "usr/sbin/dropbear",
    "usr/share/qemu/",
    "usr/share/seabios/",
];

/// What a boot stick is made and tried with.
pub(super) const STICK: &[&str] = &[
    "usr/bin/grub-mkimage",
    "usr/bin/mtools",
    "usr/bin/xorriso",
    "usr/lib/grub/",
    "usr/lib/x86_64-linux-gnu/",
    "usr/share/OVMF/",
];

/// What the kernel's sources are in.
pub(super) const SOURCES: &[&str] = &["usr/src/"];

/// Unpacks what is kept of one package into `root`.
pub(super) fn deb(package: &Path, root: &Path, kept: &[&str]) -> Result {
    let mut command = Command::new("dpkg-deb");
    command.arg("--fsys-tarfile").arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Guard::spawn(&mut command)?;
    let Some(pipe) = child.stdout() else {
        return Ok(());
    };
    let mut archive = Archive::new(pipe);
    for entry in archive.entries().on("read", package)? {
        interrupt::check()?;
        one(entry.on("read", package)?, root, package, kept)?;
    }
    // The pipe must be empty before dpkg-deb can end.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).on("read", package)?;
    match child.wait(Duration::from_secs(60))? {
        Some(status) if status.success() => Ok(()),
        _ => Err(Error::unfit(
            format!("package {} is damaged", package.display()),
            "run `./run.sh clean --cache`, then run again",
        )),
    }
}

fn one(
    mut entry: Entry<'_, impl std::io::Read>,
    root: &Path,
    package: &Path,
    kept: &[&str],
) -> Result {
    let Some(path) = normal(&entry.path().on("read", package)?) else {
        return Ok(());
    };
    if !is_kept(&path, kept) {
        return Ok(());
    }
    let target = root.join(&path);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).on("create", folder)?;
    }
    match entry.header().entry_type() {
        EntryType::Directory => Ok(()),
        EntryType::Link => {
            let first = entry.link_name().on("read", package)?.and_then(|link| normal(&link));
            let first = root.join(first.unwrap_or_default());
            fs::copy(&first, &target).map(drop).on("copy", &first)
        }
        _ => entry.unpack(&target).map(drop).on("unpack", &target),
    }
}

/// A path inside a package as a path below our root; `None` for one that would lead out of it.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let merged = ["bin", "sbin", "lib", "lib64"].iter().any(|top| out.starts_with(top));
    Some(if merged { Path::new("usr").join(out) } else { out })
}

fn is_kept(path: &Path, kept: &[&str]) -> bool {
    let Some(text) = path.to_str() else {
        return false;
    };
    let modules = text.starts_with("usr/lib/modules/");
    let file = text.rsplit('/').next().unwrap_or(text);
    let wanted = || modules::is_wanted(file) || file == BUILTIN || file == "vmlinuz";
    // Xen as an EFI program is 29 MB that nothing here boots.
    let efi = text.ends_with(".efi") || text.starts_with("usr/lib/debug/");
    kept.iter().any(|prefix| text.starts_with(prefix)) && !efi && (!modules || wanted())
}

/// The file in a folder, or below it, whose name fits.
pub(crate) fn find(folder: &Path, fits: impl Fn(&str) -> bool + Copy) -> Result<PathBuf> {
    search(folder, fits).ok_or_else(|| {
        Error::unfit(
            format!("the packages hold no file that is needed in {}", folder.display()),
            "the release may have renamed it: try another --release",
        )
    })
}

fn search(folder: &Path, fits: impl Fn(&str) -> bool + Copy) -> Option<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    let name = |path: &Path| path.file_name().and_then(|n| n.to_str()).is_some_and(fits);
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let here = files.into_iter().find(|path| name(path));
    here.or_else(|| folders.iter().find_map(|below| search(below, fits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_merged_into_usr_and_stay_inside() {
        let path = |text| normal(Path::new(text));
        assert_eq!(path("./lib/x.so").unwrap(), Path::new("usr/lib/x.so"));
        assert_eq!(path("./usr/lib/x.so").unwrap(), Path::new("usr/lib/x.so"));
        assert_eq!(path("./libexec/x").unwrap(), Path::new("libexec/x"));
        assert_eq!(path("../etc/passwd"), None);
    }

    #[test]
    fn only_what_is_needed_is_kept() {
        let kept = |text: &str| is_kept(Path::new(text), STACK);
        assert!(kept("boot/xen-4.20-amd64.gz") && kept("usr/lib/x86_64-linux-gnu/libc.so.6"));
        assert!(kept("usr/lib/modules/6.12/kernel/drivers/xen/xen-evtchn.ko.xz"));
        assert!(!kept("usr/lib/modules/6.12/kernel/net/ipv4.ko.xz"));
        assert!(!kept("boot/xen-4.20-amd64.efi") && !kept("usr/share/doc/x"));
        let kept = |text: &str| is_kept(Path::new(text), STICK);
        assert!(kept("usr/lib/grub/i386-pc/boot.img") && !kept("usr/bin/grub-mkrescue"));
    }
}
