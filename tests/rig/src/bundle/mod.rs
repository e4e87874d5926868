//! The bundle for a real Xen host: the guest, one script for dom0, configurations, licences and a guide, in one archive.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::error::{Context, Result};

/// The folder that it unpacks into.
pub(crate) const FOLDER: &str = "pvbounce";

/// What is in it beside the guest: the name there, and where it comes from.
const FILES: [(&str, &str, u32); 6] = [
    ("pvbounce", "host/pvbounce.sh", 0o755),
    ("README.md", "host/README.md", 0o644),
    ("LICENSE", "LICENSE", 0o644),
    ("LICENSE-APACHE", "LICENSE-APACHE", 0o644),
    ("LICENSE-MIT", "LICENSE-MIT", 0o644),
    ("xl-configs/smoke-late.cfg", "xl-configs/smoke-late.cfg", 0o644),
];

/// Those of the configurations that the script does not need, for use by hand.
const CONFIGS: [&str; 4] = ["smoke-early.cfg", "no-device.cfg", "hotplug.cfg", "pair.cfg"];

/// The archive, a gzipped tar. From the same files it is the same bytes.
pub(crate) fn pack(guest: &Path) -> Result<Vec<u8>> {
    pack_from(Path::new("."), guest)
}

/// The same of a tree that lies elsewhere.
pub(crate) fn pack_from(root: &Path, guest: &Path) -> Result<Vec<u8>> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for folder in ["", "xl-configs/"] {
        let mut header = header(0, 0o755);
        header.set_entry_type(EntryType::Directory);
        add(&mut archive, header, folder, &[])?;
    }
    for (name, path, mode) in FILES {
        let path = root.join(path);
        let bytes = fs::read(&path).on("read", &path)?;
        add(&mut archive, header(bytes.len(), mode), name, &bytes)?;
    }
    for config in CONFIGS {
        let path = root.join("xl-configs").join(config);
        let bytes = fs::read(&path).on("read", &path)?;
        add(&mut archive, header(bytes.len(), 0o644), &format!("xl-configs/{config}"), &bytes)?;
    }
    let bytes = fs::read(guest).on("read", guest)?;
    add(&mut archive, header(bytes.len(), 0o644), "pvbounce.elf", &bytes)?;
    let packed = archive.into_inner().and_then(GzEncoder::finish);
    packed.on("pack", guest)
}

fn header(size: usize, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(mode);
    header
}

fn add(to: &mut Builder<impl Write>, mut header: Header, name: &str, bytes: &[u8]) -> Result {
    let path = format!("{FOLDER}/{name}");
    to.append_data(&mut header, &path, bytes).on("pack", &path)
}

#[cfg(test)]
pub(crate) mod host;
#[cfg(test)]
mod tests;
