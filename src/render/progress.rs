//! Progress: an observer that draws a bar on a terminal, plain lines without one, JSON lines for scripts.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use serde::Serialize;

use super::human::{clean, count, counted, duration, size};
use super::json::{self, KeyField};
use super::output::{Output, Paint};
use crate::model::event::{Event, Observer};
use crate::model::key::Key;

/// What is over sooner than this needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// JSON progress comes at most this often.
const PACE: Duration = Duration::from_millis(500);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    Json,
    Silent,
}

/// Shows what an operation tells. Failures and warnings are shown in every mode.
pub struct Progress {
    out: Arc<Output>,
    mode: Mode,
    patience: Duration,
    state: Mutex<State>,
}

/// The phase at hand.
struct State {
    name: &'static str,
    total: (Option<u64>, Option<u64>),
    done: (u64, u64),
    began: Instant,
    said: Option<Instant>,
    bar: Option<ProgressBar>,
}

#[derive(Serialize)]
struct Line {
    phase: &'static str,
    objects: u64,
    bytes: u64,
    objects_total: Option<u64>,
    bytes_total: Option<u64>,
    seconds: f64,
    bytes_per_second: Option<u64>,
    seconds_left: Option<u64>,
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(flatten)]
    key: KeyField<'a>,
    reason: &'a str,
}

#[derive(Serialize)]
struct Said<'a> {
    message: &'a str,
}

impl Progress {
    /// Shows on `out` in the way its options ask for.
    pub fn new(out: Arc<Output>) -> Self {
        Self::with_patience(out, PATIENCE)
    }

    fn with_patience(out: Arc<Output>, patience: Duration) -> Self {
        let o = out.options();
        let mode = match (o.quiet || o.no_progress, o.json, o.stderr_width) {
            (true, ..) => Mode::Silent,
            (false, true, _) => Mode::Json,
            (false, false, Some(_)) => Mode::Bar,
            (false, false, None) => Mode::Lines,
        };
        let state = State {
            name: "",
            total: (None, None),
            done: (0, 0),
            began: Instant::now(),
            said: None,
            bar: None,
        };
        Self { out, mode, patience, state: Mutex::new(state) }
    }

    /// Ends the phase at hand: the bar goes, the last JSON line comes. Dropping does the same.
    pub fn finish(&self) {
        self.change(|state| self.close(state));
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn close(&self, state: &mut State) {
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        if self.mode == Mode::Json && !state.name.is_empty() {
            self.say_json(state);
        }
        if self.mode == Mode::Lines && state.began.elapsed() >= self.patience && state.done != (0, 0) {
            self.out.aside(format_args!(
                "{}: {} in {}",
                state.name,
                so_far(state),
                duration(state.began.elapsed())
            ));
        }
        state.name = "";
    }

    fn open(&self, state: &mut State, name: &'static str, total: (Option<u64>, Option<u64>)) {
        self.close(state);
        *state = State { name, total, done: (0, 0), began: Instant::now(), said: None, bar: None };
        match self.mode {
            Mode::Lines => {
                let what = totals(name, total).map(|t| format!(" {t}")).unwrap_or_default();
                self.out.aside(format_args!("{name}{what}"));
            }
            Mode::Json => self.say_json(state),
            Mode::Bar | Mode::Silent => {}
        }
    }

    /// After something was done: the bar moves, or appears once the phase has lasted; JSON keeps its pace.
    fn advance(&self, state: &mut State) {
        match self.mode {
            Mode::Bar => {
                if state.bar.is_none() && state.began.elapsed() >= self.patience {
                    state.bar = Some(self.bar(state));
                }
                if let Some(bar) = &state.bar {
                    let (position, length) = measure(state);
                    if let Some(length) = length {
                        bar.set_length(length.max(position));
                    }
                    bar.set_position(position);
                    bar.set_message(words(state));
                }
            }
            Mode::Json => {
                if state.said.is_none_or(|t| t.elapsed() >= PACE) {
                    self.say_json(state);
                }
            }
            Mode::Lines | Mode::Silent => {}
        }
    }

    fn bar(&self, state: &State) -> ProgressBar {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(self.out.clone())), 5);
        let known = measure(state).1.is_some();
        let template =
            if known { "{prefix} [{bar:24}] {percent:>3}% {msg}" } else { "{prefix} {spinner} {msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(measure(state).1, target);
        bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        bar.set_prefix(state.name);
        bar
    }

    fn say_json(&self, state: &mut State) {
        state.said = Some(Instant::now());
        let elapsed = state.began.elapsed();
        let line = Line {
            phase: state.name,
            objects: state.done.0,
            bytes: state.done.1,
            objects_total: state.total.0,
            bytes_total: state.total.1,
            seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            bytes_per_second: rate(state.done.1, elapsed),
            seconds_left: left(state, elapsed).map(|d| d.as_secs()),
        };
        self.aside_json("progress", &line);
    }

    fn aside_json(&self, kind: &str, body: &impl Serialize) {
        if let Ok(line) = json::line(kind, body) {
            self.out.aside(line);
        }
    }

    /// A line beside the bar, which steps aside for it.
    fn beside(&self, paint: Paint, label: &str, text: &str) {
        let line = format!("{} {}", self.out.paint_aside(paint, label), clean(text));
        self.change(|state| match &state.bar {
            Some(bar) => bar.suspend(|| self.out.aside(line)),
            None => self.out.aside(line),
        });
    }

    fn failed(&self, key: &Key, reason: &str) {
        if self.out.is_json() {
            // Part of the result: scripts read it from standard output. A reader that has gone is noticed at the end.
            let _ = self.out.json("failed", &Failed { key: KeyField(key), reason });
        } else {
            self.beside(Paint::Red, "failed:", &format!("{}: {reason}", key.lossy()));
        }
    }

    fn warning(&self, text: &str) {
        if self.out.is_json() {
            self.aside_json("warning", &Said { message: text });
        } else {
            self.beside(Paint::Yellow, "warning:", text);
        }
    }

    fn note(&self, text: &str) {
        if self.out.options().quiet || self.out.options().verbose == 0 {
            return;
        }
        if self.out.is_json() {
            self.aside_json("note", &Said { message: text });
        } else {
            self.beside(Paint::Dim, "note:", text);
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Phase { name, objects, bytes } => self.change(|s| self.open(s, name, (objects, bytes))),
            Event::Total { objects, bytes } => self.change(|s| {
                s.total = (Some(objects), Some(bytes));
                self.advance(s);
            }),
            Event::Advance { objects, bytes } => self.change(|s| {
                s.done = (s.done.0.saturating_add(objects), s.done.1.saturating_add(bytes));
                self.advance(s);
            }),
            Event::Failed { key, reason } => self.failed(&key, &reason),
            Event::Warning(text) => self.warning(&text),
            Event::Note(text) => self.note(&text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What the bar counts: bytes where their total is known, else objects.
fn measure(state: &State) -> (u64, Option<u64>) {
    match state.total {
        (_, Some(bytes)) if bytes > 0 => (state.done.1, Some(bytes)),
        (Some(objects), _) if objects > 0 => (state.done.0, Some(objects)),
        _ => (state.done.0, None),
    }
}

fn rate(bytes: u64, elapsed: Duration) -> Option<u64> {
    let millis = elapsed.as_millis();
    let rate = (u128::from(bytes) * 1000).checked_div(millis)?;
    (bytes > 0).then_some(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// The time left, by what was done so far.
fn left(state: &State, elapsed: Duration) -> Option<Duration> {
    let (done, Some(total)) = measure(state) else { return None };
    if done == 0 || elapsed < Duration::from_millis(500) {
        return None;
    }
    let rest = u128::from(total.saturating_sub(done));
    let millis = elapsed.as_millis() * rest / u128::from(done);
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

/// `2 objects`; bare, where the phase's name says what it counts.
fn things(name: &str, n: u64) -> String {
    if name.contains(' ') { count(n) } else { counted(n, "object") }
}

fn totals(name: &str, total: (Option<u64>, Option<u64>)) -> Option<String> {
    let parts: Vec<String> = total.0.map(|n| things(name, n)).into_iter().chain(total.1.map(size)).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `12 objects, 3.40 MB`
fn so_far(state: &State) -> String {
    totals(state.name, (Some(state.done.0), (state.done.1 > 0).then_some(state.done.1))).unwrap_or_default()
}

/// `12/100 objects, 3.40 MB/1.06 GB, 1.20 MB/s, 2 min 3 s left`
fn words(state: &State) -> String {
    let elapsed = state.began.elapsed();
    let mut parts = Vec::new();
    match state.total.0 {
        Some(n) => parts.push(format!("{}/{}", count(state.done.0), things(state.name, n))),
        None if state.done.0 > 0 => parts.push(things(state.name, state.done.0)),
        None => {}
    }
    match (state.done.1, state.total.1) {
        (done, Some(total)) if total > 0 => parts.push(format!("{}/{}", size(done), size(total))),
        (done, _) if done > 0 => parts.push(size(done)),
        _ => {}
    }
    parts.extend(rate(state.done.1, elapsed).map(|r| format!("{}/s", size(r))));
    parts.extend(
        left(state, elapsed).map(|d| format!("{} left", duration(Duration::from_secs(d.as_secs().max(1))))),
    );
    parts.join(", ")
}

/// The terminal that the bar draws on: standard error as it was passed in.
struct Terminal(Arc<Output>);

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminal")
    }
}

impl Terminal {
    fn moved(&self, n: usize, direction: char) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.0.raw_aside(&format!("\x1b[{n}{direction}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.0.options().stderr_width.unwrap_or(80)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.0.raw_aside(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.raw_aside(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.raw_aside("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::kept::{Kept, output};
    use super::super::output::{Color, Options};
    use super::*;

    fn events() -> Vec<Event> {
        vec![
            Event::Phase { name: "downloading", objects: Some(2), bytes: Some(4_000_000) },
            Event::Advance { objects: 1, bytes: 1_000_000 },
            Event::Failed { key: "a\nb".into(), reason: "it is gone".into() },
            Event::Warning("the domain alters images".into()),
            Event::Note("host a".into()),
            Event::Advance { objects: 1, bytes: 3_000_000 },
            Event::Phase { name: "committing", objects: None, bytes: None },
        ]
    }

    fn run(options: Options, patience: Duration) -> (String, String) {
        let (out, stdout, stderr): (_, Kept, Kept) = output(options);
        let progress = Progress::with_patience(out.clone(), patience);
        events().into_iter().for_each(|e| progress.event(e));
        drop(progress);
        out.flush().unwrap();
        (stdout.text(), stderr.text())
    }

    const SAID: &str = "failed: a\\x0ab: it is gone\nwarning: the domain alters images\n";

    #[test]
    fn without_a_terminal_there_are_lines_at_phases() {
        let (stdout, stderr) = run(Options::default(), PATIENCE);
        assert_eq!(stdout, "");
        assert_eq!(stderr, format!("downloading 2 objects, 4.00 MB\n{SAID}committing\n"));
        let (_, stderr) = run(Options { verbose: 1, ..Options::default() }, Duration::ZERO);
        assert!(stderr.contains("note: host a\ndownloading: 2 objects, 4.00 MB in 0.0 s\n"), "{stderr}");
    }

    #[test]
    fn quiet_still_names_problems() {
        for options in [
            Options { quiet: true, ..Options::default() },
            Options { no_progress: true, ..Options::default() },
            Options { quiet: true, stderr_width: Some(80), color: Color::Never, ..Options::default() },
        ] {
            assert_eq!(run(options, Duration::ZERO).1, SAID);
        }
    }

    #[test]
    fn a_terminal_gets_a_bar_only_when_it_takes_long() {
        let options = Options { stderr_width: Some(80), color: Color::Never, ..Options::default() };
        assert_eq!(run(options, PATIENCE).1, SAID);
        let (_, stderr) = run(options, Duration::ZERO);
        assert!(stderr.contains("downloading ["), "{stderr:?}");
        assert!(stderr.contains("1/2 objects, 1.00 MB/4.00 MB"), "{stderr:?}");
        assert!(stderr.contains("failed: a\\x0ab: it is gone\n"), "{stderr:?}");
    }

    #[test]
    fn scripts_get_json_at_a_bounded_pace() {
        let (stdout, stderr) = run(Options { json: true, ..Options::default() }, PATIENCE);
        assert_eq!(stdout, "{\"type\":\"failed\",\"key\":\"a\\nb\",\"reason\":\"it is gone\"}\n");
        let lines: Vec<serde_json::Value> =
            stderr.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let kinds: Vec<&str> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
        // Begin and end of each phase, however many advances lie between.
        assert_eq!(kinds, ["progress", "warning", "progress", "progress", "progress"]);
        assert_eq!((&lines[2]["phase"], &lines[2]["bytes"]), (&"downloading".into(), &4_000_000.into()));
        assert_eq!(lines[2]["objects_total"], 2);
    }

    #[test]
    fn estimates() {
        let mut state = State {
            name: "x",
            total: (Some(10), None),
            done: (4, 0),
            began: Instant::now(),
            said: None,
            bar: None,
        };
        assert_eq!(left(&state, Duration::from_secs(8)), Some(Duration::from_secs(12)));
        state.done = (0, 0);
        assert_eq!(left(&state, Duration::from_secs(8)), None);
        assert_eq!(rate(u64::MAX, Duration::from_millis(1)), Some(u64::MAX));
        assert_eq!(rate(5, Duration::ZERO), None);
    }
}
