//! Rules of this tree that rustc and clippy don't know. Each gives a list of complaints, `file: why`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// A rule: complaints about the tree in the current folder.
pub(super) type Rule = fn() -> Result<Vec<String>>;

/// All of them, by name.
pub(super) const ALL: [(&str, Rule); 5] = [
    ("every file says what it is for", headers),
    ("no file grows past 400 lines", sizes),
    ("stable Rust only", features),
    ("hypercalls and assembly in one place", assembly),
    ("unsafe code only where docs/unsafe.md says", unsafe_modules),
];

const LONGEST: usize = 400;

fn headers() -> Result<Vec<String>> {
    each(&["src", "protocol", "tests"], |text| {
        let found = text.lines().take(5).any(|line| line.starts_with("//!"));
        (!found).then(|| "does not open with //! saying what it is for".to_owned())
    })
}

fn sizes() -> Result<Vec<String>> {
    each(&["src", "protocol", "tests"], |text| {
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        (lines > LONGEST).then(|| format!("{lines} lines without its tests: split it"))
    })
}

fn features() -> Result<Vec<String>> {
    let feature = concat!("#!", "[feature");
    each(&["src", "protocol", "tests"], |text| {
        text.contains(feature).then(|| "uses an unstable feature".to_owned())
    })
}

fn assembly() -> Result<Vec<String>> {
    let inside =
        |path: &Path| path.starts_with("src/arch") || path.starts_with("src/xen/hypercall");
    let call = concat!("asm", "!(");
    let complain = |path: &Path, text: &str| {
        (!inside(path) && text.contains(call))
            .then(|| format!("{call} outside src/arch and src/xen/hypercall"))
    };
    complaints(&["src"], complain)
}

/// The modules that opt into unsafe code, against the list in the document.
fn unsafe_modules() -> Result<Vec<String>> {
    let mut opting: BTreeSet<String> = BTreeSet::new();
    for path in sources(Path::new("src"))? {
        // The attribute may stand on one line or on several.
        let text: String = read(&path)?.split_whitespace().collect();
        if text.contains("expect(unsafe_code") {
            opting.insert(path.display().to_string());
        }
    }
    let document = fs::read_to_string("docs/unsafe.md").unwrap_or_default();
    let listed: BTreeSet<String> = document.lines().filter_map(listed).collect();
    let missing =
        opting.difference(&listed).map(|file| format!("{file}: not listed in docs/unsafe.md"));
    let stale = listed
        .difference(&opting)
        .map(|file| format!("{file}: listed in docs/unsafe.md, but has none"));
    Ok(missing.chain(stale).collect())
}

/// The file of a line like ``- `src/arch/x.rs`: why``.
fn listed(line: &str) -> Option<String> {
    let (file, _) = line.strip_prefix("- `")?.split_once('`')?;
    file.starts_with("src/").then(|| file.to_owned())
}

fn each(folders: &[&str], complain: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    complaints(folders, |_, text| complain(text))
}

fn complaints(
    folders: &[&str],
    complain: impl Fn(&Path, &str) -> Option<String>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in folders {
        for path in sources(Path::new(folder))? {
            let why = complain(&path, &read(&path)?);
            found.extend(why.map(|why| format!("{}: {why}", path.display())));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).on("read", path)
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).on("read", folder)? {
        let path = entry.on("read", folder)?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_the_document_are_read() {
        assert_eq!(listed("- `src/arch/mod.rs`: traps").unwrap(), "src/arch/mod.rs");
        assert_eq!(listed("see `src/x.rs`"), None);
    }
}
