//! What tells a whole folder of the cache from a damaged one: length and checksum of each file in it.
//!
//! All of it is read before each run: 160 MB that the page cache mostly has take a tenth of a second, and times and lengths alone
//! would not show what a disk has changed by itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::{Context, Result};

/// The list's name in its folder.
const LIST: &str = "sums";

/// Notes what is in a folder. It comes last: a folder without it is not whole.
pub(super) fn note(folder: &Path) -> Result {
    let lines = all(folder)?.into_iter().map(|(name, sum)| format!("{sum} {name}\n"));
    let path = folder.join(LIST);
    fs::write(&path, lines.collect::<String>()).on("write", &path)
}

/// How a folder is not as it was noted; none: it is.
pub(super) fn damage(folder: &Path) -> Option<String> {
    let list = folder.join(LIST);
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(_) if !list.exists() => return None,
        Err(error) => return Some(format!("{LIST}: {error}")),
    };
    let noted = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (length, sum) = (words.next()?, words.next()?);
        Some((words.next()?.to_owned(), format!("{length} {sum}")))
    });
    let noted: BTreeMap<String, String> = noted.collect();
    let found = match all(folder) {
        Ok(found) => found,
        Err(error) => return Some(error.to_string()),
    };
    let missing = noted.keys().find(|name| !found.contains_key(*name));
    let other = || found.iter().find(|(name, sum)| noted.get(*name) != Some(sum));
    missing
        .map(|name| format!("{name} is missing"))
        .or_else(|| other().map(|(name, _)| format!("{name} is not what it was")))
}

/// Whether a folder was finished.
pub(super) fn is_noted(folder: &Path) -> bool {
    folder.join(LIST).is_file()
}

fn all(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    look(folder, "", &mut found)?;
    found.remove(LIST);
    Ok(found)
}

fn look(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) -> Result {
    for entry in fs::read_dir(folder).on("read", folder)? {
        let entry = entry.on("read", folder)?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().on("read", &path)?;
        if kind.is_dir() {
            look(&path, &format!("{name}/"), found)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).on("read", &path)?;
            let target = target.as_os_str().as_encoded_bytes();
            found.insert(name, format!("{} {:08x}", target.len(), crc32fast::hash(target)));
        } else {
            found.insert(name, of(&path)?);
        }
    }
    Ok(())
}

/// What tells a file from another of its name: its length, and a checksum.
pub(crate) fn of(file: &Path) -> Result<String> {
    let mut open = File::open(file).on("open", file)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        match open.read(&mut buffer).on("read", file)? {
            0 => return Ok(format!("{length} {:08x}", hasher.finalize())),
            more => {
                hasher.update(&buffer[..more]);
                length += more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn whatever_changes_in_a_folder_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path();
        fs::create_dir(folder.join("lib")).unwrap();
        let (file, link) = (folder.join("lib/a name.so.1"), folder.join("lib/a.so"));
        let whole = || {
            fs::write(&file, "code").unwrap();
            let _absent = fs::remove_file(&link);
            symlink("a name.so.1", &link).unwrap();
        };
        whole();
        assert!(!is_noted(folder));
        note(folder).unwrap();
        assert!(is_noted(folder));
        assert_eq!(damage(folder), None);
        fs::write(&file, "code!").unwrap();
        assert_eq!(damage(folder).unwrap(), "lib/a name.so.1 is not what it was");
        fs::write(&file, "cole").unwrap();
        assert!(damage(folder).is_some(), "of the same length");
        fs::remove_file(&file).unwrap();
        assert_eq!(damage(folder).unwrap(), "lib/a name.so.1 is missing");
        whole();
        assert_eq!(damage(folder), None);
        fs::remove_file(&link).unwrap();
        symlink("elsewhere", &link).unwrap();
        assert_eq!(damage(folder).unwrap(), "lib/a.so is not what it was");
        whole();
        fs::write(folder.join(LIST), b"\xff").unwrap();
        assert!(damage(folder).is_some(), "the list itself");
        note(folder).unwrap();
        fs::write(folder.join("lib/more"), "").unwrap();
        assert!(damage(folder).is_some(), "one that nobody put there");
    }
}
