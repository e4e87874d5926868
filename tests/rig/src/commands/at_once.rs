//! Several tasks at the same time, as many as this host has cores and memory for.

use std::fs;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crate::error::{Error, Result};

/// A machine has two processors, of which one is idle most of the time; so one to a core, and no more than those.
const MOST: usize = 4;
/// KiB of the host's memory that a machine is given room for: it takes about 3 GiB once a run is over; 4 are asked for, to
/// leave some.
const MEMORY: usize = 4 << 20;

/// How many machines this host has room for.
pub(crate) fn fitting() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    // Who can't say how much there is, is not asked for more than one needs.
    fit(cores, memory.unwrap_or(MEMORY))
}

fn fit(cores: usize, kib: usize) -> usize {
    cores.min(kib / MEMORY).clamp(1, MOST)
}

/// The KiB that programs can have without anything going to swap.
fn available(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Something to do.
pub(crate) type Task<'t, T> = Box<dyn FnOnce() -> Result<T> + Send + 't>;

/// Runs tasks so many at a time, and gives what they came to in their order. After the first error no other one begins.
pub(crate) fn run<T: Send>(at_a_time: usize, tasks: Vec<Task<'_, T>>) -> Result<Vec<T>> {
    let waiting = Mutex::new(tasks.into_iter().enumerate());
    let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<Vec<(usize, T)>> {
        let tasks = iter::from_fn(take);
        let done: Result<Vec<_>> = tasks.map(|(number, task)| Ok((number, task()?))).collect();
        if done.is_err() {
            iter::from_fn(take).for_each(drop);
        }
        done
    };
    let done = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
        let done: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
        done.into_iter()
            .map(|done| done.unwrap_or_else(|_| Err(panicked())))
            .collect::<Result<Vec<_>>>()
    });
    let mut done: Vec<_> = done?.into_iter().flatten().collect();
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

fn panicked() -> Error {
    Error::unfit("a thread of the rig panicked; it says above where", "this is a bug of the rig")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn tasks_run_so_many_at_a_time_and_are_answered_in_order() {
        let (both, running) = (Barrier::new(2), AtomicUsize::new(0));
        let task = |number| -> Task<'_, usize> {
            let (both, running) = (&both, &running);
            Box::new(move || {
                assert!(running.fetch_add(1, Ordering::SeqCst) < 2, "more than two at a time");
                both.wait();
                running.fetch_sub(1, Ordering::SeqCst);
                both.wait();
                Ok(number)
            })
        };
        assert_eq!(run(2, (0..6).map(task).collect()).unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn after_an_error_nothing_else_begins() {
        let begun = AtomicUsize::new(0);
        let task = |number: usize| -> Task<'_, ()> {
            let begun = &begun;
            Box::new(move || {
                begun.fetch_add(1, Ordering::SeqCst);
                (number != 1).then_some(()).ok_or_else(|| Error::unfit("no", ""))
            })
        };
        assert_eq!(run(1, (0..5).map(task).collect()).unwrap_err().to_string(), "no");
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        let panics: Task<'_, ()> = Box::new(|| panic!("on purpose"));
        assert!(run(1, vec![panics]).unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn there_is_a_machine_to_a_core_if_there_is_memory_for_it() {
        const GIB: usize = 1 << 20;
        assert_eq!([1, 2, 4, 64].map(|cores| fit(cores, 500 * GIB)), [1, 2, 4, 4]);
        assert_eq!([1, 7, 8, 15, 23].map(|gib| fit(4, gib * GIB)), [1, 1, 2, 3, 4]);
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   24000 kB\n"), Some(24000));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
