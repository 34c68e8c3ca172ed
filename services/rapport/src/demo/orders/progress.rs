//! How far the story is, on standard error.

use std::io::{IsTerminal as _, Write as _};

use eventstore::Timestamp;

use super::Audience;

/// Columns of the bar.
const WIDTH: usize = 40;

/// A bar on a terminal, a line for each tenth elsewhere.
#[derive(Default)]
pub(crate) struct Bar {
    /// Tenths that were shown.
    tenths: usize,
}

impl Audience for Bar {
    async fn passed(&mut self, day: Timestamp, orders: usize, of: usize) {
        let mut out = std::io::stderr().lock();
        let (day, of) = (day.to_string(), of.max(1));
        let (day, percent, tenths) = (&day[..10], orders * 100 / of, orders * 10 / of);
        // That nobody can see it is not in the way of the story.
        let _ = if out.is_terminal() {
            let (bar, end) =
                ("#".repeat(percent * WIDTH / 100), if orders == of { "\n" } else { "" });
            write!(out, "\r{day} [{bar:<WIDTH$}] {percent:>3} % {orders:>6} orders{end}")
        } else if tenths > self.tenths {
            writeln!(out, "{day} {percent:>3} % {orders:>6} orders")
        } else {
            Ok(())
        };
        let _ = out.flush();
        self.tenths = tenths;
    }
}
