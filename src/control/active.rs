//! The switches of a build that has them: what the environment asks for, and what then happens.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use super::{Control, Point};

/// What the environment asks for.
#[derive(Default)]
struct Wish {
    off: Option<Control>,
    kill: Option<(Point, u64)>,
    stop: Option<(Point, u64)>,
    spoil: Option<(Point, u64)>,
    log: Option<std::path::PathBuf>,
}

static PASSES: [AtomicU64; Point::ALL.len()] = [const { AtomicU64::new(0) }; Point::ALL.len()];
static SPOILT: [AtomicU64; Point::ALL.len()] = [const { AtomicU64::new(0) }; Point::ALL.len()];

#[expect(clippy::disallowed_methods, reason = "tests reach it through processes that they start")]
fn var(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned()).filter(|v| !v.is_empty())
}

fn read() -> Result<Wish, String> {
    let place = |name: &str| -> Result<Option<(Point, u64)>, String> {
        let Some(text) = var(name) else { return Ok(None) };
        let parsed = text.rsplit_once(':').and_then(|(p, n)| Some((Point::named(p)?, n.parse().ok()?)));
        parsed.map(Some).ok_or_else(|| format!("{name}={text} names no point and pass"))
    };
    let off = match var("QBAK_CONTROL") {
        None => None,
        Some(text) => {
            Some(Control::named(&text).ok_or_else(|| format!("QBAK_CONTROL={text} names no mechanism"))?)
        }
    };
    let (kill, stop, spoil) = (place("QBAK_KILL")?, place("QBAK_STOP")?, place("QBAK_SPOIL")?);
    Ok(Wish { off, kill, stop, spoil, log: var("QBAK_POINTS").map(Into::into) })
}

fn wish() -> &'static Result<Wish, String> {
    static WISH: OnceLock<Result<Wish, String>> = OnceLock::new();
    WISH.get_or_init(read)
}

/// Whether a mechanism is left out.
pub fn off(control: Control) -> bool {
    wish().as_ref().is_ok_and(|w| w.off == Some(control))
}

/// Passes a point: here the process may die or stop.
pub fn point(point: Point) {
    let Ok(wish) = wish() else { return };
    let pass = PASSES[point as usize].fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(log) = &wish.log
        && let Ok(mut log) = std::fs::OpenOptions::new().append(true).create(true).open(log)
    {
        let _ = log.write_all(format!("{}\n", point.text()).as_bytes());
    }
    for (at, signal) in [(wish.kill, Signal::KILL), (wish.stop, Signal::STOP)] {
        if at == Some((point, pass)) {
            let _ = kill_process(getpid(), signal);
        }
    }
}

/// Flips a bit in the middle, if that is asked for here.
pub fn spoil(point: Point, bytes: &mut [u8]) {
    let Ok(wish) = wish() else { return };
    let pass = SPOILT[point as usize].fetch_add(1, Ordering::SeqCst) + 1;
    let middle = bytes.len() / 2;
    if wish.spoil == Some((point, pass))
        && let Some(byte) = bytes.get_mut(middle)
    {
        *byte ^= 1;
    }
}

/// What must be said at the start of a build that can be broken.
///
/// # Errors
/// A variable asks for something that there is not: then a test would pass for the wrong reason.
pub fn warning() -> Result<Option<String>, String> {
    let wish = wish().as_ref().map_err(Clone::clone)?;
    let off = wish.off.map_or_else(|| "nothing is left out".to_owned(), |c| format!("{} is set", c.text()));
    Ok(Some(format!(
        "warning: this qbak was built for tests (feature controls; {off}); it is not for backups"
    )))
}
