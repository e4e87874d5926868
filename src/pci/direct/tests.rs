//! A machine whose config space is there twice, in memory and by ports, and Xens and firmware that don't agree.

use super::*;
use crate::{
    acpi::Signature,
    addr::BusAddr,
    mm::memory::MemoryError,
    pci::{
        Function,
        access::Refusal,
        fake::{FakeBus, FakeDevice},
    },
    xen::{
        errno::XenError,
        events::Pirq,
        physdev::{Message, Place},
    },
};
use alloc::{rc::Rc, string::ToString};
use core::cell::Cell;

const BASE: u64 = 0xb000_0000;

/// The ports of a bus: segment 0, 256 bytes.
#[derive(Debug)]
struct FakePorts<'b>(&'b FakeBus, Cell<usize>);

impl ConfigAccess for FakePorts<'_> {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.1.set(self.1.get() + 1);
        assert_eq!(bdf.bus().segment, 0, "the ports have no other");
        match offset {
            0x100.. => Err(ConfigError::Refused { bdf, offset, refusal: Refusal::BadOffset }),
            _ => self.0.read(bdf, offset, width),
        }
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        self.read(bdf, offset, width)?;
        self.0.write(bdf, offset, width, value)
    }
}

/// The same bus in memory, in segment 0 or in another.
#[derive(Debug)]
struct FakeEcam {
    bus: Rc<FakeBus>,
    segment: u16,
    mapped: Rc<Cell<usize>>,
    refuses: Cell<bool>,
}

#[derive(Debug)]
struct FakePage(Rc<FakeBus>, Bdf, Rc<Cell<usize>>);

impl Drop for FakePage {
    fn drop(&mut self) {
        self.2.set(self.2.get() - 1);
    }
}

impl Mapper for FakeEcam {
    fn map(&self, at: BusAddr) -> Result<Box<dyn Page>, MemoryError> {
        if self.refuses.get() {
            return Err(MemoryError::NoAddresses { pages: 1 });
        }
        let page = (at.0 - BASE) >> 12;
        let number = u8::try_from(page >> 8).expect("beyond the region");
        let devfn = u8::try_from(page & 0xff).unwrap();
        self.mapped.set(self.mapped.get() + 1);
        let bdf = crate::pci::Bus { segment: self.segment, number }.at(devfn);
        Ok(Box::new(FakePage(self.bus.clone(), bdf, self.mapped.clone())))
    }
}

impl Page for FakePage {
    fn read(&self, offset: u16, width: Width) -> u32 {
        self.0.read(self.1, offset, width).unwrap()
    }

    fn write(&self, offset: u16, width: Width, value: u32) {
        self.0.write(self.1, offset, width, value).unwrap();
    }
}

/// A Xen that takes regions or refuses them all.
#[derive(Debug, Default)]
struct FakeXen {
    refuses: Option<XenError>,
    taken: RefCell<Vec<ConfigRegion>>,
}

impl Physdev for FakeXen {
    fn add_device(&self, _: Place) -> Result<(), XenError> {
        unreachable!()
    }

    fn reserve(&self, region: &ConfigRegion) -> Result<(), XenError> {
        self.taken.borrow_mut().push(*region);
        self.refuses.map_or(Ok(()), Err)
    }

    fn map_message(&self, _: Place, _: Message) -> Result<Pirq, XenError> {
        unreachable!()
    }

    fn unmap(&self, _: Pirq) -> Result<(), XenError> {
        unreachable!()
    }
}

fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

fn region(segment: u16, first: u8, last: u8) -> ConfigRegion {
    ConfigRegion { base: BusAddr(BASE), segment, first, last }
}

fn tables(regions: &[ConfigRegion]) -> Tables {
    Tables {
        names: Vec::new(),
        regions: Ok(regions.to_vec()),
        timers: Vec::new(),
        io_apics: Vec::new(),
        odd: Vec::new(),
    }
}

const NIC: &str = "00:02.0";

/// A card of PCI Express with a record beyond the first 256 bytes, and one on another bus.
fn bus() -> FakeBus {
    let card = || {
        FakeDevice::new(0x8086, 0x10d3, 0x02_0000)
            .capability(0xe0, 0x10, &[2, 0])
            .bytes(0x100, &[1, 0, 0x02, 0x14])
            .bytes(0x140, &[3, 0, 0x01, 0])
    };
    FakeBus::hardware().with(bdf(NIC), card()).with(bdf("05:00.0"), card())
}

struct Machine {
    ports: FakeBus,
    ecam: FakeEcam,
    xen: FakeXen,
    ram: Map,
}

impl Machine {
    fn new() -> Self {
        let (mapped, refuses) = (Rc::default(), Cell::new(false));
        let ecam = FakeEcam { bus: Rc::new(bus()), segment: 0, mapped, refuses };
        Self { ports: bus(), ecam, xen: FakeXen::default(), ram: Map::flat(0x4_0000) }
    }

    fn with<T>(
        &self,
        regions: &[ConfigRegion],
        look: impl FnOnce(&Direct<'_>, &FakePorts<'_>) -> T,
    ) -> T {
        let ports = FakePorts(&self.ports, Cell::new(0));
        let tables = tables(regions);
        look(&Direct::new(&ports, &self.ecam, &self.xen, Ok(&tables), &self.ram), &ports)
    }
}

fn codes(direct: &Direct<'_>) -> Vec<&'static str> {
    direct.lacks().iter().map(EcamError::code).collect()
}

#[test]
fn a_function_that_both_ways_show_alike_is_reached_in_memory() {
    let machine = Machine::new();
    let whole = region(0, 0, 0xff);
    machine.with(&[whole], |direct, ports| {
        let function = Function::probe(direct, bdf(NIC)).unwrap().unwrap();
        let asked = ports.1.get();
        let records = function.extended_capabilities().unwrap().unwrap();
        let found: Vec<_> = records.iter().map(|r| (r.id, r.version, r.offset)).collect();
        assert_eq!(found, [(1, 2, 0x100), (3, 1, 0x140)]);
        function.write_u32(0x144, 0x5a5a_0001).unwrap();
        assert_eq!(direct.read(bdf(NIC), 0x146, Width::U16), Ok(0x5a5a));
        direct.write(bdf(NIC), 0x04, Width::U16, 2).unwrap();
        assert_eq!(ports.1.get(), asked, "the ports are not asked again");
        assert_eq!(
            (direct.in_memory(), direct.segments(), codes(direct)),
            (1, [0].into(), [].into())
        );
        assert_eq!(machine.xen.taken.borrow()[..], [whole], "Xen was told");
        assert!(!direct.lines_are_pirqs());
    });
    assert_eq!(machine.ecam.mapped.get(), 0, "given back");
}

#[test]
fn what_is_not_there_takes_no_page() {
    let machine = Machine::new();
    machine.with(&[region(0, 0, 0xff)], |direct, _| {
        for nobody in ["00:03.0", "ff:1f.7"] {
            assert!(Function::probe(direct, bdf(nobody)).unwrap().is_none());
            assert_eq!(direct.read(bdf(nobody), 4, Width::U8), Ok(0xff));
            let lost = direct.write(bdf(nobody), 4, Width::U8, 1).unwrap_err();
            assert_eq!(lost.code(), "config-no-device");
        }
        assert_eq!(machine.ecam.mapped.get(), 0);
        let torn = direct.read(bdf(NIC), 3, Width::U32).unwrap_err();
        assert_eq!(torn.code(), "config-misaligned");
    });
}

#[test]
fn buses_that_no_region_has_and_boards_without_one_have_the_ports() {
    let machine = Machine::new();
    machine.with(&[region(0, 0, 4)], |direct, _| {
        let far = Function::probe(direct, bdf("05:00.0")).unwrap().unwrap();
        assert_eq!(far.extended_capabilities().unwrap(), None, "out of reach");
        assert_eq!(far.id().unwrap().device, 0x10d3);
        assert_eq!((direct.in_memory(), codes(direct)), (0, [].into()));
    });
    let ports = FakePorts(&machine.ports, Cell::new(0));
    for (error, code) in [
        (TableError::NoPointer, "acpi-none"),
        (TableError::Missing(Signature::MCFG), "acpi-no-mcfg"),
    ] {
        let direct = Direct::new(&ports, &machine.ecam, &machine.xen, Err(&error), &machine.ram);
        assert_eq!(
            (direct.read(bdf(NIC), 2, Width::U16), codes(&direct)),
            (Ok(0x10d3), [code].into())
        );
        assert!(
            direct.lacks()[0].is_absence() && direct.lacks()[0].to_string() == error.to_string()
        );
    }
}

#[test]
fn what_memory_tells_otherwise_has_the_ports_and_status_may_differ() {
    for (at, bytes, differs) in [
        (0x00_usize, &[0x87][..], true),
        (0x04, &[0x40], true),
        (0x06, &[0x40], false),
        (0x2c, &[1], true),
        (0x3c, &[9], true),
        (0x40, &[1], false),
    ] {
        let mut machine = Machine::new();
        let device = FakeDevice::new(0x8086, 0x10d3, 0x02_0000);
        machine.ports.insert(bdf(NIC), device.clone());
        let other = FakeBus::hardware().with(bdf(NIC), device.bytes(at, bytes));
        machine.ecam.bus = Rc::new(other);
        machine.with(&[region(0, 0, 0xff)], |direct, _| {
            assert_eq!(direct.read(bdf(NIC), 0, Width::U8), Ok(0x86), "{at:#x}");
            let expected: &[_] = if differs { &["pci-ecam-differs"] } else { &[] };
            assert_eq!((&codes(direct)[..], direct.in_memory()), (expected, usize::from(!differs)));
        });
    }
    // A BAR, and where a device has that a bridge's second status.
    let mut machine = Machine::new();
    let with = |bar| FakeDevice::new(0x8086, 0x10d3, 0x02_0000).bar(3, bar, 0x1_0000);
    machine.ports.insert(bdf(NIC), with(0xfe82_0000));
    machine.ecam.bus = Rc::new(FakeBus::hardware().with(bdf(NIC), with(0xfe83_0000)));
    machine.with(&[region(0, 0, 0xff)], |direct, _| {
        assert_eq!(direct.read(bdf(NIC), 0x1c, Width::U32), Ok(0xfe82_0000));
        assert_eq!((codes(direct), direct.in_memory()), (["pci-ecam-differs"].into(), 0));
    });
    let mut machine = Machine::new();
    machine.ports.insert(bdf(NIC), FakeDevice::bridge(0, 1, 1));
    let bridge = FakeDevice::bridge(0, 1, 1).bytes(0x1e, &[0, 0x20]);
    machine.ecam.bus = Rc::new(FakeBus::hardware().with(bdf(NIC), bridge));
    machine.with(&[region(0, 0, 0xff)], |direct, _| {
        assert_eq!(direct.read(bdf(NIC), 0x0e, Width::U8), Ok(1));
        assert_eq!((codes(direct), direct.in_memory()), (Vec::new(), 1));
    });
}

#[test]
fn nobody_in_memory_who_is_there_by_ports_differs() {
    let mut machine = Machine::new();
    machine.ecam.bus = Rc::new(FakeBus::hardware());
    machine.with(&[region(0, 0, 0xff)], |direct, _| {
        assert_eq!(direct.read(bdf(NIC), 0, Width::U16), Ok(0x8086));
        let told = direct.lacks()[0].to_string();
        assert_eq!(told, "0000:00:02.0 at 0x00: 0xffffffff in memory, 0x10d38086 by ports");
        assert!(!direct.lacks()[0].is_absence());
    });
}

#[test]
fn a_region_that_xen_refuses_or_that_is_ram_is_not_used() {
    let mut machine = Machine::new();
    for (error, absent) in [(XenError::NoDevice, true), (XenError::Io, false)] {
        machine.xen.refuses = Some(error);
        machine.with(&[region(0, 0, 0xff)], |direct, _| {
            assert_eq!((direct.regions(), codes(direct)), (&[][..], ["pci-ecam-refused"].into()));
            assert_eq!(direct.lacks()[0].is_absence(), absent);
            assert_eq!(direct.read(bdf(NIC), 0, Width::U16), Ok(0x8086));
        });
    }
    machine.xen = FakeXen::default();
    machine.ram = Map::flat((BASE >> 12) + 1);
    machine.with(&[region(0, 0, 0xff)], |direct, _| {
        assert_eq!((direct.regions(), codes(direct)), (&[][..], ["pci-ecam-under-ram"].into()));
        assert!(machine.xen.taken.borrow().is_empty(), "Xen is not told");
    });
    // One that starts behind it is right.
    let above = region(0, 1, 0xff);
    machine.with(&[above], |direct, _| assert_eq!(direct.regions(), [above]));
}

#[test]
fn a_page_that_can_t_be_mapped_is_told_and_the_ports_are_used() {
    let machine = Machine::new();
    machine.ecam.refuses.set(true);
    machine.with(&[region(0, 0, 0xff)], |direct, _| {
        assert_eq!(direct.read(bdf(NIC), 0, Width::U16), Ok(0x8086));
        assert_eq!(direct.read(bdf(NIC), 2, Width::U16), Ok(0x10d3));
        assert_eq!((codes(direct), direct.in_memory()), (["pci-ecam-map"].into(), 0));
    });
}

#[test]
fn another_segment_is_reached_in_memory_alone() {
    let mut machine = Machine::new();
    let far = bdf("0001:00:02.0");
    machine.ecam.segment = 1;
    machine.ecam.bus =
        Rc::new(FakeBus::hardware().with(far, FakeDevice::new(0x1b36, 0x10, 0x01_0802)));
    machine.with(&[region(1, 0, 0xf)], |direct, ports| {
        assert_eq!(direct.segments(), [0, 1]);
        assert!(Function::probe(direct, far).unwrap().is_some());
        for nobody in ["0001:00:03.0", "0001:10:00.0", "0002:00:02.0"] {
            assert!(Function::probe(direct, bdf(nobody)).unwrap().is_none(), "{nobody}");
        }
        assert_eq!((machine.ecam.mapped.get(), ports.1.get()), (1, 0));
        machine.ecam.refuses.set(true);
        assert!(Function::probe(direct, bdf("0001:00:04.0")).unwrap().is_none());
        assert_eq!(codes(direct), ["pci-ecam-map"]);
    });
}
