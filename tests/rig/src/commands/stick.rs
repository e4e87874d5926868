//! `stick`: makes the boot stick; or starts it in a machine with a screen, and looks at that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use protocol::report::ktap;

use super::home::{self, Home};
use super::{Bench, conclude, smoke};
use crate::artifacts::{self, Tools};
use crate::cli::{Firmware, Options};
use crate::error::{Context, Result};
use crate::guest::Guest;
use crate::job::Job;
use crate::judge::{Problem, Verdict};
use crate::machine::{DEFAULT_NIC, Device, Machine, Start};
use crate::picture::Picture;
use crate::report::JobRecord;
use crate::stick::{self, Contents};

/// The guest's memory in MiB unless told otherwise: that of boot/grub.cfg and boot/pvbounce.ipxe.
const MEMORY: u32 = 512;
const SCRIPT: &str = "pvbounce.ipxe";
/// What the guest says when it waits for a key.
const STAYS: &str = "The page stays on the screen";

pub(super) fn run(
    options: &Options,
    firmware: Option<Firmware>,
    picture: Option<&Path>,
) -> Result<ExitCode> {
    let Some(firmware) = firmware else {
        return make(options);
    };
    let bench = Bench::prepare("stick", options)?;
    let record = boot(&bench, firmware, options, bench.folder.clone())?;
    let taken = bench.folder.join(png(firmware));
    if let Some(to) = picture.filter(|_| taken.exists()) {
        fs::copy(&taken, to).on("copy", &taken)?;
    }
    println!("the screen: {}", picture.unwrap_or(&taken).display());
    conclude(bench.record(vec![record]), &bench)
}

/// What every `./run.sh test` starts one by.
pub(super) const QUICK: [Firmware; 2] = [Firmware::Bios, Firmware::Uefi];

/// One suite from a stick, in a machine with a folder of its own.
pub(super) fn quick(bench: &Bench, options: &Options, firmware: Firmware) -> Result<JobRecord> {
    let mut options = options.clone();
    options.suite = Some("boot".to_owned());
    boot(bench, firmware, &options, bench.own_folder(&job_name(firmware))?)
}

/// The image, in `target/`.
fn make(options: &Options) -> Result<ExitCode> {
    let release = options.release()?;
    options.own().check()?;
    let (stack, tools) = (artifacts::ensure(release)?, Tools::ensure(release)?);
    let guest = Guest::get(options.guest.as_deref())?;
    let folder = Path::new("target");
    fs::create_dir_all(folder).on("create", folder)?;
    let stack = options.own().in_stack(stack, &folder.join("own"))?;
    let stripped = folder.join("pvbounce.elf");
    guest.strip(&stripped)?;
    let words = words(options);
    let contents =
        Contents { xen: &stack.xen, guest: &stripped, words: &words, memory: options.memory };
    let image = stick::make(&tools, &contents, folder)?;
    let kib = fs::metadata(&image).on("read", &image)?.len().div_ceil(1024);
    let image = image.display();
    println!(
        "{image}  {kib} KiB; onto a stick, all of which it replaces: dd if={image} of=/dev/sdX bs=1M conv=fsync"
    );
    println!(
        "start the board from it, by BIOS or UEFI (no secure boot): the verdict is on the screen, the report on COM1, 115200 8n1"
    );
    Ok(ExitCode::SUCCESS)
}

/// What the guest is told in the menu's first entry; nothing for what boot/grub.cfg says.
fn words(options: &Options) -> String {
    let mut words = options.words();
    if words.is_empty() && options.cmdline.is_empty() {
        return String::new();
    }
    if options.suite.is_none() {
        words.insert(0, home::WORDS.to_owned());
    }
    words.push(options.cmdline.clone());
    words.join(" ").trim().to_owned()
}

/// Starts it, takes a picture once there is a verdict, presses a key, and judges: by the serial line, and the picture.
fn boot(
    bench: &Bench,
    firmware: Firmware,
    options: &Options,
    folder: PathBuf,
) -> Result<JobRecord> {
    let mut job = Job::new(job_name(firmware), "no-device.cfg", None);
    job.words = options.words();
    job.raw_words.clone_from(&options.cmdline);
    job.memory = Some(options.memory.unwrap_or(MEMORY));
    let (nic, device) = options.asked_for().map_or((DEFAULT_NIC, None), smoke::device);
    // Emulated firmware takes its time.
    job.limit = options.limit(90 + device.map_or(90, Device::limit));
    if let Some(device) = device {
        job = home::with(job, device, Home::USUAL.iommu);
    }
    let home = Home { nic, ..Home::USUAL };
    let start = start(bench, firmware, options, &folder)?;
    // QEMU works in another folder.
    let whole = |folder: &Path| fs::canonicalize(folder).on("find", folder);
    let ppm = whole(&folder)?.join("screen.ppm");
    let png = whole(&bench.folder)?.join(png(firmware));
    let mut verdict = String::new();
    let mut look = |machine: &mut Machine, line: &str| {
        let Some(qmp) = &mut machine.qmp else {
            return Ok(());
        };
        if let Some(word) = line.strip_prefix(ktap::RESULT) {
            word.trim().clone_into(&mut verdict);
            qmp.screendump(&ppm, "ppm")?;
            qmp.screendump(&png, "png")
        } else if line.starts_with(STAYS) {
            qmp.press("ret")
        } else {
            Ok(())
        }
    };
    let mut record = home::boot_from(bench, &job, home, (start, folder), &mut look)?;
    if ppm.exists() {
        let said = Picture::read(&ppm)?.code();
        let seen = wrong(&record, &verdict, said.as_deref());
        seen.into_iter().for_each(|seen| record.add(Verdict::Failure, seen));
        fs::remove_file(&ppm).on("remove", &ppm)?;
    }
    Ok(record)
}

const fn name(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
        Firmware::Ipxe => "ipxe",
    }
}

fn job_name(firmware: Firmware) -> String {
    format!("stick-{}", name(firmware))
}

fn png(firmware: Firmware) -> String {
    format!("screen-{}.png", name(firmware))
}

/// What the machine starts from, made in its folder.
fn start(bench: &Bench, firmware: Firmware, options: &Options, folder: &Path) -> Result<Start> {
    let folder = fs::canonicalize(folder).on("find", folder)?;
    let (xen, guest) = (&bench.stack.xen, bench.image());
    if firmware == Firmware::Ipxe {
        let served = folder.join("tftp");
        fs::create_dir_all(&served).on("create", &served)?;
        let script = PathBuf::from("boot").join(SCRIPT);
        for (from, to) in [(xen, "xen"), (&guest, "pvbounce")] {
            fs::copy(from, served.join(to)).on("copy", from)?;
        }
        let text = fs::read_to_string(&script).on("read", &script)?;
        let to = served.join(SCRIPT);
        fs::write(&to, told(&text, &words(options), options.memory)).on("write", &to)?;
        return Ok(Start::Net(served, SCRIPT));
    }
    let tools = Tools::ensure(bench.release)?;
    let words = words(options);
    let contents = Contents { xen, guest: &guest, words: &words, memory: options.memory };
    let stick = stick::make(&tools, &contents, &folder)?;
    if firmware == Firmware::Bios {
        return Ok(Start::Bios(stick));
    }
    let [code, fresh] = tools.ovmf();
    let variables = folder.join("uefi-variables.fd");
    fs::copy(&fresh, &variables).on("copy", &fresh)?;
    Ok(Start::Uefi { stick, code, variables })
}

/// The script with other words for the guest, and other memory.
fn told(script: &str, words: &str, memory: Option<u32>) -> String {
    let words = if words.is_empty() { home::WORDS } else { words };
    let mib = |mib: u32| format!("{mib}M");
    script.replace(home::WORDS, words).replace(&mib(MEMORY), &mib(memory.unwrap_or(MEMORY)))
}

/// What is wrong with what the screen's code says, beside the last line of the report and its checks.
fn wrong(record: &JobRecord, verdict: &str, said: Option<&str>) -> Option<Problem> {
    let remedy = "look at the picture in the run's folder";
    let Some(said) = said else {
        let detail = "no QR code can be read from the picture of the screen";
        return Some(Problem::rig("screen-unread", detail, remedy));
    };
    let checks = || record.suites.iter().flat_map(|suite| &suite.checks);
    let held = checks().filter(|check| check.verdict == Verdict::Success).count();
    let start = format!("{verdict} {held}/{}", checks().count());
    let codes = said.split_once(&start).filter(|(name, _)| name.starts_with("PVBOUNCE "));
    let known = |word: &str| {
        word.starts_with('+') || checks().any(|check| check.code.eq_ignore_ascii_case(word))
    };
    let agrees = codes.is_some_and(|(_, codes)| {
        let mut words = codes.split_whitespace();
        let holds = verdict == Verdict::Success.word();
        holds == codes.is_empty() && words.all(known)
    });
    let detail = format!("the code on the screen says `{said}`, the report {start}");
    (!agrees).then(|| Problem::rig("screen-wrong", detail, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::LoggedRun;
    use crate::report::logged;

    /// A run with a check that held and another one.
    fn record(second: &str) -> JobRecord {
        let text = format!(
            "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..2\n  ok 1 guards\n  {second}\nok 1 dma"
        );
        let guest = text.lines().map(str::to_owned).collect();
        logged("stick", LoggedRun { guest, ..LoggedRun::default() }, None)
    }

    #[test]
    fn a_screen_has_to_say_what_the_report_does() {
        let good = record("ok 2 frames # SKIP no-screen: x");
        let bad = record("# reason: dma-overrun: x\n  not ok 2 frames # FAILURE dma-overrun: x");
        let code = |record: &JobRecord, verdict: &str, said: &str| {
            wrong(record, verdict, Some(said)).map(|problem| problem.code)
        };
        assert_eq!(code(&good, "SUCCESS", "PVBOUNCE 0.1.0 SUCCESS 1/2"), None);
        assert_eq!(code(&bad, "FAILURE", "PVBOUNCE 0.1.0 FAILURE 1/2 DMA-OVERRUN"), None);
        assert_eq!(code(&bad, "FAILURE", "PVBOUNCE 0.1.0 FAILURE 1/2 +3"), None);
        for (record, verdict, said) in [
            (&good, "SUCCESS", "PVBOUNCE 0.1.0 SUCCESS 2/2"),
            (&good, "SUCCESS", "PVBOUNCE 0.1.0 FAILURE 1/2"),
            (&good, "SUCCESS", "PVBOUNCE 0.1.0 SUCCESS 1/2 NO-SCREEN"),
            (&good, "SUCCESS", "SUCCESS 1/2"),
            (&good, "FAILURE", "PVBOUNCE 0.1.0 SUCCESS 1/2"),
            (&bad, "FAILURE", "PVBOUNCE 0.1.0 FAILURE 1/2"),
            (&bad, "FAILURE", "PVBOUNCE 0.1.0 FAILURE 1/2 LEAK"),
            (&good, "SUCCESS", ""),
        ] {
            assert_eq!(code(record, verdict, said).as_deref(), Some("screen-wrong"), "{said}");
        }
        assert_eq!(wrong(&good, "SUCCESS", None).unwrap().code, "screen-unread");
    }

    #[test]
    fn the_script_of_the_net_says_what_the_menu_does() {
        let script = include_str!("../../../../boot/pvbounce.ipxe");
        assert_eq!(told(script, "", None), script);
        let other = told(script, "suite=boot", Some(64));
        assert!(other.contains("module pvbounce suite=boot end=stay"), "{other}");
        assert!(other.contains("dom0_mem=64M,max:64M"), "{other}");
        let menu = include_str!("../../../../boot/grub.cfg");
        assert!(menu.contains(&format!("set memory={MEMORY};")) && menu.contains(home::WORDS));
    }
}
