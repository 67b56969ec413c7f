//! The story, step by step: a bucket, a week of changes, the first week back, damage mended, old snapshots gone.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::bucket::{self, FILM, Objects};
use super::compare::{compare, files};
use super::stage::Stage;
use super::{BUCKET, failed, problem};
use crate::cli::args::FIVE_LINES;
use crate::cli::run::Failure;
use crate::emulator::Service;
use crate::model::content::BLOCK;
use crate::render::human::{count, size};

#[derive(Serialize)]
struct Summary<'a> {
    dir: &'a str,
    steps: u64,
    checks: u64,
}

/// Plays it.
pub(super) async fn play(stage: &mut Stage<'_>, service: &Service) -> Result<(), Failure> {
    let first = bucket::first_week();
    for (key, bytes) in &first {
        bucket::put(service, key, bytes)?;
    }
    let name = full(stage, &first).await?;
    let mut now = first.clone();
    changes(stage, service, &mut now).await?;
    difference(stage).await?;
    back(stage, &name, &first).await?;
    damage(stage, &first[FILM]).await?;
    mended(stage, &now, first[FILM].len() as u64).await?;
    pruned(stage, &now).await?;
    end(stage)
}

async fn full(stage: &mut Stage<'_>, first: &Objects) -> Result<String, Failure> {
    stage.step("A store, and the first snapshot of the bucket")?;
    stage.qbak(&["init"], 0).await?;
    stage.qbak(&["snapshot", "--tag", "first-week"], 0).await?;
    stage.qbak(&["ls", "latest"], 0).await?;
    let listed = stage.look(&["ls", "latest"]).await?;
    let same = listed.lines("object").iter().all(|o| {
        let bytes = o["key"].as_str().and_then(|k| first.get(k));
        bytes.is_some_and(|b| o["size"].as_u64() == Some(b.len() as u64) && o["state"] == "ok")
    });
    let all = number(&listed.summary()?, "objects") == first.len() as u64;
    stage.check("the snapshot lists every object of the bucket, awkward keys included", same && all)?;
    let list = stage.look(&["list"]).await?;
    let snapshots = list.lines("snapshot");
    let whole = snapshots.len() == 1 && snapshots[0]["kind"] == "full" && snapshots[0]["state"] == "complete";
    stage.check("it is full and complete", whole)?;
    Ok(snapshots[0]["snapshot"].as_str().unwrap_or_default().to_owned())
}

async fn changes(stage: &mut Stage<'_>, service: &Service, now: &mut Objects) -> Result<(), Failure> {
    stage.step("A week later: objects came, went, got other names, or other bytes at the same size")?;
    let week = bucket::week();
    week.happen(service, now)?;
    let said = stage.qbak(&["--json", "--no-progress", "snapshot"], 0).await?;
    let s = said.summary()?;
    let counts = ["added", "changed", "removed", "renamed"].map(|f| number(&s, f));
    let expected = [week.added.len(), week.changed.len(), week.removed.len(), week.renamed.len()];
    stage
        .check("all of it was noticed", s["kind"] == "incremental" && counts == expected.map(|n| n as u64))?;
    let (downloaded, all) = (number(&s, "downloaded_bytes"), number(&s, "bytes"));
    let held: u64 = now.values().map(|b| b.len() as u64).sum();
    stage.check(
        &format!("of {} only {} were downloaded: what nobody had seen before", size(all), size(downloaded)),
        downloaded == week.new_bytes() && all == held,
    )
}

async fn difference(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.step("What changed")?;
    stage.qbak(&["list"], 0).await?;
    stage.qbak(&["diff", "latest~1", "latest"], 0).await?;
    let said = stage.look(&["diff", "latest~1", "latest"]).await?;
    let mut found: Vec<(String, String, String)> = Vec::new();
    for line in said.lines("change") {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        found.push((text("change"), text("key"), text("from_key")));
    }
    let week = bucket::week();
    let plain = |change: &str, key: &str| (change.to_owned(), key.to_owned(), String::new());
    let mut expected: Vec<(String, String, String)> = Vec::new();
    expected.extend(week.added.iter().map(|(k, _)| plain("added", k)));
    expected.extend(week.changed.iter().map(|(k, _)| plain("changed", k)));
    expected.extend(week.removed.iter().map(|k| plain("removed", k)));
    expected.extend(
        week.renamed.iter().map(|(from, to)| ("renamed".into(), (*to).to_owned(), (*from).to_owned())),
    );
    found.sort();
    expected.sort();
    stage.check("these are the changes that were made, and no others", found == expected)
}

async fn back(stage: &mut Stage<'_>, name: &str, first: &Objects) -> Result<(), Failure> {
    stage.step("The first week, back")?;
    stage.qbak(&["restore", name, "--to", "first-week"], 0).await?;
    let (objects, bytes) = compare(&stage.dir().join("first-week"), first).map_err(problem)?;
    let text = format!("{} objects, {}: byte for byte what they were", count(objects as u64), size(bytes));
    stage.check(&text, true)?;
    let said = stage.qbak(&["cat", name, "notes/todo.txt"], 0).await?;
    stage.check("a single object too", said.stdout.as_bytes() == first["notes/todo.txt"])
}

async fn damage(stage: &mut Stage<'_>, film: &[u8]) -> Result<(), Failure> {
    let (pack, at) = pack_with(stage, film.get(..64).unwrap_or(film))?;
    let mut bytes = fs::read(&pack).map_err(|e| failed(&pack, &e))?;
    let Some(byte) = bytes.get_mut(at + 1000) else { return Err(problem("the pack is too short".into())) };
    *byte ^= 1;
    fs::write(&pack, &bytes).map_err(|e| failed(&pack, &e))?;
    let shown = pack.strip_prefix(stage.dir()).unwrap_or(&pack).display().to_string();
    stage.step(&format!("A disk goes bad: one bit of {shown} is turned over"))?;
    stage.qbak(&["verify"], 0).await?;
    let said = stage.qbak(&["verify", "--data"], 4).await?;
    let stem = pack.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    stage.check("reading every byte finds it, and names the pack", said.stdout.contains(&stem))
}

/// The pack in which these bytes stand as they are, and where.
fn pack_with(stage: &Stage<'_>, needle: &[u8]) -> Result<(PathBuf, usize), Failure> {
    for file in files(&stage.dir().join("store").join("groups")).map_err(problem)? {
        if file.extension().is_some_and(|e| e == "pack") {
            let bytes = fs::read(&file).map_err(|e| failed(&file, &e))?;
            if let Some(at) = bytes.windows(needle.len()).position(|w| w == needle) {
                return Ok((file, at));
            }
        }
    }
    Err(problem("no pack holds the film".into()))
}

async fn mended(stage: &mut Stage<'_>, now: &Objects, film: u64) -> Result<(), Failure> {
    stage.step("The next run mends it: the block that is damaged is downloaded again")?;
    let said = stage.qbak(&["--json", "--no-progress", "snapshot"], 0).await?;
    let s = said.summary()?;
    let downloaded = number(&s, "downloaded_bytes");
    stage.check(
        &format!(
            "of the film's {} only the damaged block's {} were downloaded",
            size(film),
            size(downloaded)
        ),
        (1..=BLOCK as u64).contains(&downloaded)
            && number(&s, "changed") == 0
            && number(&s, "unchanged") == now.len() as u64,
    )?;
    stage.qbak(&["verify", "--data"], 0).await?;
    stage.check("nothing that a snapshot needs is damaged any more", true)
}

async fn pruned(stage: &mut Stage<'_>, now: &Objects) -> Result<(), Failure> {
    stage.step("Old snapshots go")?;
    let before = stored(stage)?;
    stage.qbak(&["prune", "--keep", "1"], 0).await?;
    let after = stored(stage)?;
    let text = format!("the store shrank from {} to {}", size(before), size(after));
    // What went was the outtakes and the damaged block, each of more than four million bytes.
    stage.check(&text, after + 8_000_000 < before)?;
    stage.qbak(&["list"], 0).await?;
    let left = stage.look(&["list"]).await?.lines("snapshot").len();
    stage.check("one snapshot is left", left == 1)?;
    stage.qbak(&["restore", "latest", "--to", "latest"], 0).await?;
    let (objects, bytes) = compare(&stage.dir().join("latest"), now).map_err(problem)?;
    let text =
        format!("it restores: {} objects, {}, byte for byte the bucket", count(objects as u64), size(bytes));
    stage.check(&text, true)
}

/// The bytes of all files of the store.
fn stored(stage: &Stage<'_>) -> Result<u64, Failure> {
    let mut sum = 0;
    for file in files(&stage.dir().join("store")).map_err(problem)? {
        sum += fs::metadata(&file).map_err(|e| failed(&file, &e))?.len();
    }
    Ok(sum)
}

fn end(stage: &Stage<'_>) -> Result<(), Failure> {
    let out = &stage.context().out;
    let dir = stage.dir().display().to_string();
    if out.is_json() {
        let summary = Summary { dir: &dir, steps: stage.steps, checks: stage.checks };
        return Ok(out.json("summary", &summary)?);
    }
    out.line(format_args!("\nAll {} checks held. Everything lies in {dir}:", count(stage.checks)))?;
    out.line("  bucket      the bucket as a folder; what is no path lies in its .kodo")?;
    out.line("  store       the snapshots; its README.txt says how to read them without qbak")?;
    out.line("  first-week  the first week, restored")?;
    out.line("  latest      the present, restored")?;
    out.line("  qbak.toml   the settings (the service has ended; this serves the bucket again:")?;
    out.line(format_args!("              qbak emulate {dir}/bucket --bucket {BUCKET})"))?;
    out.line(format_args!("\nA bucket of your own. {FIVE_LINES}"))?;
    Ok(())
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_default()
}
