//! How many files the process may have open at a time.

/// So many it needs: connections, packs, temporary files, and the folders that a restore holds open.
#[cfg(unix)]
const LEAST: u64 = 128;
/// More than so many are not asked for.
#[cfg(unix)]
const ENOUGH: u64 = 4096;

/// Raises the limit as far as it is allowed to and makes sense. What cannot be opened in the middle of a run would pass
/// for an object that cannot be read, so too low a limit ends the process before it begins.
///
/// # Errors
/// It stays too low; one sentence says so.
#[cfg(unix)]
pub fn allow_enough() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted(limit.current, limit.maximum);
    if wanted != limit.current {
        // Where the system takes less than it promised, what was there has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum });
    }
    match getrlimit(Resource::Nofile).current {
        Some(few) if few < LEAST => Err(format!(
            "this process may have only {few} files open at a time, and qbak needs {LEAST}: raise the limit (`ulimit -n`)"
        )),
        _ => Ok(()),
    }
}

/// What to ask for, where `None` is no limit.
#[cfg(unix)]
fn wanted(current: Option<u64>, maximum: Option<u64>) -> Option<u64> {
    let possible = maximum.unwrap_or(ENOUGH).min(ENOUGH);
    current.map(|current| current.max(possible))
}

/// Where there is no such limit.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn allow_enough() -> Result<(), String> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn raised_as_far_as_it_may_be() {
        assert_eq!(wanted(Some(256), None), Some(ENOUGH));
        assert_eq!(wanted(Some(1024), Some(1 << 20)), Some(ENOUGH));
        assert_eq!(wanted(Some(32), Some(64)), Some(64));
        assert_eq!(wanted(Some(32), Some(32)), Some(32));
        assert_eq!(wanted(Some(9000), Some(9000)), Some(9000));
        assert_eq!(wanted(None, None), None);
    }
}
