//! Xen's own command line, as far as it says what a dom0 has to expect (xen/docs/misc/xen-command-line.pandoc).

/// What a word that stands for both may be given.
const NO: [&str; 5] = ["no", "off", "false", "disable", "0"];

/// The words of one option, wherever it stands, in order: what stands between its commas.
fn words<'l>(line: &'l [u8], option: &'l str) -> impl Iterator<Item = &'l str> {
    let text = line.split(|byte| *byte == 0).next().unwrap_or_default();
    // Up to the first letter that is no letter of Xen's.
    let text = str::from_utf8(text)
        .unwrap_or_else(|error| str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default());
    let of = text.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    of.filter(move |(name, _)| alike(name, option)).flat_map(|(_, words)| words.split(','))
}

/// Xen takes a dash for an underscore.
fn alike(name: &str, option: &str) -> bool {
    let letter = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.bytes().map(letter).eq(option.bytes())
}

/// Whether Xen was told to keep dom0's devices to what is dom0's: `dom0-iommu=strict`, `iommu=dom0-strict` of old. The last
/// word counts.
pub fn keeps_devices_in(line: &[u8]) -> bool {
    let last = |option, word: &str| {
        let said = words(line, option).filter_map(|said| match said.split_once('=') {
            _ if said == word => Some(true),
            _ if said.strip_prefix("no-") == Some(word) => Some(false),
            Some((name, value)) if name == word => Some(!NO.contains(&value)),
            _ => None,
        });
        said.last()
    };
    last("dom0-iommu", "strict").or_else(|| last("iommu", "dom0-strict")).unwrap_or(false)
}

/// The serial and debug ports that Xen has for its console.
pub fn consoles(line: &[u8]) -> impl Iterator<Item = &str> {
    words(line, "console").filter(|port| !["vga", "none", "pv", "hvm"].contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_last_word_on_dom0_s_devices_counts() {
        for (line, strict) in [
            (&b""[..], false),
            (b"iommu=verbose", false),
            (b"dom0-iommu=strict", true),
            (b"xen dom0_iommu=map-reserved,strict console=com1", true),
            (b"dom0-iommu=strict=1,no-strict", false),
            (b"dom0-iommu=no-strict dom0-iommu=strict=yes", true),
            (b"dom0-iommu=strict=off", false),
            (b"dom0-iommu=strict,passthrough=off", true),
            (b"dom0-iommu=passthrough=on", false),
            (b"iommu=verbose,dom0-strict", true),
            (b"iommu=dom0-strict dom0-iommu=no-strict", false),
            (b"dom0-iommu=strict\0dom0-iommu=no-strict", true),
            (b"dom0-iommu=strictly dom0-iommux=strict strict", false),
            (b"dom0-iommu=strict \xff", true),
        ] {
            assert_eq!(keeps_devices_in(line), strict, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn consoles_are_ports_and_no_screens() {
        let line = b"console=com1,vga com1=115200,8n1 console=dbgp\0";
        assert_eq!(consoles(line).collect::<Vec<_>>(), ["com1", "dbgp"]);
        assert_eq!(consoles(b"com1=115200").count(), 0);
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            keeps_devices_in(&line);
            prop_assert!(consoles(&line).count() <= line.len());
        }
    }
}
