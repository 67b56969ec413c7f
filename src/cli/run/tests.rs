//! Words in, text and exit code out.

use std::io::{self, ErrorKind as IoKind, Write};
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::cli::env::FixedEnv;
use crate::model::clock::FixedClock;
use crate::model::time::Timestamp;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Broken(IoKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run_words(line: &str) -> (u8, String, String) {
    let (stdout, stderr) = (Kept::default(), Kept::default());
    let open = |options: Options| {
        let options = Options { stdout_width: None, stderr_width: None, ..options };
        Output::new(options, Box::new(stdout.clone()), Box::new(stderr.clone()))
    };
    let words: Vec<OsString> =
        std::iter::once("qbak").chain(line.split_whitespace()).map(Into::into).collect();
    let env = Arc::new(FixedEnv::default());
    let exit = match parse(&words, env.as_ref(), open) {
        Err(exit) => exit,
        Ok(cli) => {
            let out = Arc::new(open(context::options(&cli.global, env.as_ref())));
            let clock = Arc::new(FixedClock(Timestamp::from_seconds(0)));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(run(cli, env, clock, out, Heard::default(), Cancel::never()))
        }
    };
    (exit.code(), stdout.text(), stderr.text())
}

#[test]
fn help_and_version_are_results() {
    let (code, stdout, stderr) = run_words("--help");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("Exit codes:") && stdout.contains("qbak init --store"), "{stdout}");
    let (code, stdout, _) = run_words("--version");
    assert_eq!((code, stdout), (0, format!("qbak {}\n", crate::control::VERSION)));
    assert_eq!(run_words("snapshot -h").0, 0);
}

#[test]
fn mistakes_are_explained_on_stderr() {
    let (code, stdout, stderr) = run_words("snapshto");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.starts_with("error: unrecognized subcommand 'snapshto'") && stderr.contains("'snapshot'"),
        "{stderr}"
    );
    let (code, _, stderr) = run_words("ls someday");
    assert_eq!(code, 2);
    assert!(stderr.contains("“someday” is not a date; write latest"), "{stderr}");
    let (code, stdout, stderr) = run_words("");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("Usage:"), "{stderr}");
    let (code, _, stderr) = run_words("init --encrypt");
    assert_eq!((code, stderr.as_str()), (2, "error: --encrypt is not part of this version yet\n"));
}

#[test]
fn scripts_get_mistakes_as_json() {
    let (code, stdout, stderr) = run_words("--json ls someday");
    assert_eq!((code, stderr.as_str()), (2, ""));
    let line: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&line["type"], &line["code"], &line["kind"]), (&"error".into(), &2.into(), &"usage".into()));
    assert!(!line["message"].as_str().unwrap().contains("Usage:"), "{stdout}");
    let (_, stdout, stderr) = run_words("ls someday -- --json");
    assert!(stdout.is_empty() && !stderr.is_empty(), "behind -- it is a word like any other");
}

#[test]
fn completions_are_printed_whole() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, stderr) = run_words(&format!("completions {shell}"));
        assert_eq!((code, stderr.as_str()), (0, ""), "{shell}");
        assert!(stdout.contains("qbak") && stdout.contains("snapshot"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is() {
    for (kind, code) in [(IoKind::BrokenPipe, 0), (IoKind::StorageFull, 1)] {
        let out = Output::new(Options::default(), Box::new(Broken(kind)), Box::new(Kept::default()));
        let result = out.bytes(&[b'x'; 1 << 17]).map(|()| Exit::Done).map_err(Failure::from);
        assert_eq!(end(&out, result).code(), code);
        let out = Output::new(Options::default(), Box::new(Broken(kind)), Box::new(Kept::default()));
        let result = out.line("held back").map(|()| Exit::Partial).map_err(Failure::from);
        assert_eq!(end(&out, result).code(), if code == 0 { 3 } else { 1 }, "an exit code is kept");
    }
}

#[test]
fn problems_have_their_codes() {
    let out = || Output::new(Options::default(), Box::new(Kept::default()), Box::new(Kept::default()));
    for code in 1..=6 {
        assert_eq!(end(&out(), Err(Problem::new(code, "x", "y").into())).code(), code);
    }
    assert_eq!(end(&out(), Ok(Exit::Suspicious)), Exit::Suspicious);
}
