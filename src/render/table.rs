//! Tables whose columns align, in whatever script: a CJK character is two columns wide.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::human::clean;

/// Which side a column's text stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One column.
#[derive(Debug, Clone)]
struct Column {
    header: &'static str,
    align: Align,
    shrinks: bool,
}

/// A table small enough to hold.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// Below this a column is not cut.
const LEAST: usize = 8;
const GAP: usize = 2;

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column of words.
    #[must_use]
    pub fn left(self, header: &'static str) -> Self {
        self.column(header, Align::Left, false)
    }

    /// Adds a column of numbers.
    #[must_use]
    pub fn right(self, header: &'static str) -> Self {
        self.column(header, Align::Right, false)
    }

    /// Adds a column of long words, which is cut when the terminal is too narrow.
    #[must_use]
    pub fn long(self, header: &'static str) -> Self {
        self.column(header, Align::Left, true)
    }

    fn column(mut self, header: &'static str, align: Align, shrinks: bool) -> Self {
        self.columns.push(Column { header, align, shrinks });
        self
    }

    /// Adds a row. Missing cells are empty, surplus ones are dropped; control characters are shown, not sent.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut cells: Vec<String> = cells.into_iter().map(|c| clean(c.as_ref())).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, the header first, no wider than `width` if that is given and the long columns allow it.
    pub fn lines(&self, width: Option<u16>) -> Vec<String> {
        let widths = self.widths(width.map(usize::from));
        let header: Vec<String> = self.columns.iter().map(|c| c.header.to_owned()).collect();
        let has_header = header.iter().any(|h| !h.is_empty());
        let rows = has_header.then_some(&header).into_iter().chain(&self.rows);
        rows.map(|cells| self.line(cells, &widths)).collect()
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|c| c.header.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let Some(limit) = limit else { return widths };
        let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        // The widest long column gives way first, one cell at a time.
        while total(&widths) > limit {
            let widest = (0..widths.len())
                .filter(|i| self.columns[*i].shrinks && widths[*i] > LEAST)
                .max_by_key(|i| widths[*i]);
            match widest {
                Some(i) => widths[i] -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut out = String::new();
        for (i, ((cell, width), column)) in cells.iter().zip(widths).zip(&self.columns).enumerate() {
            if i > 0 {
                out.push_str(&" ".repeat(GAP));
            }
            let cell = cut(cell, *width);
            match column.align {
                Align::Left => out.push_str(&pad_right(&cell, *width)),
                Align::Right => out.push_str(&pad_left(&cell, *width)),
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

/// Text filled up with blanks after it.
pub fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Text filled up with blanks before it.
pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// Text of at most `width` columns; what is cut off is marked by `…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new().left("name").right("size").long("key");
        table.row(["目录", "1.06 GB", "photos/猫咪的照片.jpg"]);
        table.row(["ab", "5 B", "a\x1b[31m\nb"]);
        table.row(["x"]);
        table
    }

    #[test]
    fn columns_align_in_every_script() {
        assert_eq!(
            sample().lines(None),
            [
                "name     size  key",
                "目录  1.06 GB  photos/猫咪的照片.jpg",
                "ab        5 B  a\\x1b[31m\\x0ab",
                "x",
            ]
        );
    }

    #[test]
    fn long_columns_give_way() {
        let lines = sample().lines(Some(30));
        assert_eq!(lines[1], "目录  1.06 GB  photos/猫咪的…");
        assert!(lines.iter().all(|l| l.width() <= 30), "{lines:?}");
        // What cannot give way is not harmed.
        assert!(sample().lines(Some(5))[1].starts_with("目录  1.06 GB  photos/…"));
    }

    #[test]
    fn cutting_keeps_to_the_width() {
        for (text, width, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("目录中", 5, "目录…"),
            ("目录中", 4, "目…"),
            ("ab", 0, ""),
        ] {
            assert_eq!(cut(text, width), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_stays_on_its_line(cells in proptest::collection::vec(".*", 3), width in 0u16..60) {
            let mut table = Table::new().left("").right("").long("");
            table.row(&cells);
            for line in table.lines(Some(width)) {
                assert!(!line.contains(|c: char| c.is_control()));
            }
        }
    }
}
