//! Runs the blocks that are fenced as `sh run`: those of one page in a row, in one shell, in a clean home and an empty
//! folder. Their bucket `photos` is the embedded service's: that is the only thing that is not as on a reader's machine.

use std::path::Path;
use std::process::Command;

use qbak::emulator::{Backing, Config, Memory, Service};
use qbak::kodo::sign::Credentials;

/// The contents of all fenced blocks whose fence says exactly this.
pub(crate) fn blocks(text: &str, fence: &str) -> Vec<String> {
    let (mut out, mut open): (Vec<String>, Option<bool>) = (Vec::new(), None);
    for line in text.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(info), None) => {
                open = Some(info.trim() == fence);
                if open == Some(true) {
                    out.push(String::new());
                }
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(true)) => {
                let block = out.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    out
}

fn bucket() -> Service {
    let credentials = Credentials::new("your-access-key", "your-secret-key").unwrap();
    let backing = Backing::Catalog(std::sync::Arc::new(Memory::new()));
    let service = Service::start_apart(Config::new(backing, "photos", credentials)).unwrap();
    for n in 0..25u8 {
        service.put(&format!("2024/{n:02}.jpg"), &[n; 3000]).unwrap();
    }
    service.put("2024/film.mp4", &vec![7; 5 << 20]).unwrap();
    service
}

/// Runs a page's blocks; says which commands were run, and what they said, when one fails.
fn run(page: &Path, script: &str, service: &Service) {
    let place = tempfile::tempdir().unwrap();
    for folder in ["home", "bin", "work", "tmp"] {
        std::fs::create_dir(place.path().join(folder)).unwrap();
    }
    // The reader's bucket is at the service's own address, which is the default; this one is not.
    let wrapper = format!(
        "#!/bin/sh\nif [ -f qbak.toml ] && ! grep -q '^uc' qbak.toml; then\n  printf '[kodo]\\nuc = \"{}\"\\n' >> qbak.toml\nfi\nexec '{}' \"$@\"\n",
        service.uc_url(),
        env!("CARGO_BIN_EXE_qbak")
    );
    let path = place.path().join("bin/qbak");
    std::fs::write(&path, wrapper).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", script])
        .current_dir(place.path().join("work"))
        .env_clear()
        .env("HOME", place.path().join("home"))
        .env("TMPDIR", place.path().join("tmp"))
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", place.path().join("bin").display()))
        .output()
        .unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        page.display(),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn the_commands_of_every_page_work() {
    let service = bucket();
    let mut pages_with_commands = Vec::new();
    for (page, text) in super::pages() {
        let blocks = blocks(&text, "sh run");
        if !blocks.is_empty() {
            run(&page, &blocks.concat(), &service);
            pages_with_commands.push(page.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    pages_with_commands.sort();
    for needed in ["README.md", "README.zh.md"] {
        assert!(
            pages_with_commands.iter().any(|p| p == needed),
            "{needed} shows no commands that were tried"
        );
    }
}

#[test]
fn a_block_that_fails_is_noticed() {
    let service = bucket();
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(Path::new("page.md"), "qbak no-such-command\ntrue\n", &service);
    }));
    assert!(tried.is_err());
    let page = "text\n```sh run\na\n```\n```sh\nb\n```\n```\nc\n```\n```sh run\nd\ne\n```\n";
    assert_eq!(blocks(page, "sh run"), ["a\n", "d\ne\n"]);
    assert_eq!((blocks(page, "sh"), blocks(page, "")), (vec!["b\n".into()], vec!["c\n".into()]));
}
