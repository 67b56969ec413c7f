//! GLOB: patterns over keys, which are bytes and need not be text.
//!
//! `*` is any run without a `/`, `**` any run at all, `**/` any number of whole folders (none too), `?` one character
//! but `/`, `[a-z]` and `[!a-z]` one of a set, `\` takes the next character as it is. A pattern with a `/` in it must
//! match the whole key, one without the key's last part.

use super::key::Key;

/// A pattern, read once and matched often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<[u8]>,
    tokens: Vec<Token>,
    whole: bool,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{pattern}” is not a pattern: {why}")]
pub struct BadGlob {
    pattern: Key,
    why: &'static str,
}

/// One character of a key: a Unicode scalar value, or [`STRAY`] plus a byte that belongs to none.
type Unit = u32;
const STRAY: Unit = 0x11_0000;
const SLASH: Unit = b'/' as Unit;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(Unit),
    Any,
    Set {
        negated: bool,
        ranges: Vec<(Unit, Unit)>,
    },
    /// `*`
    Run,
    /// `**`
    Deep,
    /// `**/` at the start of a part
    Folders,
}

impl Glob {
    /// The longest pattern: longer than any key.
    pub const MAX: usize = 16 << 10;

    /// Reads a pattern.
    pub fn new(pattern: impl AsRef<[u8]>) -> Result<Self, BadGlob> {
        let text = pattern.as_ref();
        let bad = |why| BadGlob { pattern: Key::new(&text[..text.len().min(80)]), why };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.len() > Self::MAX {
            return Err(bad("it is too long"));
        }
        let units: Vec<Unit> = Units(text).collect();
        let mut tokens: Vec<Token> = Vec::new();
        let mut at = 0;
        while let Some(&unit) = units.get(at) {
            at += 1;
            let token = match char::from_u32(unit) {
                Some('*') => {
                    let stars = 1 + units[at..].iter().take_while(|u| **u == u32::from(b'*')).count();
                    at += stars - 1;
                    let starts = matches!(tokens.last(), None | Some(Token::One(SLASH) | Token::Folders));
                    if stars == 1 {
                        Token::Run
                    } else if starts && units.get(at) == Some(&SLASH) {
                        at += 1;
                        Token::Folders
                    } else {
                        Token::Deep
                    }
                }
                Some('?') => Token::Any,
                Some('[') => {
                    let (set, next) = read_set(&units, at).ok_or_else(|| {
                        bad("the set that [ opens is not closed or is upside down (write \\[ for the bracket)")
                    })?;
                    at = next;
                    set
                }
                Some('\\') => {
                    let next = units.get(at).ok_or_else(|| bad("it ends in a single backslash"))?;
                    at += 1;
                    Token::One(*next)
                }
                _ => Token::One(unit),
            };
            tokens.push(token);
        }
        let whole = tokens.iter().any(|t| matches!(t, Token::One(SLASH) | Token::Folders));
        Ok(Self { text: text.into(), tokens, whole })
    }

    /// Whether the pattern matches a key.
    pub fn matches(&self, key: &Key) -> bool {
        let bytes = key.bytes();
        if self.whole {
            return run(&self.tokens, bytes);
        }
        // A folder's own key ends in `/`; its last part is its name.
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let last = bytes.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        run(&self.tokens, &bytes[last..])
    }

    /// The pattern as it was written.
    pub fn text(&self) -> Key {
        Key::new(self.text.as_ref())
    }
}

/// The set after a `[`, and where the pattern goes on.
fn read_set(units: &[Unit], mut at: usize) -> Option<(Token, usize)> {
    let is = |at: usize, c: char| units.get(at) == Some(&u32::from(c));
    let negated = is(at, '!') || is(at, '^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    // A `]` that comes first is one of the set.
    while ranges.is_empty() || !is(at, ']') {
        let mut one = || {
            at += usize::from(is(at, '\\'));
            let unit = *units.get(at)?;
            at += 1;
            Some(unit)
        };
        let first = one()?;
        let last = if is(at, '-') && !is(at + 1, ']') && at + 1 < units.len() {
            at += 1;
            at += usize::from(is(at, '\\'));
            let unit = *units.get(at)?;
            at += 1;
            unit
        } else {
            first
        };
        if first > last {
            return None;
        }
        ranges.push((first, last));
    }
    Some((Token::Set { negated, ranges }, at + 1))
}

/// Splits bytes into characters and stray bytes.
struct Units<'a>(&'a [u8]);

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let (unit, length) = unit_at(self.0)?;
        self.0 = &self.0[length..];
        Some(unit)
    }
}

fn unit_at(bytes: &[u8]) -> Option<(Unit, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((u32::from(first), 1));
    }
    let head = &bytes[..bytes.len().min(4)];
    let valid = head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    Some(valid.map_or((STRAY + u32::from(first), 1), |c| (u32::from(c), c.len_utf8())))
}

/// Where to go on after a mismatch: the token after a star, and how far the star reaches by now.
#[derive(Clone, Copy)]
struct Retry {
    token: usize,
    at: usize,
}

/// Whether the tokens match all of `bytes`.
///
/// Only the last `*` and the last `**` are ever tried again: what stands between two stars is best matched as far to
/// the left as it goes, because the later star can take up whatever is left over; and a `*` cannot cross a `/`, so
/// past one only an earlier `**` can. Time is at most length times length, never exponential.
fn run(tokens: &[Token], bytes: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let (mut star, mut deep): (Option<Retry>, Option<(Retry, bool)>) = (None, None);
    loop {
        let next = unit_at(&bytes[at..]);
        let fits = match (tokens.get(token), next) {
            (Some(Token::Run), _) => {
                token += 1;
                star = Some(Retry { token, at });
                continue;
            }
            (Some(Token::Deep), _) => {
                token += 1;
                (star, deep) = (None, Some((Retry { token, at }, false)));
                continue;
            }
            (Some(Token::Folders), _) => {
                token += 1;
                // After a `**` that reaches any place this one adds nothing but its own places.
                (star, deep) = (None, Some((Retry { token, at }, true)));
                continue;
            }
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(Token::One(u)), Some((v, _))) => *u == v,
            (Some(Token::Any), Some((v, _))) => v != SLASH,
            (Some(Token::Set { negated, ranges }), Some((v, _))) => {
                v != SLASH && ranges.iter().any(|(a, b)| (*a..=*b).contains(&v)) != *negated
            }
        };
        if let (true, Some((_, length))) = (fits, next) {
            token += 1;
            at += length;
            continue;
        }
        // One more character for the last `*`, if it is no `/`; else for the last `**`.
        if let Some(retry) = &mut star
            && let Some((unit, length)) = unit_at(&bytes[retry.at..])
            && unit != SLASH
        {
            retry.at += length;
            (token, at) = (retry.token, retry.at);
            continue;
        }
        let Some((retry, folders)) = &mut deep else { return false };
        let step = if *folders {
            bytes[retry.at..].iter().position(|b| *b == b'/').map(|i| i + 1)
        } else {
            unit_at(&bytes[retry.at..]).map(|(_, length)| length)
        };
        let Some(step) = step else { return false };
        retry.at += step;
        (token, at, star) = (retry.token, retry.at, None);
    }
}

/// Which keys a command is about. Empty lists ask for nothing, so the default takes every key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These very keys; together with the prefixes.
    pub keys: Vec<Key>,
    /// Keys that begin with these bytes.
    pub prefixes: Vec<Key>,
    /// At least one must match.
    pub include: Vec<Glob>,
    /// None may match.
    pub exclude: Vec<Glob>,
}

impl Filter {
    /// Whether a key is meant. Exclude wins.
    pub fn takes(&self, key: &Key) -> bool {
        let named = (self.keys.is_empty() && self.prefixes.is_empty())
            || self.keys.contains(key)
            || self.prefixes.iter().any(|p| key.bytes().starts_with(p.bytes()));
        named
            && (self.include.is_empty() || self.include.iter().any(|g| g.matches(key)))
            && !self.exclude.iter().any(|g| g.matches(key))
    }

    /// Whether every key is meant.
    pub fn is_all(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty() && self.include.is_empty() && self.exclude.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hit(pattern: &str, key: &str) -> bool {
        Glob::new(pattern).unwrap().matches(&Key::from(key))
    }

    #[test]
    fn the_contracts_rules() {
        for (pattern, yes, no) in [
            ("*.jpg", vec!["a.jpg", "x/y/a.jpg", ".jpg"], vec!["a.jpg/b", "a.JPG", "a.jpgx"]),
            ("photos/*", vec!["photos/a", "photos/"], vec!["photos/a/b", "x/photos/a", "photos"]),
            ("photos/**", vec!["photos/a", "photos/a/b", "photos/"], vec!["photos", "photos-2023/a"]),
            ("**/a.txt", vec!["a.txt", "x/a.txt", "x/y/a.txt"], vec!["ba.txt", "x/ba.txt"]),
            ("x/**/z", vec!["x/z", "x/y/z", "x/y/y/z", "x//z"], vec!["xz", "x/yz", "x/y/zz"]),
            ("x**z/a", vec!["xz/a", "x/y/z/a", "x/z/z/a"], vec!["x/a"]),
            ("/lead*", vec!["/leading"], vec!["leading", "x/leading"]),
            ("a?c", vec!["abc", "a中c", "x/abc"], vec!["ac", "a/c", "abbc"]),
            ("[!a-c]x", vec!["dx", "中x"], vec!["ax", "x", "/x"]),
            ("[]a-]b", vec!["]b", "ab", "-b"], vec!["bb"]),
            ("[α-ω]", vec!["λ"], vec!["l", "Λ"]),
            ("\\*\\[", vec!["*["], vec!["x["]),
            ("**", vec!["a", "a/b", "", "a/"], vec![]),
            ("photos", vec!["photos", "photos/", "x/photos"], vec!["photos/a"]),
            ("目录/*.txt", vec!["目录/文件.txt"], vec!["目录/x/文件.txt"]),
            ("{a,b}", vec!["{a,b}"], vec!["a"]),
            ("**/**/x", vec!["x", "a/x", "a/b/c/x"], vec!["ax"]),
            ("***", vec!["a/b"], vec![]),
        ] {
            for key in yes {
                assert!(hit(pattern, key), "{pattern} should match {key}");
            }
            for key in no {
                assert!(!hit(pattern, key), "{pattern} should not match {key}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        let key = |b: &[u8]| Key::new(b);
        let glob = |p: &[u8]| Glob::new(p).unwrap();
        assert!(glob(b"*.txt").matches(&key(b"\xc4\xbf\xc2\xbc\xff.txt")));
        assert!(glob(b"a?b").matches(&key(b"a\xffb")), "a stray byte is one character");
        assert!(glob(b"\xff*").matches(&key(b"dir/\xffabc")), "a stray byte in the pattern is itself");
        assert!(!glob(b"[!x]").matches(&key(b"\xff\xfe")));
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in ["", "[a", "[", "[!", "[z-a]", "a\\"] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
        assert!(Glob::new(vec![b'a'; Glob::MAX + 1]).is_err());
    }

    #[test]
    fn exclude_wins_and_lists_add_up() {
        let globs = |all: &[&str]| all.iter().map(|p| Glob::new(p).unwrap()).collect::<Vec<_>>();
        let filter = Filter {
            keys: vec!["other".into()],
            prefixes: vec!["photos/".into()],
            include: globs(&["*.jpg", "other"]),
            exclude: globs(&["*-draft.*"]),
        };
        for (key, taken) in [
            ("photos/a.jpg", true),
            ("other", true),
            ("photos/a-draft.jpg", false),
            ("photos/a.png", false),
            ("a.jpg", false),
        ] {
            assert_eq!(filter.takes(&key.into()), taken, "{key}");
        }
        assert!(Filter::default().is_all() && Filter::default().takes(&"x".into()) && !filter.is_all());
    }

    /// The plainest matcher there is, exponential and obviously right.
    fn naive(tokens: &[Token], key: &[Unit]) -> bool {
        let Some((token, rest)) = tokens.split_first() else { return key.is_empty() };
        let one = |ok: &dyn Fn(Unit) -> bool| {
            key.split_first().is_some_and(|(unit, after)| ok(*unit) && naive(rest, after))
        };
        match token {
            Token::One(u) => one(&|v| v == *u),
            Token::Any => one(&|v| v != SLASH),
            Token::Set { negated, ranges } => {
                one(&|v| v != SLASH && ranges.iter().any(|(a, b)| (*a..=*b).contains(&v)) != *negated)
            }
            Token::Run => (0..=key.len())
                .take_while(|n| key[..*n].iter().all(|u| *u != SLASH))
                .any(|n| naive(rest, &key[n..])),
            Token::Deep => (0..=key.len()).any(|n| naive(rest, &key[n..])),
            Token::Folders => {
                (0..=key.len()).filter(|n| *n == 0 || key[n - 1] == SLASH).any(|n| naive(rest, &key[n..]))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn agrees_with_the_naive_matcher(pattern in r"([ab/?]|\*|\*\*|/\*\*/|\[!a\]){1,9}", key in "[ab/]{0,12}") {
            let glob = Glob::new(&pattern).unwrap();
            let units: Vec<Unit> = Units(key.as_bytes()).collect();
            prop_assert_eq!(run(&glob.tokens, key.as_bytes()), naive(&glob.tokens, &units), "{} {}", pattern, key);
        }

        #[test]
        fn any_bytes_are_safe(pattern: Vec<u8>, key: Vec<u8>) {
            if let Ok(glob) = Glob::new(&pattern) {
                glob.matches(&Key::new(key));
            }
        }

        #[test]
        fn an_escaped_key_matches_itself(key in proptest::collection::vec(any::<u8>(), 1..40)) {
            let escaped: Vec<u8> = key.iter().flat_map(|b| match b {
                b'*' | b'?' | b'[' | b'\\' => vec![b'\\', *b],
                b => vec![*b],
            }).collect();
            let glob = Glob::new(&escaped).unwrap();
            prop_assert!(glob.matches(&Key::new(key.clone())) || (key.ends_with(b"/") && !glob.whole));
        }
    }
}
