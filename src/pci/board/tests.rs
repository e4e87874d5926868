//! A board with bridges, Xen's own devices and misplaced BARs, and a Xen that routes messages and is strict about the order.

use super::*;
use crate::{
    acpi::TableError,
    addr::BusAddr,
    mm::memory::MemoryError,
    pci::{
        Host as _,
        direct::{Mapper, Page},
        fake::{FakeBus, FakeDevice},
    },
    xen::{
        errno::XenError,
        physdev::{ConfigRegion, Message, Place},
    },
};
use alloc::{boxed::Box, string::ToString};
use core::cell::Cell;
use std::vec;

/// A Xen that knows a function once it was told of it, and looks at its capability when it is to route a message.
#[derive(Debug)]
struct FakeXen<'b> {
    bus: &'b FakeBus,
    known: RefCell<Vec<Place>>,
    mapped: RefCell<Vec<(Pirq, Place, Message)>>,
    refuses: Cell<bool>,
    keeps: Cell<bool>,
}

impl<'b> FakeXen<'b> {
    fn new(bus: &'b FakeBus) -> Self {
        let (known, mapped) = (RefCell::default(), RefCell::default());
        Self { bus, known, mapped, refuses: Cell::new(false), keeps: Cell::new(false) }
    }

    fn resources(&self, at: Place) -> Resources {
        let bus = crate::pci::Bus { segment: at.segment, number: at.bus };
        Resources::read(self.bus, bus.at(at.devfn)).unwrap().unwrap()
    }
}

impl Physdev for FakeXen<'_> {
    fn add_device(&self, at: Place) -> Result<(), XenError> {
        if self.refuses.get() {
            return Err(XenError::NotPermitted);
        }
        assert!(!self.known.borrow().contains(&at), "{at:?} a second time");
        self.known.borrow_mut().push(at);
        Ok(())
    }

    fn reserve(&self, _: &ConfigRegion) -> Result<(), XenError> {
        unreachable!("firmware names none")
    }

    fn map_message(&self, at: Place, message: Message) -> Result<Pirq, XenError> {
        let resources = self.resources(at);
        match message {
            Message::Msi => assert!(!resources.msi.unwrap().enabled, "on before it is written"),
            Message::Msix { table_base, .. } => {
                let msix = resources.msix.unwrap();
                assert!(msix.enabled && msix.masked, "the table can't be written so");
                assert_eq!(resources.memory_bar(msix.table.bar).unwrap().0.0, table_base);
            }
        }
        if self.refuses.get() || !self.known.borrow().contains(&at) {
            return Err(XenError::NoDevice);
        }
        assert!(self.mapped.borrow().iter().all(|(_, of, _)| *of != at), "two ways at once");
        let pirq = Pirq(55);
        self.mapped.borrow_mut().push((pirq, at, message));
        Ok(pirq)
    }

    fn unmap(&self, pirq: Pirq) -> Result<(), XenError> {
        if self.keeps.get() {
            return Err(XenError::Invalid);
        }
        let at = self.mapped.borrow().iter().position(|(mapped, ..)| *mapped == pirq);
        let (_, place, message) = self.mapped.borrow_mut().remove(at.expect("it is mapped"));
        let resources = self.resources(place);
        match message {
            Message::Msi => assert!(!resources.msi.unwrap().enabled, "still on"),
            Message::Msix { .. } => assert!(!resources.msix.unwrap().enabled, "still on"),
        }
        Ok(())
    }
}

const NIC: &str = "01:00.0";
const DISK: &str = "00:03.0";
const GIB: u64 = 1 << 30;

fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

fn nic() -> FakeDevice {
    FakeDevice::new(0x8086, 0x10d3, 0x02_0000)
        .bar(0, 0xfe80_0000, 0x2_0000)
        .bar(3, 0xfe82_0000, 0x4000)
        .capability(0x70, 0x11, &[0x04, 0, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0])
        .capability(0x50, 0x05, &[0x86, 0])
        .interrupt(1, 0x0b)
}

fn disk() -> FakeDevice {
    FakeDevice::new(0x1b36, 0x0010, 0x01_0802).bar(0, 0xfe90_0004, 0x4000)
}

fn machine() -> FakeBus {
    FakeBus::hardware()
        .with(bdf("00:00.0"), FakeDevice::new(0x8086, 0x29c0, 0x06_0000))
        .with(bdf("00:01.0"), FakeDevice::bridge(0, 1, 1))
        .with(bdf("00:02.0"), FakeDevice::new(0x1022, 0x1419, 0x08_0600))
        .with(bdf(DISK), disk())
        .with(bdf(NIC), nic())
}

/// Maps nothing, as nothing is to be mapped.
#[derive(Debug)]
struct NoMemory;

impl Mapper for NoMemory {
    fn map(&self, _: BusAddr) -> Result<Box<dyn Page>, MemoryError> {
        unreachable!("firmware names none")
    }
}

fn by_ports<'a>(bus: &'a FakeBus, xen: &FakeXen<'_>) -> Direct<'a> {
    Direct::new(bus, &NoMemory, xen, Err(&TableError::NoPointer), &map())
}

fn map() -> Map {
    Map::flat(GIB / 4096)
}

fn driven(id: DeviceId, _: Class) -> bool {
    [0x10d3, 0x0010].contains(&id.device)
}

/// The codes of what there is against driving functions.
fn objections(bus: &FakeBus, ram: &Map) -> Vec<(Bdf, &'static str)> {
    let xen = FakeXen::new(bus);
    let ways = by_ports(bus, &xen);
    let board = Board::open(&ways, &xen, ram, &driven).unwrap();
    let objections = board.functions().iter();
    let found = objections.filter_map(|&bdf| Some((bdf, board.object(bdf).err()?.code)));
    found.collect()
}

#[test]
fn what_has_a_driver_is_driven_and_the_rest_named_and_only_read() {
    let bus = machine();
    let xen = FakeXen::new(&bus);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    assert_eq!(board.functions(), [bdf(DISK), bdf(NIC)]);
    assert_eq!((board.buses(), board.oddities()), (2, &[][..]));
    assert_eq!((board.ranges().len(), board.objections().count()), (3, 0));
    let others: Vec<_> = board.others().iter().map(ToString::to_string).collect();
    let bridges = ["0000:00:00.0 8086:29c0 bridge (0600)", "0000:00:01.0 1b36:000c bridge (0604)"];
    assert_eq!(others[..2], bridges);
    assert_eq!(others[2..], ["0000:00:02.0 1022:1419 IOMMU (0806), Xen's own"]);
    assert_eq!(xen.known.borrow().len(), 5, "Xen is told of all");
    assert_eq!(bus.violations(), 0);
}

#[test]
fn a_bridge_that_leads_back_is_told_of() {
    let bus = machine().with(bdf("00:1e.0"), FakeDevice::bridge(0, 1, 0));
    let xen = FakeXen::new(&bus);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    assert_eq!(
        board.oddities().iter().map(ScanError::code).collect::<Vec<_>>(),
        ["pci-bad-bridge"]
    );
}

#[test]
fn what_xen_guards_is_its_own_though_there_is_a_driver() {
    let bus = machine().guarding(bdf(DISK));
    let xen = FakeXen::new(&bus);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    assert_eq!(board.functions(), [bdf(NIC)]);
    let disk = board.others().iter().find(|other| other.bdf == bdf(DISK)).unwrap();
    assert_eq!(disk.why, Alone::Xens);
}

#[test]
fn a_function_is_left_as_it_was_but_for_its_bus_mastering() {
    for before in [Command::MEMORY, Command::empty(), Command::IO | Command::MEMORY] {
        let bus = machine();
        Function::probe(&bus, bdf(NIC))
            .unwrap()
            .unwrap()
            .set_command(before | Command::MASTER)
            .unwrap();
        let xen = FakeXen::new(&bus);
        let ways = by_ports(&bus, &xen);
        let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
        let now = Function::probe(&bus, bdf(NIC)).unwrap().unwrap().command().unwrap();
        assert_eq!(now, before);
        assert!(board.functions().contains(&bdf(NIC)), "it takes writes: {before:?}");
    }
}

#[test]
fn a_bar_under_ram_is_objected_to_and_its_neighbour_is_not() {
    let bus = machine();
    bus.insert(bdf(DISK), FakeDevice::new(0x1b36, 0x0010, 0x01_0802).bar(0, 0x3fff_c000, 0x4000));
    assert_eq!(objections(&bus, &map()), [(bdf(DISK), "pci-bar-under-ram")]);
    let smaller = Map::flat(GIB / 4096 - 4);
    assert_eq!(objections(&bus, &smaller), []);
}

#[test]
fn of_bars_that_overlap_neither_is_driven_nor_one_in_which_another_starts() {
    let disk = |at: u64| FakeDevice::new(0x1b36, 0x0010, 0x01_0802).bar(0, at | 4, 0x4000);
    let bus = machine();
    bus.insert(bdf(DISK), disk(0xfe81_c000));
    let both = [(bdf(DISK), "pci-bar-shared"), (bdf(NIC), "pci-bar-shared")];
    assert_eq!(objections(&bus, &map()), both);
    // A neighbour on each side shares nothing.
    bus.insert(bdf(DISK), disk(0xfe7f_c000));
    assert_eq!(objections(&bus, &map()), []);
    // What has no driver is not sized, and yet seen: by a narrow BAR, and by both halves of a wide one.
    for (register, shares) in [
        (0xfe81_fff0, true),
        (0xfe82_4000, false),
        (0xfe80_0004, true),
        (0x1_fe80_0004, false),
        (0xfe81_0001, false),
    ] {
        let vga = FakeDevice::new(0x1234, 0x1111, 0x03_0000).bar(4, register, 0x10);
        let bus = machine().with(bdf("00:1f.0"), vga);
        let expected: &[_] = if shares { &[(bdf(NIC), "pci-bar-shared")] } else { &[] };
        assert_eq!(objections(&bus, &map()), expected, "{register:#x}");
    }
}

#[test]
fn what_xen_does_not_know_is_not_driven() {
    let bus = machine();
    let xen = FakeXen::new(&bus);
    xen.refuses.set(true);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    assert_eq!(board.object(bdf(NIC)).unwrap_err().code, "pci-not-added");
}

#[test]
fn why_a_message_is_not_routed_has_a_code_and_a_remedy() {
    let (bdf, error) = (bdf(NIC), XenError::NoSpace);
    for (error, code, words) in [
        (MessageError::Map { bdf, how: Delivery::Msi, error }, "irq-map", "extra_guest_irqs"),
        (MessageError::Unmap { bdf, pirq: Pirq(55), error }, "irq-unmap", "event channel"),
        (MessageError::NoTable(bdf), "pci-no-address", "firmware"),
        (ConfigError::Unusable.into(), "config-unusable", ConfigError::Unusable.remedy()),
    ] {
        assert_eq!(error.code(), code);
        assert!(!words.is_empty() && error.remedy().contains(words), "{code}: {}", error.remedy());
    }
}

#[test]
fn messages_are_turned_on_by_xen_and_off_again_one_way_at_a_time() {
    let bus = machine();
    let xen = FakeXen::new(&bus);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    let look = || Resources::read(&board, bdf(NIC)).unwrap().unwrap();
    let on =
        || (look().msi.unwrap().enabled, look().msix.unwrap().enabled, look().msix.unwrap().masked);
    for (how, state) in
        [(Delivery::Msix, (false, true, false)), (Delivery::Msi, (true, false, false))]
    {
        assert_eq!(board.turn_on(&look(), how).unwrap(), Pirq(55));
        assert_eq!(on(), state);
        assert_eq!(board.kept(), [std::format!("0000:01:00.0's {how}, pirq 55")]);
        board.turn_off(bdf(NIC), how).unwrap();
        assert!(!on().0 && !on().1);
        assert_eq!((xen.mapped.borrow().len(), board.kept()), (0, vec![]));
        board.turn_off(bdf(NIC), how).expect("nothing is on");
    }
}

#[test]
fn a_refusal_leaves_nothing_on_and_what_xen_keeps_is_told() {
    let bus = machine();
    let xen = FakeXen::new(&bus);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    let look = || Resources::read(&board, bdf(NIC)).unwrap().unwrap();
    xen.refuses.set(true);
    for how in [Delivery::Msi, Delivery::Msix] {
        assert_eq!(board.turn_on(&look(), how).unwrap_err().code, "irq-map");
        assert!(!look().msi.unwrap().enabled && !look().msix.unwrap().enabled);
    }
    xen.refuses.set(false);
    board.turn_on(&look(), Delivery::Msi).unwrap();
    xen.keeps.set(true);
    assert_eq!(board.turn_off(bdf(NIC), Delivery::Msi).unwrap_err().code, "irq-unmap");
    assert_eq!(board.kept().len(), 1);
    assert!(!look().msi.unwrap().enabled, "the device is silent all the same");
}

#[test]
fn a_table_without_a_place_and_a_line_that_nobody_knows_are_refused() {
    let bus = machine();
    bus.insert(bdf(NIC), nic().bar(3, 0, 0x4000));
    let xen = FakeXen::new(&bus);
    let ways = by_ports(&bus, &xen);
    let board = Board::open(&ways, &xen, &map(), &driven).unwrap();
    let nic = Resources::read(&board, bdf(NIC)).unwrap().unwrap();
    assert_eq!(board.turn_on(&nic, Delivery::Msix).unwrap_err().code, "pci-no-address");
    assert!(!nic.offers(Delivery::Intx), "its line is a PC's");
    assert_eq!(board.turn_on(&nic, Delivery::Intx).unwrap_err().code, "pci-no-gsi");
    let disk = Resources::read(&board, bdf(DISK)).unwrap().unwrap();
    assert_eq!(board.turn_on(&disk, Delivery::Intx).unwrap_err().code, "pci-no-intx");
    assert_eq!(board.turn_on(&disk, Delivery::Msi).unwrap_err().code, "pci-no-msi");
}
