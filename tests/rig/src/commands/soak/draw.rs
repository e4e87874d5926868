//! Which domain comes next: every third is the same, so that figures can be compared; the others are drawn from a seed.

use std::time::Duration;

use crate::dice::Dice;
use crate::job::{Abuse, Act, Job};
use crate::judge::Verdict;
use crate::machine::Device;
use crate::peers::{DOWNLOAD, Peers};

/// One domain in so many is the same.
const SAME: usize = 3;

/// Ends the names of those.
pub(super) const REFERENCE: &str = "-same";

/// The suites, in turn: all of them, and the parts that a domain may be told to run alone.
const SUITES: [&str; 7] =
    ["smoke", "swiotlb,dma", "dma,net", "memory,swiotlb", "net", "boot,irq,dma", "irq,net"];

/// Those that prove something in a domain without a device.
const ALONE: [&str; 5] = ["smoke", "boot", "memory", "swiotlb", "irq"];

/// So many domains, one after the other.
pub(super) fn jobs(seed: u64, count: usize, peers: &Peers, limit: Duration) -> Vec<Job> {
    let mut dice = Dice::new(seed);
    let drawn = |number: usize| {
        let job = match number % SAME {
            0 => same(number, peers),
            1 if dice.one_in(6) => plugged(number),
            _ => random(number, peers, &mut dice),
        };
        let job = Job { limit, ..job };
        // A busy host is no fault of the domain's.
        if job.device.is_some() { job.word("detach=40") } else { job }
    };
    (0..count).map(drawn).collect()
}

fn same(number: usize, peers: &Peers) -> Job {
    let name = format!("{number:04}{REFERENCE}");
    let mut job = Job::new(name, "smoke-late.cfg", Some(Device::Nic));
    job.words.extend(peers.words());
    job
}

/// A guest that gets its device while it runs, and does not look for one.
fn plugged(number: usize) -> Job {
    let mut job = Job::new(format!("{number:04}-plugged"), "smoke-late.cfg", Some(Device::Nic));
    job.words.push("suite=memory,swiotlb".to_owned());
    job.flat = true;
    job.abuse = Some(Abuse { at: "# Subtest: memory", act: Act::Dom0("plug") });
    job
}

fn random(number: usize, peers: &Peers, dice: &mut Dice) -> Job {
    let suites = SUITES[number % SUITES.len()];
    let memory = dice.pick([32, 64, 128, 256, 512, 1024]);
    let pool = pool(memory, dice);
    let device = (!dice.one_in(8)).then_some(Device::Nic);
    let flat = device.is_some() && dice.one_in(3);
    let mut name = format!("{number:04}-{}-{memory}M-{pool}", suites.replace(',', "+"));
    let config = if device.is_some() { "smoke-late.cfg" } else { "no-device.cfg" };
    name.push_str(if flat { "-flat" } else { "" });
    name.push_str(if device.is_none() { "-alone" } else { "" });
    let mut job = Job::new(name.replace("slots=", "slots-"), config, device);
    job.memory = Some(memory);
    job.flat = flat;
    job.words.extend([format!("suite={suites}"), format!("swiotlb={pool}")]);
    if device.is_none() && !suites.split(',').any(|suite| ALONE.contains(&suite)) {
        // There is nothing that it could show.
        job = job.expect(Verdict::Skip, &[]);
    }
    if device.is_some() {
        let most = u32::try_from(DOWNLOAD).unwrap_or(u32::MAX);
        let bytes = usize::try_from(dice.between(1, most)).unwrap_or(DOWNLOAD);
        job.words.extend(peers.words_for(bytes));
    }
    job
}

/// When the pool starts, how large it is, and the rest of what can be said of it.
fn pool(memory: u32, dice: &mut Dice) -> String {
    let mut words = vec![dice.pick(["early", "late", "reserve"]).to_owned()];
    let mib = dice.between(1, (memory / 8).min(64));
    if dice.one_in(3) {
        // Any number of slots, not only whole MiB.
        words.push(format!("slots={}", mib * 512 + dice.between(0, 511)));
    } else {
        words.push(mib.to_string());
    }
    words.extend(dice.one_in(3).then(|| "force".to_owned()));
    words.extend(dice.one_in(3).then(|| "grow".to_owned()));
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::options::Options;

    fn drawn(seed: u64) -> Vec<Job> {
        jobs(seed, 200, &Peers::start().unwrap(), Duration::from_secs(1))
    }

    #[test]
    fn a_seed_gives_the_same_domains_again_and_another_gives_others() {
        let names = |seed| drawn(seed).into_iter().map(|job| job.name).collect::<Vec<_>>();
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
        let all = names(7);
        assert!(all.iter().step_by(SAME).all(|name| name.ends_with(REFERENCE)));
        for word in
            ["early", "late", "reserve", "slots", "force", "grow", "-flat", "-alone", "plugged"]
        {
            assert!(all.iter().any(|name| name.contains(word)), "no {word}");
        }
        for suites in SUITES {
            let suites = suites.replace(',', "+");
            assert!(all.iter().any(|name| name.contains(&suites)), "no {suites}");
        }
    }

    #[test]
    fn a_domain_without_a_device_that_is_asked_for_one_alone_has_to_say_so() {
        let all = drawn(7);
        let expected = |name: &str| all.iter().find(|job| job.name.contains(name)).unwrap().expect;
        let alone = all.iter().filter(|job| job.device.is_none());
        for job in alone {
            let of_device = job.name.contains("-dma+net-") || job.name.contains("-net-");
            assert_eq!(job.expect == Some(Verdict::Skip), of_device, "{}", job.name);
        }
        assert_eq!(expected(REFERENCE), None);
    }

    #[test]
    fn the_guest_understands_each_word_and_can_afford_the_pool() {
        for job in drawn(1) {
            let words = job.words.join(" ");
            let options = Options::parse(&words).unwrap();
            let memory = usize::try_from(job.memory.unwrap_or(128)).unwrap() << 20;
            assert!(options.pool_size.is_none_or(|size| size.bytes() <= memory / 4), "{words}");
        }
    }
}
