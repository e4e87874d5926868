//! QEMU's command line, part by part.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Accel, BRIDGES, Bridge, Card, Device, Iommu, REPORTING, Start, VIRTIO, Without};
use crate::artifacts::{Release, Stack};
use crate::child;

/// Where the loader is in a stack's unpacked packages.
const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Everything that QEMU is told.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where its pieces are.
    pub(crate) stack: Stack,
    /// Which release they are of.
    pub(crate) release: &'static Release,
    /// What runs the processors.
    pub(crate) accel: Accel,
    /// What of the rig's own settings it does without.
    pub(crate) without: Without,
    /// What it starts from.
    pub(crate) start: Start,
    /// The modules of a Xen that QEMU loads, each a file and its command line: dom0's kernel first.
    pub(crate) modules: Vec<(PathBuf, String)>,
    /// The machine's memory, in GiB.
    pub(crate) memory_gib: u32,
    /// Whether so little of it lies below 4 GiB that a guest can take all of that.
    pub(crate) little_low: bool,
    /// Its IOMMU.
    pub(crate) iommu: Iommu,
    /// Whether Xen keeps dom0's devices to dom0's own memory.
    pub(crate) strict: bool,
    /// How much of it dom0 gets, in MiB.
    pub(crate) dom0_memory: u32,
    /// QEMU's name of the network card.
    pub(crate) nic: String,
    /// Where a mirror is, if a device wants one.
    pub(crate) mirror: Option<u16>,
    /// The port of the loopback interface that leads to dom0's sshd, by a card that dom0 keeps.
    pub(crate) door: Option<u16>,
    /// The devices on the bus.
    pub(crate) devices: Vec<Device>,
    /// Whether to note each address that a device uses.
    pub(crate) trace: bool,
    /// The archive of jobs that a dom0 is given by a channel of its own; without one the second serial port is a guest's.
    pub(crate) jobs: Option<PathBuf>,
    /// The state that it goes on from; none: it boots.
    pub(crate) resumed: Option<PathBuf>,
    /// Where its files go: its sockets, its media, what QEMU says, and the trace.
    pub(crate) folder: PathBuf,
}

/// That console's address, as dom0 has it.
pub(crate) fn channel_bdf() -> String {
    format!("0000:00:{CHANNEL_SLOT:02x}.0")
}

/// The machine's memory in GiB for guests of so many MiB together: enough above 4 GiB for all of theirs.
pub(crate) const fn memory_gib(guests_mib: u32) -> u32 {
    if guests_mib <= 2560 { 6 } else { 12 }
}

/// Names in the machine's folder, QEMU's working directory: socket paths must be short.
pub(super) const COM1: &str = "com1.sock";
pub(super) const CHANNEL: &str = "channel.sock";
/// What a guest wrote to COM2.
pub(crate) const COM2_LOG: &str = "guest-com2.log";
pub(super) const QMP: &str = "qmp.sock";
/// The slot of the console whose port dom0 has for a channel: a byte at a serial port is an instruction that leaves the emulated
/// processor, and for a guest's console that was half a second of each job.
pub(super) const CHANNEL_SLOT: u8 = 15;
/// How QEMU was called, and what it said.
pub(crate) const QEMU_LOG: &str = "qemu.log";
/// Each address that a device used.
pub(crate) const TRACE_LOG: &str = "dma-trace.log";

impl Plan {
    /// A machine that boots Xen and nothing else.
    pub(super) fn bare(
        stack: &Stack,
        release: &'static Release,
        accel: Accel,
        folder: &Path,
    ) -> Self {
        Self {
            stack: stack.clone(),
            release,
            accel,
            without: Without::default(),
            start: Start::Xen,
            modules: Vec::new(),
            memory_gib: 1,
            little_low: false,
            iommu: Iommu::None,
            strict: false,
            dom0_memory: 512,
            nic: String::new(),
            mirror: None,
            door: None,
            devices: Vec::new(),
            trace: false,
            jobs: None,
            resumed: None,
            folder: folder.to_owned(),
        }
    }

    /// The whole command, to be run in the machine's folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = qemu(&self.stack);
        command.args(self.accel.args(self.release, &self.without));
        // q35 has all but 2 GiB above the 4 GiB line, and Xen gives its guests the highest first: so each
        // buffer of a guest lies where a 32-bit device can't reach it.
        let low = if self.little_low { ",max-ram-below-4g=512M" } else { "" };
        command.args(["-M", &format!("q35,kernel-irqchip=split{low}{}", self.iommu.machine())]);
        command.args(["-smp", "2", "-m", &format!("{}G", self.memory_gib)]);
        command.args(["-display", "none", "-nodefaults", "-no-reboot"]);
        for device in self.iommu.devices() {
            command.args(["-device", &self.release.device(&device)]);
        }
        command.args(["-chardev", &format!("socket,id=qmp,path={QMP}")]);
        command.args(["-mon", "chardev=qmp,mode=control"]);
        command.args(["-chardev", &socket("com1", COM1), "-serial", "chardev:com1"]);
        if self.jobs.is_some() {
            command.args(["-chardev", &socket("channel", CHANNEL)]);
            command
                .args(["-device", &format!("virtio-serial-pci,bus=pcie.0,addr={CHANNEL_SLOT:#x}")]);
            command.args(["-device", "virtserialport,chardev=channel"]);
        } else {
            // Nobody else's, so the guest finds a COM port of its own there.
            command.args(["-serial", &format!("file:{COM2_LOG}")]);
        }
        match &self.start {
            Start::Xen => self.boot(&mut command),
            firmware => firmware.plug(&mut command),
        }
        if self.resumed.is_some() {
            command.args(["-incoming", "defer"]);
        }
        if let Some(port) = self.door {
            command.args(["-netdev", &format!("user,id=door,hostfwd=tcp:127.0.0.1:{port}-:22")]);
            command.args(["-device", "e1000,netdev=door,bus=pcie.0,addr=3,romfile="]);
        }
        if self.devices.iter().any(|device| device.behind().is_some()) {
            for Bridge { device, id, slot, .. } in BRIDGES {
                command.args(["-device", &format!("{device},id={id},bus=pcie.0,addr={slot:#x}")]);
            }
        }
        for (n, device) in self.devices.iter().enumerate() {
            self.plug(&mut command, *device, &self.seat(n, *device));
        }
        if self.trace {
            command.args(["-trace", self.iommu.event(), "-D", TRACE_LOG]);
        }
        command
    }

    /// The link to Xen in the machine's folder: with it the command is the same wherever a Xen of somebody's own lies.
    const XEN: &str = "xen";

    /// A link to the n-th module in the machine's folder: QEMU takes a path up to its first blank.
    fn link(n: usize) -> String {
        format!("module{n}")
    }

    /// What QEMU loads itself, each a file and its link's name.
    pub(super) fn links(&self) -> impl Iterator<Item = (&Path, String)> {
        let xen =
            matches!(self.start, Start::Xen).then(|| (&*self.stack.xen, Self::XEN.to_owned()));
        let modules = self.modules.iter().enumerate();
        xen.into_iter().chain(modules.map(|(n, (file, _))| (&**file, Self::link(n))))
    }

    fn boot(&self, command: &mut Command) {
        let strict = if self.strict { "dom0-iommu=strict" } else { "" };
        let words = [&self.without.xen(self.dom0_memory), self.release.xen, strict].join(" ");
        command.args(["-kernel", Self::XEN, "-append", words.trim_end()]);
        if self.modules.is_empty() {
            return;
        }
        let words = self.modules.iter().map(|(_, words)| words.replace(',', ",,"));
        let modules = words.enumerate().map(|(n, words)| format!("{} {words}", Self::link(n)));
        command.args(["-initrd", &modules.collect::<Vec<_>>().join(",")]);
    }

    /// Where the n-th device is.
    fn seat(&self, n: usize, device: Device) -> String {
        match (device.behind(), self.iommu.bus(n)) {
            (Some(Bridge { id, .. }), _) => format!("bus={id},addr={}", device.place()),
            (None, Some(bus)) => format!("bus={bus},addr=0"),
            (None, None) => format!("bus=pcie.0,addr={:#x}", device.slot()),
        }
    }

    fn plug(&self, command: &mut Command, device: Device, seat: &str) {
        let slot = device.slot();
        let nic = |backend: &str| {
            // Without its boot ROM: nobody boots from it, and the firmware need not try.
            format!("{},netdev={backend},{seat},romfile=", self.nic)
        };
        match device {
            Device::Nic | Device::Unplugged => {
                self.network(command, "n0", &self.nic, slot);
                command.args(["-device", &nic("n0")]);
            }
            Device::LonelyNic => {
                command.args(["-netdev", "hubport,id=n1,hubid=1", "-device", &nic("n1")]);
            }
            Device::Undriven => {
                command.args(["-netdev", "hubport,id=n2,hubid=2", "-device"]);
                command.arg(format!("ne2k_pci,netdev=n2,{seat},romfile="));
            }
            Device::Pullable => {
                // Slots are switched by the port's own registers, not by ACPI.
                command.args(["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]);
                command.args(["-netdev", "user,id=n3", "-device", &nic("n3")]);
            }
            Device::Reporting => {
                self.network(command, "n6", VIRTIO, slot);
                command.arg("-device");
                command.arg(format!("{VIRTIO},aer=on,id={REPORTING},netdev=n6,{seat},romfile="));
            }
            Device::Bridged => {
                command.args(["-netdev", "user,id=n5", "-device", &nic("n5")]);
            }
            Device::Card(Card { name, device, .. }) => {
                self.network(command, &format!("n-{name}"), device, slot);
                command.arg("-device");
                command.arg(format!("{device},id={name},netdev=n-{name},{seat},romfile="));
            }
            Device::Second => {
                command.args(["-netdev", "user,id=n7", "-device"]);
                let first = "pcnet,multifunction=on,netdev=n7,bus=pcie.0,romfile=";
                command.arg(format!("{first},addr={slot:#x}.0"));
                command.args(["-netdev", "user,id=n4", "-device"]);
                let nic = &self.nic;
                command.arg(format!("{nic},netdev=n4,bus=pcie.0,addr={slot:#x}.1,romfile="));
            }
            // The second brings it along.
            Device::First => {}
            Device::End(end) => {
                command.args(["-netdev", &end.netdev(), "-device"]);
                let (device, name) = (end.device(), end.name());
                command.arg(format!("{device},netdev={name},{seat},romfile="));
            }
            Device::Other(model) => {
                if let Some(drive) = model.drive() {
                    command.args(["-drive", &drive]);
                }
                command.args(["-device", &format!("{},{seat}", self.release.device(model.device))]);
                if let Some(disk) = model.behind {
                    command.args(["-device", disk]);
                }
            }
        }
    }
}

impl Plan {
    /// A network with peers, and with a mirror beside them for a card that wants one.
    fn network(&self, command: &mut Command, id: &str, device: &str, hub: u8) {
        let Some(port) = self.mirror.filter(|_| Card::is_mirrored(device)) else {
            command.args(["-netdev", &format!("user,id={id}")]);
            return;
        };
        // Its hub is called by the card's slot; 1 and 2 are those of cards with nobody beside them.
        for netdev in [
            format!("user,id={id}-user"),
            format!("socket,id={id}-mirror,connect=127.0.0.1:{port}"),
            format!("hubport,id={id}-1,hubid={hub},netdev={id}-user"),
            format!("hubport,id={id}-2,hubid={hub},netdev={id}-mirror"),
            format!("hubport,id={id},hubid={hub}"),
        ] {
            command.args(["-netdev", &netdev]);
        }
    }
}

/// What QEMU connects to a socket of ours, and keeps byte by byte.
fn socket(name: &str, path: &str) -> String {
    format!("socket,id={name},path={path},logfile=serial-{name}.log")
}

/// The QEMU that the user wants instead of the stack's.
pub(super) fn own_qemu() -> Option<OsString> {
    std::env::var_os("QEMU").filter(|program| !program.is_empty())
}

/// QEMU: the one that `QEMU` names, or the stack's own, with its own loader, libraries and firmware, so that every
/// machine runs the same one whatever is installed there.
pub(crate) fn qemu(stack: &Stack) -> Command {
    if let Some(program) = own_qemu() {
        return child::mortal(program);
    }
    let root = stack.root();
    let mut command = child::mortal(root.join(LOADER));
    command.arg("--library-path").arg(root.join(LIBRARIES));
    command.arg(root.join("usr/bin/qemu-system-x86_64"));
    for firmware in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(root.join(firmware));
    }
    command.env("QEMU_MODULE_DIR", root.join(LIBRARIES).join("qemu"));
    command
}
