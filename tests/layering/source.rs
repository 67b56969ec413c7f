//! Reads the sources as far as the rules need it: comments, strings and tests taken out, paths taken apart.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file below `src/`.
pub(crate) struct SourceFile {
    /// Its path from the repository's root, with `/`.
    pub path: String,
    /// It is compiled for tests only.
    pub test_only: bool,
    /// How many lines it has, tests included.
    pub lines: usize,
    /// Its first line says what it is for.
    pub begins_with_purpose: bool,
    tokens: Vec<Token>,
}

/// A word or a sign of the code, and the line it stands in.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// A path within the crate, from its root.
#[derive(Debug, PartialEq)]
pub(crate) struct CratePath {
    pub names: Vec<String>,
    pub line: usize,
}

/// All files below `src/`.
pub(crate) fn read_tree() -> Vec<SourceFile> {
    fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|p| {
            let name = p.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            (name, std::fs::read_to_string(p).unwrap())
        })
        .collect();
    // A module is for tests if it is declared so, or lies within one that is.
    let mut tests = BTreeSet::new();
    for (path, text) in &texts {
        tests.extend(test_modules(path, text));
    }
    let is_test = |path: &str| {
        let module = module(path);
        (1..=module.len()).any(|n| tests.contains(&module[..n]))
    };
    texts.iter().map(|(path, text)| SourceFile::parse(path, text, is_test(path))).collect()
}

impl SourceFile {
    pub(crate) fn parse(path: &str, text: &str, test_only: bool) -> Self {
        Self {
            path: path.into(),
            test_only,
            lines: text.lines().count(),
            begins_with_purpose: text.starts_with("//! "),
            tokens: tokens(&without_tests(&plain(text)).0),
        }
    }

    /// The folder (or module) of `src/` that it belongs to; none: `lib.rs` and `main.rs`.
    pub(crate) fn folder(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&name)).then_some(name)
    }

    /// The lines in which a word, or a path such as `env::var`, stands.
    pub(crate) fn lines_with(&self, what: &str) -> Vec<usize> {
        let wanted = tokens(&what.chars().collect::<Vec<_>>());
        self.tokens
            .windows(wanted.len())
            .filter(|w| w.iter().zip(&wanted).all(|(a, b)| a.text == b.text))
            .map(|w| w[0].line)
            .collect()
    }

    /// All paths that begin at the crate's root, or reach it by `super`.
    pub(crate) fn paths(&self) -> Vec<CratePath> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let text = |n: usize| self.tokens.get(n).map_or("", |t| t.text.as_str());
            let begins = match text(at) {
                "crate" | "super" => text(at + 1) == "::" || text(at + 1) == "as",
                "qbak" => self.path == "src/main.rs" && text(at + 1) == "::",
                _ => false,
            };
            if begins && (at == 0 || text(at - 1) != "::") {
                at = self.path_tree(at, &[], true, &mut out);
            } else {
                at += 1;
            }
        }
        out
    }

    /// Reads a path, with its braces, from token `at`; `prefix` is what stands before it. Returns where
    /// it ends.
    fn path_tree(&self, mut at: usize, prefix: &[String], first: bool, out: &mut Vec<CratePath>) -> usize {
        let text = |n: usize| self.tokens.get(n).map_or("", |t| t.text.as_str());
        let line = self.tokens.get(at).map_or(0, |t| t.line);
        let mut names = prefix.to_vec();
        let mut head = first;
        loop {
            match text(at) {
                "crate" | "qbak" if head => names.clear(),
                "super" if head && names.is_empty() && first => {
                    names = module(&self.path);
                    names.pop();
                }
                "super" => drop(names.pop()),
                "self" | "*" => {}
                "{" => {
                    at += 1;
                    while !["}", ""].contains(&text(at)) {
                        at = self.path_tree(at, &names, false, out);
                        // What follows a name (`as x`) up to the next one.
                        while ![",", "}", ""].contains(&text(at)) {
                            at += 1;
                        }
                        at += usize::from(text(at) == ",");
                    }
                    return at + 1;
                }
                word if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => names.push(word.into()),
                _ => break,
            }
            head = false;
            at += 1;
            if text(at) != "::" {
                break;
            }
            at += 1;
        }
        out.push(CratePath { names, line });
        at
    }
}

/// The module that a file is: `src/op/snapshot/mod.rs` is `op`, `snapshot`.
fn module(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let mut parts: Vec<String> =
        inner.strip_suffix(".rs").unwrap_or(inner).split('/').map(Into::into).collect();
    if ["mod", "lib", "main"].contains(&parts.last().map_or("", String::as_str)) {
        parts.pop();
    }
    parts
}

/// The modules in files of their own that this one declares for tests, by where their files lie.
fn test_modules(path: &str, text: &str) -> Vec<Vec<String>> {
    const PATH: &str = "#[path = \"";
    let written: Vec<char> = text.chars().collect();
    let plain = plain(text);
    let (_, regions) = without_tests(&plain);
    let mut out = Vec::new();
    for region in regions {
        let words = tokens(&plain[region.clone()]);
        let Some(declared) = words.windows(3).find(|w| w[0].text == "mod" && w[2].text == ";") else {
            continue;
        };
        let item: String = written[region].iter().collect();
        let mut parts = module(path);
        if let Some(file) = item.split_once(PATH).and_then(|(_, rest)| rest.split_once(".rs\"")) {
            // Relative to the folder that this file lies in.
            parts = module(path.rsplit_once('/').map_or("", |(folder, _)| folder));
            parts.push(file.0.into());
        } else {
            parts.push(declared[1].text.clone());
        }
        out.push(parts);
    }
    out
}

/// The text with comments, strings and characters blanked; every line keeps its number.
fn plain(text: &str) -> Vec<char> {
    let c: Vec<char> = text.chars().collect();
    let mut out = c.clone();
    let at = |n: usize| c.get(n).copied().unwrap_or('\0');
    let mut i = 0;
    while i < c.len() {
        let word = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        let end = match at(i) {
            '/' if at(i + 1) == '/' => (i..c.len()).find(|n| c[*n] == '\n').unwrap_or(c.len()),
            '/' if at(i + 1) == '*' => {
                let (mut depth, mut n) = (1, i + 2);
                while depth > 0 && n < c.len() {
                    match (at(n), at(n + 1)) {
                        ('/', '*') => (depth, n) = (depth + 1, n + 1),
                        ('*', '/') => (depth, n) = (depth - 1, n + 1),
                        _ => {}
                    }
                    n += 1;
                }
                n
            }
            '"' => quoted(&c, i + 1, '"'),
            'r' if !word || (at(i - 1) == 'b' || at(i - 1) == 'c') => {
                let hashes = (i + 1..).take_while(|n| at(*n) == '#').count();
                if at(i + 1 + hashes) == '"' {
                    let close: Vec<char> =
                        std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    let body = i + 2 + hashes;
                    (body..c.len()).find(|n| c[*n..].starts_with(&close)).map_or(c.len(), |n| n + close.len())
                } else {
                    i
                }
            }
            '\'' if at(i + 1) == '\\' => quoted(&c, i + 1, '\''),
            '\'' if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        for slot in &mut out[i..end] {
            if *slot != '\n' {
                *slot = ' ';
            }
        }
        i = end.max(i + 1);
    }
    out
}

/// Where a quoted text whose inside begins at `from` is over.
fn quoted(c: &[char], from: usize, mark: char) -> usize {
    let mut n = from;
    while n < c.len() && c[n] != mark {
        n += if c[n] == '\\' { 2 } else { 1 };
    }
    (n + 1).min(c.len())
}

/// Plain text without what is compiled for tests only, and where that stood.
fn without_tests(plain: &[char]) -> (Vec<char>, Vec<Range<usize>>) {
    let (mut kept, mut regions) = (plain.to_vec(), Vec::new());
    let mut i = 0;
    while i + 1 < plain.len() {
        if plain[i] != '#' || plain[i + 1] != '[' {
            i += 1;
            continue;
        }
        let close = balanced(plain, i + 1);
        let inside: String = plain[i + 2..close].iter().filter(|c| !c.is_whitespace()).collect();
        if inside != "test" && inside != "cfg(test)" && !inside.starts_with("cfg(all(test,") {
            i = close;
            continue;
        }
        let end = item_end(plain, close + 1);
        for slot in kept[i..end].iter_mut().filter(|c| **c != '\n') {
            *slot = ' ';
        }
        regions.push(i..end);
        i = end;
    }
    (kept, regions)
}

/// The index of the bracket that closes the one at `open`.
fn balanced(plain: &[char], open: usize) -> usize {
    let mut depth = 0usize;
    for (n, c) in plain.iter().enumerate().skip(open) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return n;
        }
    }
    plain.len() - 1
}

/// Where the item that begins at `from`, after its first attribute, is over: at its `;`, its last `}`, or the end of what
/// it stands in.
fn item_end(plain: &[char], from: usize) -> usize {
    let mut n = from;
    while n < plain.len() {
        match plain[n] {
            '{' => {
                let close = balanced(plain, n) + 1;
                // `use a::{b};` goes on to its semicolon.
                let rest = (close..plain.len()).find(|m| !plain[*m].is_whitespace());
                return rest.filter(|m| plain[*m] == ';').map_or(close, |m| m + 1);
            }
            '(' | '[' => n = balanced(plain, n),
            ';' => return n + 1,
            ')' | ']' | '}' => return n,
            _ => {}
        }
        n += 1;
    }
    plain.len()
}

fn tokens(plain: &[char]) -> Vec<Token> {
    let (mut out, mut line, mut i) = (Vec::new(), 1, 0);
    while i < plain.len() {
        let c = plain[i];
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        let length = if is_word(&c) {
            plain[i..].iter().take_while(|c| is_word(c)).count()
        } else {
            // `a :: b` is a path too.
            usize::from(c == ':' && plain.get(i + 1) == Some(&':')) + 1
        };
        if !c.is_whitespace() {
            out.push(Token { text: plain[i..i + length].iter().collect(), line });
        }
        line += usize::from(c == '\n');
        i += length;
    }
    out
}
