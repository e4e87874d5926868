//! MSI, MSI-X and error reports.

use crate::world::{World, assert_clean, bdf, nic as device, soon};
use pvbounce::{
    pci::{
        Command, ConfigAccess, Delivery, Function, Host, Resources, Width, fake::Answers,
        front::FrontError,
    },
    xen::{
        abi::pciif::command,
        events::{EventChannels, Pirq},
    },
};

#[test]
fn msi_gives_a_pirq_and_closing_takes_it_back() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    let error = front.enable_msi(nic).unwrap_err();
    assert_eq!(error.code(), "config-refused", "memory decode is off");
    let function = Function::probe(&front, nic).unwrap().unwrap();
    function.enable(Command::MEMORY).unwrap();
    assert_eq!(front.enable_msi(nic).unwrap(), Pirq(16));
    assert_eq!(world.backend.irqs_on(), 1);
    front.disable_msi(nic).unwrap();
    assert_eq!(front.enable_msi(nic).unwrap(), Pirq(17));
    assert!(front.enable_msi(nic).is_err(), "it is on already");
    assert_eq!(world.backend.irqs_on(), 1);
    assert_clean(&world, &front.close());
}

#[test]
fn as_a_host_it_turns_on_what_the_function_offers_and_off_again() {
    let (world, nic) = (World::new(), bdf("00:00.0"));
    world.backend.bus.insert(nic, device().capability(0x50, 0x05, &[0x86, 0]));
    let front = world.connect().unwrap();
    let offering = Resources::read(&front, nic).unwrap().unwrap();
    let nothing = Resources { msi: None, ..offering.clone() };
    Function::probe(&front, nic).unwrap().unwrap().enable(Command::MEMORY).unwrap();
    let refused = front.turn_on(&nothing, Delivery::Msi).unwrap_err();
    assert_eq!((refused.code, world.backend.irqs_on()), ("pci-no-msi", 0));
    assert_eq!(front.turn_on(&offering, Delivery::Msi), Ok(Pirq(16)));
    assert_eq!(world.backend.irqs_on(), 1);
    front.turn_off(nic, Delivery::Msi).unwrap();
    assert_eq!(world.backend.irqs_on(), 0);
    assert_clean(&world, &front.close());
}

#[test]
fn msix_gives_a_pirq_an_entry() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    Function::probe(&front, nic).unwrap().unwrap().enable(Command::MEMORY).unwrap();
    let pirqs = front.enable_msix(nic, &[0, 1, 4]).unwrap();
    assert_eq!(pirqs, [Pirq(16), Pirq(17), Pirq(18)]);
    assert_eq!(world.backend.entries(), [0, 1, 4]);
    for asked in [0, 129] {
        let error = front.enable_msix(nic, &vec![0; asked]).unwrap_err();
        assert_eq!(error, FrontError::VectorCount { bdf: nic, asked });
    }
    assert_clean(&world, &front.close());
}

#[test]
fn pirqs_that_are_none_are_refused_and_turned_off_again() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    for value in [0, -1, i32::MIN] {
        let raw = value.cast_unsigned();
        world.backend.answers.set(Answers::Value(raw));
        let error = front.enable_msi(nic).unwrap_err();
        assert_eq!(error, FrontError::BadPirq { bdf: nic, value });
    }
    world.backend.answers.set(Answers::Value(0));
    let error = front.enable_msix(nic, &[0]).unwrap_err();
    assert_eq!(error.code(), "front-bad-pirq");
    world.backend.answers.set(Answers::Value((-28_i32).cast_unsigned()));
    let error = front.enable_msix(nic, &[0]).unwrap_err();
    assert_eq!(error.to_string(), "0000:00:00.0: dom0 refused 1 MSI-X vectors with -28");
    assert_eq!(world.backend.irqs_on(), 0);
    world.backend.answers.set(Answers::Well);
    assert_clean(&world, &front.close());
}

#[test]
fn interrupts_that_cannot_be_turned_off_are_reported() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    Function::probe(&front, nic).unwrap().unwrap().enable(Command::MEMORY).unwrap();
    front.enable_msi(nic).unwrap();
    world.backend.answers.set(Answers::Never);
    let report = front.close();
    assert_eq!(report.irqs_left, [nic]);
    assert!(!report.leaks_nothing());
    assert_eq!(world.grants.owned(), 0);
}

#[test]
fn error_reports_are_answered_and_counted() {
    let world = World::new();
    let front = world.connect().unwrap();
    front.check_reports().unwrap();
    world.backend.report(command::AER_DETECTED);
    assert_eq!(front.read(bdf("00:00.0"), 0, Width::U16), Ok(0x10ec));
    world.backend.report(command::AER_RESUME);
    world.events.poll(&[front.port().unwrap()], soon(&world)).unwrap();
    let error = front.check_reports().unwrap_err();
    assert_eq!(error.code(), "pci-error-report");
    assert_eq!(
        error.to_string(),
        "2 error reports; the last: command 7 for segment 0x0, bus 0x0, devfn 0x0"
    );
    front.read(bdf("00:00.0"), 0, Width::U16).unwrap();
    let (count, last) = front.aer_reports();
    assert_eq!((count, last.unwrap().command), (2, command::AER_RESUME));
    assert_eq!(world.backend.report_answers(), [2, 5]);
    assert_clean(&world, &front.close());
}
