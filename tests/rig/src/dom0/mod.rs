//! dom0's files: an initramfs with all that dom0 needs to be ready, and an archive of the run's jobs, which a dom0 that is
//! ready is given then.
//!
//! The initramfs is made of cpio archives, the first of which only depends on the packages: the kernel unpacks those that follow
//! each other as if they were one. Nothing is compressed: an emulated processor takes longer to gunzip it than QEMU to hand it
//! over.

mod image;

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use image::Image;

use crate::artifacts::{CHANNEL, DOM0, Modules, PCIBACK, PEER, Stack, find};
use crate::bundle;
use crate::error::{Context, Result};
use crate::job::{Act, Hog, Job};
use crate::judge::Verdict;
use crate::machine::{self, Without};

const INIT: &str = include_str!("init.sh");
const ABUSE: &str = include_str!("abuse.sh");
const BUNDLE: &str = include_str!("bundle.sh");
const PEER_INIT: &str = include_str!("peer.sh");
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";
const TOOLS: [&str; 5] = ["xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0"];
const STORE_TOOLS: [&str; 5] =
    ["xenstore-read", "xenstore-write", "xenstore-chmod", "xenstore-watch", "xenstore-ls"];

/// What glibc loads by name when a thread is cancelled, as libxenstore's are; without it `xl` aborts at its end.
const UNWINDER: &str = "libgcc_s.so.1";

/// What glibc before 2.34 loads by name to look users up.
const USERS: &str = "libnss_files.so.2";

/// The file that oxenstored of Xen 4.20 and later loads, and asks Xen about domains by; older ones have none.
const PLUGIN: &str = "domain_getinfo_v1.cmxs";

/// The xenstored that dom0 has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Xenstored {
    /// The one in C
    #[default]
    C,
    /// oxenstored, the one in OCaml
    Ocaml,
}

/// Where a job finds the guest's image.
pub(crate) const GUEST: &str = "/jobs/pvbounce";
/// Where it finds Linux's if it runs that instead, and the files that go with it.
pub(crate) const LINUX: [&str; 2] = ["/jobs/vmlinuz", "/jobs/peer.cpio"];

/// Packs what only depends on the packages in `root`: busybox, Xen's tools, their libraries.
pub(crate) fn pack_base(root: &Path, to: &Path) -> Result {
    let mut image = Image::create(to)?;
    for folder in ["bin", "lib64", "usr", "usr/lib", LIBRARIES] {
        image.folder(folder)?;
    }
    image.file("bin/busybox", &read(&root.join("usr/bin/busybox"))?)?;
    image.link("bin/sh", "busybox")?;
    image.link("lib", "usr/lib")?;

    let mut programs: Vec<PathBuf> =
        STORE_TOOLS.iter().map(|t| root.join("usr/bin").join(t)).collect();
    for tool in TOOLS {
        programs.push(find(&root.join("usr/lib"), |name| name == tool)?);
    }
    for program in &programs {
        image.file(&format!("bin/{}", name(program)), &read(program)?)?;
    }
    let libraries = root.join(LIBRARIES);
    image.libraries(&programs, &libraries, UNWINDER)?;
    // The loader is also a library (`ld-linux` is in DT_NEEDED of some), but programs name it by this path.
    image.file(&format!("lib64/{LOADER}"), &read(&libraries.join(LOADER))?)?;
    image.folder("jobs")?;
    image.finish()
}

/// Packs what of dom0 goes with its kernel: modules, and the lists of those that are loaded.
pub(crate) fn pack_modules(modules: &Modules, to: &Path) -> Result {
    let mut image = Image::create(to)?;
    for folder in ["mods", "jobs"] {
        image.folder(folder)?;
    }
    for (list, names) in [("modules", &DOM0[..]), ("channel-modules", &CHANNEL)] {
        let loaded = put(&mut image, modules, names)?;
        image.file(&format!("jobs/{list}"), loaded.as_bytes())?;
    }
    put(&mut image, modules, &[PCIBACK])?;
    image.finish()
}

/// Puts those of these modules into an image that are not in the kernel, and gives their names, a line each.
fn put(image: &mut Image, modules: &Modules, names: &[&str]) -> Result<String> {
    let mut loaded = String::new();
    for name in names.iter().filter(|name| !modules.has_built_in(name)) {
        let Some(bytes) = modules.read(name)? else { continue };
        image.file(&format!("mods/{name}.ko"), &bytes)?;
        loaded.push_str(name);
        loaded.push('\n');
    }
    Ok(loaded)
}

/// Packs what makes dom0 a host that ssh gets to: a daemon with its libraries.
pub(crate) fn pack_sshd(root: &Path, to: &Path) -> Result {
    let mut image = Image::create(to)?;
    let daemon = root.join("usr/sbin/dropbear");
    image.file("bin/dropbear", &read(&daemon)?)?;
    image.libraries(&[daemon], &root.join(LIBRARIES), USERS)?;
    image.finish()
}

/// Packs what of a Linux guest only depends on the packages: busybox and the cards' modules. Returns the drivers it has;
/// what the packages lack is not missed before somebody asks for it.
pub(crate) fn pack_peer(root: &Path, modules: &Modules, to: &Path) -> Result<Vec<String>> {
    let mut image = Image::create(to)?;
    for folder in ["bin", "mods"] {
        image.folder(folder)?;
    }
    image.file("bin/busybox", &read(&root.join("usr/bin/busybox"))?)?;
    image.link("bin/sh", "busybox")?;
    let loaded = put(&mut image, modules, &PEER)?;
    let is_there =
        |name: &&str| modules.has_built_in(name) || loaded.lines().any(|loaded| loaded == *name);
    let drivers = PEER.into_iter().filter(is_there).map(str::to_owned).collect();
    image.finish().map(|()| drivers)
}

/// Packs dom0's initramfs, with the devices that are the jobs', as pciback wants them, and with what some of these jobs want
/// beside what each does. Without such jobs it is the same for every run of a machine.
pub(crate) fn pack_dom0(
    stack: &Stack,
    guest: &Path,
    jobs: &[Job],
    hide: &str,
    xenstored: Xenstored,
    to: &Path,
) -> Result {
    let mut image = Image::create(to)?;
    image.archive(&stack.dom0())?;
    image.archive(&stack.modules)?;
    if jobs.iter().any(|job| job.bundle.is_some()) {
        image.archive(&stack.drivers)?;
    }
    let mut stories = jobs.iter().filter_map(|job| job.bundle.as_ref());
    let door = stories.find_map(|story| story.door.as_ref());
    if door.is_some() {
        image.archive(&stack.sshd())?;
    }
    image.file("init", INIT.as_bytes())?;
    image.folder("jobs")?;
    image.file("jobs/hide", hide.as_bytes())?;
    image.file("jobs/channel", machine::channel_bdf().as_bytes())?;
    image.file("jobs/abuse.sh", ABUSE.as_bytes())?;
    image.file("jobs/bundle.sh", BUNDLE.as_bytes())?;
    let xenstored = daemon(&mut image, &stack.root(), xenstored)?;
    image.file("jobs/xenstored", xenstored.as_bytes())?;
    if jobs.iter().any(|job| job.bundle.is_some()) {
        bundle_files(&mut image, stack, guest)?;
    }
    if let Some(door) = door {
        image.file("jobs/desk.pub", door.key.as_bytes())?;
    }
    if jobs.iter().any(|job| job.linux.is_some()) {
        let [kernel, files] = LINUX.map(|name| name.trim_start_matches('/'));
        image.file(kernel, &read(&stack.linux())?)?;
        image.file(files, &linux_files(stack, &to.with_file_name("peer.cpio"))?)?;
    }
    if jobs.iter().any(|job| job.does("save")) {
        helper(&mut image, &stack.root(), "libxl-save-helper")?;
    }
    image.finish()
}

/// Packs the jobs, with the guest's image, into an archive.
pub(crate) fn pack_jobs(guest: &Path, jobs: &[Job], without: &Without, to: &Path) -> Result {
    let mut image = Image::create(to)?;
    image.folder("jobs")?;
    image.file(GUEST.trim_start_matches('/'), &read(guest)?)?;
    let mut each = jobs.iter().enumerate();
    each.try_for_each(|(number, job)| pack_job(&mut image, number, job, without))?;
    image.finish()
}

/// What dom0 has to know of one job.
fn pack_job(image: &mut Image, number: usize, job: &Job, without: &Without) -> Result {
    let folder = format!("jobs/{number:04}");
    image.folder(&folder)?;
    image.file(&format!("{folder}/name"), job.name.as_bytes())?;
    image.file(&format!("{folder}/limit"), job.limit.as_secs().to_string().as_bytes())?;
    image.file(&format!("{folder}/guest.cfg"), &read(&job.config)?)?;
    let overrides: String =
        job.overrides(without)?.iter().map(|line| format!("{line}\n")).collect();
    image.file(&format!("{folder}/overrides"), overrides.as_bytes())?;
    if let Some(hog) = job.hog {
        image.file(&format!("{folder}/hog.cfg"), &read(Hog::CONFIG.as_ref())?)?;
        image.file(&format!("{folder}/hog"), hog.overrides().as_bytes())?;
    }
    if job.together {
        image.file(&format!("{folder}/together"), b"")?;
    }
    if let Some(story) = &job.bundle {
        let code = job.expect.unwrap_or(Verdict::Success).exit_code();
        image.file(&format!("{folder}/bundle"), story.lines(code).as_bytes())?;
        image.file(&format!("{folder}/moments"), story.moments().as_bytes())?;
    }
    if job.silent_backend {
        image.file(&format!("{folder}/silent"), b"")?;
    }
    if job.flat && !job.does("plug") {
        image.file(&format!("{folder}/attach"), b"")?;
    }
    if job.host_numbers {
        image.file(&format!("{folder}/host-numbers"), b"")?;
    }
    if job.hotplug {
        image.file(&format!("{folder}/hotplug"), b"")?;
    }
    if let Some(Act::Dom0(name)) = job.abuse.map(|abuse| abuse.act) {
        image.file(&format!("{folder}/abuse"), name.as_bytes())?;
    }
    if job.device.is_some() {
        let devices: String = job.devices().map(|device| device.bdf() + "\n").collect();
        image.file(&format!("{folder}/device"), devices.as_bytes())?;
    }
    Ok(())
}

/// What a real host is given, and a domain that is made for its number alone.
fn bundle_files(image: &mut Image, stack: &Stack, guest: &Path) -> Result {
    helper(image, &stack.root(), "xenconsole")?;
    image.file("jobs/bundle.tar.gz", &bundle::pack(guest)?)?;
    let count = format!("name=\"count\"\ntype=\"pv\"\nkernel=\"{GUEST}\"\nmemory=16\n");
    image.file("jobs/count.cfg", count.as_bytes())
}

/// The program that dom0 starts as its xenstored.
fn daemon(image: &mut Image, root: &Path, xenstored: Xenstored) -> Result<String> {
    if xenstored == Xenstored::C {
        return Ok("xenstored".to_owned());
    }
    // Where the package has none it needs none.
    if find(&root.join("usr/lib"), |file| file == PLUGIN).is_ok() {
        helper(image, root, PLUGIN)?;
    }
    let path = helper(image, root, "oxenstored")?;
    let program = root.join(path.trim_start_matches('/'));
    image.libraries(&[program], &root.join(LIBRARIES), UNWINDER)?;
    Ok(path)
}

/// A helper of Xen's programs, which look for it where the package has it: its path there.
fn helper(image: &mut Image, root: &Path, name: &str) -> Result<String> {
    let helper = find(&root.join("usr/lib"), |file| file == name)?;
    let path = helper.strip_prefix(root).unwrap_or(&helper);
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.pop();
    folders.iter().rev().try_for_each(|folder| image.folder(&folder.to_string_lossy()))?;
    image.file(&path.to_string_lossy(), &read(&helper)?)?;
    Ok(format!("/{}", path.display()))
}

/// The files of a Linux guest: what the packages gave, then its init script. They are put together in a file of this name.
fn linux_files(stack: &Stack, part: &Path) -> Result<Vec<u8>> {
    let mut image = Image::create(part)?;
    image.archive(&stack.peer())?;
    image.file("init", PEER_INIT.as_bytes())?;
    image.finish()?;
    let bytes = read(part)?;
    fs::remove_file(part).on("remove", part).map(|()| bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).on("read", path)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
