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

/// Where the device is that firmware starts from, unless it is the CD of the machine's own controller.
const SLOT: &str = "1d.0";
const BDF: &str = "0000:00:1d.0";

impl Start {
    /// The device that firmware starts from, as the guest finds it: one more that moves bytes.
    pub(crate) const fn device(&self) -> Option<&'static str> {
        match self {
            Self::Xen | Self::Bios(_) => None,
            Self::Uefi { .. } | Self::Net(..) => Some(BDF),
        }
    }

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
                command.args(["-device", &format!("qemu-xhci,id=usb,addr={SLOT}")]);
                command.args(["-drive", &format!("if=none,id=stick,readonly=on,{}", file(stick))]);
                command.args(["-device", "usb-storage,bus=usb.0,drive=stick,bootindex=1"]);
            }
            Self::Net(folder, script) => {
                let folder = folder.display().to_string().replace(',', ",,");
                let netdev = format!("user,id=boot,restrict=on,tftp={folder},bootfile={script}");
                command.args(["-netdev", &netdev]);
                let card = format!("e1000,netdev=boot,bootindex=1,addr={SLOT}");
                command.args(["-device", &card]);
            }
        }
        command.args(["-device", "VGA"]);
    }
}

/// A drive's file, as `-drive` wants it: commas inside are doubled.
fn file(path: &Path) -> String {
    format!("format=raw,file={}", path.display().to_string().replace(',', ",,"))
}
