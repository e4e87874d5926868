//! The DMA layer through its public API: a fake Xen with its rules, a fake device that sees only what
//! was mapped, and a count of everything at the end of each test.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod coherent;
mod decision;
mod demands;
mod errors;
mod full;
mod hostile;
mod mapping;
mod overreport;
mod pool;
mod random;
mod timing;

use pvbounce::{
    addr::{BusAddr, DmaMask, GIB_4, Mfn, PAGE_SIZE, Pfn, PhysAddr},
    dma::{
        AdoptError, Bidirectional, CoherentError, Device, FinishError, FromDevice, GrowError,
        Limits, MapError, Mapping, Origin, Plan, Policy, Pool, PowerOfTwo, SegmentInfo, StartError,
        Step, Table, ToDevice, Why, dma_capable,
        fake::{BusFault, FakeDevice, FakeMachine, FakePages, Faulty, Frames},
        run::SLOT_SIZE,
    },
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
        translate::{Place, Translate},
    },
    xen::errno::XenError,
};

const MIB: usize = 1 << 20;

fn bits(bits: u32) -> DmaMask {
    DmaMask::from_bits(bits).unwrap()
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn power(bytes: usize) -> PowerOfTwo {
    PowerOfTwo::new(bytes).unwrap()
}

/// Runs `test` with a pool of `plan`, then stops the pool and checks that everything came back.
fn with_pool(plan: Plan, test: impl FnOnce(&FakeMachine, &Pool<'_>)) {
    let machine = FakeMachine::default();
    let before = machine.free_frames();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&plan, &mut |_| {}).unwrap();
    assert!(pool.is_started());
    test(&machine, &pool);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    assert!(pool.stop(&mut |_| panic!("nothing was handed in")).slots_in_use == 0);
    drop(pool);
    let balance = machine.balance();
    assert_eq!((balance.out, balance.bad_releases), (0, 0));
    assert_eq!(machine.free_frames(), before);
}

fn forced<'m>(machine: &'m FakeMachine, pool: &'m Pool<'m>) -> Device<'m> {
    Device::new(pool, machine, Limits::new(DmaMask::BITS_32), Policy::Force)
}

fn auto<'m>(machine: &'m FakeMachine, pool: &'m Pool<'m>) -> Device<'m> {
    Device::new(pool, machine, Limits::new(DmaMask::BITS_32), Policy::Auto)
}
