//! Runs steps in a container image. The image is made from a directory, so nothing is downloaded.
//! `podman` uses a temporary storage directory, so the user's images do not change.

#![cfg(feature = "program")]
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const CI: &str = env!("CARGO_BIN_EXE_datakit-ci");
const IMAGE: &str = "localhost/datakit-ci-test:1";

/// The step `inside` checks that it sees only the image, and each of the other steps exceeds a
/// limit.
const PIPELINE: &str = r#"
image = "localhost/datakit-ci-test:1"

[step.inside]
run = '''
cat /etc/image
echo "PATH is $PATH"
echo "root: $(ls /)"
test ! -e /usr/bin/env
for dir in / /etc /bin; do touch $dir/file && exit 1; done
touch /tmp/file result
test "$(grep -c : /proc/net/dev)" = 1
grep CapEff:.0000000000000000 /proc/self/status
test "$(ls /proc | grep -c '^[0-9]')" -lt 10
'''

[step.memory]
limits = { memory = "64MiB" }
run = "dd if=/dev/zero of=/dev/null bs=300M count=1"

[step.time]
timeout = "1s"
run = "sleep 1000"
"#;

/// The programs in the image, all of which are links to `busybox`.
const PROGRAMS: [&str; 8] = ["cat", "dd", "grep", "ls", "sh", "sleep", "test", "touch"];

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A temporary directory that contains a work tree, a home directory, and a `podman` storage
/// directory with one image.
struct Images(TempDir);

impl Images {
    /// Creates the image, or returns the reason why it cannot be used on this system.
    fn create() -> Result<Images, String> {
        for program in ["podman", "bwrap"] {
            find(program).ok_or(format!("{program} is not installed"))?;
        }
        let busybox = find("busybox").ok_or("busybox is not installed")?;
        // `ldd` fails if the program is statically linked.
        if Command::new("ldd").arg(&busybox).output().is_ok_and(|output| output.status.success()) {
            return Err("busybox is not statically linked".to_owned());
        }
        let images = Images(TempDir::new().unwrap());
        for dir in ["root/bin", "root/etc", "app", "home"] {
            fs::create_dir_all(images.dir().join(dir)).unwrap();
        }
        fs::copy(busybox, images.dir().join("root/bin/busybox")).unwrap();
        for program in PROGRAMS {
            let link = images.dir().join("root/bin").join(program);
            std::os::unix::fs::symlink("busybox", link).unwrap();
        }
        fs::write(images.dir().join("root/etc/image"), "the test image\n").unwrap();
        fs::write(images.dir().join("app/.datakit-ci.toml"), PIPELINE).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/graph\"\nrunroot = \"{0}/run\"\n",
            images.dir().display()
        );
        fs::write(images.dir().join("storage.conf"), storage).unwrap();
        let import = format!("tar -c -C root . | podman import --change 'ENV PATH=/bin' - {IMAGE}");
        let output = images.command("sh").args(["-ec", &import]).output().unwrap();
        if output.status.success() { Ok(images) } else { Err(text(&output)) }
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir()).env("HOME", self.dir().join("home"));
        command.env("CONTAINERS_STORAGE_CONF", self.dir().join("storage.conf"));
        command.env_remove("XDG_CACHE_HOME");
        command
    }

    /// Runs a step of the work tree's pipeline.
    fn step(&self, name: &str) -> Output {
        self.command(CI).args(["run", "--step", name, "app"]).output().unwrap()
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        // If the user is not root, some files belong to other users in podman's user namespace, so
        // `podman` has to remove them.
        let files = ["graph", "run"].map(|name| self.dir().join(name));
        let remove = ["unshare", "rm", "-rf"];
        let _ = self.command("podman").args(remove).args(files).output();
    }
}

fn text(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    format!("{printed}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn steps_run_in_an_image_and_within_their_limits() {
    let images = match Images::create() {
        Ok(images) => images,
        Err(reason) => {
            println!("SKIPPED: podman cannot create an image: {reason}");
            return;
        }
    };
    let first = images.step("inside");
    let log = text(&first);
    assert!(first.status.success(), "{log}");
    for line in ["the test image", "PATH is /bin", "Unpacking localhost/datakit-ci-test:1"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    // The step's changes affect neither the work tree nor the image.
    assert!(!images.dir().join("app/result").exists());
    // The image is unpacked only once, and no container remains.
    let second = images.step("inside");
    let log = text(&second);
    assert!(second.status.success() && !log.contains("Unpacking"), "{log}");
    let containers = images.command("podman").args(["ps", "--all", "--quiet"]).output().unwrap();
    assert_eq!(text(&containers), "");

    for (step, reason) in [("memory", "out of memory"), ("time", "timed out after 1s")] {
        let output = images.step(step);
        let log = text(&output);
        assert!(!output.status.success() && log.contains(reason), "{step}: {log}");
    }
}
