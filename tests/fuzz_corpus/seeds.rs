//! Where the seeds come from: the frozen stores, records and files made by this program's own encoders, and answers as
//! the service publishes them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use qbak::format::compress::compress;
use qbak::format::index::{Encoder, IndexRecord, PackEntry};
use qbak::format::manifest::Reference;
use qbak::format::pack::{self, BlobKind, Builder, Finished, Prepared};
use qbak::format::record::{self, Record};
use qbak::format::records::{
    AcceptRecord, Begun, CheckpointRecord, ClaimRecord, DamageRecord, DecisionRecord, MarkRecord, PinRecord,
    RunKind, RunRecord, SourceRecord, StoreRecord, TombstoneRecord, VerifiedRecord,
};
use qbak::format::seal::Sealer;
use qbak::format::{entry, keyfile};
use qbak::model::content::{content_id, hash};
use qbak::model::entry::{Attributes, Entry, Kind, State};
use qbak::model::id::{BlobId, Digest, IndexId, PackId, StoreId};
use qbak::model::key::Key;
use qbak::model::name::RunName;
use qbak::model::time::Timestamp;

/// Target, name of the file, bytes.
type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub(crate) fn all() -> Vec<Seed> {
    let mut out = frozen();
    out.extend(made());
    out.extend(records());
    for (target, texts) in TEXTS {
        let named = texts
            .iter()
            .enumerate()
            .map(|(n, text)| (*target, format!("text-{n:02}"), text.as_bytes().into()));
        out.extend(named);
    }
    out
}

/// Small files of the frozen stores, and the segments in their packs.
fn frozen() -> Vec<Seed> {
    let mut out: Vec<Seed> = Vec::new();
    let mut folders = vec![PathBuf::from("fixtures/store-v0")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for (n, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let below = path.strip_prefix("fixtures/store-v0").unwrap().to_str().unwrap();
        out.push(("store_name", format!("frozen-{n:02}"), below.as_bytes().into()));
        let target = match path.extension().and_then(|e| e.to_str()) {
            Some("pack") => "pack",
            Some("idx") => "index",
            _ if below.starts_with("snapshots") => "snapshot",
            _ => "record",
        };
        if target == "pack" {
            out.extend(segments(n, &bytes));
        }
        if bytes.len() < 8192 {
            out.push((target, format!("frozen-{n:02}"), bytes));
        }
    }
    out
}

fn segments(n: usize, bytes: &[u8]) -> Vec<Seed> {
    let outline =
        pack::Outline::parse(&bytes[..pack::HEADER], pack::tail(bytes), bytes.len() as u64).unwrap();
    let table = outline.table(&Sealer::Plain, &bytes[outline.table_range()]).unwrap();
    let segments = table.iter().filter(|r| r.kind == BlobKind::Segment);
    let read = |r: &pack::Record| outline.blob(&Sealer::Plain, r, pack::frame(bytes, r).unwrap()).unwrap();
    segments.enumerate().map(|(i, r)| ("manifest", format!("frozen-{n:02}-{i}"), read(r))).collect()
}

fn packed(metadata: bool, blobs: &[(BlobKind, Vec<u8>)]) -> Finished {
    let mut builder = Builder::new(Sealer::Plain, [7; 16], metadata);
    for (kind, bytes) in blobs {
        builder.add(&Prepared::new(*kind, hash(bytes), bytes));
    }
    builder.finish()
}

/// Files made by the encoders.
fn made() -> Vec<Seed> {
    let text = |n: usize| (BlobKind::Data, format!("line {n} of a text\n").repeat(n * 7).into_bytes());
    let data = packed(false, &(0..12).map(text).collect::<Vec<_>>());
    let list = (BlobKind::List, [[1u8; 20], [2; 20]].concat());
    let meta = packed(true, &[list, (BlobKind::Segment, whole_segment()), (BlobKind::Page, whole_page())]);
    let mut out = vec![
        ("pack", "data".to_owned(), data.bytes.clone()),
        ("pack", "metadata".to_owned(), meta.bytes.clone()),
        ("pack", "empty".to_owned(), packed(false, &[]).bytes),
        ("manifest", "whole".to_owned(), whole_segment()),
        ("page", "whole".to_owned(), whole_page()),
    ];
    let mut records: Vec<IndexRecord> =
        data.records.iter().map(|r| IndexRecord { record: *r, pack: 0 }).collect();
    records.extend(meta.records.iter().map(|r| IndexRecord { record: *r, pack: 1 }));
    // More than a page.
    records.extend(
        (0..60u8).map(|n| IndexRecord {
            record: pack::Record { id: BlobId([n; 20]), ..data.records[0] },
            pack: 0,
        }),
    );
    records.sort_by_key(IndexRecord::order);
    for (name, records) in [("two-pages", records.as_slice()), ("one", &records[..1]), ("none", &[])] {
        let mut encoder = Encoder::new(Sealer::Plain, [9; 16], Vec::new()).unwrap();
        records.iter().for_each(|r| encoder.push(r).unwrap());
        let entry = |f: &Finished| PackEntry { id: f.id, size: f.bytes.len() as u64, metadata: f.metadata };
        let (_, bytes) = encoder.finish(&[entry(&data), entry(&meta)], &[IndexId([3; 32])]).unwrap();
        out.push(("index", name.to_owned(), bytes));
    }
    for (name, plain) in [("zeros", vec![0; 5000]), ("text", b"a time machine for buckets; ".repeat(40))] {
        let length = u32::try_from(plain.len()).unwrap().to_le_bytes();
        out.push(("decompress", name.to_owned(), [&length[..], &compress(&plain).unwrap()].concat()));
        out.push((
            "decompress",
            format!("{name}-short"),
            [&5u32.to_le_bytes()[..], &compress(&plain).unwrap()].concat(),
        ));
    }
    let keys = |flags: u8, keys: &[&[u8]]| [&[flags][..], &keys.join(&0x1e)].concat();
    let awkward: &[&[u8]] = &[
        b"",
        b"/",
        b"//x//",
        b"/lead",
        b"trail/",
        b".",
        b"..",
        b"a/../b",
        b"x",
        b"x/y",
        b"x%2Fy",
        b"x~",
        b"X/Y",
        "目录/é".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\xff\n",
        b".qbak-keys.jsonl",
        b".QBAK-tmp-1",
        b"con",
    ];
    for flags in 0..8 {
        out.push(("key_map", format!("awkward-{flags}"), keys(flags, awkward)));
    }
    let long: Vec<Vec<u8>> = [250, 255, 256, 600].iter().map(|n| vec![b'k'; *n]).collect();
    out.push(("key_map", "long".to_owned(), keys(4, &long.iter().map(Vec::as_slice).collect::<Vec<_>>())));
    let lines: Vec<u8> = awkward[1..]
        .iter()
        .flat_map(|key| keyfile::line(b"a/%2Fb", key))
        .chain(keyfile::line(b"\xff/n", b"key"))
        .collect();
    out.push(("side_file", "lines".to_owned(), lines));
    out
}

fn whole_segment() -> Vec<u8> {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let mut full = Entry::new(Key::from("a/full"), Kind::Object);
    full.size = 5;
    full.content = Some(content_id(&[hash(b"hello").id]));
    full.fingerprint = Some("nuWFLt2tvBrRmcgAeh2MWmeXZd9v".into());
    full.put_time = Some(Timestamp::from_nanos(1_795_000_000_123_456_789));
    full.unverified = true;
    full.attributes = Attributes {
        mime: Some("text/plain".into()),
        class: Some("1".into()),
        meta: map(&[("color", "blue"), ("Ünï", "\n")]),
        headers: map(&[("Cache-Control", "no-cache")]),
        end_user: Some("u".into()),
        status: Some(1),
        expiry: Some(1_900_000_000),
        transitions: BTreeMap::from([("IA".to_owned(), 1_900_000_000)]),
        parts: vec![(2, 2), (1, 1)],
        mode: Some(0o644),
    };
    let mut failed = Entry::new(Key::new(&b"b\xff"[..]), Kind::Object);
    (failed.state, failed.reason) = (State::Failed, Some("it answers 403".into()));
    let mut link = Entry::new(Key::from("c"), Kind::Link);
    link.target = Some(b"../\xfe".to_vec());
    let mut out = Vec::new();
    for entry in [full, failed, link, Entry::new(Key::from("d/"), Kind::Folder)] {
        entry::encode(&entry, &mut out).unwrap();
    }
    out
}

fn reference(first: &[u8], last: &[u8], entries: u64) -> Reference {
    let (first, last) = (Key::new(first), Key::new(last));
    let bytes = entries * 1000;
    Reference { first, last, entries, bytes, id: BlobId([4; 20]), digest: Digest([5; 32]), length: 600 }
}

fn references() -> Vec<Reference> {
    vec![reference(b"a", b"b/\xff", 300), reference(b"c", "目录".as_bytes(), 4096)]
}

fn whole_page() -> Vec<u8> {
    let mut out = Vec::new();
    references().iter().for_each(|r| r.encode(&mut out).unwrap());
    out
}

/// One of each record.
fn records() -> Vec<Seed> {
    let when = Timestamp::from_seconds(1_795_000_000);
    let name = RunName::at(when);
    let source = SourceRecord { url: "kodo://bucket/pre".into(), scope: Key::new(&b"pre\xff"[..]) };
    let (kind, group, nonce) = (RunKind::Full, name, "0123456789abcdef".to_owned());
    let run = RunRecord {
        name,
        kind,
        group,
        redownload: true,
        source,
        started: when,
        host: "h".into(),
        pid: 7,
        nonce,
    };
    let begun = Begun {
        key: Key::from("large.bin"),
        size: 9 << 20,
        fingerprint: Some("lgV4TNEnA2AXSRVyDqVW4bohMKad".into()),
        put_time: Some(when),
        from: 1,
        blocks: vec![BlobId([6; 20]); 2],
    };
    let begun = vec![
        begun.clone(),
        Begun { key: Key::new(&b"\xff"[..]), fingerprint: None, put_time: None, ..begun },
    ];
    let checkpoint = CheckpointRecord { segments: references(), waiting: references()[..1].to_vec(), begun };
    let blobs = vec![(BlobKind::Data.into(), BlobId([1; 20])), (BlobKind::Segment.into(), BlobId([2; 20]))];
    let pack = PackId([9; 32]);
    let damage =
        DamageRecord { pack, group, found: when, whole: false, blobs, what: "its bytes are wrong".into() };
    let store = StoreRecord {
        id: StoreId([1; 16]),
        created: when,
        program: "qbak 0.1.0".into(),
        encryption: "none".into(),
        timezone: Some("Asia/Shanghai".into()),
    };
    vec![
        seed("record", "store", &store),
        seed("record", "run", &run),
        seed("record", "tombstone", &TombstoneRecord { reason: "it was cut off".into(), when }),
        seed("record", "damage", &damage),
        seed("record", "accept", &AcceptRecord { snapshot: name, when }),
        seed("record", "pin", &PinRecord { snapshot: name, when }),
        seed("record", "verified", &VerifiedRecord { when, packs: vec![pack; 3] }),
        seed("prune_record", "claim", &read::<ClaimRecord>(CLAIM)),
        seed("prune_record", "mark", &read::<MarkRecord>(MARK)),
        seed("prune_record", "decision", &read::<DecisionRecord>(DECISION)),
        seed("checkpoint", "whole", &checkpoint),
        seed("checkpoint", "empty", &CheckpointRecord::default()),
    ]
}

fn seed<R: Record>(target: &'static str, name: &str, value: &R) -> Seed {
    (target, name.to_owned(), record::encode(value).unwrap())
}

/// What prunes write down, as text: another version may have had other fields.
const CLAIM: &str = r#"{"number":7,"nonce":"abababababababab","snapshots":["2026-11-18T01-46-40Z","2026-11-19T01-46-40Z"],
    "highest":"2026-11-19T01-46-40Z","when":"2026-11-22T00:00:00Z","host":"h","pid":7}"#;
const MARK: &str = r#"{"number":7,"nonce":"abababababababab","snapshots":["2026-11-18T01-46-40Z"],"groups":[{"group":"2026-11-18T01-46-40Z",
    "packs":["0909090909090909090909090909090909090909090909090909090909090909"],
    "indexes":["0303030303030303030303030303030303030303030303030303030303030303"]}]}"#;
const DECISION: &str = r#"{"number":7,"keep":["0909090909090909090909090909090909090909090909090909090909090909"],"keep_all":false,
    "reason":"a run is at work","nonce":"abababababababab"}"#;

fn read<R: Record>(text: &str) -> R {
    serde_json::from_str(text).unwrap()
}

/// Texts as people, services and files have them.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "kodo_list",
        &[
            r#"{"marker":"eyJjIjowLCJrIjoiYmlnLmJpbiJ9","items":[{"key":"a.txt","hash":"FlupPJ2wz_k_UrUh10IOQ_btonhP","fsize":1,"putTime":17000000000000000,"mimeType":"text/plain","type":0,"status":0,"md5":"93b885adfe0da089cdf634904fd59f71"},{"key":"big.bin","hash":"nhHnsUwLnuctv9nI6j1RdbXZf7tN","fsize":10485767,"putTime":17000000000000001,"mimeType":"application/octet-stream","type":2,"status":0,"parts":[5242880,5242887]}]}"#,
            r#"{"items":[null,{},{"key":"","hash":"","fsize":0,"putTime":0},{"key":"z","hash":"F","type":9,"endUser":"","mimeType":null,"x-qn-meta":{"x-qn-meta-A":"1","c":"3"},"parts":[1]}],"commonPrefixes":["a/","b/"]}"#,
            r#"{"marker":null,"items":[],"commonPrefixes":null}"#,
            r#"{"marker":"m","items":[{"key":"\ud83d\ude00/a\u0000\n\"\\","hash":"F","restoreStatus":1,"expiration":1900000000,"transitionToIA":1900000000,"transitionToDeepArchive":0}]}"#,
        ],
    ),
    (
        "kodo_answer",
        &[
            r#"{"fsize":1,"hash":"FlupPJ2wz_k_UrUh10IOQ_btonhP","mimeType":"text/plain","putTime":17000000000000000,"type":0,"x-qn-meta":{"color":"blue"}}"#,
            r#"[{"code":200,"data":{"fsize":1,"hash":"F","putTime":17000000000000000}},{"code":612,"data":{"error":"no such file or directory"}},{"code":200}]"#,
            r#"[{"code":298,"data":{"error":"x token=canary"}}]"#,
            r#"{"error":"bad token"}"#,
            r#"{"hosts":[{"region":"z0","ttl":86400,"up":{"domains":["127.0.0.1:9000"]},"io":{"domains":["a.b-c.com"],"old":["old.com"]},"io_src":{"domains":["127.0.0.1:9000"]},"rs":{"domains":["rs.example.com"]},"rsf":{"domains":["[::1]:9000"]},"uc":{"domains":["u"]}}]}"#,
            r#"{"hosts":[{"rs":{"domains":["a"]},"rsf":{"domains":["b"]}},{}]}"#,
        ],
    ),
    (
        "kodo_head",
        &[
            "206\n40\nbytes 40-79/100\n\"lgV4TNEnA2AXSRVyDqVW4bohMKad\"\nSun, 22 Nov 2026 12:00:00 GMT\n30\n",
            "206\n\nbytes 40-79/*\n\"one\"\n",
            "200\n100\n\nW/\"lgV4TNEnA2AXSRVyDqVW4bohMKad.gz\"\nSun, 22 Nov 2026 12:00:00 GMT\nSun, 22 Nov 2026 12:05:00 GMT\n",
            "503\n0\n\n\nSun, 22 Nov 2026 12:00:00 +0800\n120\n",
        ],
    ),
    (
        "kodo_spelling",
        &[
            "a/../b",
            "//x//",
            ".",
            "目录/文 件.txt",
            "Ymt0OmEudHh0",
            "a=x+y&b&&c=%zz",
            "cdn.example.com:8080",
            "said token=canary",
        ],
    ),
    (
        "config",
        &[
            "store = \"./backup\"\nsource = \"kodo://yewwah\"\n\n[kodo]\ndomain = \"http://cdn.example.com\"\nprivate = false\nreferer = \"\"\ncredentials = \"kodo.toml\"\nunavailable = \"partial\"\ntrust_etag = true\nlisting = \"auto\"\nuc = \"https://uc.qiniuapi.com\"\n[kodo.buckets.other-bucket]\nprivate = true\nio = \"127.0.0.1:9000\"\n",
            "store = \"./b-{profile}\"\n[groups]\nfull_every = 8\nshare = false\n[retention]\nkeep = 8\nkeep_within = \"1y6m\"\nkeep_tag = [\"a\", \"b\"]\n[limits]\nconcurrency = 16\ndownload_rate = \"20MB/s\"\nrequests_per_second = 50\n[guard]\nmax_removed = \"30%\"\n[profile.night]\nsource = \"/data\"\n[profile.night.limits]\nconcurrency = 2\n",
            "[hooks]\nbefore = \"echo\"\n[metrics]\ntextfile = \"/x.prom\"\n[s3]\nendpoint = \"https://s3.example.com\"\npath_style = true\n",
        ],
    ),
    (
        "credentials",
        &[
            "access_key = \"AK\"\nsecret_key = \"hunter2hunter2hunter2\"\n",
            "access_key = 'a'\nsecret_key = '''s'''\n",
            "secret_key = \"hunter2hunter2hunter2\"\n",
        ],
    ),
    (
        "date",
        &[
            "latest",
            "latest~3",
            "2026-11-21T22-48-21Z",
            "2026-11-18T01",
            "2026-11-21",
            "2026-11-18 22:48:21+08:00",
            "2026-11-18T22:48Z",
            "yesterday",
            "3 weeks ago",
            "2 months ago",
            "12 hours ago",
        ],
    ),
    (
        "measure",
        &[
            "4096",
            "1.5 GB",
            "4MiB",
            "20MB/s",
            "1y6m2w3d12h",
            "30min",
            "30%",
            "12.5%",
            "1/7",
            "week/4",
            "2026-11-21T22-48-21Z",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "FlupPJ2wz_k_UrUh10IOQ_btonhP",
        ],
    ),
    (
        "glob",
        &[
            "*.jpg\na/b.jpg",
            "photos/**/[!a-c]?.png\nphotos/x/y/dz.png",
            "**/x\nx",
            "a\\*b/*\na*b/c",
            "目*/é\n目录/é",
            "**a**b**c**\nabacbc",
        ],
    ),
    (
        "url",
        &[
            "kodo://yewwah/photos/",
            "s3://b.c-d_e//x/%2F a?b=c#d",
            "./backup",
            "a:b",
            "kodo://b/x?e=1&token=hunter2",
            "https://u:p@x",
            "az://b/..",
        ],
    ),
    (
        "store_name",
        &[
            "runs/2026-11-22T14-29-41Z.json",
            "runs/2026-11-22T14-29-41Z.12.json",
            "pins/2026-11-22T14-29-41Z.json",
            "lock",
            "marks/00000001.json",
            "marks/00000007.0123456789abcdef.json",
            "marks/123456789.decision.json",
        ],
    ),
    (
        "side_file",
        &["{\"path\":\"a/%2Fb\",\"key\":\"a//b\"}\n{\"path_b64\":\"/w==\",\"key_b64\":\"/wo=\"}\n"],
    ),
];
