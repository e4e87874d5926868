//! What a machine starts from: Xen as QEMU loads it, or firmware that finds a boot stick or a server.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a machine starts from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Start {
    /// QEMU loads Xen and its modules. There is no screen.
    #[default]
    Xen,
    /// BIOS and a stick, as a CD.
    Bios(PathBuf),
    /// UEFI and a stick in a USB port; its code, and a copy of its variables that it may write.
    Uefi {
        /// The stick's image.
        stick: PathBuf,
        /// The firmware.
        code: PathBuf,
        /// Its variables.
        variables: PathBuf,
    },
    /// BIOS, the card's iPXE, and a folder of files that QEMU serves, with the name of the script.
    Net(PathBuf, &'static str),
}

impl Start {
    /// The devices that firmware starts from, and a screen.
    pub(super) fn plug(&self, command: &mut Command) {
        match self {
            // Without a screen.
            Self::Xen => return,
            Self::Bios(stick) => {
                command.arg("-drive").arg(format!("{},media=cdrom,if=ide", file(stick)));
            }
            Self::Uefi { stick, code, variables } => {
                command.args(["-drive", &format!("if=pflash,unit=0,readonly=on,{}", file(code))]);
                command.args(["-drive", &format!("if=pflash,unit=1,{}", file(variables))]);
                command.args(["-device", "qemu-xhci,id=usb"]);
                command.args(["-drive", &format!("if=none,id=stick,readonly=on,{}", file(stick))]);
                command.args(["-device", "usb-storage,bus=usb.0,drive=stick,bootindex=1"]);
            }
            Self::Net(folder, script) => {
                let folder = folder.display().to_string().replace(',', ",,");
                let netdev = format!("user,id=boot,restrict=on,tftp={folder},bootfile={script}");
                command.args(["-netdev", &netdev]);
                command.args(["-device", "e1000,netdev=boot,bootindex=1"]);
            }
        }
        command.args(["-device", "VGA"]);
    }
}

/// A drive's file, as `-drive` wants it: commas inside are doubled.
fn file(path: &Path) -> String {
    format!("format=raw,file={}", path.display().to_string().replace(',', ",,"))
}
