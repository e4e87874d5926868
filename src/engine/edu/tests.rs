//! The driver over a device that sees only what was mapped for it.

use super::*;
use crate::{
    device::{
        Idle as _, Via,
        fake::{TickingClock, vanishing::Vanishing as _},
    },
    dma::{
        Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    engine::fake::{FakeEdu, Fault},
    report::Verdict,
};
use alloc::boxed::Box;

type Engine<'m> = Edu<'m, &'m FakeEdu<'m>>;

/// Runs `test` on a started engine; afterwards everything must be back, and no address out of place.
fn with_engine(policy: Policy, test: impl FnOnce(&FakeEdu<'_>, &mut Engine<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let mask = limits().mask;
    pool.start(&Plan { mask, ..Plan::new(1 << 20) }, &mut |_| {}).unwrap();
    let device = dma::Device::new(&pool, &machine, limits(), policy);
    let mut engine = Idle::reset(&chip, &clock).unwrap().start(device).unwrap();
    test(&chip, &mut engine);
    for (bus, len) in chip.touched() {
        let given = engine.dma_ranges().iter().any(|range| range.covers(bus, len));
        assert!(given && mask.covers(bus, len), "{len} bytes at {bus} were never given");
    }
    chip.set_fault(Fault::None);
    engine.quiesce().ok();
    assert!(!chip.is_running() && !chip.interrupts());
    drop(engine);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    pattern::fill(&mut bytes, seed);
    bytes
}

/// Looks until something came; what went wrong instead, or that nothing comes.
fn fetch(engine: &mut Engine<'_>, back: &mut Vec<u8>) -> Result<usize, Outcome> {
    for _ in 0..20 {
        if let Arrival::Back(len) = engine.fetch(&[], back)? {
            return Ok(len);
        }
    }
    Err(engine.missing(&Sent { source: None, dma: crate::addr::BusAddr(0), len: 0, bounced: None }))
}

/// One run of bytes out and back.
fn trip(engine: &mut Engine<'_>, sent: &[u8]) -> Result<Vec<u8>, Outcome> {
    engine.send(sent.to_vec().into())?;
    let mut back = Vec::new();
    let len = fetch(engine, &mut back)?;
    back.truncate(len);
    Ok(back)
}

fn code<T: fmt::Debug>(result: Result<T, Outcome>) -> &'static str {
    result.unwrap_err().reason().code
}

#[test]
fn every_length_comes_back_through_the_pool() {
    with_engine(Policy::Auto, |_, engine| {
        let lengths = engine.lengths();
        for len in lengths.up_to(300) {
            let sent = bytes(len, len);
            assert!(trip(engine, &sent).unwrap() == sent, "{len}");
        }
        let all = lengths.up_to(300).count() as u64;
        let Traffic { sent, sent_bounced, received, lost, resets } = engine.traffic();
        assert_eq!((sent, sent_bounced, received, lost, resets), (all, all, all, 0, 0));
        assert!(engine.dma_ranges().iter().all(|range| range.via == Via::Pool));
        assert_eq!(engine.label(), "1.0");
    });
}

#[test]
fn bytes_are_read_from_where_they_lie_and_their_memory_comes_back() {
    with_engine(Policy::Auto, |_, engine| {
        let all = bytes(3000, 1);
        for at in [0, 1, 3, 64, 401] {
            let mut lent = dma::OwnedSlice::from(all.clone());
            lent.select(at..at + 1514);
            let (record, back) = engine.send(lent.into()).unwrap();
            assert_eq!((record.len, back.into_vec().unwrap()), (1514, all.clone()));
            let mut arrived = Vec::new();
            assert_eq!(fetch(engine, &mut arrived).unwrap(), 1514);
            assert!(arrived == all[at..at + 1514]);
        }
    });
}

#[test]
fn nothing_comes_that_was_not_sent() {
    with_engine(Policy::Auto, |chip, engine| {
        let before = chip.accesses();
        assert_eq!(engine.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
        assert_eq!(chip.accesses(), before);
        trip(engine, &[7; 9]).unwrap();
        assert_eq!(engine.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
        assert!(!chip.is_running());
    });
}

#[test]
fn impossible_lengths_are_refused() {
    with_engine(Policy::Auto, |_, engine| {
        assert_eq!(code(engine.send(vec![0; 4097].into())), "engine-length");
        assert_eq!(code(engine.send(vec![].into())), "engine-length");
        assert_eq!(engine.traffic(), Traffic::default());
    });
}

#[test]
fn bytes_nobody_asked_for_give_way_to_the_next_and_count_as_lost() {
    with_engine(Policy::Auto, |_, engine| {
        engine.send(bytes(100, 1).into()).unwrap();
        assert_eq!(engine.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing), "begun");
        let sent = bytes(50, 2);
        assert!(trip(engine, &sent).unwrap() == sent);
        assert_eq!(engine.traffic().lost, 1);
    });
}

#[test]
fn each_transfer_interrupts_once_it_is_done_and_an_acknowledgement_ends_it_at_once() {
    with_engine(Policy::Auto, |chip, engine| {
        engine.enable_interrupts(Cause::RECEIVER);
        for seed in 0..5 {
            engine.send(bytes(64, seed).into()).unwrap();
            assert!(!chip.interrupts(), "the first half is waited for");
            fetch(engine, &mut Vec::new()).unwrap();
            assert!(chip.interrupts());
            assert_eq!(engine.acknowledge(), Cause::RECEIVED);
            assert!(!chip.interrupts(), "let go of");
            assert_eq!(engine.acknowledge(), Cause::empty());
        }
        chip.raise(0x101);
        assert_eq!(engine.acknowledge(), Cause::RECEIVED | Cause::ERROR, "nothing computes here");
        assert!(!chip.interrupts());
    });
}

#[test]
fn a_masked_device_is_silent_and_what_was_held_back_comes_with_the_unmasking() {
    with_engine(Policy::Auto, |chip, engine| {
        trip(engine, &[1; 8]).unwrap();
        assert!(!chip.interrupts(), "masked from the start");
        engine.enable_interrupts(Cause::RECEIVER);
        assert!(chip.interrupts(), "held back");
        engine.enable_interrupts(Cause::empty());
        assert!(!chip.interrupts(), "pending when it was masked");
        engine.enable_interrupts(Cause::RECEIVER);
        assert_eq!(engine.acknowledge(), Cause::RECEIVED);
        engine.enable_interrupts(Cause::empty());
        engine.enable_interrupts(Cause::RECEIVER);
        assert!(!chip.interrupts(), "acknowledged, so nothing is due");
    });
}

#[test]
fn a_transfer_under_way_is_silent_from_the_masking_on() {
    with_engine(Policy::Auto, |chip, engine| {
        engine.enable_interrupts(Cause::RECEIVER);
        engine.send(bytes(64, 1).into()).unwrap();
        engine.fetch(&[], &mut Vec::new()).unwrap();
        assert!(chip.is_running());
        engine.enable_interrupts(Cause::empty());
        assert!(!chip.is_running() && !chip.interrupts());
        assert_eq!(fetch(engine, &mut Vec::new()), Ok(64));
        assert!(!chip.interrupts());
        engine.enable_interrupts(Cause::RECEIVER);
        assert!(chip.interrupts());
    });
}

#[test]
fn a_device_that_never_interrupts_still_moves_bytes() {
    with_engine(Policy::Auto, |chip, engine| {
        engine.enable_interrupts(Cause::RECEIVER);
        chip.set_fault(Fault::Silent);
        assert_eq!(trip(engine, &[5; 77]).unwrap(), [5; 77]);
        assert!(!chip.interrupts());
    });
}

#[test]
fn a_wrong_byte_arrives_wrong() {
    with_engine(Policy::Auto, |chip, engine| {
        chip.set_fault(Fault::CorruptByte(20));
        assert_eq!(trip(engine, &[0xff; 60]).unwrap()[20], 0xef);
    });
}

#[test]
fn what_is_reported_done_and_was_not_written_is_told() {
    for fault in [Fault::DoneEarly, Fault::Short(0), Fault::Short(92)] {
        with_engine(Policy::Auto, |chip, engine| {
            engine.send(bytes(100, 1).into()).unwrap();
            chip.set_fault(fault);
            assert_eq!(code(fetch(engine, &mut Vec::new())), "dma-overreported", "{fault:?}");
        });
    }
}

#[test]
fn bytes_it_only_says_to_have_read_do_not_come_back() {
    with_engine(Policy::Auto, |chip, engine| {
        trip(engine, &bytes(100, 1)).unwrap();
        chip.set_fault(Fault::DoneEarly);
        engine.send(bytes(100, 2).into()).unwrap();
        chip.set_fault(Fault::None);
        let mut back = Vec::new();
        assert_eq!(fetch(engine, &mut back), Ok(100));
        assert!(back == bytes(100, 1));
    });
}

#[test]
fn a_write_before_the_memory_shows_at_the_guards() {
    with_engine(Policy::Auto, |chip, engine| {
        chip.set_fault(Fault::Underrun);
        assert_eq!(code(trip(engine, &[3; 60])), "dma-overrun");
    });
    with_engine(Policy::Auto, |chip, engine| {
        chip.set_fault(Fault::Underrun);
        engine.send(vec![3; 60].into()).unwrap();
        engine.fetch(&[], &mut Vec::new()).unwrap();
        assert_eq!(engine.check_guards(), Ok(()));
        engine.enable_interrupts(Cause::empty());
        assert_eq!(engine.check_guards().unwrap_err().code(), "dma-overrun");
        assert_eq!(engine.quiesce().unwrap_err().code(), "dma-overrun");
    });
}

#[test]
fn a_command_register_that_reads_as_nothing_possible_is_an_error_with_its_value() {
    for value in [0x2, 0x8, 0x7fff_fff0, 0x5] {
        with_engine(Policy::Auto, |chip, engine| {
            chip.set_fault(Fault::Command(value));
            let reason = engine.send(vec![3; 60].into()).unwrap_err().reason();
            assert_eq!(
                reason.code,
                if value == 5 { "device-reset-timeout" } else { "engine-status" }
            );
            if value != 5 {
                let mut numbers = [Command::START.bits(), value].into_iter();
                let tells = |number| reason.detail.contains(&format!("{number:#x}"));
                assert!(numbers.all(tells), "{reason}");
                assert_eq!((engine.traffic().resets, engine.traffic().lost), (1, 1));
                chip.set_fault(Fault::None);
                assert_eq!(trip(engine, &[4; 9]).unwrap(), [4; 9], "it goes on");
            }
        });
    }
}

#[test]
fn an_engine_that_halts_keeps_its_memory_until_it_is_seen_to_stop() {
    with_engine(Policy::Auto, |chip, engine| {
        chip.set_fault(Fault::Halts);
        assert_eq!(code(engine.send(vec![3; 60].into())), "device-reset-timeout");
        assert_eq!(code(engine.send(vec![3; 60].into())), "device-reset-timeout");
        assert_eq!(code(engine.prepare()), "device-reset-timeout");
        assert_eq!(code(engine.fetch(&[], &mut Vec::new())), "device-reset-timeout");
        assert_eq!(engine.quiesce().unwrap_err().code(), "device-reset-timeout");
        assert_eq!(chip.owned().len(), 1);
    });
    with_engine(Policy::Auto, |chip, engine| {
        engine.send(vec![3; 60].into()).unwrap();
        chip.set_fault(Fault::Halts);
        let outcome = fetch(engine, &mut Vec::new()).unwrap_err();
        assert_eq!((outcome.verdict(), outcome.reason().code), (Verdict::Failure, "engine-stuck"));
        assert!(outcome.reason().detail.contains("Running"));
        assert_eq!(code(engine.send(vec![3; 60].into())), "device-reset-timeout");
    });
}

#[test]
fn a_device_that_is_gone_says_so_everywhere() {
    with_engine(Policy::Auto, |chip, engine| {
        chip.set_fault(Fault::Gone);
        assert_eq!(engine.acknowledge(), Cause::GONE);
        assert_eq!(code(engine.send(vec![3; 60].into())), "device-gone");
        assert_eq!(code(engine.fetch(&[], &mut Vec::new())), "device-gone");
        assert_eq!(engine.quiesce().unwrap_err().code(), "device-gone");
    });
}

#[test]
fn a_quiesced_engine_refuses_everything_and_kept_nothing() {
    with_engine(Policy::Auto, |chip, engine| {
        engine.send(vec![3; 60].into()).unwrap();
        engine.fetch(&[], &mut Vec::new()).unwrap();
        assert!(chip.is_running());
        engine.quiesce().unwrap();
        assert_eq!(code(engine.send(vec![3; 60].into())), "device-stopped");
        assert_eq!(code(engine.fetch(&[], &mut Vec::new())), "device-stopped");
        assert_eq!(engine.quiesce(), Ok(()));
    });
}

#[test]
fn what_a_last_owner_left_comes_to_its_end_before_the_device_counts_as_stopped() {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    chip.set_master(false);
    chip.leave_running(0x100_0000);
    let _idle = Idle::reset(&chip, &clock).unwrap();
    assert!(!chip.is_running() && !chip.interrupts());
    assert!(chip.touched().is_empty(), "its bus mastering is off");
}

#[test]
fn a_device_that_is_none_or_does_not_react_is_not_started() {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    for (fault, expected) in [
        (Fault::Identification(0x0100_00ee), "device-unfit"),
        (Fault::Identification(0), "device-unfit"),
        (Fault::Liveness(0x1357_9bdf), "device-unfit"),
        (Fault::Liveness(u32::MAX), "device-gone"),
        (Fault::Halts, "device-reset-timeout"),
        (Fault::Gone, "device-gone"),
    ] {
        let chip = FakeEdu::new(&machine);
        chip.leave_running(0x100_0000);
        chip.set_master(false);
        chip.set_fault(fault);
        assert_eq!(Idle::reset(&chip, &clock).unwrap_err().code(), expected, "{fault:?}");
    }
}

#[test]
fn without_a_pool_the_first_transfer_says_so() {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let device = dma::Device::new(&pool, &machine, limits(), Policy::Auto);
    let mut engine = Idle::reset(&chip, &clock).unwrap().start(device).unwrap();
    assert_eq!(code(engine.send(vec![0; 60].into())), "dma-no-pool");
    assert!(!chip.is_running());
}

#[test]
fn it_says_what_it_is_what_it_reaches_and_how_long_it_takes() {
    with_engine(Policy::Auto, |_, engine| {
        assert_eq!((engine.name(), engine.label().as_str()), ("edu", "1.0"));
        assert_eq!((limits().mask.bits(), limits().max_len), (28, 4096));
        let all = engine.lengths().up_to(engine.series()).count();
        assert_eq!(all, 500, "two series are a thousand transfers");
        assert_eq!(engine.patience(), PATIENCE);
        let mut bytes = [0; 64];
        engine.fill(&mut bytes, 9).unwrap();
        assert_ne!(bytes, [0; 64], "a pattern");
    });
}

#[test]
fn what_others_raised_is_not_raised_again() {
    with_engine(Policy::Auto, |chip, engine| {
        chip.write_u32(regs::INTERRUPT_RAISE, 1);
        engine.enable_interrupts(Cause::empty());
        assert!(!chip.interrupts(), "masked");
        engine.enable_interrupts(Cause::RECEIVED);
        assert!(!chip.interrupts(), "no transfer was done");
    });
}

#[test]
fn an_engine_that_is_dropped_is_stopped_and_gives_everything_back() {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan { mask: limits().mask, ..Plan::new(1 << 20) }, &mut |_| {}).unwrap();
    let device = dma::Device::new(&pool, &machine, limits(), Policy::Auto);
    let mut engine = Idle::reset(&chip, &clock).unwrap().start(device).unwrap();
    engine.send(vec![3; 60].into()).unwrap();
    assert_eq!(engine.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
    drop(engine);
    assert!(!chip.is_running() && pool.stats().is_balanced(), "{:?}", pool.stats());
}

#[test]
fn each_error_says_what_to_do() {
    let errors = [EngineError::Length { len: 0, max: 1 }, Ended.into()];
    assert!(errors.iter().all(|error| error.remedy().contains(' ')));
}
