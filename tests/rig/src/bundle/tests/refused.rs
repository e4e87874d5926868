//! What the script refuses, and why: devices that the host stands on, hosts that lack something, words that make no sense.

use std::fs;

use super::super::host::{GOOD, Host, exists, shells};
use super::{CARD, ROUTE, assert_given_back, with_card};

/// A word that has to be said, and the host that it has to be said of.
type Use = (&'static str, fn(&Host));

const USES: [Use; 15] = [
    ("eth0 carries the default route", |host| {
        host.card(CARD, "eth0");
        host.file(
            "proc/net/route",
            format!("{ROUTE}eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"),
        );
    }),
    ("eth0 carries a route", |host| {
        host.card(CARD, "eth0");
        host.file(
            "proc/net/route",
            format!("{ROUTE}eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"),
        );
    }),
    ("eth0 carries the default route (IPv6)", |host| {
        host.card(CARD, "eth0");
        let zeros = "00000000000000000000000000000000";
        host.file(
            "proc/net/ipv6_route",
            format!("{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 3 eth0\n"),
        );
    }),
    // A VLAN on a bridge on a bond of it.
    ("vlan9 carries the default route", |host| {
        host.card(CARD, "eth0");
        for (upper, lower) in [("vlan9", "xenbr0"), ("xenbr0", "bond0")] {
            host.link(&format!("class/net/{upper}"), &format!("devices/virtual/net/{upper}"));
            host.link(
                &format!("devices/virtual/net/{upper}/lower_{lower}"),
                &format!("devices/virtual/net/{lower}"),
            );
        }
        let place = "devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eth0";
        host.link("devices/virtual/net/bond0/lower_eth0", place);
        host.file(
            "proc/net/route",
            format!("{ROUTE}vlan9\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"),
        );
    }),
    // Guests have their network through it, though dom0 has none.
    ("eth0 is part of xenbr1", |host| {
        let place = host.card(CARD, "eth0");
        host.file("sys/devices/virtual/net/xenbr1/mtu", "1500");
        host.link(&format!("{place}/net/eth0/master"), "devices/virtual/net/xenbr1");
    }),
    ("/ is mounted from it", |host| {
        host.disk(CARD);
        host.file(
            "proc/self/mountinfo",
            "25 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n",
        );
    }),
    // LVM on md on its partition.
    ("/srv/a|b is mounted from it", |host| {
        let disk = host.disk(CARD);
        for (upper, lower) in
            [("dm-0", "devices/virtual/block/md0"), ("md0", &format!("{disk}/nvme0n1p1"))]
        {
            let (_, name) = lower.rsplit_once('/').unwrap();
            host.link(&format!("devices/virtual/block/{upper}/slaves/{name}"), lower);
        }
        host.link("dev/block/253:0", "devices/virtual/block/dm-0");
        host.file("proc/self/mountinfo", "25 1 253:0 / /srv/a|b rw - xfs /dev/mapper/a rw\n");
    }),
    // A disk with several ways to it, which hangs on none of them.
    ("/ is mounted from it", |host| {
        let place = host.device(CARD, "0x010802", "nvme");
        let system = "devices/virtual/nvme-subsystem/nvme-subsys0";
        host.file(&format!("sys/{system}/nvme0n1/nvme0n1p1/partition"), "1\n");
        host.file(&format!("sys/{place}/nvme/nvme0/cntlid"), "1\n");
        host.link(&format!("{system}/nvme0"), &format!("{place}/nvme/nvme0"));
        host.link("dev/block/259:1", &format!("{system}/nvme0n1/nvme0n1p1"));
        host.file("proc/self/mountinfo", "25 1 259:1 / / rw - ext4 /dev/nvme0n1p1 rw\n");
    }),
    // A file system that has no device number of its own.
    ("/ is mounted from it", |host| {
        host.disk(CARD);
        host.file("proc/self/mountinfo", "25 1 0:30 /@ / rw - btrfs /dev/nvme0n1p1 rw,subvol=/@\n");
    }),
    ("it has swap space, nvme0n1p1", |host| {
        host.disk(CARD);
        host.file("proc/swaps", "Filename Type Size\n/dev/nvme0n1p1 partition 100 0 -2\n");
    }),
    ("it is part of dm-3", |host| {
        let disk = host.disk(CARD);
        host.file("sys/devices/virtual/block/dm-3/size", "1");
        host.link(&format!("{disk}/nvme0n1p1/holders/dm-3"), "devices/virtual/block/dm-3");
    }),
    ("is on ZFS, which does not say on which disks", |host| {
        host.disk(CARD);
        host.file("proc/self/mountinfo", "25 1 0:30 / /tank rw - zfs tank rw\n");
    }),
    ("a guest has a disk on it", |host| {
        host.disk(CARD);
        host.file("sys/bus/xen-backend/devices/vbd-3-51712/physical_device", "103:1\n");
    }),
    ("ttyS4 is dom0's console", |host| {
        let place = host.device(CARD, "0x070002", "serial");
        host.file("sys/class/tty/console/active", "tty0 hvc0 ttyS4\n");
        host.link("class/tty/ttyS4/device", &place);
    }),
    ("a keyboard, mouse or the like is plugged into it", |host| {
        let place = host.device(CARD, "0x0c0330", "xhci_hcd");
        host.file(&format!("sys/{place}/usb1/1-2/input/input7/event3/dev"), "13:67");
        host.link("class/input/event3", &format!("{place}/usb1/1-2/input/input7/event3"));
    }),
];

#[test]
fn what_the_host_stands_on_is_refused_and_left_alone() {
    for (why, set_up) in USES {
        let host = Host::new();
        set_up(&host);
        let owner = host.driver(CARD);
        let said = host.run(&[CARD]);
        assert_eq!(said.code, Some(3), "{why}: {}", said.text);
        let refusal = said.text.lines().find(|line| line.contains("device-in-use: "));
        assert!(refusal.is_some_and(|line| line.contains(why)), "{why}: {}", said.text);
        assert_eq!(host.calls(), [""; 0], "{why}");
        assert_eq!(host.driver(CARD), owner);
        assert!(host.run(&["--check", CARD]).text.contains(why));
    }
}

#[test]
fn force_takes_what_is_in_use_and_gives_it_back() {
    let host = with_card();
    host.file(
        "proc/net/route",
        format!("{ROUTE}eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"),
    );
    let said = host.run(&["--force", CARD]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("in use       eth0 carries the default route"), "{}", said.text);
    assert_given_back(&host, &said);
}

#[test]
fn another_devices_users_are_none_of_its_own() {
    let host = with_card();
    for (n, (_, set_up)) in USES.iter().enumerate().skip(5).take(5) {
        let other = Host::new();
        set_up(&other);
        // The same host with its card instead: the disk is not the card's.
        let mounts = fs::read(other.at("proc/self/mountinfo")).unwrap();
        host.file("proc/self/mountinfo", mounts);
        assert_eq!(host.run(&["--check", CARD]).text.matches("in use").count(), 0, "{n}");
    }
    // An address that only begins alike.
    host.card("0000:03:00.1", "eth1");
    host.file(
        "proc/net/route",
        format!("{ROUTE}eth1\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"),
    );
    assert_eq!(host.run(&[CARD]).code, Some(0));
}

#[test]
fn what_can_not_be_had_is_refused_by_force_too() {
    let bridge = Host::new();
    bridge.device(CARD, "0x060400", "pcieport");
    let assigned = Host::new();
    assigned.device(CARD, "0x020000", "pciback");
    assigned.file("state/assigned", "");
    for (host, why) in [(bridge, "a bridge can't be passed"), (assigned, "another domain has it")] {
        let said = host.run(&["--force", CARD]);
        assert_eq!(said.code, Some(3), "{}", said.text);
        let why = format!("device-not-to-be-had: {why}");
        assert!(said.text.contains(&why), "{}", said.text);
        assert_eq!(host.calls(), [""; 0]);
    }
    let said = with_card().run(&["0000:09:00.0"]);
    assert_eq!((said.code, said.text.contains("no-device")), (Some(3), true));
}

#[test]
fn what_the_host_lacks_is_named() {
    let lacks: [Use; 7] = [
        ("not-root", |host| host.program("id", "#!/bin/sh\necho 1000\n")),
        ("no-xen", |host| host.file("sys/hypervisor/type", "kvm\n")),
        ("no-xen", |host| fs::remove_file(host.at("sys/hypervisor/type")).unwrap()),
        ("no-dom0", |host| host.file("proc/xen/capabilities", "")),
        ("no-toolstack", |host| host.file("state/refuses", "info")),
        ("no-iommu", |host| host.file("state/info", "virt_caps : pv hvm\n")),
        ("no-pciback", |host| fs::remove_dir(host.at("sys/bus/pci/drivers/pciback")).unwrap()),
    ];
    for (code, set_up) in lacks {
        let host = with_card();
        set_up(&host);
        let said = host.run(&[CARD]);
        assert_eq!(said.code, Some(3), "{code}: {}", said.text);
        assert!(said.text.contains(&format!("SKIP         {code}: ")), "{code}: {}", said.text);
        assert!(said.text.contains("remedy"), "{code}");
        assert_eq!(host.calls(), [""; 0], "{code}");
    }
}

#[test]
fn names_and_consoles_are_data() {
    for shell in shells() {
        let host = Host::with(shell);
        let place = host.card(CARD, "eth0");
        host.file(&format!("sys/{place}/vendor"), b"0x$(touch x)`touch x`\x1b[31m\0\n");
        host.file(&format!("sys/{place}/device"), "");
        host.file(&format!("sys/{place}/irq"), "*\n");
        host.file(&format!("sys/{place}/reset_method"), "\x1b]0;x\x07 flr");
        fs::remove_file(host.at(&format!("sys/{place}/config"))).unwrap();
        let line = "$(touch x) `touch x` * %s%n \\c \x1b[2J\x07";
        let console = GOOD.replace(
            "  # Subtest: dma\n",
            &format!("  # Subtest: {line}\n{line}\n  # remedy: {line}\n\n"),
        );
        host.file("state/console", console);
        host.file("proc/self/mountinfo", "25 1 259:9 / /$(touch\\040x) rw - ext4 * rw\n\nx\n");
        host.file("proc/net/route", "eth9\n\n$(touch x) * * *\n");
        let said = host.run(&["--console", CARD]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert!(!said.text.contains(['\x1b', '\x07']), "{}", said.text);
        assert!(said.text.contains("$(touch x) `touch x` * %s%n \\c [2J\n"), "{}", said.text);
        for folder in [".", "bundle here", "state"] {
            assert!(!exists(&host.at(folder).join("x")));
        }
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let host = with_card();
    for words in [
        &[][..],
        &["--fly", CARD],
        &["--words", "x\" pci=[]", CARD],
        &["--cpus", "0\"\nx", CARD],
        &["--timeout", "soon", CARD],
        &["--timeout"],
        &["--all", CARD],
        &["3:0"],
        &["0000:03:00.8"],
        &["../../x"],
    ] {
        let said = host.run(words);
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.text);
    }
    assert_eq!(host.calls(), [""; 0]);
    let said =
        host.run(&["--words", "suite=boot,dma detach=1", "--memory", "64", "--cpus", "0-3", CARD]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let config = host.log("guest.cfg");
    for line in ["suite=boot,dma detach=1\"\n", "memory = 64\n", "cpus = \"0-3\"\n"] {
        assert!(config.contains(line), "{config}");
    }
}
