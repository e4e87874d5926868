//! COM1 carries Xen's messages and those of whoever is dom0, and either may start in the middle of the other's line.

/// What starts each of Xen's own messages.
const XEN: &str = "(XEN) ";

/// A line's part, by who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Xen's.
    Xen(String),
    /// dom0's.
    Dom0(String),
}

/// Puts lines back together.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    // The start of a dom0 line that Xen interrupted.
    pending: String,
}

impl Splitter {
    /// Takes a line as it came; gives the pieces that are whole now.
    pub(crate) fn line(&mut self, line: &str) -> Option<Piece> {
        match line.split_once(XEN) {
            None => {
                let whole = std::mem::take(&mut self.pending) + line;
                Some(Piece::Dom0(whole))
            }
            Some((before, message)) => {
                self.pending.push_str(before);
                Some(Piece::Xen(format!("{XEN}{message}")))
            }
        }
    }

    /// What is left when the port closes.
    pub(crate) fn finish(self) -> Option<Piece> {
        (!self.pending.is_empty()).then_some(Piece::Dom0(self.pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(lines: &[&str]) -> Vec<Piece> {
        let mut splitter = Splitter::default();
        let mut pieces: Vec<_> = lines.iter().filter_map(|line| splitter.line(line)).collect();
        pieces.extend(splitter.finish());
        pieces
    }

    #[test]
    fn a_line_that_xen_interrupted_is_whole_again() {
        let pieces = split(&["ok 1 st(XEN) grant table", "art_info # 12 pages", "(XEN) x"]);
        let wanted = [
            Piece::Xen("(XEN) grant table".to_owned()),
            Piece::Dom0("ok 1 start_info # 12 pages".to_owned()),
            Piece::Xen("(XEN) x".to_owned()),
        ];
        assert_eq!(pieces, wanted);
    }

    #[test]
    fn the_start_of_a_last_line_is_not_lost() {
        let pieces = split(&["PANIC(XEN) bye"]);
        assert_eq!(pieces[1], Piece::Dom0("PANIC".to_owned()));
    }

    fn sayings() -> impl Strategy<Value = Vec<String>> {
        let saying = prop_oneof![4 => "[ -~]{0,20}", 1 => "[ (XEN)]{0,12}", 1 => "\\PC{0,8}"];
        prop::collection::vec(saying.prop_filter("Xen's mark", |line| !line.contains(XEN)), 0..8)
    }

    proptest! {
        /// Wherever Xen breaks in, both have said what they said, in their order.
        #[test]
        fn what_both_said_is_what_is_read(
            dom0 in sayings(),
            xen in sayings(),
            places in prop::collection::vec(any::<prop::sample::Index>(), 8),
        ) {
            let text: String = dom0.iter().flat_map(|line| [line, "\n"]).collect();
            // After an end of line or anywhere before one.
            let mut at: Vec<usize> = places.iter().map(|place| place.index(text.len() + 1)).collect();
            at.sort_unstable();
            let (mut port, mut from) = (String::new(), 0);
            for (message, at) in xen.iter().zip(at) {
                let at = (at..).find(|at| text.is_char_boundary(*at)).unwrap();
                port = port + &text[from..at] + XEN + message + "\n";
                from = at;
            }
            port += &text[from..];
            let (mut said, mut warned) = (Vec::new(), Vec::new());
            for piece in split(&port.lines().collect::<Vec<_>>()) {
                match piece {
                    Piece::Dom0(line) => said.push(line),
                    Piece::Xen(line) => warned.push(line),
                }
            }
            prop_assert_eq!(said, dom0);
            let sent: Vec<String> =
                xen.iter().take(warned.len()).map(|message| format!("{XEN}{message}")).collect();
            prop_assert_eq!(&warned, &sent);
            prop_assert_eq!(warned.len(), xen.len());
        }
    }
}
