//! Where everything that is printed goes: two writers that are passed in, and what is known of them.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::json;

/// How to print.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// JSON lines instead of text.
    pub json: bool,
    /// Nothing but results and problems.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// No progress.
    pub no_progress: bool,
    /// When to colour.
    pub color: Color,
    /// The width of the terminal that standard output is; none: it is no terminal.
    pub stdout_width: Option<u16>,
    /// The same for standard error.
    pub stderr_width: Option<u16>,
}

/// When to colour. What `auto` means is decided by whoever knows the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On terminals.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A colour or weight that text is painted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Something failed or went away.
    Red,
    /// Something is good or new.
    Green,
    /// Something to look at.
    Yellow,
    /// Something changed.
    Blue,
    /// Something that counts.
    Bold,
    /// Something beside the point.
    Dim,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Blue => "34",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }
}

/// Why nothing can be printed any more.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Whoever read it has gone, as `head` does: end quietly, as if all was said.
    #[error("standard output was closed")]
    Closed,
    /// It cannot be written, as on a full disk.
    #[error("standard output cannot be written: {0}")]
    Failed(io::Error),
}

/// Standard output and standard error.
pub struct Output {
    options: Options,
    stdout: Mutex<Box<dyn Write + Send>>,
    stderr: Mutex<Box<dyn Write + Send>>,
}

impl Output {
    /// Over these writers.
    pub fn new(options: Options, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        // A terminal shows each line at once; a file or pipe takes large pieces.
        let stdout: Box<dyn Write + Send> = match options.stdout_width {
            Some(_) => stdout,
            None => Box::new(BufWriter::with_capacity(64 << 10, stdout)),
        };
        Self { options, stdout: Mutex::new(stdout), stderr: Mutex::new(stderr) }
    }

    /// How to print.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether results are JSON lines.
    pub fn is_json(&self) -> bool {
        self.options.json
    }

    /// One line of the result.
    pub fn line(&self, text: impl Display) -> Result<(), OutputError> {
        writeln!(lock(&self.stdout), "{text}").map_err(sort)
    }

    /// One JSON line of the result, with its `type`.
    pub fn json(&self, kind: &str, body: &impl Serialize) -> Result<(), OutputError> {
        let line = json::line(kind, body).map_err(|e| OutputError::Failed(e.into()))?;
        self.line(line)
    }

    /// Bytes of the result, as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), OutputError> {
        lock(&self.stdout).write_all(bytes).map_err(sort)
    }

    /// Writes out what is held back. To be called before the process ends, and its answer to be heeded: a full disk
    /// may show only here.
    pub fn flush(&self) -> Result<(), OutputError> {
        lock(&self.stdout).flush().map_err(sort)
    }

    /// One line beside the result, on standard error. If nobody reads it, nothing is lost.
    pub fn aside(&self, text: impl Display) {
        let mut stderr = lock(&self.stderr);
        let _ = writeln!(stderr, "{text}");
        let _ = stderr.flush();
    }

    /// Bytes for the terminal that standard error is: a progress bar's.
    pub(super) fn raw_aside(&self, text: &str) -> io::Result<()> {
        let mut stderr = lock(&self.stderr);
        stderr.write_all(text.as_bytes())?;
        stderr.flush()
    }

    /// Text for standard output in a colour, where colours are wanted.
    pub fn paint(&self, paint: Paint, text: impl Display) -> String {
        painted(self.colors(self.options.stdout_width), paint, text)
    }

    /// Text for standard error in a colour, where colours are wanted.
    pub fn paint_aside(&self, paint: Paint, text: impl Display) -> String {
        painted(self.colors(self.options.stderr_width), paint, text)
    }

    fn colors(&self, width: Option<u16>) -> bool {
        match self.options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => width.is_some(),
        }
    }
}

fn painted(colors: bool, paint: Paint, text: impl Display) -> String {
    if colors { format!("\x1b[{}m{text}\x1b[0m", paint.code()) } else { text.to_string() }
}

/// A writer that panicked in one thread is still a writer.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sort(e: io::Error) -> OutputError {
    if e.kind() == ErrorKind::BrokenPipe { OutputError::Closed } else { OutputError::Failed(e) }
}

/// Writers that keep what was written, for tests.
#[cfg(test)]
pub(crate) mod kept {
    use std::sync::Arc;

    use super::*;

    /// A writer whose text can be looked at.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output, its stdout and its stderr.
    pub(crate) fn output(options: Options) -> (Arc<Output>, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        (Arc::new(Output::new(options, Box::new(out.clone()), Box::new(err.clone()))), out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::kept::output;
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_reader_is_no_failure_but_a_full_disk_is() {
        let broken = |kind, width| {
            let options = Options { stdout_width: width, ..Options::default() };
            Output::new(options, Box::new(Broken(kind)), Box::new(Broken(kind)))
        };
        let closed = broken(ErrorKind::BrokenPipe, Some(80));
        assert!(matches!(closed.line("x"), Err(OutputError::Closed)));
        closed.aside("nobody hears this, and it does not matter");
        let full = broken(ErrorKind::StorageFull, None);
        assert!(full.line("x").is_ok(), "held back");
        assert!(matches!(full.flush(), Err(OutputError::Failed(_))), "noticed at the end at the latest");
    }

    #[test]
    fn colours_follow_the_terminal_and_the_wish() {
        let painted = |color, width| {
            let (out, ..) = output(Options { color, stdout_width: width, ..Options::default() });
            out.paint(Paint::Red, "x") != "x"
        };
        assert!(painted(Color::Auto, Some(80)) && painted(Color::Always, None));
        assert!(!painted(Color::Auto, None) && !painted(Color::Never, Some(80)));
    }
}
