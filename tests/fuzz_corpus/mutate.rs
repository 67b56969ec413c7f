//! Changes seeds: bits, numbers, cuts, repeats, pieces of others. The same start gives the same changes.

/// Makes mutations of seeds.
pub(crate) struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
    /// Of the seeds: these stay; the others are mutations that were taken.
    own: usize,
}

/// No mutation is longer.
const LONGEST: usize = 64 << 10;
/// So many mutations that were taken are kept.
const KEPT: usize = 200;

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// Words that parsers wait for.
const WORDS: [&str; 28] = [
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551615",
    "9223372036854775807",
    "18446744073709551616",
    "\"\"",
    "{}",
    "[]",
    "[[",
    "{\"",
    "\\ud800",
    "\\u0000",
    "/",
    "..",
    "../",
    "//",
    "\n",
    "\0",
    "\u{202e}",
    "é",
    "e\u{301}",
    "\u{feff}",
    "T",
    "Z",
    "%2F",
    "~",
];

impl Mutator {
    pub(crate) fn new(name: &str, start: u64, seeds: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let hash = blake3::Hasher::new().update(name.as_bytes()).update(&start.to_le_bytes()).finalize();
        let state = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
        let own = seeds.len();
        Self { state, seeds, own }
    }

    /// Adds a mutation to what is changed further.
    pub(crate) fn keep(&mut self, data: Vec<u8>) {
        if self.seeds.len() < self.own + KEPT {
            self.seeds.push(data);
        } else {
            let at = self.own + self.below(KEPT);
            self.seeds[at] = data;
        }
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    fn seed(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len());
        self.seeds[at].clone()
    }

    /// A seed with one to four changes.
    pub(crate) fn mutation(&mut self) -> Vec<u8> {
        let mut data = self.seed();
        for _ in 0..=self.below(4) {
            self.change(&mut data);
            data.truncate(LONGEST);
        }
        data
    }

    fn change(&mut self, data: &mut Vec<u8>) {
        let at = self.below(data.len() + 1);
        let end = (at + 1 + self.below(64)).min(data.len());
        match self.below(11) {
            0 if at < data.len() => data[at] ^= 1 << self.below(8),
            1 if at < data.len() => data[at] = self.next().to_le_bytes()[0],
            2 => data.truncate(at),
            3 if at < end => {
                data.drain(at..end);
            }
            4 if at < end => {
                let piece = data[at..end].to_vec();
                let times = 1 + self.below(8);
                data.splice(at..at, piece.repeat(times));
            }
            5 => {
                let word = WORDS[self.below(WORDS.len())];
                data.splice(at..at, word.bytes());
            }
            6 => {
                // The head of one and the tail of another.
                let other = self.seed();
                let from = self.below(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            7 => {
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                if at + width <= data.len() {
                    data[at..at + width].copy_from_slice(&edge[..width]);
                }
            }
            8 => {
                // A number in a text takes another value.
                let digits: Vec<usize> = (0..data.len()).filter(|i| data[*i].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let at = digits[self.below(digits.len())];
                    let end = at + data[at..].iter().take_while(|b| b.is_ascii_digit()).count();
                    let edge = EDGES[self.below(EDGES.len())].to_string();
                    data.splice(at..end, edge.bytes());
                }
            }
            9 if !data.is_empty() => {
                // Two lines, or the halves of a text, change places.
                let mut lines: Vec<Vec<u8>> = data.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                let (a, b) = (self.below(lines.len()), self.below(lines.len()));
                lines.swap(a, b);
                *data = lines.join(&b'\n');
            }
            _ => data.insert(at, self.next().to_le_bytes()[0]),
        }
    }
}
