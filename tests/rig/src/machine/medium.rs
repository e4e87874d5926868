//! A disk's medium: a file of the run's, filled with a pattern, and looked at again afterwards.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Bytes with a pattern: more than the guest's driver reads from.
const FILLED: usize = 8 << 20;
/// Bytes in all; what is behind the pattern is a hole.
const LEN: u64 = 64 << 20;

/// The medium of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Medium(PathBuf);

impl Medium {
    /// The one of this name in the run's folder, which is made if it is not there.
    pub(crate) fn in_folder(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(file(name));
        if !path.exists() {
            let mut file = File::create(&path).on("create", &path)?;
            file.write_all(&pattern()).and_then(|()| file.set_len(LEN)).on("fill", &path)?;
        }
        Ok(Self(path))
    }

    /// The first byte that is not as it was; a length that changed counts from its end on.
    pub(crate) fn changed(&self) -> Result<Option<u64>> {
        let mut file = File::open(&self.0).on("open", &self.0)?;
        let mut filled = Vec::new();
        (&mut file).take(FILLED as u64).read_to_end(&mut filled).on("read", &self.0)?;
        let differs = filled.iter().zip(pattern()).position(|(is, was)| *is != was);
        let first = differs.or((filled.len() < FILLED).then_some(filled.len()));
        if let Some(first) = first {
            return Ok(Some(first as u64));
        }
        file.seek(SeekFrom::Start(FILLED as u64)).on("read", &self.0)?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).on("read", &self.0)?;
        let end = FILLED as u64 + rest.len() as u64;
        let written = rest.iter().position(|byte| *byte != 0).map(|at| (FILLED + at) as u64);
        Ok(written.or((end != LEN).then_some(end.min(LEN))))
    }
}

/// Its name in the run's folder.
pub(super) fn file(name: &str) -> String {
    format!("{name}.img")
}

/// Bytes that repeat nowhere, so that no block passes for another (xorshift64*).
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..FILLED / 8).map(|_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    });
    words.flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_byte_that_changed_anywhere_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let medium = || Medium::in_folder(folder.path(), "disk").unwrap();
        assert_eq!(medium().changed().unwrap(), None);
        for at in [0, 4097, FILLED as u64 - 1, FILLED as u64, LEN - 1] {
            let medium = medium();
            let mut file = File::options().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.seek(SeekFrom::Start(at)).unwrap();
            file.read_exact(&mut byte).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[byte[0] ^ 1]).unwrap();
            assert_eq!(medium.changed().unwrap(), Some(at));
            fs::remove_file(&path).unwrap();
        }
        for len in [100, FILLED as u64 + 1, LEN + 1] {
            let medium = medium();
            File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            assert_eq!(medium.changed().unwrap(), Some(len.min(LEN)));
            fs::remove_file(&path).unwrap();
        }
    }
}
