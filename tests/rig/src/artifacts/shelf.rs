//! Folders of the cache, a few for each release: each whole, or made anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::{RELEASES, Release, cache, lock, remove, sums};
use crate::error::{Advice, Context, Result};
use crate::progress::Stage;

/// The folder of this name in a release's part of the cache. Where it is missing, or damaged, `make` makes it: it is given that
/// part of the cache, and the folder to fill.
pub(super) fn whole(
    release: &Release,
    name: &str,
    make: impl FnOnce(&Path, &Path) -> Result,
) -> Result<PathBuf> {
    let cache = cache()?;
    let others = || in_cache(&cache, name).filter(|other| *other != release.name).collect();
    whole_in(&cache.join(release.name), name, make, others)
}

/// The releases that have a folder of this name.
fn in_cache(cache: &Path, name: &str) -> impl Iterator<Item = &'static str> {
    let names = const { &RELEASES }.iter().map(|release| release.name);
    names.filter(move |release| sums::is_noted(&cache.join(release).join(name)))
}

fn whole_in(
    home: &Path,
    name: &str,
    make: impl FnOnce(&Path, &Path) -> Result,
    others: impl FnOnce() -> Vec<&'static str>,
) -> Result<PathBuf> {
    let folder = home.join(name);
    if sums::is_noted(&folder) && sums::damage(&folder).is_none() {
        return Ok(folder);
    }
    fs::create_dir_all(home).on("create", home)?;
    let _lock = lock(home)?;
    // Another rig may have made it while this one waited for the lock.
    let damage = sums::damage(&folder);
    if sums::is_noted(&folder) && damage.is_none() {
        return Ok(folder);
    }
    if let Some(damage) = &damage {
        let stage = Stage::start("check", "the cache");
        stage.done(format!("{}: {damage}; it is made anew", folder.display()));
    }
    let part = home.join(format!("{name}.part"));
    let made = remove(&part).and_then(|()| make(home, &part)).and_then(|()| sums::note(&part));
    match (made, damage) {
        (Ok(()), _) => {}
        (Err(error), None) => return Err(error),
        // Another release may do until the network is there again.
        (Err(error), Some(_)) => {
            let mut remedy = error.remedy().unwrap_or_default().to_owned();
            let others = others();
            if !others.is_empty() {
                remedy.push_str(&format!(
                    "; in the cache there are also: --release {}",
                    others.join(", ")
                ));
            }
            return Err(error).advise(remedy);
        }
    }
    remove(&folder)?;
    fs::rename(&part, &folder).on("rename", &part)?;
    forget_older(home, name)?;
    Ok(folder)
}

/// Removes the folders of older formats, but for that of the last one: two trees of two ages may take turns.
fn forget_older(home: &Path, name: &str) -> Result {
    let Some((kind, format)) = format_of(name) else { return Ok(()) };
    let entries = fs::read_dir(home).on("read", home)?.filter_map(std::result::Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_old = |name: &String| {
        format_of(name).is_some_and(|(other, number)| other == kind && number + 1 < format)
    };
    names.filter(is_old).try_for_each(|name| remove(&home.join(name)))
}

/// What a folder is for, and the number of its format: `stack-11`.
fn format_of(name: &str) -> Option<(&str, u32)> {
    let (kind, number) = name.split_once('-')?;
    Some((kind, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn make(_home: &Path, part: &Path) -> Result {
        fs::create_dir_all(part).on("create", part)?;
        fs::write(part.join("xen"), "Xen").on("write", part)
    }

    #[test]
    fn a_damaged_folder_is_made_anew_and_a_whole_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let again = |_: &Path, _: &Path| panic!("it is whole");
        let folder = whole_in(home, "stack", make, Vec::new).unwrap();
        whole_in(home, "stack", again, Vec::new).unwrap();
        fs::write(folder.join("xen"), "Xem").unwrap();
        whole_in(home, "stack", make, Vec::new).unwrap();
        assert_eq!(fs::read_to_string(folder.join("xen")).unwrap(), "Xen");
        whole_in(home, "stack", again, Vec::new).unwrap();
    }

    #[test]
    fn of_older_formats_the_last_one_stays() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let names = ["stack-8", "stack-9", "stack-10", "stick-1", "kept-12", "kvm-3f"];
        names.iter().for_each(|name| fs::create_dir(home.join(name)).unwrap());
        whole_in(home, "stack-11", make, Vec::new).unwrap();
        let left = names.map(|name| home.join(name).exists());
        assert_eq!(left, [false, false, true, true, true, true]);
    }

    #[test]
    fn what_cant_be_made_anew_says_what_else_there_is() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let folder = whole_in(home, "stack", make, Vec::new).unwrap();
        fs::remove_file(folder.join("xen")).unwrap();
        let offline = |_: &Path, _: &Path| Err(Error::unfit("no mirror", "check the network"));
        let error = whole_in(home, "stack", offline, || vec!["bookworm", "sid"]).unwrap_err();
        assert_eq!(error.to_string(), "no mirror");
        let remedy = error.remedy().unwrap();
        assert!(remedy.starts_with("check the network; ") && remedy.ends_with("bookworm, sid"));
        // Half a folder is none.
        let cut = |_: &Path, part: &Path| {
            make(home, part).and(Err(Error::unfit("disk full", "free some")))
        };
        assert!(whole_in(home, "tools", cut, Vec::new).is_err());
        assert!(!home.join("tools").exists());
    }
}
