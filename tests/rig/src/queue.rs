//! The jobs of a run, for one machine or several at once: each job goes to the machine that comes to it first.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::job::Job;

/// The jobs that no machine has taken.
#[derive(Debug)]
pub(crate) struct Queue {
    // In the order of the run, each with the one that lives at the same time as it.
    jobs: Vec<Job>,
    // The names of those that are left, which are each job's own, since its log is called by it; none: no more are wanted.
    left: Mutex<Option<BTreeSet<String>>>,
}

impl Queue {
    pub(crate) fn new(jobs: &[Job]) -> Self {
        let left = jobs.iter().map(|job| job.name.clone()).collect();
        Self { jobs: jobs.to_vec(), left: Mutex::new(Some(left)) }
    }

    /// What is left, in order.
    pub(crate) fn left(&self) -> Vec<Job> {
        let left = self.lock();
        let is_left = |job: &&Job| left.as_ref().is_some_and(|left| left.contains(&job.name));
        self.jobs.iter().filter(is_left).cloned().collect()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(BTreeSet::is_empty)
    }

    /// Takes a job, and with it those that live at the same time; false if it has been taken.
    pub(crate) fn take(&self, job: &Job) -> bool {
        let mut left = self.lock();
        let Some(left) = left.as_mut().filter(|left| left.contains(&job.name)) else {
            return false;
        };
        left.remove(&job.name);
        for partner in self.partners(job) {
            left.remove(&partner.name);
        }
        true
    }

    /// Gives back a job that its machine took and did not come to.
    pub(crate) fn give_back(&self, job: &Job) {
        if let Some(left) = self.lock().as_mut() {
            left.insert(job.name.clone());
        }
    }

    /// Leaves nothing: no more jobs are wanted.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    /// The jobs that live at the same time as this one.
    fn partners(&self, job: &Job) -> impl Iterator<Item = &Job> {
        let others = self.jobs.iter().skip_while(|other| other.name != job.name).skip(1);
        others.take_while(|other| other.together)
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<String>>> {
        // Each change of the set is whole before another one can panic.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, together: bool) -> Job {
        Job { together, ..Job::new(name, "no-device.cfg", None) }
    }

    fn names(queue: &Queue) -> Vec<String> {
        queue.left().into_iter().map(|job| job.name).collect()
    }

    #[test]
    fn each_job_goes_to_one_machine() {
        let jobs = ["b", "a", "c"].map(|name| job(name, false));
        let queue = Queue::new(&jobs);
        assert!(queue.take(&jobs[1]) && !queue.take(&jobs[1]));
        assert_eq!(names(&queue), ["b", "c"], "in the order of the run");
        queue.give_back(&jobs[1]);
        assert_eq!(names(&queue), ["b", "a", "c"]);
        queue.close();
        queue.give_back(&jobs[1]);
        assert!(queue.is_empty() && !queue.take(&jobs[0]));
    }

    #[test]
    fn two_that_live_at_the_same_time_go_to_the_same_machine() {
        let jobs = [job("a", false), job("b", true), job("c", false)];
        let queue = Queue::new(&jobs);
        assert!(queue.take(&jobs[0]));
        assert_eq!(names(&queue), ["c"]);
        assert!(!queue.take(&jobs[1]), "it is the other machine's");
        queue.give_back(&jobs[1]);
        assert!(queue.take(&jobs[1]), "that one ended before it came to it");
    }
}
