//! The boot stick: one image for CD and USB, for BIOS and UEFI, with Xen and the guest as its dom0.
//!
//! ```text
//! boot/early.cfg -> grub-mkimage   BIOS: boot/grub/bios.img, as El Torito and from the image's first sector
//!                                  UEFI: EFI/BOOT/BOOTX64.EFI in a FAT of its own, the image's second partition
//! boot/grub.cfg  -> boot/grub/grub.cfg, with words.cfg beside it for what the run was told
//! Xen, guest     -> boot/xen, boot/pvbounce
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::artifacts::{Tools, remove};
use crate::error::{Context, Error, Result};

/// GRUB's modules for both kinds of firmware: the menu, the medium, Xen's boot protocol, the serial line.
const MODULES: &str = "normal configfile echo test search search_fs_file iso9660 part_msdos part_gpt fat multiboot2 \
                       serial terminal minicmd";
/// Its disks by BIOS.
const BIOS: &str = "biosdisk";
/// Its screen by UEFI, and by nothing else: what sets a card's registers itself changes the mode, and Xen, which asks the
/// firmware, has another one.
const UEFI: &str = "efi_gop";
/// Bytes of the FAT that UEFI reads.
const FAT: u64 = 4 << 20;

/// What goes onto a stick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'c> {
    /// The hypervisor.
    pub(crate) xen: &'c Path,
    /// The guest, stripped.
    pub(crate) guest: &'c Path,
    /// The guest's words in the menu's first entry; empty for those of boot/grub.cfg.
    pub(crate) words: &'c str,
    /// The guest's memory in MiB, if not that of boot/grub.cfg.
    pub(crate) memory: Option<u32>,
}

/// Makes the image in a folder, and gives its name.
pub(crate) fn make(tools: &Tools, contents: &Contents<'_>, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("stick");
    remove(&tree)?;
    let grub = tree.join("boot/grub");
    fs::create_dir_all(&grub).on("create", &grub)?;
    copy(contents.xen, &tree.join("boot/xen"))?;
    copy(contents.guest, &tree.join("boot/pvbounce"))?;
    copy("boot/grub.cfg".as_ref(), &grub.join("grub.cfg"))?;
    let words = grub.join("words.cfg");
    fs::write(&words, words_cfg(contents)?).on("write", &words)?;

    let (bios, uefi) = (grub.join("bios.img"), tree.with_extension("efi"));
    mkimage(tools, "i386-pc", "i386-pc-eltorito", BIOS, &bios)?;
    mkimage(tools, "x86_64-efi", "x86_64-efi", UEFI, &uefi)?;
    let fat = tree.with_extension("fat");
    make_fat(tools, &uefi, &fat)?;

    let image = folder.join("pvbounce.iso");
    let mut command = tools.program("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-V", "PVBOUNCE"]);
    command.args(["-b", "boot/grub/bios.img", "-no-emul-boot", "-boot-load-size", "4"]);
    command.args(["-boot-info-table", "--grub2-boot-info", "--grub2-mbr"]);
    command.arg(tools.grub("i386-pc").join("boot_hybrid.img"));
    command.args(["-append_partition", "2", "0xef"]).arg(&fat).arg("-appended_part_as_gpt");
    command.args(["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::"]);
    command.arg("-no-emul-boot").arg("-o").arg(&image).arg(&tree);
    tools.run(&mut command)?;
    remove(&tree)?;
    for part in [&uefi, &fat] {
        fs::remove_file(part).on("remove", part)?;
    }
    Ok(image)
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::copy(from, to).map(drop).on("copy", from)
}

/// GRUB for a platform, with all of its modules in one file.
fn mkimage(tools: &Tools, platform: &str, format: &str, more: &str, to: &Path) -> Result {
    let early = to.with_extension("cfg");
    fs::write(&early, early_cfg()?).on("write", &early)?;
    let mut command = tools.program("grub-mkimage");
    command.arg("-d").arg(tools.grub(platform)).args(["-O", format, "-p", "/boot/grub"]);
    command.arg("-c").arg(&early).arg("-o").arg(to);
    command.args(MODULES.split_whitespace()).args(more.split_whitespace());
    tools.run(&mut command)
}

/// boot/early.cfg without its comments: GRUB's own image takes them for commands, and what follows one that fails finds nothing.
fn early_cfg() -> Result<String> {
    let text = fs::read_to_string("boot/early.cfg").on("read", "boot/early.cfg")?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// A FAT with the program that UEFI starts from a removable medium (UEFI 2.10, 3.5.1.1).
fn make_fat(tools: &Tools, program: &Path, to: &Path) -> Result {
    let fat = fs::File::create(to).on("create", to)?;
    fat.set_len(FAT).on("write", to)?;
    let mtools = |words: &[&str]| {
        let mut command = tools.program("mtools");
        command.args(["-c", words[0], "-i"]).arg(to).args(&words[1..]);
        command
    };
    tools.run(&mut mtools(&["mformat", "-v", "PVBOUNCE", "::"]))?;
    tools.run(&mut mtools(&["mmd", "::/EFI", "::/EFI/BOOT"]))?;
    tools.run(mtools(&["mcopy"]).arg(program).arg("::/EFI/BOOT/BOOTX64.EFI"))
}

/// What GRUB reads behind its own defaults. Nothing in a word may mean anything to GRUB.
fn words_cfg(contents: &Contents<'_>) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=,.:/_- ".contains(c);
    if let Some(odd) = contents.words.chars().find(|c| !plain(*c)) {
        return Err(Error::unfit(
            format!("`{odd}` in `{}` can't stand in a line of GRUB's", contents.words),
            "use words of the guest's command line, as `./run.sh --help` and README have them",
        ));
    }
    let words = match contents.words.trim() {
        "" => String::new(),
        words => format!("set words=\"{words}\"\n"),
    };
    let memory =
        contents.memory.map(|mib| format!("if [ -z \"$memory\" ]; then set memory={mib}; fi\n"));
    Ok(words + &memory.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &str, memory: Option<u32>) -> Result<String> {
        words_cfg(&Contents { xen: "".as_ref(), guest: "".as_ref(), words, memory })
    }

    #[test]
    fn words_go_into_the_menu_as_they_are_and_nothing_else_does() {
        assert_eq!(words(" ", None).unwrap(), "");
        let line = "suite=boot,dma dev=0000:00:05.0 echo=10.0.2.2:7";
        assert_eq!(words(line, None).unwrap(), format!("set words=\"{line}\"\n"));
        assert!(words("", Some(64)).unwrap().contains("set memory=64;"));
        for odd in ["a\"b", "$(x)", "a;b", "a\nb", "a'b", "{", "\\", "é"] {
            assert!(words(odd, None).is_err(), "{odd}");
        }
    }
}
