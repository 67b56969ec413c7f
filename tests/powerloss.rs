//! The power goes: ext4 on a loop device is shut down without its journal being flushed, at points of a run and just after it
//! said that it is done, and mounted again. What was acknowledged is there, nothing is damaged, the next run needs no help.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::noise;
use common::rig::{Rig, skipped, strace_works};
use qbak::model::name::RunName;

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk by now never was written.
const CUT: &str =
    "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], 0), 0x8004587D, struct.pack('I', 2))";

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}

/// A disk in a file.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// A new disk, mounted.
    fn new(folder: &Path) -> Option<Self> {
        let disk = Self { image: folder.join("image"), at: folder.join("disk") };
        std::fs::create_dir_all(&disk.at).unwrap();
        let made = done(Command::new("truncate").args(["-s", "48M"]).arg(&disk.image))
            && done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image))
            && disk.mount();
        made.then_some(disk)
    }

    /// A copy of a disk that is not mounted.
    fn copy(&self, folder: &Path) -> Self {
        let disk = Self { image: folder.join("image"), at: folder.join("disk") };
        std::fs::create_dir_all(&disk.at).unwrap();
        let copied = done(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&disk.image));
        assert!(copied && disk.mount());
        disk
    }

    fn mount(&self) -> bool {
        // The journal is not to be written because some seconds have passed.
        done(Command::new("mount").args(["-o", "loop,commit=600"]).arg(&self.image).arg(&self.at))
    }

    fn unmount(&self) -> bool {
        done(Command::new("umount").arg(&self.at))
    }

    /// Cuts the power, and switches it on again.
    fn cut(&self) {
        assert!(
            done(Command::new("python3").args(["-c", CUT]).arg(&self.at)),
            "the disk cannot be shut down"
        );
        assert!(self.unmount() && self.mount());
    }

    fn store(&self) -> PathBuf {
        self.at.join("store")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// A folder for disks, and a first disk; `None`: not here, and that is said.
fn first() -> Option<(tempfile::TempDir, Disk)> {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let python = done(Command::new("python3").args(["-c", "import fcntl"]));
    match disk {
        Some(disk) if python && rustix::process::geteuid().is_root() => Some((folder, disk)),
        _ => {
            skipped("root, loop devices, mkfs.ext4 and python3");
            None
        }
    }
}

/// On a disk with some weeks of snapshots, which is not mounted any more.
async fn weeks(folder: &Path, disk: &Disk) -> Rig {
    let rig = Rig::with_weeks(&disk.store(), &folder.join("data")).await;
    assert!(disk.unmount());
    rig
}

/// The rig, its store on another disk.
fn on(rig: &Rig, disk: &Disk) -> Rig {
    Rig { store: disk.store(), data: rig.data.clone(), taken: rig.taken.clone() }
}

#[tokio::test]
async fn an_acknowledged_snapshot_outlives_a_power_cut() {
    let Some((folder, disk)) = first() else { return };
    let base = weeks(folder.path(), &disk).await;
    let mut rig = on(&base, &disk);
    assert!(disk.mount());
    for (week, words) in [&[][..], &["--full"], &[]].into_iter().enumerate() {
        rig.write("changes", noise(100 + week as u64, 40_000));
        rig.snapshot(words).await;
        disk.cut();
        let known: Vec<RunName> = rig.taken.keys().copied().collect();
        rig.judge(&known, &format!("the power cut after snapshot {words:?}")).await;
    }
    let newest = *rig.taken.keys().next_back().unwrap();
    rig.run(&["prune", "--keep", "1", "--yes"]);
    disk.cut();
    assert_eq!(rig.names().await, [newest], "what was removed stays removed");
    rig.judge(&[newest], "the power cut after a prune").await;
}

/// What a command does to the disk's names and files: each may be the last thing it does.
const CALLS: [&str; 4] = ["fsync,fdatasync", "link,linkat", "unlink,unlinkat", "write,pwrite64"];

/// The run is killed when a thread of it comes to such a call for the `n`-th time, and at that moment the power goes.
async fn stopped(base: &Rig, image: &Disk, words: &[&str], calls: &str, n: usize, stay: &[RunName]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let disk = image.copy(folder.path());
    let mut rig = on(base, &disk);
    let inject = format!("inject={calls}:signal=SIGKILL:when={n}");
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", &inject];
    let output = rig.command(&strace, words).output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{output:?}");
    disk.cut();
    let when = format!("the power cut in {words:?} at {calls} number {n}");
    rig.judge(stay, &when).await;
    rig.run(words);
    rig.judge(stay, &format!("{when}, and run again")).await;
    killed
}

#[tokio::test]
async fn the_power_goes_in_the_middle_of_a_run() {
    if !strace_works() {
        return;
    }
    let Some((folder, disk)) = first() else { return };
    let base = weeks(folder.path(), &disk).await;
    let known: Vec<RunName> = base.taken.keys().copied().collect();
    let newest = [*known.last().unwrap()];
    let prune = ["prune", "--keep", "1", "--yes"];
    let mut killed = 0;
    for calls in CALLS {
        for n in [2, 4] {
            killed += usize::from(stopped(&base, &disk, &["snapshot"], calls, n, &known).await);
            killed += usize::from(stopped(&base, &disk, &prune, calls, n * 2 - 1, &newest).await);
        }
    }
    assert!(killed >= 9, "only {killed} were stopped");
}
