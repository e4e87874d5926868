//! The kernel's sources as the distribution packs them, for a program in them that is run and not kept in this tree.

use std::path::PathBuf;

use super::{Release, apt, cache, find, remove, unpack, unpack_all};
use crate::error::Result;
use crate::progress::Stage;

/// The sources, packed.
#[derive(Debug)]
pub(crate) struct Sources {
    /// A tar archive, packed by xz.
    pub(crate) archive: PathBuf,
    /// All that was fetched, to be removed after use.
    pub(crate) folder: PathBuf,
}

/// Fetches them; `None` where the release packs them otherwise.
pub(crate) fn kernel_sources(release: &Release, stage: &Stage) -> Result<Option<Sources>> {
    let folder = cache()?.join(release.name).join("apt-sources");
    let debs = apt::part(release, &folder, ["linux-source", "linux-source-"], stage)?;
    let root = folder.join("root");
    remove(&root)?;
    unpack_all(&debs, &root, unpack::SOURCES, stage)?;
    let archive = find(&root.join("usr/src"), |name| name.ends_with(".tar.xz"));
    Ok(archive.ok().map(|archive| Sources { archive, folder }))
}
