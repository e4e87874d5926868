//! A cpio archive, as the kernel and busybox unpack it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use cpio::newc::{Builder, ModeFileType, trailer};

use super::{LIBRARIES, name};
use crate::artifacts::library_closure;
use crate::error::{Context, Error, Result};

/// An archive being written under a temporary name.
pub(super) struct Image {
    out: BufWriter<File>,
    path: PathBuf,
    inode: u32,
}

impl Image {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let part = path.with_extension("part");
        let file = File::create(&part).on("create", &part)?;
        Ok(Self { out: BufWriter::new(file), path: path.to_owned(), inode: 1 })
    }

    /// Puts a whole archive in front of what follows: whoever unpacks them takes them for one.
    pub(super) fn archive(&mut self, path: &Path) -> Result {
        let bytes = fs::read(path).on("read", path)?;
        self.out.write_all(&bytes).on("write", &self.path)
    }

    /// All the libraries that these programs need, and one that they load by name.
    pub(super) fn libraries(
        &mut self,
        programs: &[PathBuf],
        folder: &Path,
        loaded: &str,
    ) -> Result {
        let mut closure = library_closure(programs, folder)?;
        closure.insert(folder.join(loaded));
        closure.iter().try_for_each(|library| {
            let bytes = fs::read(library).on("read", library)?;
            self.file(&format!("{LIBRARIES}/{}", name(library)), &bytes)
        })
    }

    pub(super) fn folder(&mut self, name: &str) -> Result {
        self.entry(name, ModeFileType::Directory, &[])
    }

    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result {
        self.entry(name, ModeFileType::Regular, bytes)
    }

    pub(super) fn link(&mut self, name: &str, target: &str) -> Result {
        self.entry(name, ModeFileType::Symlink, target.as_bytes())
    }

    fn entry(&mut self, name: &str, kind: ModeFileType, bytes: &[u8]) -> Result {
        let Ok(size) = u32::try_from(bytes.len()) else {
            return Err(Error::unfit(format!("{name} has more than 4 GiB"), "use a smaller file"));
        };
        let builder = Builder::new(name).ino(self.inode).mode(0o755).set_mode_file_type(kind);
        self.inode += 1;
        let mut entry = builder.write(&mut self.out, size);
        entry.write_all(bytes).and_then(|()| entry.finish()).map(drop).on("write", &self.path)
    }

    pub(super) fn finish(self) -> Result {
        let out = trailer(self.out).on("write", &self.path)?;
        out.into_inner().map_err(io::IntoInnerError::into_error).on("write", &self.path)?;
        fs::rename(self.path.with_extension("part"), &self.path).on("rename", &self.path)
    }
}
