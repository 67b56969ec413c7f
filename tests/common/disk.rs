//! Small disks, read-only places, processes with limits: what only root can make. Where it cannot be had a test is skipped,
//! and says so; with `QBAK_REQUIRE_OUTSIDE=1` it fails instead.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::bucket::Said;

/// Says that something is missing; `None`, for a test that is then skipped.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn missing<T>(what: &str) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "set by .ci/run")]
    let required = std::env::var_os("QBAK_REQUIRE_OUTSIDE").is_some_and(|v| v == "1");
    assert!(!required, "{what}");
    eprintln!("skipped: {what}");
    None
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|o| o.status.success())
}

/// A place that is mounted, until the value goes.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// A disk in memory: `size=20m`, `size=20m,nr_inodes=50`.
    pub fn tmpfs(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        if succeeds(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path())) {
            return Some(Self(folder));
        }
        missing("a small disk is needed here and cannot be mounted: only root can")
    }

    /// Another place where `what` can be seen and not written.
    pub fn read_only(what: &Path) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let place = disk.0.path();
        if succeeds(Command::new("mount").arg("--bind").arg(what).arg(place))
            && succeeds(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(place))
        {
            return Some(disk);
        }
        missing("a read-only place is needed here and cannot be mounted: only root can")
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Changes a disk in memory: `size=40m`.
    pub fn change(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(succeeds(Command::new("mount").args(["-o", &options]).arg(self.path())));
    }

    pub fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    pub fn free_files(&self) -> u64 {
        rustix::fs::statvfs(self.path()).unwrap().f_ffree
    }

    /// Fills it until so many bytes are free; the file that does.
    pub fn ballast(&self, leave: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let there = file.metadata().unwrap().len();
        let more = self.free_bytes().saturating_sub(leave);
        if more > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, there + more).unwrap();
        }
        path
    }

    /// Takes all names but so many; the folder that does.
    pub fn take_names(&self, leave: u64) -> PathBuf {
        let folder = self.path().join("names");
        std::fs::create_dir_all(&folder).unwrap();
        let mut n = std::fs::read_dir(&folder).unwrap().count();
        while self.free_files() > leave {
            std::fs::write(folder.join(n.to_string()), "").unwrap();
            n += 1;
        }
        folder
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        succeeds(Command::new("umount").args(["-l"]).arg(self.0.path()));
    }
}

/// The binary, in a folder, with nothing of this environment.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    within(&[], folder, args)
}

/// The binary under other programs, which have their own arguments: `["prlimit", "--nofile=32"]`.
pub fn within(before: &[&str], folder: &Path, args: &[&str]) -> Command {
    let binary = env!("CARGO_BIN_EXE_qbak");
    bare(folder, &before.iter().copied().chain([binary]).chain(args.iter().copied()).collect::<Vec<_>>())
}

fn bare(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", folder)
        .env("TMPDIR", std::env::temp_dir())
        .stdin(Stdio::null());
    command
}

/// The binary as a user who owns nothing, in a folder that others may enter. The binary is put there too: they may have
/// no way to its own place.
pub fn as_nobody(folder: &Path, words: &[&str]) -> Option<Command> {
    use std::os::unix::fs::PermissionsExt;
    let binary = folder.join("binary");
    if !binary.exists() && std::fs::hard_link(env!("CARGO_BIN_EXE_qbak"), &binary).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_qbak"), &binary).unwrap();
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary.to_str().unwrap()];
    let works = works(&nobody.into_iter().chain(["--version"]).collect::<Vec<_>>());
    if !works {
        return missing("setpriv and root are needed here");
    }
    Some(bare(folder, &nobody.into_iter().chain(words.iter().copied()).collect::<Vec<_>>()))
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the binary in a folder to its end.
pub fn qbak(folder: &Path, args: &[&str]) -> Said {
    said(command(folder, args).output().unwrap())
}

/// Whether a program works here.
pub fn works(words: &[&str]) -> bool {
    succeeds(Command::new(words[0]).args(&words[1..]))
}
