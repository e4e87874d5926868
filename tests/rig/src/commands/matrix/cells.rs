//! What `matrix` runs: the axes, what can't be together on this kind of machine, and the command of each cell.

use super::cover;

/// A combination, as the words of the command line that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The release that all comes from.
    pub(super) release: &'static str,
    /// When the pool starts.
    pub(super) swiotlb: &'static str,
    /// What `--device` calls it.
    pub(super) device: &'static str,
    /// What is before the devices.
    pub(super) iommu: &'static str,
    /// The guest's memory in MiB.
    pub(super) memory: &'static str,
}

/// Of Debian, which has them all on one mirror; forky is sid but for some days.
const ON: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
const SWIOTLB: [&str; 3] = ["late", "early", "reserve"];
const DEVICES: [&str; 7] = ["rtl8139", "e1000e", "virtio-net", "igb", "nvme", "ahci", "xhci"];
/// xl passes no device through without an IOMMU, and QEMU's others are tried by a dom0: so with `all` the guest is a domU, else
/// dom0 itself.
const IOMMUS: [&str; 4] = [DOMU, "none", "some", "amd"];
const DOMU: &str = "all";
const MEMORY: [&str; 3] = ["128", "64", "5000"];
const AXES: [&[&str]; 5] = [&ON, &SWIOTLB, &DEVICES, &IOMMUS, &MEMORY];

/// Values that are never together, whichever of each, and why.
struct Never {
    one: &'static [&'static str],
    other: &'static [&'static str],
    why: &'static str,
}

const NEVER: [Never; 5] = [
    Never { one: &["igb"], other: &["bullseye", "bookworm"], why: "QEMU has it from 8.0 on" },
    Never {
        one: &["e1000e"],
        other: &["bullseye"],
        why: "QEMU 5.2's loses messages, and ends by an assertion of its own (`e1000e_intrmgr_on_msix_throttling_timer`)",
    },
    Never {
        one: &["xhci"],
        other: &["bullseye"],
        why: "QEMU's sends a message also when it takes an interrupt back, up to 6.0 (`irq-spurious`)",
    },
    Never {
        one: &["some"],
        other: &["bullseye"],
        why: "QEMU leaves devices out of an IOMMU from 6.1 on",
    },
    Never {
        one: &["amd"],
        other: &["bullseye"],
        why: "Xen 4.14 waits for ever for QEMU 5.2's (`completion wait taking too long`)",
    },
];

/// All cells.
pub(super) fn all() -> Vec<Cell> {
    let axes = AXES.map(<[_]>::len);
    let can = |row: &[Option<usize>]| {
        let values: Vec<_> =
            AXES.iter().zip(row).filter_map(|(axis, n)| Some(axis[(*n)?])).collect();
        never(&values).is_none()
    };
    let cell = |row: cover::Row| Cell {
        release: ON[row[0]],
        swiotlb: SWIOTLB[row[1]],
        device: DEVICES[row[2]],
        iommu: IOMMUS[row[3]],
        memory: MEMORY[row[4]],
    };
    let mut cells: Vec<Cell> = cover::rows(&axes, can).into_iter().map(cell).collect();
    // One release after the other: what is kept of one is still there for its next cell.
    cells.sort_by_key(|cell| ON.iter().position(|name| *name == cell.release));
    cells
}

/// A domU on each Xen, and on the newest kernel and QEMU; a kind of device and a start of the pool each.
pub(super) fn quick() -> Vec<Cell> {
    let cell =
        |release, swiotlb, device| Cell { release, swiotlb, device, iommu: DOMU, memory: "128" };
    vec![
        cell("bullseye", "late", "rtl8139"),
        cell("bookworm", "early", "e1000e"),
        cell("trixie", "reserve", "nvme"),
        cell("sid", "late", "virtio-net"),
    ]
}

/// What is left out, and why.
pub(super) fn left_out() -> impl Iterator<Item = String> {
    NEVER.iter().map(|Never { one, other, why }| {
        format!("left out: {} with {}: {why}", one.join(" or "), other.join(" or "))
    })
}

/// Why these can't be together; none: they can.
fn never(values: &[&str]) -> Option<&'static str> {
    let has = |some: &[&str]| some.iter().any(|value| values.contains(value));
    NEVER.iter().find(|never| has(never.one) && has(never.other)).map(|never| never.why)
}

impl Cell {
    /// What it is on the command line.
    pub(super) fn words(&self) -> Vec<String> {
        let Self { release, swiotlb, device, iommu, memory } = self;
        let home = ["dom0", "--iommu", iommu];
        let home = home.into_iter().filter(|_| *iommu != DOMU);
        let rest = [
            ["--release", release],
            ["--swiotlb", swiotlb],
            ["--device", device],
            ["--memory", memory],
        ];
        home.chain(rest.into_iter().flatten()).map(str::to_owned).collect()
    }

    /// A line of the table, without what came of it.
    pub(super) fn line(&self) -> String {
        let Self { release, swiotlb, device, iommu, memory } = self;
        let home = if *iommu == DOMU { "domU" } else { "dom0" };
        format!("{release:<9} {home} iommu={iommu:<5} {device:<11} {swiotlb:<8} {memory:>4} MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::RELEASES;
    use crate::cli::Cli;
    use crate::machine::{Card, DEFAULT_NIC, Model};
    use clap::Parser;

    #[test]
    fn each_cell_is_a_command_that_can_be_given_by_hand() {
        for cell in all().into_iter().chain(quick()) {
            let words = ["run.sh".to_owned()].into_iter().chain(cell.words());
            let cli = Cli::try_parse_from(words).unwrap();
            cli.options.check_words().unwrap();
            assert_eq!(cli.options.release().unwrap().name, cell.release);
            let device = cli.options.device();
            let known = device == DEFAULT_NIC || Card::find(device).is_some();
            assert!(known || Model::find(device).is_some(), "{device}");
        }
    }

    #[test]
    fn each_two_values_meet_but_for_those_that_are_left_out_with_their_reason() {
        let cells = all();
        let has = |cell: &Cell, value: &str| {
            let Cell { release, swiotlb, device, iommu, memory } = cell;
            [release, swiotlb, device, iommu, memory].contains(&&value)
        };
        for [(a, x), (b, y)] in cover::pairs(&AXES.map(<[_]>::len)) {
            let (x, y) = (AXES[a][x], AXES[b][y]);
            let meet = cells.iter().any(|cell| has(cell, x) && has(cell, y));
            assert_eq!(meet, never(&[x, y]).is_none(), "{x} {y}");
        }
        assert_eq!(left_out().count(), NEVER.len());
        assert!(ON.iter().all(|name| RELEASES.iter().any(|release| release.name == *name)));
    }
}
