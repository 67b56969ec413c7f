//! Which known word a mistyped one was meant to be.

/// The known words nearest to `word`, best first, at most three, and none that is far off.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let allowed = 1 + word.chars().count() / 4;
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|k| {
            // A word that only lacks its end or carries one too many is near, however long that is.
            let grown = word.len() >= 3 && (k.starts_with(&word) || word.starts_with(k));
            (if grown { 1 } else { distance(&word, k) }, k)
        })
        .filter(|(d, _)| *d <= allowed)
        .collect();
    found.sort();
    found.truncate(3);
    found.into_iter().map(|(_, k)| k).collect()
}

/// How many letters to add, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let width = b.len() + 1;
    let mut rows: Vec<Vec<usize>> = vec![(0..width).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, y) in b.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(x != y)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row[j + 1] = best;
        }
        rows.push(row);
    }
    rows.last().and_then(|r| r.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours() {
        let known = ["domain", "private", "referer", "rs", "rsf", "up", "io", "max_removed", "max_failed"];
        for (word, expected) in [
            ("domian", vec!["domain"]),
            ("refferer", vec!["referer"]),
            ("max-removed", vec!["max_removed"]),
            ("max", vec!["max_failed", "max_removed"]),
            ("rfs", vec!["rs", "rsf"]),
            ("weather", vec![]),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
