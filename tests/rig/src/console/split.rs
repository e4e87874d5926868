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
}
