//! What the rig asks of QEMU, Xen and xl that a real host does not have: for a run that is quick and says more, and to be
//! left out one by one.

use clap::ValueEnum;

/// A setting, by the name that `--without` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Setting {
    /// tsc_mode="native" for the guest, which then reads the processor's own clock
    TscMode,
    /// cpus="1" for the guest: Xen moves a domain's interrupts along with its processor, and QEMU's I/O APIC goes on raising
    /// the vector they had before
    Cpus,
    /// dom0_vcpus_pin for Xen: each time it moves dom0's processor it moves dom0's interrupts, too, and QEMU's I/O APIC goes on
    /// raising the vector they had before
    Dom0VcpusPin,
    /// bootscrub=0 for Xen, which prefers clean memory to high memory and scrubs from below, so that for the first minute guests
    /// would get frames that need no bounce. QEMU's memory is clean as it comes
    Bootscrub,
    /// iommu=no-superpages for Xen: QEMU's trace names the page, and a small one says more
    NoSuperpages,
    /// dom0_mem and dom0_max_vcpus for Xen: without them dom0 has all, and gives guests what they need
    SmallDom0,
    /// A processor without x2APIC, with which Xen writes whole APIC numbers where interrupts are remapped, of which QEMU's IOMMU
    /// reads only the bits that xAPIC has, so that messages for any other processor go to the first
    Xapic,
}

/// Those that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Without(pub(crate) Vec<Setting>);

impl Without {
    /// Whether it is there.
    pub(crate) fn keeps(&self, setting: Setting) -> bool {
        !self.0.contains(&setting)
    }

    /// Xen's command line, with a dom0 of so many MiB.
    pub(super) fn xen(&self, dom0_mib: u32) -> String {
        let mut words = vec!["console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all".to_owned()];
        let small = format!("dom0_mem={dom0_mib}M,max:{dom0_mib}M dom0_max_vcpus=1");
        for (setting, word) in [
            (Setting::SmallDom0, small.as_str()),
            (Setting::Dom0VcpusPin, "dom0_vcpus_pin"),
            (Setting::Bootscrub, "bootscrub=0"),
            (Setting::NoSuperpages, "iommu=no-superpages"),
        ] {
            words.extend(self.keeps(setting).then(|| word.to_owned()));
        }
        words.push("iommu=verbose".to_owned());
        words.join(" ")
    }

    /// The processor to emulate.
    pub(super) fn cpu(&self, model: &str) -> String {
        let last = if self.keeps(Setting::Xapic) { ",-x2apic" } else { "" };
        format!("{model}{last}")
    }

    /// The lines for a guest's xl config.
    pub(crate) fn xl(&self) -> impl Iterator<Item = String> {
        let pinned = self.keeps(Setting::Cpus).then(|| "cpus=\"1\"".to_owned());
        // In xl's syntax the last line of a name counts.
        let emulated = (!self.keeps(Setting::TscMode)).then(|| "tsc_mode=\"default\"".to_owned());
        pinned.into_iter().chain(emulated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_somewhere_and_goes_when_it_is_left_out() {
        let told = |without: &Without| {
            let xl: Vec<_> = without.xl().collect();
            [without.xen(512), without.cpu("max"), xl.join(" ")].join("|")
        };
        let all = told(&Without::default());
        let less = Setting::value_variants().iter().map(|setting| told(&Without(vec![*setting])));
        let mut seen: Vec<String> = less.chain([all]).collect();
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "{seen:?}");
        let none = Without(Setting::value_variants().to_vec());
        assert_eq!(
            told(&none),
            "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all iommu=verbose|max|tsc_mode=\"default\""
        );
    }
}
