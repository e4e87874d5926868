//! Tables of figures between the checks: lines that a person and the rig read alike.
//!
//! ```text
//!   # bench map:     bytes     to-ns   from-ns        the first line of a name has the columns
//!   # bench map:        64       312       330        each further one a row
//! ```
//!
//! A cell has no blanks; a number is written plainly, `1.04` or `312`.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::fmt;

const BENCH: &str = "# bench ";

/// One line of a table, to be printed: the columns' names first, then rows.
#[derive(Clone, Copy, Debug)]
pub struct FigureLine<'a, T> {
    /// The table's name.
    pub table: &'a str,
    /// What stands in it.
    pub cells: &'a [T],
}

impl<T: fmt::Display> fmt::Display for FigureLine<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BENCH}{}:", self.table)?;
        self.cells.iter().try_for_each(|cell| write!(f, " {cell:>10}"))
    }
}

/// A table as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The table's name.
    pub table: String,
    /// What the columns are called.
    pub columns: Vec<String>,
    /// The rows, a cell for each column.
    pub rows: Vec<Vec<String>>,
}

/// Adds a line to the tables it may belong to; whether it is one of a table at all.
pub(super) fn read(tables: &mut Vec<Figures>, line: &str) -> bool {
    let Some((table, cells)) = line.strip_prefix(BENCH).and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    let cells: Vec<String> = cells.split_whitespace().map(str::to_owned).collect();
    match tables.iter_mut().find(|known| known.table == table) {
        // What the console lost a part of is no row.
        Some(known) if known.columns.len() == cells.len() => known.rows.push(cells),
        Some(_) => {}
        None => {
            tables.push(Figures { table: table.to_owned(), columns: cells, rows: Vec::new() });
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn what_is_printed_is_what_is_read() {
        let mut tables = Vec::new();
        for cells in [["bytes", "to-ns"], ["64", "312"], ["1514", "1.04"]] {
            assert!(read(&mut tables, &format!("{}", FigureLine { table: "map", cells: &cells })));
        }
        assert!(read(&mut tables, "# bench map: 4096"), "half a line is of the table, but no row");
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].columns, ["bytes", "to-ns"]);
        assert_eq!(tables[0].rows, [["64", "312"], ["1514", "1.04"]]);
    }

    #[test]
    fn other_lines_are_none() {
        assert!(!read(&mut Vec::new(), "# Subtest: bench"));
    }
}
