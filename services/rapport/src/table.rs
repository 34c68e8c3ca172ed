//! Tables for people, within 100 columns.

/// Columns a line may have.
const WIDTH: usize = 100;
/// Columns a cell keeps at least when a table is too wide.
const NARROW: usize = 8;
const GAP: &str = "  ";

/// Rows under a header. When they do not fit, the widest columns give way and cells end with `…`; a column whose header
/// ends with `!` never does: its cells are ids, to be copied.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    whole: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|it| it.trim_end_matches('!').to_owned()).collect(),
            whole: header.iter().map(|it| it.ends_with('!')).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(|it| plain(&it.into())).collect());
    }

    /// The table, or a line that says that there is nothing.
    pub(crate) fn print(&self, nothing: &str) -> String {
        if self.rows.is_empty() {
            return format!("{nothing}\n");
        }
        let widths = self.widths();
        let line = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().zip(&widths).map(|(it, w)| fit(it, *w)).collect();
            format!("{}\n", cells.join(GAP).trim_end())
        };
        std::iter::once(&self.header).chain(&self.rows).map(|it| line(it)).collect()
    }

    /// Each column as wide as its widest cell; while that is too much, the widest gives way.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = std::iter::once(&self.header).chain(&self.rows);
                cells
                    .filter_map(|it| it.get(column))
                    .map(|it| it.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let gives_way = widths.iter_mut().zip(&self.whole).filter(|it| !it.1);
            match gives_way.map(|it| it.0).max() {
                Some(widest) if *widest > NARROW => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// Names and what they are, one below the other; what is long goes on below its beginning, what is empty is `-`.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|it| it.0.len()).max().unwrap_or(0) + 1;
    let field = |(name, value): &(&str, String)| {
        let value = if value.trim().is_empty() { "-" } else { value };
        let lines = wrap(value, &" ".repeat(width));
        format!("{name:<width$}{}", lines.trim_start())
    };
    rows.iter().map(field).collect()
}

/// Lines of text, wrapped at spaces within the width, each after an indent.
pub(crate) fn wrap(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in plain(text).split_whitespace() {
        let last = lines.last_mut().expect("there is one line at least");
        let fresh = last.len() == indent.len();
        if !fresh && last.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{indent}{word}"));
        } else {
            last.push_str(if fresh { "" } else { " " });
            last.push_str(word);
        }
    }
    lines.into_iter().map(|it| format!("{it}\n")).collect()
}

fn fit(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return format!("{cell:<width$}");
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A cell is one line, whatever a customer's name holds: control characters would move the terminal's cursor.
fn plain(cell: &str) -> String {
    cell.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let mut table = Table::new(&["A", "B", "C"]);
        table.row(["x".repeat(90), "y".repeat(90), "short".into()]);
        table.row(["a", "b", "c"]);
        let text = table.print("none");
        assert!(text.lines().all(|it| it.chars().count() <= 100), "{text}");
        assert!(text.contains("short") && text.contains('…'));
        assert!(wrap(&"word ".repeat(100), "  ").lines().all(|it| it.chars().count() <= 100));
    }

    #[test]
    fn a_field_goes_on_below_its_beginning() {
        let long = "word ".repeat(40);
        let text = fields(&[("id", "a\u{1b}b".into()), ("empty", String::new()), ("long", long)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["id    a b", "empty -"]);
        assert!(lines[2].starts_with("long  word") && lines[3].starts_with("      word"), "{text}");
        assert!(lines.iter().all(|it| it.chars().count() <= 100), "{text}");
    }

    #[test]
    fn an_id_is_never_cut() {
        let mut table = Table::new(&["TEXT", "ID!"]);
        table.row(["t".repeat(120), "i".repeat(30)]);
        assert!(table.print("none").contains(&"i".repeat(30)));
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\u{1b}[2Jb\nc"]);
        assert_eq!(table.print("none").lines().nth(1), Some("a [2Jb c"));
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(Table::new(&["A"]).print("no touches"), "no touches\n");
    }
}
