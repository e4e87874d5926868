//! Which shared libraries a program needs, read from its dynamic section.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, read};

use crate::error::{Context, Error, Result};

/// All libraries that these programs need, directly or not, found in `folder`.
pub(crate) fn library_closure(programs: &[PathBuf], folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = programs.to_vec();
    while let Some(file) = open.pop() {
        for name in needed(&file)? {
            let library = folder.join(&name);
            if !library.exists() {
                return Err(Error::unfit(
                    format!("{} needs {name}, which no fetched package has", file.display()),
                    "the release may have moved it: try another --release",
                ));
            }
            if found.insert(library.clone()) {
                open.push(library);
            }
        }
    }
    Ok(found)
}

fn needed(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).on("read", path)?;
    names(&bytes).map_err(|error| {
        Error::unfit(
            format!("{} is no usable ELF file: {error}", path.display()),
            "run `./run.sh clean --cache`, then run again",
        )
    })
}

fn names(bytes: &[u8]) -> read::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let Some((entries, link)) = sections.dynamic(endian, bytes)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, link)?;
    let needed = entries.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED));
    needed
        .map(|entry| Ok(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned()))
        .collect()
}
