//! Devices that the toolstack takes back at the end, or not.

use crate::world::{World, assert_clean, bdf, nic, toolstack};
use pvbounce::{
    arch::time::{Clock as _, Instant},
    pci::fake::FakeBackend,
    xen::fake::{FakeClock, Peer},
};
use std::{cell::Cell, rc::Rc, time::Duration};

#[test]
fn devices_taken_back_leave_nothing_to_close() {
    let two = [(0, "00:00.0", "5"), (1, "00:01.0", "5")];
    let plugged_meanwhile =
        [(0, "00:00.0", "5"), (2, "00:02.0", "1"), (1, "00:01.0", "5"), (2, "00:02.0", "5")];
    for changes in [&two[..], &plugged_meanwhile] {
        let world = World::new();
        world.backend.bus.insert(bdf("00:01.0"), nic());
        let mut front = world.connect().unwrap();
        assert_eq!(front.functions().len(), 2);
        toolstack(&world, changes);
        front.hand_back(Duration::from_secs(10)).unwrap();
        assert_eq!(front.functions(), []);
        assert!(world.elapsed() < Duration::from_secs(2));
        assert_clean(&world, &front.close());
    }
}

#[test]
fn changes_without_end_are_followed_no_longer_than_told() {
    let world = World::new();
    let mut front = world.connect().unwrap();
    let on_and_off = [(1, "00:01.0", "1"), (1, "00:01.0", "5")].repeat(10_000);
    toolstack(&world, &on_and_off);
    let error = front.hand_back(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.code(), "xenbus-stuck");
    assert!(world.elapsed() < Duration::from_millis(1500), "{:?}", world.elapsed());
    assert!(front.close().leaks_nothing());
}

/// A toolstack that is late, and does nothing more once the device was let go of.
#[derive(Debug)]
struct Sluggish {
    backend: Rc<FakeBackend>,
    clock: Rc<FakeClock>,
    from: Instant,
    asked: Cell<bool>,
}

impl Peer for Sluggish {
    fn step(&self) {
        if !self.asked.get() && self.clock.now() >= self.from {
            self.asked.set(true);
            self.backend.announce(0, bdf("00:00.0"), "5");
        }
    }
}

#[test]
fn a_toolstack_that_stops_halfway_had_all_the_time_that_is_told() {
    let world = World::new();
    let mut front = world.connect().unwrap();
    world.events.add_peer(Rc::new(Sluggish {
        backend: Rc::clone(&world.backend),
        clock: Rc::clone(&world.clock),
        from: world.clock.now().after(Duration::from_millis(700)),
        asked: Cell::new(false),
    }));
    let error = front.hand_back(Duration::from_secs(1)).unwrap_err();
    assert_eq!(front.functions(), [], "it was let go of");
    let said = error.to_string();
    assert!(said.contains("stays in state Connected (4): waited 10"), "{said}");
    assert_clean(&world, &front.close());
}

#[test]
fn nobody_who_takes_the_device_back_is_a_time_out_and_an_orderly_close() {
    let world = World::new();
    let mut front = world.connect().unwrap();
    let error = front.hand_back(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.code(), "xenbus-stuck");
    assert!(world.elapsed() >= Duration::from_secs(1));
    assert_clean(&world, &front.close());
}
