//! What is said of a host and its devices: each fact, and of each device its own.

use super::*;

#[test]
fn what_is_said_of_one_device_is_not_said_of_the_next() {
    let host = with_card();
    host.card("0000:04:00.0", "eth1");
    // The first guest can't be made.
    host.program("once", "#!/bin/sh\n[ ! -e \"$STATE/refuses\" ] || [ \"$1\" != create ] || { echo no >&2; rm \"$STATE/refuses\"; exit 1; }\nexec xl \"$@\"\n");
    host.file("state/refuses", "nothing");
    let said = host.run_by("once", &["--all"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    let row = |text: &str| said.text.lines().any(|line| line.trim_end() == text);
    assert!(row("0000:03:00.0   ERROR        xl-create: no"), "{}", said.text);
    assert!(row("0000:04:00.0   SUCCESS"), "{}", said.text);
    // What the guest says of it is a reason, too.
    host.file(
        "state/console",
        GOOD.replace(
            "Test result: SUCCESS",
            "# not-shown device-empty: no disk\nTest result: SKIP",
        ),
    );
    let said = host.run(&["--all"]);
    let row = |text: &str| said.text.lines().any(|line| line.trim_end() == text);
    assert!(row("0000:03:00.0   SKIP         device-empty: no disk"), "{}", said.text);
    let failed = GOOD
        .replace("ok 1 every_length_comes_back # 1455 transfers", "not ok 1 every # FAILURE x: y")
        .replace("\nok 2 dma", "\nnot ok 2 dma # FAILURE")
        .replace("SUCCESS", "FAILURE");
    host.file("state/console", failed);
    let said = host.run(&["--all"]);
    let row = |text: &str| said.text.lines().any(|line| line.trim_end() == text);
    assert!(row("0000:03:00.0   FAILURE      dma.every # FAILURE x: y"), "{}", said.text);
}

#[test]
fn each_fact_of_the_host_and_a_device_is_told() {
    let host = with_card();
    let place = host.card("0000:04:00.0", "eth1");
    host.file(&format!("sys/{place}/reset_method"), "flr bus\n");
    host.link(&format!("{place}/iommu_group"), "kernel/iommu_groups/7");
    host.link("kernel/iommu_groups/7/devices/0000:04:00.0", &place);
    host.link("kernel/iommu_groups/7/devices/0000:03:00.0", "bus/pci/devices/0000:03:00.0");
    let said = host.run(&["--check", "04:00.0", CARD]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    for fact in [
        "Xen          4.20.3, dom0",
        "toolstack    xl answers",
        "IOMMU        on: pv pv_directio",
        "pciback      there",
        "driver       r8169",
        "IOMMU group  7, with 0000:03:00.0",
        "reset        flr bus",
        "INTx         pin A, line 17, shared with 0000:03:00.0 (r8169)",
        "to spare     no route, mounted file system, swap space or console of this host's is on it",
        "IOMMU group  not in sysfs, as under Xen",
        "reset        none: it comes as its driver left it",
    ] {
        assert!(said.text.lines().any(|line| line.trim() == fact), "{fact}: {}", said.text);
    }
    assert_eq!(host.calls(), [""; 0]);
}
