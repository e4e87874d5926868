//! The guest's image: built here, stripped for the machine, kept whole for the names in a backtrace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use addr2line::Loader;
use object::Endianness;
use object::elf::{FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use serde::Deserialize;

use crate::child;
use crate::error::{Advice, Context, Error, Result};
use crate::progress::Stage;

/// The image as the compiler left it.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// The file.
    pub(crate) elf: PathBuf,
}

impl Guest {
    /// Builds it, or takes the given file instead.
    pub(crate) fn get(given: Option<&Path>) -> Result<Self> {
        if let Some(elf) = given {
            let elf = fs::canonicalize(elf).on("find", elf)?;
            return Ok(Self { elf });
        }
        build()
    }

    /// Writes what Xen needs of it, and gives the size.
    pub(crate) fn strip(&self, to: &Path) -> Result<u64> {
        let bytes = fs::read(&self.elf).on("read", &self.elf)?;
        let stripped = strip(&bytes).map_err(|why| {
            Error::unfit(
                format!("{} can't be booted by Xen: {why}", self.elf.display()),
                "build it for x86_64-unknown-none with linker.ld",
            )
        })?;
        fs::write(to, &stripped).on("write", to)?;
        Ok(stripped.len() as u64)
    }

    /// Adds function, file and line to each backtrace line `  #N 0xADDRESS` of a console text.
    pub(crate) fn symbolise(&self, text: &str) -> Vec<String> {
        let Ok(loader) = Loader::new(&self.elf) else {
            return Vec::new();
        };
        let frames = text.lines().filter_map(|line| Some((line, frame_address(line)?)));
        frames
            .map(|(line, address)| format!("{} {}", line.trim_end(), place(&loader, address)))
            .collect()
    }
}

fn build() -> Result<Guest> {
    let stage = Stage::start("build", "guest (release, x86_64-unknown-none)");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked", "--target", "x86_64-unknown-none"]);
    command.args(["--bin", "pvbounce", "--message-format", "json-render-diagnostics"]);
    command.stdin(Stdio::null());
    let printed = child::output(&mut command).advise(
        "see the compiler's message above; `./run.sh check` runs all checks on the source",
    )?;
    let elf = printed.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let elf = elf.filter_map(|message| message.executable).next_back();
    let elf =
        elf.ok_or_else(|| Error::unfit("cargo named no image", "check [[bin]] in Cargo.toml"))?;
    let here = std::env::current_dir().unwrap_or_default();
    stage.done(elf.strip_prefix(here).unwrap_or(&elf).display().to_string());
    Ok(Guest { elf })
}

/// The part of cargo's messages that says where a program went.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// An ELF file cut after its last segment, without section headers. Xen loads segments and reads the notes through
/// PT_NOTE; what is cut is symbols and debug data.
fn strip(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
    const SECTION_OFFSET: std::ops::Range<usize> = 40..48;
    const SECTION_COUNTS: std::ops::Range<usize> = 58..64;

    let header = FileHeader64::<Endianness>::parse(bytes).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    let segments = header.program_headers(endian, bytes).map_err(|error| error.to_string())?;
    if !segments.iter().any(|segment| segment.p_type(endian) == PT_NOTE) {
        return Err("it has no PT_NOTE segment, where Xen looks for the notes".to_owned());
    }
    let ends = segments.iter().map(|s| s.p_offset(endian).saturating_add(s.p_filesz(endian)));
    let end = ends.max().and_then(|end| usize::try_from(end).ok()).unwrap_or(0);
    let mut out = bytes.get(..end).ok_or("a segment lies outside the file")?.to_vec();
    let short = || "the file is shorter than its header".to_owned();
    out.get_mut(SECTION_OFFSET).ok_or_else(short)?.fill(0);
    // Entry size, count, index of the names: Xen refuses a size that is neither 0 nor right, so it stays.
    out.get_mut(SECTION_COUNTS).ok_or_else(short)?[2..].fill(0);
    Ok(out)
}

fn frame_address(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    words.next()?.strip_prefix('#')?.parse::<u32>().ok()?;
    u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()
}

/// A source file's path without what is the same for all: the repository's place, or that of Rust's own libraries.
fn short(file: &str) -> &str {
    let here = std::env::current_dir().unwrap_or_default();
    let ours = file.strip_prefix(&*here.to_string_lossy()).and_then(|file| file.strip_prefix('/'));
    ours.or_else(|| Some(file.strip_prefix("/rustc/")?.split_once("/library/")?.1)).unwrap_or(file)
}

/// `function at file:line`; inlined callers follow after `in`.
fn place(loader: &Loader, address: u64) -> String {
    // A return address belongs to the call before it.
    let address = address.saturating_sub(1);
    let mut text = String::new();
    let Ok(mut frames) = loader.find_frames(address) else {
        return "?".to_owned();
    };
    while let Ok(Some(frame)) = frames.next() {
        let name = frame.function.as_ref().and_then(|f| Some(f.demangle().ok()?.into_owned()));
        let at = frame.location.and_then(|l| Some(format!("{}:{}", short(l.file?), l.line?)));
        let link = if text.is_empty() { "" } else { " in " };
        text += &format!("{link}{} at {}", name.unwrap_or("?".into()), at.unwrap_or("?".into()));
    }
    match (text.is_empty(), loader.find_symbol(address)) {
        (false, _) => text,
        (true, Some(name)) => name.to_owned(),
        (true, None) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backtrace_lines_are_told_from_others() {
        assert_eq!(frame_address("  #0 0xffffffff80101234"), Some(0xffff_ffff_8010_1234));
        assert_eq!(frame_address("  # Subtest: boot"), None);
        assert_eq!(frame_address("ok 1 x"), None);
    }

    #[test]
    fn paths_are_shown_short() {
        assert_eq!(short("/rustc/0123/library/core/src/panicking.rs"), "core/src/panicking.rs");
        assert_eq!(short("/elsewhere/src/x.rs"), "/elsewhere/src/x.rs");
        let ours = std::env::current_dir().unwrap().join("src/main.rs");
        assert_eq!(short(ours.to_str().unwrap()), "src/main.rs");
    }

    #[test]
    fn what_is_no_elf_is_refused() {
        assert!(strip(b"not an ELF file").is_err());
    }
}
