//! Sizes and rates as people write and read them: MB is 10^6, MiB is 2^20.

/// A text that is no size or rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSize {
    /// Not a number with a unit.
    #[error("“{0}” is not a size; write 500kB, 20MB, 1.5GB (powers of 1000) or 4MiB, 2GiB (powers of 1024)")]
    Form(String),
    /// `b` would be bits.
    #[error("“{0}”: a small b would mean bits; write a capital B for bytes, as in 20MB")]
    Bits(String),
    /// More than 64 bits hold.
    #[error("“{0}” is too large")]
    Large(String),
    /// Nothing would ever move.
    #[error("“{0}” would let nothing through; leave the limit out for none")]
    Zero(String),
}

const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

/// Reads a size in bytes: `4096`, `20MB`, `1.5 GB`, `4MiB`.
pub fn parse(text: &str) -> Result<u64, BadSize> {
    let form = || BadSize::Form(shown(text));
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim_start();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(form());
    }
    // Nine digits say a petabyte to the megabyte, and keep the arithmetic below in 128 bits.
    if whole.len() > 20 {
        return Err(BadSize::Large(shown(text)));
    }
    if fraction.len() > 9 {
        return Err(form());
    }
    let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => u128::from(*factor),
        None if unit.ends_with('b') || unit.to_ascii_lowercase().ends_with("bit") => {
            return Err(BadSize::Bits(shown(text)));
        }
        None => return Err(form()),
    };
    let whole: u128 = whole.parse().map_err(|_| form())?;
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| form())? };
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| form())?);
    // A fraction of a byte is cut off.
    let bytes = whole * factor + part * factor / scale;
    u64::try_from(bytes).map_err(|_| BadSize::Large(shown(text)))
}

/// Reads a rate in bytes a second: `20MB/s`, or a size alone. Zero is refused.
pub fn parse_rate(text: &str) -> Result<u64, BadSize> {
    let trimmed = text.trim();
    match parse(trimmed.strip_suffix("/s").unwrap_or(trimmed)) {
        Ok(0) => Err(BadSize::Zero(shown(text))),
        other => other,
    }
}

/// For people: three digits and a decimal unit, as in `1.06 GB`; bytes below 1,000 as they are.
pub fn human(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut unit = 1_000u128;
    for name in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // In thousandths of the unit, rounded half up: rounding may carry into the next unit.
        let milli = (u128::from(bytes) * 1000 + unit / 2) / unit;
        let text = match milli {
            0..9_995 => decimal((milli + 5) / 10, 100),
            9_995..99_950 => decimal((milli + 50) / 100, 10),
            _ => ((milli + 500) / 1000).to_string(),
        };
        if milli < 999_500 || name == "EB" {
            return format!("{text} {name}");
        }
        unit *= 1000;
    }
    format!("{bytes} B")
}

fn decimal(value: u128, scale: u128) -> String {
    let width = if scale == 100 { 2 } else { 1 };
    format!("{}.{:0width$}", value / scale, value % scale)
}

/// At most 40 characters of what was typed, so that no message grows with it.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("20MB", 20_000_000),
            ("20 MB", 20_000_000),
            (" 1.5GB ", 1_500_000_000),
            ("4MiB", 4 << 20),
            ("0.5KiB", 512),
            ("1kB", 1000),
            ("1KB", 1000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in
            ["", "MB", "1.", ".5MB", "1.2.3MB", "-1MB", "1e3", "20 Mo", "20M", "1,5GB", "1.0000000001GB"]
        {
            assert!(matches!(parse(bad), Err(BadSize::Form(_))), "{bad}");
        }
        for bits in ["20Mb", "20mb", "20Mbit", "1Kib"] {
            assert!(matches!(parse(bits), Err(BadSize::Bits(_))), "{bits}");
        }
        for large in ["18446744073709551616", "99999PB", "999999999999999999999"] {
            assert!(matches!(parse(large), Err(BadSize::Large(_))), "{large}");
        }
    }

    #[test]
    fn rates_parse() {
        assert_eq!(parse_rate("20MB/s"), Ok(20_000_000));
        assert_eq!(parse_rate("1MiB"), Ok(1 << 20));
        assert!(matches!(parse_rate("0MB/s"), Err(BadSize::Zero(_))));
        assert!(parse_rate("20MB/min").is_err());
    }

    #[test]
    fn sizes_print_with_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1_004, "1.00 kB"),
            (1_005, "1.01 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_060_000_000, "1.06 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(human(bytes), text, "{bytes}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = (parse(&text), parse_rate(&text));
        }

        #[test]
        fn what_is_printed_parses_back_nearly(bytes: u64) {
            let text = human(bytes);
            if let Ok(back) = parse(&text) {
                let (a, b) = (bytes as f64, back as f64);
                assert!((a - b).abs() <= a * 0.0051, "{bytes} {text} {back}");
            } else {
                assert!(text.ends_with("EB"), "{text}");
            }
        }
    }
}
