//! The published vectors, and the official crate as the judge of random contents and part layouts.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::model::entry::run_length;

const M: usize = 1 << 20;

fn pattern(size: usize) -> Vec<u8> {
    let mut bytes = (0..=250).collect::<Vec<u8>>().repeat(size / 251 + 1);
    bytes.truncate(size);
    bytes
}

fn ours(bytes: &[u8], sizes: &[usize], rule: Rule) -> String {
    let sizes: Vec<u64> = sizes.iter().map(|&s| s as u64).collect();
    etag_with_parts(bytes, &run_length(&sizes), rule).unwrap()
}

#[test]
fn published_vectors() {
    for (parts, strict, plain) in [
        (vec![M], "FsL8TLIPEwGmsN0hHBnmmhOSXb5A", None),
        (vec![M, M], "nuWFLt2tvBrRmcgAeh2MWmeXZd9v", None),
        (vec![M; 4], "nnVPCZQ_kwCKQnh1YvVeZyTlHGzY", None),
        (vec![M; 5], "nkm0eQciU1S_0jozlaw-uYchkfxH", None),
        (vec![4 * M, 4 * M, 2 * M + 7], "lstfskeYVVVtRQ2itANuz8O4aUqn", None),
        (vec![4 * M; 2], "lhZWuy7H6BDwRPEg8SCwWrzJuMmX", None),
        (vec![4 * M; 3], "lryY3im2G5Mygk3YuOHyUJnPJMST", None),
        (vec![4 * M, M], "llX2_rzqGGyo7GdgLDDXorE6URvp", None),
        (vec![5 * M, 5 * M + 7], "nhHnsUwLnuctv9nI6j1RdbXZf7tN", None),
        (vec![8 * M, 2 * M + 7], "ngtBX1FQ5_r2d3ClgY8R3lEW6_-n", None),
        (vec![8 * M, 1], "no8U1IZUrc86R9CAnvSPqUVcZ1vO", None),
        (vec![M, 4 * M], "ni_24rdyc96C4IqTYaqyV_yHhMpa", None),
        (vec![4 * M, M, 4 * M], "nrLFqJjMLr-4f0xCFfkDk4wZQmGh", None),
        (vec![1, 1], "nu1JZvNtxZkPBYXTqDZWca8YPH1T", None),
        (vec![10 * M + 7], "nkUuRFNZVvL3L_QgmeDA8bTRf_A1", Some("lstfskeYVVVtRQ2itANuz8O4aUqn")),
        (vec![4 * M, 5 * M], "njJtMapJqRarIbyG1Jx27AX7K9I8", Some("lv4Ew6JqZ47UmtoHTb4ntxxH-h5H")),
        (vec![4 * M, 4 * M, 5 * M], "nnjTkY3elXU5DBzaPyhUHqhGLHkh", Some("lhoVvZoW8g_mkh9f0cvFQmgsU81v")),
    ] {
        let bytes = pattern(parts.iter().sum());
        assert_eq!(ours(&bytes, &parts, Rule::Strict), strict, "{parts:?}");
        let other = ours(&bytes, &parts, Rule::Plain);
        assert_eq!(other, plain.unwrap_or(strict), "{parts:?}");
        assert_eq!(
            other,
            qiniu_etag::etag_with_parts(&mut Cursor::new(&bytes), &parts).unwrap(),
            "{parts:?}"
        );
        let sizes: Vec<u64> = parts.iter().map(|&s| s as u64).collect();
        let mut hasher = PartsHasher::new(&run_length(&sizes));
        hasher.update(&bytes);
        let both = hasher.finish().unwrap();
        for listed in [strict, plain.unwrap_or(strict)] {
            assert!(both.passes(listed, &etag(&bytes)), "{parts:?}: either reading passes");
        }
        assert!(!both.passes("nuWFLt2tvBrRmcgAeh2MWmeXZd9_", &etag(&bytes)));
    }
}

#[test]
fn published_vectors_of_the_plain_etag() {
    for (size, text) in [
        (0, "Fto5o-5ea0sNMlW_75VgGJCv2AcJ"),
        (1, "FlupPJ2wz_k_UrUh10IOQ_btonhP"),
        (M, "FsL8TLIPEwGmsN0hHBnmmhOSXb5A"),
        (4 * M - 1, "Fn9tkLHM2wFqBpgIZJ4NMMYVKZLl"),
        (4 * M, "Fgd8eREZ4FXnoK5eUHCJo_kRSDb1"),
        (4 * M + 1, "lgV4TNEnA2AXSRVyDqVW4bohMKad"),
        (8 * M, "lhZWuy7H6BDwRPEg8SCwWrzJuMmX"),
        (8 * M + 1, "lpRzEFZm74e2PCP5AZHpXD7HEH-Z"),
        (10 * M + 7, "lstfskeYVVVtRQ2itANuz8O4aUqn"),
    ] {
        assert_eq!(etag(&pattern(size)).to_string(), text, "{size}");
    }
}

#[test]
fn bytes_that_do_not_fit_the_parts() {
    for (bytes, parts) in [
        (3, &[(2, 2)][..]),
        (5, &[(2, 2)]),
        (1, &[]),
        (0, &[(1, 1)]),
        (1, &[(u64::MAX, u64::MAX)]),
        (1, &[(0, u64::MAX), (1, 1)]),
    ] {
        assert_eq!(etag_with_parts(&pattern(bytes), parts, Rule::Strict), None, "{bytes} {parts:?}");
    }
    assert_eq!(etag_with_parts(b"", &[], Rule::Strict).unwrap(), "Fto5o-5ea0sNMlW_75VgGJCv2AcJ");
    assert_eq!(etag_with_parts(b"", &[(0, 1)], Rule::Strict).unwrap(), "Fto5o-5ea0sNMlW_75VgGJCv2AcJ");
}

/// Sizes near what matters: a few bytes, and within three bytes of one, two and three times 4 MiB.
fn part() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 1usize..2000,
        3 => Just(BLOCK),
        2 => (1usize..3, 0usize..7).prop_map(|(n, d)| n * BLOCK + d - 3),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_official_crate_agrees(parts in prop::collection::vec(part(), 1..4), seed: u8, cut in 1usize..9_000_000) {
        let size: usize = parts.iter().sum();
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        let theirs = qiniu_etag::etag_with_parts(&mut Cursor::new(&bytes), &parts).unwrap();
        prop_assert_eq!(ours(&bytes, &parts, Rule::Plain), theirs);
        prop_assert_eq!(etag(&bytes).to_string(), qiniu_etag::etag_of(&mut Cursor::new(&bytes)).unwrap());

        // However the bytes are cut, and whether or not the blocks' hashes are given, the hash is the same.
        let sizes: Vec<u64> = parts.iter().map(|&s| s as u64).collect();
        let runs = run_length(&sizes);
        let [mut whole, mut pieces, mut blocks] = [(); 3].map(|()| PartsHasher::new(&runs));
        whole.update(&bytes);
        bytes.chunks(cut).for_each(|p| pieces.update(p));
        bytes.chunks(BLOCK).for_each(|b| blocks.update_block(b, sha1(b)));
        let whole = whole.finish();
        prop_assert!(whole.is_some() && whole == pieces.finish() && whole == blocks.finish());
    }
}
