//! Xen or dom0's kernel of somebody's own, in place of the release's: looked through before any machine is booted.

use std::fs;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};

use super::modules::{BUILTIN, Modules, PCIBACK};
use super::{Stack, packed};
use crate::dom0;
use crate::error::{Context, Error, Result};

/// What is somebody's own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own<'o> {
    /// The hypervisor: `xen.gz`, `xen` or `xen-syms`.
    pub(crate) xen: Option<&'o Path>,
    /// dom0's kernel, a bzImage.
    pub(crate) kernel: Option<&'o Path>,
    /// Where that one's modules are.
    pub(crate) modules: Option<&'o Path>,
}

impl Own<'_> {
    /// Looks at them before anything is fetched or built.
    pub(crate) fn check(&self) -> Result {
        self.xen.map(xen_in).transpose()?;
        self.kernel.map(|file| kernel_in(file, self.modules)).transpose()?;
        Ok(())
    }

    /// The stack with these in it; what is made of them goes to a folder of the run's.
    pub(crate) fn in_stack(&self, stack: Stack, folder: &Path) -> Result<Stack> {
        let stack = match self.xen {
            Some(file) => with_xen(stack, file, folder)?,
            None => stack,
        };
        match self.kernel {
            Some(file) => with_kernel(stack, file, self.modules, folder),
            None => Ok(stack),
        }
    }
}

/// A file's Xen, as QEMU loads it.
fn xen_in(file: &Path) -> Result<Vec<u8>> {
    bootable(read(file)?).map_err(|why| {
        Error::unfit(
            format!("{} is no Xen that QEMU can load: {why}", file.display()),
            "name the `xen.gz`, `xen` or `xen-syms` that `make xen` left in xen/",
        )
    })
}

fn with_xen(mut stack: Stack, file: &Path, folder: &Path) -> Result<Stack> {
    let image = xen_in(file)?;
    fs::create_dir_all(folder).on("create", folder)?;
    let to = folder.join("xen");
    fs::write(&to, image).on("write", &to)?;
    stack.xen = fs::canonicalize(&to).on("find", &to)?;
    stack.xen_of = Some(name(file));
    Ok(stack)
}

/// What QEMU's multiboot loader takes: unpacked, and 32 bits wide.
fn bootable(bytes: Vec<u8>) -> std::result::Result<Vec<u8>, String> {
    const SAID: &[u8] = b"Xen version %d.%d";
    const MULTIBOOT: [u8; 4] = 0x1bad_b002_u32.to_le_bytes();

    let bytes = packed::unpacked(bytes).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"MZ") {
        return Err("it is an EFI program".to_owned());
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(format!("it begins with {:02x?}", &bytes[..bytes.len().min(4)]));
    }
    let image = if bytes.get(4) == Some(&2) { narrowed(&bytes)? } else { bytes };
    // Where the loader looks for it.
    let head = &image[..image.len().min(8192)];
    if !head.chunks_exact(4).any(|word| word == MULTIBOOT) {
        return Err("it has no multiboot header".to_owned());
    }
    if !image.windows(SAID.len()).any(|window| window == SAID) {
        return Err("it is another program: it nowhere says which version of Xen it is".to_owned());
    }
    Ok(image)
}

/// `xen-syms` as the Xen build's own last step would have it: one segment, at the physical address, in a file of 32 bits.
fn narrowed(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
    const HEADERS: u32 = 128;
    let say = |error: object::Error| error.to_string();
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(say)?;
    let endian = header.endian().map_err(say)?;
    let mut loads = header.program_headers(endian, bytes).map_err(say)?.iter();
    let load = loads.find(|segment| segment.p_type(endian) == PT_LOAD).ok_or("nothing to load")?;
    let data = load.data(endian, bytes).map_err(|()| "it is cut off")?;
    let small = |value: u64| u32::try_from(value).map_err(|_| format!("{value:#x} is too far up"));
    let (entry, start) = (small(header.e_entry(endian))?, small(load.p_paddr(endian))?);
    let (file, memory) = (small(data.len() as u64)?, small(load.p_memsz(endian))?);

    let mut out = b"\x7fELF\x01\x01\x01".to_vec();
    out.resize(16, 0);
    // An executable for the i386, version 1; its program header comes next, and there is no section.
    out.extend(0x0003_0002_u32.to_le_bytes());
    for word in [1, entry, 52, 0, 0, 0x0020_0034, 1, 0] {
        out.extend(u32::to_le_bytes(word));
    }
    for word in [PT_LOAD, HEADERS, start, start, file, memory, 7, 64] {
        out.extend(u32::to_le_bytes(word));
    }
    out.resize(HEADERS as usize, 0);
    out.extend(data);
    Ok(out)
}

/// The version of a file's kernel, and its modules.
fn kernel_in(file: &Path, modules: Option<&Path>) -> Result<(String, Modules)> {
    let bytes = read(file)?;
    let version = kernel_version(&bytes).ok_or_else(|| {
        Error::unfit(
            format!("{} is no kernel that dom0 can boot: it has no bzImage header", file.display()),
            "name the bzImage that `make` left in arch/x86/boot/, or a /boot/vmlinuz-*",
        )
    })?;
    if is_pv(&bytes) == Some(false) {
        return Err(Error::unfit(
            format!("{} ({version}) has no entry for a Xen PV domain", file.display()),
            "build it with CONFIG_XEN_PV=y and CONFIG_XEN_DOM0=y",
        ));
    }
    let modules = modules_of(file, modules, &version)?;
    Ok((version, modules))
}

fn with_kernel(
    mut stack: Stack,
    file: &Path,
    modules: Option<&Path>,
    folder: &Path,
) -> Result<Stack> {
    let (version, modules) = kernel_in(file, modules)?;
    fs::create_dir_all(folder).on("create", folder)?;
    let place = |name| folder.join(name);
    (stack.modules, stack.drivers) = (place("modules.cpio"), place("drivers.cpio"));
    dom0::pack_modules(&modules, &stack.modules)?;
    dom0::pack_peer(&stack.root(), &modules, &stack.drivers)?;
    stack.pciback_stays = modules.has_built_in(PCIBACK);
    stack.dom0_kernel = fs::canonicalize(file).on("find", file)?;
    stack.versions.linux = format!("{version} ({})", name(file));
    Ok(stack)
}

/// The modules of this kernel, with none missing that dom0 needs.
fn modules_of(kernel: &Path, told: Option<&Path>, version: &str) -> Result<Modules> {
    let folder = match told {
        Some(folder) => folder.to_owned(),
        None => usual(kernel, version).ok_or_else(|| {
            Error::unfit(
                format!("the modules of {} ({version}) are not in /lib/modules", kernel.display()),
                "name their folder, or the kernel's build tree, with --dom0-modules",
            )
        })?,
    };
    // Of a root with several kernels in it, this one's.
    let nearest = [folder.join("lib/modules").join(version), folder.join(version)];
    let folder = nearest.into_iter().find(|folder| folder.is_dir()).unwrap_or(folder);
    let modules = Modules::in_folder(&folder)?;
    let built = modules.kernel()?.filter(|built| built != version);
    if let Some(other) = built {
        return Err(Error::unfit(
            format!("the modules in {} are for {other}, not {version}", folder.display()),
            "install those of this kernel (make modules_install), and name their folder with --dom0-modules",
        ));
    }
    match modules.missing()[..] {
        [] => Ok(modules),
        ref missing => Err(Error::unfit(
            format!("{} has not all that dom0 needs: {}", folder.display(), missing.join(", ")),
            format!(
                "set CONFIG_XEN_BACKEND, CONFIG_XEN_PCIDEV_BACKEND, CONFIG_XEN_DEV_EVTCHN, CONFIG_XEN_GNTDEV, \
                 CONFIG_XEN_GRANT_DEV_ALLOC, CONFIG_XEN_PRIVCMD, CONFIG_XENFS, CONFIG_VIRTIO_PCI and \
                 CONFIG_VIRTIO_CONSOLE to m or y; what is y is known by its {BUILTIN}"
            ),
        )),
    }
}

/// Where modules are if nobody says so: in the tree that the kernel was built in, or where this host has its own.
fn usual(kernel: &Path, version: &str) -> Option<PathBuf> {
    let whole = fs::canonicalize(kernel).ok()?;
    let tree = whole.ancestors().find(|folder| folder.join(BUILTIN).is_file());
    let installed = Path::new("/lib/modules").join(version);
    tree.map(Path::to_owned).or_else(|| installed.is_dir().then_some(installed))
}

/// Offsets in a bzImage (Linux, Documentation/arch/x86/boot.rst).
mod header {
    pub(super) const SECTORS: usize = 0x1f1;
    pub(super) const MAGIC: std::ops::Range<usize> = 0x202..0x206;
    pub(super) const VERSION: usize = 0x20e;
    pub(super) const PAYLOAD: usize = 0x248;
    pub(super) const LENGTH: usize = 0x24c;
}

/// The first word of what a kernel calls itself; none if it is no bzImage.
fn kernel_version(bytes: &[u8]) -> Option<String> {
    let at = header::VERSION;
    let place = u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
    let text = bytes.get(usize::from(place) + 0x200..)?;
    let word = text.split(|byte| matches!(byte, b' ' | 0)).next()?;
    let is_kernel = bytes.get(header::MAGIC)? == b"HdrS" && place != 0;
    is_kernel.then(|| String::from_utf8_lossy(word).into_owned())
}

/// Whether Xen finds a PV entry in a bzImage; none if it can't be unpacked here, as Xen may know more ways than we do.
fn is_pv(bytes: &[u8]) -> Option<bool> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let sectors = usize::from(*bytes.get(header::SECTORS)?).max(1);
    let start = (sectors + 1) * 512 + usize::try_from(number(header::PAYLOAD)?).ok()?;
    let end = start + usize::try_from(number(header::LENGTH)?).ok()?;
    let payload = bytes.get(start..end)?;
    packed::kind(payload)?;
    has_pv_entry(&packed::unpacked(payload.to_vec()).ok()?)
}

fn has_pv_entry(kernel: &[u8]) -> Option<bool> {
    const ENTRY: u32 = 1;
    let header = FileHeader64::<Endianness>::parse(kernel).ok()?;
    let endian = header.endian().ok()?;
    for segment in header.program_headers(endian, kernel).ok()? {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let mut notes = segment.notes(endian, kernel).ok()??;
        while let Some(note) = notes.next().ok()? {
            if note.name() == b"Xen" && note.n_type(endian) == ENTRY {
                return Some(true);
            }
        }
    }
    Some(false)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).on("read", file)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::modules::{CHANNEL, DOM0};

    const PHYSICAL: u64 = 0x20_0000;

    /// An ELF file of 64 bits with one segment.
    fn elf64(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend(0x003e_0002_u32.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        for word in [PHYSICAL + 0x10, 64, 0] {
            out.extend(u64::to_le_bytes(word));
        }
        for half in [0, 0, 64, 56, 1, 0, 0, 0] {
            out.extend(u16::to_le_bytes(half));
        }
        out.extend(kind.to_le_bytes());
        out.extend(7_u32.to_le_bytes());
        let length = data.len() as u64;
        for word in [120, 0xffff_82d0_4020_0000, PHYSICAL, length, length + 0x1000, 8] {
            out.extend(u64::to_le_bytes(word));
        }
        out.extend(data);
        out
    }

    fn xen_syms() -> Vec<u8> {
        elf64(PT_LOAD, b"\x02\xb0\xad\x1b....Xen version %d.%d%s")
    }

    /// A bzImage whose payload is this, compressed or not.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 1024];
        out[header::SECTORS] = 1;
        out[header::MAGIC].copy_from_slice(b"HdrS");
        out[header::VERSION..][..2].copy_from_slice(&0x100_u16.to_le_bytes());
        out[0x300..][..14].copy_from_slice(b"7.2.0-own (me)");
        let length = u32::try_from(payload.len()).unwrap();
        out[header::LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        out.extend(payload);
        out
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    }

    /// A note of Xen's: 1 is a PV entry, 18 one for PVH.
    fn note(number: u8) -> Vec<u8> {
        elf64(PT_NOTE, &[&[4, 0, 0, 0, 4, 0, 0, 0, number, 0, 0, 0][..], b"Xen\0\0\0\0\0"].concat())
    }

    #[test]
    fn a_xen_is_taken_as_each_step_of_its_build_leaves_it() {
        let narrow = bootable(xen_syms()).unwrap();
        assert_eq!(bootable(narrow.clone()).unwrap(), narrow, "as the build would narrow it");
        assert_eq!(bootable(gzip(&narrow)).unwrap(), narrow);
        let header = object::elf::FileHeader32::<Endianness>::parse(&*narrow).unwrap();
        assert_eq!(header.e_entry.get(Endianness::Little), 0x20_0010);
        let segments = header.program_headers(Endianness::Little, &*narrow).unwrap();
        let [load] = segments else { panic!("{} segments", segments.len()) };
        let number = |field: object::U32<Endianness>| field.get(Endianness::Little);
        assert_eq!(u64::from(number(load.p_paddr)), PHYSICAL);
        assert_eq!(number(load.p_memsz) - number(load.p_filesz), 0x1000);
        let data = load.data(Endianness::Little, &*narrow).unwrap();
        assert!(data.ends_with(b"Xen version %d.%d%s"));
    }

    #[test]
    fn what_is_no_xen_is_told_by_what_it_is() {
        let why = |bytes: &[u8]| bootable(bytes.to_vec()).unwrap_err();
        assert_eq!(why(b"BZh9"), "bzip2 is not unpacked here");
        assert_eq!(why(b"MZ"), "it is an EFI program");
        assert!(why(b"#!/bin/sh").contains("it begins with"));
        assert!(why(&elf64(PT_LOAD, b"a program")).contains("multiboot"));
        assert!(why(&elf64(PT_LOAD, b"\x02\xb0\xad\x1bMemtest")).contains("another program"));
        assert!(why(&xen_syms()[..130]).contains("cut off"));
    }

    #[test]
    fn a_kernel_says_its_version_and_whether_xen_can_start_it() {
        let of = |payload: &[u8]| (kernel_version(&bzimage(payload)), is_pv(&bzimage(payload)));
        let version = Some("7.2.0-own".to_owned());
        assert_eq!(of(&gzip(&note(1))), (version.clone(), Some(true)));
        assert_eq!(of(&gzip(&note(18))), (version.clone(), Some(false)));
        assert_eq!(of(b"\x02\x21\x4c\x18"), (version, None), "by a way that Xen may know");
        assert_eq!(kernel_version(&note(1)), None);
        assert_eq!(kernel_version(b"MZ"), None);
    }

    #[test]
    fn the_modules_have_to_be_all_there_and_the_kernels_own() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("lib/modules/7.2.0-own");
        fs::create_dir_all(&folder).unwrap();
        for name in DOM0.iter().chain(&CHANNEL) {
            fs::write(folder.join(format!("{name}.ko")), "\0vermagic=7.2.0-own SMP\0").unwrap();
        }
        let look = |version| modules_of("bzImage".as_ref(), Some(home.path()), version);
        let error = look("7.2.0-own").unwrap_err();
        assert!(error.to_string().ends_with("dom0 needs: xen-pciback"), "{error}");
        fs::write(folder.join(BUILTIN), "kernel/drivers/xen/xen-pciback/xen-pciback.ko\n").unwrap();
        assert!(look("7.2.0-own").unwrap().has_built_in(PCIBACK));
        let error = look("7.3.0").unwrap_err().to_string();
        assert!(error.contains("are for 7.2.0-own, not 7.3.0"), "{error}");
    }

    #[test]
    fn a_kernel_in_its_build_tree_has_its_modules_there() {
        let tree = tempfile::tempdir().unwrap();
        let boot = tree.path().join("arch/x86/boot");
        fs::create_dir_all(&boot).unwrap();
        let kernel = boot.join("bzImage");
        fs::write(&kernel, "").unwrap();
        assert_eq!(usual(&kernel, "7.2.0-own"), None);
        fs::write(tree.path().join(BUILTIN), "").unwrap();
        let whole = fs::canonicalize(tree.path()).unwrap();
        assert_eq!(usual(&kernel, "7.2.0-own"), Some(whole));
    }
}
