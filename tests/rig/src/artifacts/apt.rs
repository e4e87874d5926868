//! Fetching packages with the host's apt, in a state of our own: no root, and nothing of the host's changes.
//!
//! The trick is an empty dpkg status: apt then believes that nothing is installed and resolves whole closures, down to
//! the C library. So each machine gets the same files, whatever it has installed itself.
//!
//! The Xen tools are taken without their dependencies, which would pull in Python and an init system; instead the
//! libraries among those dependencies are asked for by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Versions;
use super::source::{self, Release};
use crate::child;
use crate::error::{Advice, Context, Error, Result};
use crate::progress::Stage;

/// What was fetched.
#[derive(Debug)]
pub(super) struct Debs {
    /// The packages.
    pub(super) files: Vec<PathBuf>,
    /// What the interesting ones are.
    pub(super) versions: Versions,
}

impl Debs {
    /// Their size together.
    pub(super) fn mebibytes(&self) -> u64 {
        let sizes = self.files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len()));
        sizes.sum::<u64>() >> 20
    }
}

/// Fetches everything a stack needs. Packages that an interrupted run left complete are not fetched again.
pub(super) fn fetch(release: &Release, home: &Path, stage: &Stage) -> Result<Debs> {
    let apt = Apt::new(release, home)?;
    stage.doing(format!("package lists of {release} from {}", apt.mirror));
    apt.update()?;
    apt.refuse_damaged()?;

    let hypervisor = apt.dependency("xen-system-amd64", "xen-hypervisor-4")?;
    let tools = apt.dependency("xen-system-amd64", "xen-utils-4")?;
    let kernel = apt.dependency(release.kernel, "linux-image-")?;
    let mut alone = vec![hypervisor.clone(), tools.clone(), kernel.clone()];
    // Ubuntu keeps the modules in a package of their own; Debian since Linux 7 the kernel, too, and the list of what is built in.
    for part in ["linux-modules-", "linux-binary-", "linux-base-"] {
        alone.extend(apt.dependencies(&kernel, part)?);
    }
    alone.extend(["xenstore-utils", "busybox-static"].map(str::to_owned));

    let mut whole = ["qemu-system-x86", "dropbear-bin"].map(str::to_owned).to_vec();
    whole.extend(apt.dependencies(&tools, "lib")?);
    whole.extend(apt.dependencies("xenstore-utils", "lib")?);

    stage.doing("QEMU and libraries");
    apt.with_closure(&whole)?;
    stage.doing("Xen and Linux (the kernel package is about 100 MB)");
    apt.without_closure(&alone)?;
    Ok(Debs {
        versions: Versions {
            xen: apt.version(&hypervisor)?,
            linux: apt.version(&kernel)?,
            qemu: apt.version("qemu-system-x86")?,
        },
        files: apt.archives()?,
    })
}

/// Fetches packages with all they depend on.
pub(super) fn closure(
    release: &Release,
    home: &Path,
    names: &[&str],
    stage: &Stage,
) -> Result<Vec<PathBuf>> {
    let apt = Apt::new(release, home)?;
    stage.doing(format!("package lists of {release} from {}", apt.mirror));
    apt.update()?;
    apt.refuse_damaged()?;
    stage.doing(names.join(", "));
    apt.with_closure(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    apt.archives()
}

/// Fetches what a package depends on whose name starts so, alone.
pub(super) fn part(
    release: &Release,
    home: &Path,
    [whole, prefix]: [&str; 2],
    stage: &Stage,
) -> Result<Vec<PathBuf>> {
    let apt = Apt::new(release, home)?;
    stage.doing(format!("package lists of {release} from {}", apt.mirror));
    apt.update()?;
    let part = apt.dependency(whole, prefix)?;
    stage.doing(&part);
    apt.without_closure(&[part])?;
    apt.archives()
}

struct Apt {
    home: PathBuf,
    mirror: String,
}

impl Apt {
    fn new(release: &Release, home: &Path) -> Result<Self> {
        let apt = Self { home: home.to_owned(), mirror: source::mirror(release)? };
        for folder in
            ["lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"]
        {
            let folder = home.join(folder);
            fs::create_dir_all(&folder).on("create", &folder)?;
        }
        let line = format!(
            "deb [arch=amd64 signed-by={}] {} {} {}\n",
            release.keyring, apt.mirror, release.name, release.components
        );
        apt.write("status", "")?;
        apt.write("etc/sources.list", &line)?;
        apt.write("apt.conf", &format!("{}{}", apt.settings(), proxies()?))?;
        Ok(apt)
    }

    fn write(&self, name: &str, text: &str) -> Result {
        let path = self.home.join(name);
        fs::write(&path, text).on("write", &path)
    }

    /// Leads each path apt knows into our folder. The host's hooks are not read: they may touch the host's state. A mirror that
    /// lags is as good as another: what it has is signed all the same.
    fn settings(&self) -> String {
        let home = self.home.display();
        format!(
            "Dir::Etc \"{home}/etc\";\n\
             Dir::State \"{home}\";\n\
             Dir::State::lists \"{home}/lists\";\n\
             Dir::State::status \"{home}/status\";\n\
             Dir::Cache \"{home}/cache\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures \"amd64\";\n\
             APT::Install-Recommends \"false\";\n\
             APT::Sandbox::User \"root\";\n\
             APT::Update::Error-Mode \"any\";\n\
             Acquire::Check-Valid-Until \"false\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"2\";\n"
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.home.join("apt.conf")).env("LC_ALL", "C");
        command.arg("-q");
        command
    }

    fn update(&self) -> Result {
        let remedy = format!(
            "the first run fetches about 150 MB from {}: check the network (later runs need none), or name \
             another mirror with PVBOUNCE_MIRROR; if a signature is refused, update this host's archive keyring",
            self.mirror
        );
        advised(child::output(self.command("apt-get").arg("update")), &remedy)
    }

    /// Downloads packages with all they depend on.
    fn with_closure(&self, names: &[String]) -> Result {
        let mut command = self.command("apt-get");
        command.args(["install", "--yes", "--download-only"]).args(names);
        advised(child::output(&mut command), RETRY)
    }

    /// Downloads just these packages.
    fn without_closure(&self, names: &[String]) -> Result {
        let mut command = self.command("apt-get");
        command.current_dir(self.home.join("cache/archives")).arg("download").args(names);
        advised(child::output(&mut command), RETRY)
    }

    /// Removes what an interrupted run left and is not what the archive has by now. apt itself goes by a file's length.
    fn refuse_damaged(&self) -> Result {
        let debs = self.archives()?;
        if debs.is_empty() {
            return Ok(());
        }
        let known = sums_in(&child::output(self.command("apt-cache").arg("dumpavail"))?);
        let printed = child::output(Command::new("sha256sum").arg("--").args(&debs))?;
        for (deb, line) in debs.iter().zip(printed.lines()) {
            let name = deb.file_name().unwrap_or_default().to_string_lossy();
            let found = line.trim_start_matches('\\').split(' ').next();
            if known.get(&*name).map(String::as_str) != found {
                fs::remove_file(deb).on("remove", deb)?;
            }
        }
        Ok(())
    }

    fn show(&self, package: &str, field: &str) -> Result<String> {
        let shown =
            child::output(self.command("apt-cache").args(["show", "--no-all-versions", package]))
                .advise(format!("{} may not carry it: try another --release", self.mirror))?;
        let value = shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        Ok(value.unwrap_or_default().to_owned())
    }

    fn version(&self, package: &str) -> Result<String> {
        let version = self.show(package, "Version")?;
        Ok(short_version(&version).to_owned())
    }

    fn dependencies(&self, package: &str, prefix: &str) -> Result<Vec<String>> {
        Ok(matching(&self.show(package, "Depends")?, prefix))
    }

    fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        self.dependencies(package, prefix)?.into_iter().next().ok_or_else(|| {
            Error::unfit(
                format!("package {package} depends on no {prefix}* at {}", self.mirror),
                "try another --release",
            )
        })
    }

    fn archives(&self) -> Result<Vec<PathBuf>> {
        let folder = self.home.join("cache/archives");
        let entries = fs::read_dir(&folder).on("read", &folder)?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut debs: Vec<_> =
            files.filter(|f| f.extension().is_some_and(|e| e == "deb")).collect();
        debs.sort();
        Ok(debs)
    }
}

const RETRY: &str = "check the network and run again: what is complete is kept";

/// A disk that is full is none of the network's doing.
fn advised(printed: Result<String>, usual: &str) -> Result {
    let full = |error: &Error| {
        let text = error.to_string();
        ["enough free space", "No space left"].iter().any(|words| text.contains(words))
    };
    let remedy = match &printed {
        Err(error) if full(error) => "free 700 MB of disk space, or set XDG_CACHE_HOME",
        _ => usual,
    };
    printed.map(drop).advise(remedy)
}

/// The checksums in an archive's index, by the names that apt gives the files.
fn sums_in(index: &str) -> BTreeMap<String, String> {
    let stanzas = index.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let version = field("Version")?.replace(':', "%3a");
        let name = format!("{}_{version}_{}.deb", field("Package")?, field("Architecture")?);
        Some((name, field("SHA256")?.to_owned()))
    });
    stanzas.collect()
}

/// How the host reaches the network: its proxies and the like, nothing else of its settings.
fn proxies() -> Result<String> {
    let dump = child::output(Command::new("apt-config").arg("dump"))?;
    let ours = |line: &&str| {
        let keys = ["Acquire::http", "Acquire::https", "Acquire::ForceIPv"];
        keys.iter().any(|key| line.starts_with(key))
    };
    Ok(dump.lines().filter(ours).map(|line| format!("{line}\n")).collect())
}

/// The packages in a Depends field whose names start like this.
fn matching(depends: &str, prefix: &str) -> Vec<String> {
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

/// A package version without epoch and packaging: `1:10.0.13+ds-0+deb13u1` is 10.0.13.
fn short_version(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_fields_are_read_by_prefix() {
        let depends =
            "libc6 (>= 2.38), python3:any, libyajl2 (>= 2.0.4) | x, xen-utils-common (= 1)";
        assert_eq!(matching(depends, "lib"), ["libc6", "libyajl2"]);
        assert_eq!(matching("", "lib"), [""; 0]);
    }

    #[test]
    fn an_index_names_files_as_apt_does() {
        let index = "Package: qemu\nVersion: 1:10.0+ds-1\nArchitecture: amd64\nSHA256: ab12\n\n\
                     Package: tzdata\nArchitecture: all\nVersion: 2026a-1\nSHA256: cd34\n\n\
                     Package: old\nVersion: 1\nArchitecture: all\n";
        let sums: Vec<_> = sums_in(index).into_iter().collect();
        let pair = |name: &str, sum: &str| (name.to_owned(), sum.to_owned());
        assert_eq!(
            sums,
            [pair("qemu_1%3a10.0+ds-1_amd64.deb", "ab12"), pair("tzdata_2026a-1_all.deb", "cd34")]
        );
    }

    #[test]
    fn a_full_disk_is_not_called_a_network() {
        let failed = |said: &str| Err(Error::unfit(said, ""));
        let remedy = |said| advised(failed(said), RETRY).unwrap_err().remedy().unwrap().to_owned();
        let said = "E: You don't have enough free space in /c/apt/cache/archives/.";
        assert!(remedy(said).contains("disk space"));
        assert_eq!(remedy("E: Failed to fetch"), RETRY);
    }

    #[test]
    fn versions_are_shown_short() {
        assert_eq!(short_version("1:10.0.13+ds-0+deb13u1"), "10.0.13");
        assert_eq!(short_version("6.12.107-1"), "6.12.107");
        assert_eq!(short_version("4.20.3+127-gc42374a105-0+deb13u1"), "4.20.3");
    }
}
