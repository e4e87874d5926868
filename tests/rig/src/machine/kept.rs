//! Machines kept from earlier runs: a dom0 that is ready for its jobs, as QEMU's migration stream.
//!
//! A machine is resumed only in one of the same make: what QEMU is told and the processor below it are compared to the letter,
//! what it loads by length and checksum.

use std::fmt::Write;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Plan;
use super::argv::own_qemu;
use crate::artifacts;
use crate::child;
use crate::error::{Context, Result};

/// How many are kept; each is some 200 MB.
const MOST: usize = 3;
const NAME: &str = "kept-";
const MAKE: &str = "make";
const STATE: &str = "state";

/// Where machines of one make are kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    make: String,
}

impl Kept {
    /// The place for machines of this plan; none with a QEMU of the user's own, which may become another one under its name.
    pub(crate) fn of(plan: &Plan) -> Result<Option<Self>> {
        if own_qemu().is_some() {
            return Ok(None);
        }
        let make = make(plan)?;
        let mut hasher = DefaultHasher::new();
        make.hash(&mut hasher);
        let home = artifacts::cache()?.join(plan.release.name);
        Ok(Some(Self { folder: home.join(format!("{NAME}{:016x}", hasher.finish())), make }))
    }

    /// The state of the one that is there, if one is.
    pub(crate) fn state(&self) -> Option<PathBuf> {
        let state = self.folder.join(STATE);
        let written = fs::read_to_string(self.folder.join(MAKE)).ok()?;
        // A byte that changed on the disk would be a fault of nobody's in the machine.
        (written == self.label(&state).ok()?).then_some(state)
    }

    /// Has a machine's state written by `save`, to be there for the next run once it is whole. One at a time, since a run may
    /// have several machines of one make: the first is as good as the others.
    pub(crate) fn keep(&self, save: impl FnOnce(&Path) -> Result) -> Result {
        let home = self.folder.parent().unwrap_or(Path::new("."));
        let _lock = artifacts::lock(home)?;
        if self.state().is_some() {
            return Ok(());
        }
        let part = self.folder.with_extension("part");
        let kept = self.write(&part, save);
        artifacts::remove(&part)?;
        kept?;
        forget_oldest(home)
    }

    fn write(&self, part: &Path, save: impl FnOnce(&Path) -> Result) -> Result {
        // What a rig left that was killed over it.
        artifacts::remove(part)?;
        fs::create_dir_all(part).on("create", part)?;
        save(&part.join(STATE))?;
        let label = self.label(&part.join(STATE))?;
        let make = part.join(MAKE);
        fs::write(&make, label).on("write", &make)?;
        self.forget()?;
        fs::rename(part, &self.folder).on("rename", part)
    }

    /// What is written beside a state: what machine it is of, and what tells it from a damaged one.
    fn label(&self, state: &Path) -> Result<String> {
        Ok(format!("{}\n{}\n", self.make, artifacts::sum(state)?))
    }

    /// Takes away the one that is there: it did not work.
    pub(crate) fn forget(&self) -> Result {
        artifacts::remove(&self.folder)
    }
}

/// All that makes a machine what it is.
fn make(plan: &Plan) -> Result<String> {
    // The mirror's port is another one each time.
    let plain = Plan { mirror: plan.mirror.map(|_| 1), resumed: None, ..plan.clone() };
    let command = plain.command();
    let mut make = format!("{}\n", child::line(&command));
    let programs = command.get_args().map(Path::new).filter(|word| word.is_file());
    // By what is in them: where dom0's image is depends on the run.
    for file in programs.chain(plan.links().map(|(file, _)| file)) {
        let _infallible = writeln!(make, "{}", artifacts::sum(file)?);
    }
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kind =
        |line: &&str| ["vendor_id", "model name", "flags"].iter().any(|key| line.starts_with(key));
    let mut lines: Vec<&str> = cpu.lines().filter(kind).collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(make + &lines.join("\n"))
}

/// Keeps the youngest ones. Who calls it has the lock, so that nobody is at one that is not whole.
fn forget_oldest(home: &Path) -> Result {
    let entries = fs::read_dir(home).on("read", home)?.filter_map(std::result::Result::ok);
    let kept = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(NAME));
    let age = |path: &Path| {
        let file = File::open(path.join(STATE)).and_then(|file| file.metadata()?.modified());
        file.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut kept: Vec<_> = kept.map(|entry| (age(&entry.path()), entry.path())).collect();
    kept.sort();
    let old = kept.len().saturating_sub(MOST);
    kept[..old].iter().try_for_each(|(_, path)| artifacts::remove(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{RELEASES, Stack};
    use crate::error::Error;
    use crate::machine::{Accel, Device, Iommu, Setting, Start, Without};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    fn place(home: &Path, make: &str) -> Kept {
        Kept { folder: home.join(format!("{NAME}{make}")), make: make.to_owned() }
    }

    fn save(state: &Path) -> Result {
        fs::write(state, "state").on("write", state)
    }

    #[test]
    fn a_machine_is_there_for_its_own_make_once_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let kept = place(home.path(), "a");
        assert_eq!(kept.state(), None);
        let failed = kept.keep(|state| save(state).and(Err(Error::unfit("disk full", ""))));
        assert!(failed.is_err());
        let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.eq(["lock"]), "nothing is left of it");
        kept.keep(save).unwrap();
        assert_eq!(fs::read_to_string(kept.state().unwrap()).unwrap(), "state");
        // Whatever chance made their numbers the same.
        assert_eq!(Kept { make: "b".to_owned(), ..kept.clone() }.state(), None);
        fs::write(kept.state().unwrap(), "stake").unwrap();
        assert_eq!(kept.state(), None, "damaged");
        kept.keep(save).unwrap();
        assert!(kept.state().is_some(), "one that is there is replaced");
        kept.forget().unwrap();
        assert_eq!(kept.state(), None);
    }

    #[test]
    fn of_two_machines_at_once_one_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let kept = place(home.path(), "a");
        let (saved, both) = (AtomicUsize::new(0), Barrier::new(2));
        let one = || {
            both.wait();
            kept.keep(|state| {
                saved.fetch_add(1, Ordering::SeqCst);
                save(state)
            })
        };
        thread::scope(|scope| {
            let ended = [scope.spawn(one), scope.spawn(one)].map(|thread| thread.join().unwrap());
            assert!(ended.iter().all(Result::is_ok));
        });
        assert_eq!(saved.load(Ordering::SeqCst), 1);
        assert!(kept.state().is_some());
    }

    #[test]
    fn only_the_youngest_stay() {
        let home = tempfile::tempdir().unwrap();
        let all = ["d", "a", "c", "b"].map(|make| place(home.path(), make));
        for (kept, age) in all.iter().zip([40, 30, 20, 10]) {
            let aged = |state: &Path| {
                save(state)?;
                let then = SystemTime::now() - Duration::from_secs(age);
                let file = File::options().write(true).open(state).on("open", state)?;
                file.set_modified(then).on("age", state)
            };
            kept.keep(aged).unwrap();
        }
        let there = all.map(|kept| kept.state().is_some());
        assert_eq!(there, [false, true, true, true]);
    }

    #[test]
    fn whatever_a_machine_is_told_or_loads_makes_it_another_one() {
        let home = tempfile::tempdir().unwrap();
        let module = home.path().join("dom0.cpio");
        let xen = home.path().join("xen");
        fs::write(&module, "dom0").unwrap();
        fs::write(&xen, "Xen").unwrap();
        let plan = Plan {
            stack: Stack::in_folder(home.path()),
            release: &RELEASES[0],
            accel: Accel::Kvm,
            without: Without::default(),
            start: Start::Xen,
            modules: vec![(module.clone(), String::new())],
            memory_gib: 6,
            little_low: false,
            iommu: Iommu::All,
            strict: false,
            dom0_memory: 768,
            nic: "rtl8139".to_owned(),
            mirror: Some(7),
            door: None,
            devices: vec![Device::Nic],
            trace: true,
            jobs: Some("jobs.cpio".into()),
            resumed: None,
            folder: home.path().to_owned(),
        };
        let usual = make(&plan).unwrap();
        let same = |plan: Plan| make(&plan).unwrap() == usual;
        assert!(same(Plan { mirror: Some(9), ..plan.clone() }), "another port");
        assert!(same(Plan { resumed: Some("state".into()), ..plan.clone() }));
        assert!(same(Plan { folder: "elsewhere".into(), ..plan.clone() }), "another run");
        for other in [
            Plan { release: &RELEASES[1], accel: Accel::Tcg(String::new()), ..plan.clone() },
            Plan { without: Without(vec![Setting::Bootscrub]), ..plan.clone() },
            Plan { memory_gib: 12, ..plan.clone() },
            Plan { little_low: true, ..plan.clone() },
            Plan { strict: true, ..plan.clone() },
            Plan { dom0_memory: 512, ..plan.clone() },
            Plan { nic: "e1000".to_owned(), ..plan.clone() },
            Plan { devices: vec![Device::Nic, Device::Undriven], ..plan.clone() },
            Plan { trace: false, ..plan.clone() },
        ] {
            assert!(!same(other.clone()), "{other:?}");
        }
        let own = home.path().join("own");
        fs::write(&own, "Xen").unwrap();
        let mut with_own = plan.clone();
        with_own.stack.xen.clone_from(&own);
        assert!(same(with_own.clone()), "the same one from elsewhere");
        fs::write(&own, "another Xen").unwrap();
        assert!(!same(with_own));
        fs::write(&module, "another dom0").unwrap();
        assert!(!same(plan));
    }
}
