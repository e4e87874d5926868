//! What a person sees while the rig works: one line a stage, with the time it took.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The stages that are under way, a line each.
static UNDER_WAY: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A stage under way. On a terminal a spinner shows that it lives; in a log file only its end is printed.
#[derive(Debug)]
pub(crate) struct Stage {
    bar: ProgressBar,
    name: &'static str,
    start: Instant,
}

impl Stage {
    /// Starts a stage.
    pub(crate) fn start(name: &'static str, doing: impl Into<String>) -> Self {
        let bar = UNDER_WAY.add(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{prefix:>8}  {elapsed:>5}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(name);
        bar.set_message(doing.into());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, name, start: Instant::now() }
    }

    /// Says what it is doing now.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Ends it, with what came of it.
    pub(crate) fn done(self, what: impl AsRef<str>) {
        self.bar.finish_and_clear();
        say(self.name, self.start.elapsed(), what.as_ref());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn say(name: &str, took: Duration, what: &str) {
    UNDER_WAY.suspend(|| eprintln!("{name:>8}  {:>5.1} s  {what}", took.as_secs_f64()));
}
