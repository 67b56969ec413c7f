//! Questions to a person: asked on standard error, answered on standard input, and only where both are a terminal.

use std::io::{BufRead, IsTerminal as _, Read as _};

use super::context::Context;
use crate::render::output::Output;

/// Whether there is anybody to ask. Whoever reads JSON is a program.
pub fn can(context: &Context) -> bool {
    let options = context.out.options();
    !options.json && options.stderr_width.is_some() && std::io::stdin().is_terminal()
}

/// Asks a question that `y` or `yes` agrees to; everything else does not.
pub fn yes(out: &Output, question: &str) -> bool {
    out.aside(format_args!("{question} [y/N]"));
    agrees(&mut std::io::stdin().lock())
}

fn agrees(answers: &mut dyn BufRead) -> bool {
    let mut line = String::new();
    // More than a word is no answer.
    let read = answers.take(64).read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (typed, expected) in [
            ("y\n", true),
            ("YES\r\n", true),
            (" yes ", true),
            ("\n", false),
            ("", false),
            ("no\n", false),
            ("yesterday\n", false),
            ("n\ny\n", false),
        ] {
            assert_eq!(agrees(&mut typed.as_bytes()), expected, "{typed:?}");
        }
        assert!(!agrees(&mut &b"\xff\xfe\n"[..]));
    }
}
