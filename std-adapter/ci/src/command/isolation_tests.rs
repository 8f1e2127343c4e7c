//! Tests that check which files a command can see. The tests need bubblewrap.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;

use super::tests::{LIMIT, new_log, sandbox_is_installed};
use super::*;

type Done = Result<(), Box<dyn std::error::Error>>;

async fn run(script: &str, dir: &Path, isolation: Isolation) -> (Result<(), CommandError>, String) {
    let log = new_log();
    let command = Command::shell(script, dir).shown_as("script").sandbox(isolation.into());
    let ended = command.timeout(LIMIT).run(&log).await;
    (ended, log.finish())
}

/// Creates a directory outside `/tmp`, because every sandbox replaces `/tmp`.
fn outside_of_tmp() -> std::io::Result<tempfile::TempDir> {
    let test = std::env::current_exe()?;
    tempfile::tempdir_in(test.parent().unwrap())
}

#[tokio::test]
async fn binds_are_read_only_or_writable_and_hidden_directories_are_empty() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (dir, home, cache) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let hidden = outside_of_tmp()?;
    fs::write(hidden.path().join("key"), "secret")?;
    fs::create_dir(hidden.path().join("tools"))?;
    fs::write(hidden.path().join("tools/tool"), "tool")?;
    fs::write(home.path().join("file"), "read")?;
    let isolation = Isolation::default()
        .hide(hidden.path())
        .read_only(hidden.path().join("tools"))
        .read_only(Bind::new(home.path(), "/opt/new/place"))
        .writable(Bind::new(cache.path(), "/cache"));
    let hidden = hidden.path().display();
    let script = format!(
        "exec 2>/dev/null; cat /opt/new/place/file {hidden}/tools/tool; ls {hidden}
         echo saved >/cache/file
         ! touch /opt/new/place/file; ! touch {hidden}/other; ! touch /cache2; ! touch /usr/x
         ! test -e /run/systemd; ls /usr /etc >/dev/null; echo end"
    );
    let (ended, log) = run(&script, dir.path(), isolation).await;
    assert!(ended.is_ok(), "{log}");
    assert!(log.contains("\nreadtooltools\n") && log.ends_with("end\n"), "{log}");
    assert_eq!(fs::read_to_string(cache.path().join("file"))?, "saved\n");
    let missing = Isolation::default().read_only("/no/such/directory");
    let error = run("true", dir.path(), missing).await.0.unwrap_err();
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.starts_with("/no/such/directory: "), "{cause}");
    Ok(())
}

#[tokio::test]
async fn longest_path_decides_and_symbolic_links_are_followed() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let outside = outside_of_tmp()?;
    let (data, home) = (outside.path().join("data"), outside.path().join("home"));
    for dir in ["data/secrets", "home/work", "home/.ssh"] {
        fs::create_dir_all(outside.path().join(dir))?;
    }
    fs::write(data.join("secrets/key"), "key")?;
    fs::write(data.join("file"), "file")?;
    std::os::unix::fs::symlink(&data, outside.path().join("link"))?;
    let isolation = Isolation::default()
        .hide(&home)
        .hide(data.join("secrets"))
        .read_only(outside.path().join("link"));
    let script = format!(
        "test -z \"$(ls {0}/data/secrets)\"; cat {0}/link/file; ls -a {0}/home; \
                          : >new; echo end",
        outside.path().display()
    );
    let (ended, log) = run(&script, &home.join("work"), isolation.clone()).await;
    assert!(ended.is_ok() && log.contains("\nfile.\n..\nwork\nend\n"), "{log}");
    // The command's directory can be a hidden directory.
    let (ended, log) = run("ls; : >new; ls -a .ssh", &home, isolation.clone()).await;
    assert!(ended.is_ok() && log.contains("\nwork\n.\n..\n"), "{log}");
    // The files from which `bwrap` reads its options are closed. Descriptor 3 is opened by `ls`
    // itself.
    let (_, log) = run("exec ls /proc/self/fd", &home, isolation).await;
    assert!(log.contains("\n3\n") && !log.contains("\n4\n"), "{log}");
    Ok(())
}

#[tokio::test]
async fn command_cannot_gain_privileges_or_namespaces() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let script = "grep -E 'CapEff|NoNewPrivs' /proc/self/status
                  unshare --user true 2>/dev/null && echo namespace; echo end";
    let (ended, log) = run(script, dir.path(), Isolation::default()).await;
    assert!(ended.is_ok(), "{log}");
    assert!(log.contains("CapEff:\t0000000000000000\nNoNewPrivs:\t1\nend\n"), "{log}");
    let (_, log) = run(script, dir.path(), Isolation::default().user_namespaces(true)).await;
    assert!(log.ends_with("namespace\nend\n"), "{log}");
    Ok(())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[tokio::test]
async fn filter_refuses_system_calls() -> Done {
    if !sandbox_is_installed() || find_program("perl").is_none() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let script = format!(
        "grep Seccomp: /proc/self/status; perl -e 'syscall({}, 0, 0); print \"error \", $!+0, \"\\n\"'",
        libc::SYS_io_uring_setup
    );
    for (seccomp, mode) in [(true, 2), (false, 0)] {
        let isolation = Isolation { seccomp, ..Isolation::default() };
        let (ended, log) = run(&script, dir.path(), isolation).await;
        assert!(ended.is_ok() && log.contains(&format!("Seccomp:\t{mode}\n")), "{log}");
        // 38 is ENOSYS. Without the filter, the kernel rejects the arguments instead.
        assert_eq!(log.contains("error 38\n"), seccomp, "{log}");
    }
    Ok(())
}

/// Creates a directory that contains only a shell and the libraries it needs.
fn image(dir: &Path) {
    let libraries = StdCommand::new("ldd").arg("/bin/sh").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let files = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in files.chain(["/bin/sh"]) {
        let copy = dir.join(file.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
    fs::create_dir_all(dir.join("etc/sub")).unwrap();
    fs::write(dir.join("etc/name"), "image\n").unwrap();
    std::os::unix::fs::symlink("etc/name", dir.join("link")).unwrap();
}

const SCRIPT: &str = "read name </link; echo \"$name of $PATH in $HOME\" >result
                      test ! -e /usr/bin/env; test ! -e /root
                      (: >/file) 2>/dev/null && exit 1
                      (: >/etc/file) 2>/dev/null && exit 1
                      (: >/bin/file) 2>/dev/null && exit 1
                      : >/tmp/file; : >/dev/null; echo end";

#[tokio::test]
async fn directory_can_be_the_root_directory() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (dir, root, cache) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    image(root.path());
    let isolation = Isolation::default().image(Image::Directory(root.path().to_owned()));
    // The mount point does not exist yet, and its parent directory is read-only.
    let isolation = isolation.writable(Bind::new(cache.path(), "/etc/sub/cache"));
    let script = format!("{SCRIPT}; : >/etc/sub/cache/file");
    let (ended, log) = run(&script, dir.path(), isolation).await;
    assert!(ended.is_ok(), "{log}");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let result = fs::read_to_string(dir.path().join("result"))?;
    let shown = fs::canonicalize(dir.path())?;
    assert_eq!(result, format!("image of {path} in {}\n", shown.display()));
    assert!(cache.path().join("file").exists());
    assert!(!root.path().join("etc/sub/cache").exists() && !root.path().join("proc").exists());
    Ok(())
}

/// Writes a program that behaves like `podman` with one image, and returns its path.
fn fake_podman(dir: &Path, image: &Path) -> PathBuf {
    let script = format!(
        "#!/bin/sh
         echo \"$@\" >>{dir}/calls
         case $1 in
         image) test -e {dir}/pulled || exit 1; echo 'sha256:0123abcd A=1 PATH=/bin B=2 ';;
         pull) touch {dir}/pulled;;
         create) echo container;;
         export) tar -c -C {image} .;;
         rm) ;;
         esac",
        dir = dir.display(),
        image = image.display()
    );
    let program = dir.join("podman");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[tokio::test]
async fn image_is_downloaded_and_unpacked_once() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (dir, root, tools) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    image(root.path());
    let podman = fake_podman(tools.path(), root.path());
    let (cache, log) = (tools.path().join("cache"), new_log());
    let unpacked = image::unpacked(&podman, "example.org/rust:1", &cache, &log).await?;
    assert_eq!((&unpacked.dir, unpacked.path.to_str()), (&cache.join("0123abcd"), Some("/bin")));
    image::unpacked(&podman, "example.org/rust:1", &cache, &log).await?;
    let calls = fs::read_to_string(tools.path().join("calls"))?;
    let calls: Vec<&str> = calls.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(calls, ["image", "pull", "image", "create", "export", "rm", "image"]);
    let isolation = Isolation::default().image(Image::Directory(unpacked.dir));
    let (ended, log) = run(SCRIPT, dir.path(), isolation).await;
    assert!(ended.is_ok(), "{log}");
    // Only an image that has not been used for a long time is removed.
    let later = |days: u64| std::time::SystemTime::now() + Duration::from_secs(days * 24 * 3600);
    fs::write(cache.join("new-1-1.tar"), "left")?;
    image::remove_unused(&cache, later(29));
    assert_eq!(fs::read_dir(&cache)?.count(), 2);
    image::remove_unused(&cache, later(31));
    assert_eq!(fs::read_dir(&cache)?.count(), 0);
    // A failure does not leave a directory behind.
    fs::remove_dir_all(root.path().join("etc"))?;
    fs::remove_dir_all(root.path())?;
    let failed = image::unpacked(&podman, "example.org/rust:1", &cache, &new_log()).await;
    assert!(matches!(failed, Err(CommandError::Failed { .. })), "{failed:?}");
    assert_eq!(fs::read_dir(&cache)?.count(), 0);
    let option = image::unpacked(&podman, "--privileged", &cache, &new_log()).await;
    assert!(option.is_err());
    Ok(())
}

#[tokio::test]
async fn failed_download_shows_the_last_messages_of_podman() -> Done {
    let tools = tempfile::tempdir()?;
    let podman = tools.path().join("podman");
    let script = "#!/bin/sh
        test \"$1\" = pull || exit 1
        yes 'Trying to pull' | head -n 1000 >&2
        printf 'Copying 1%%\\rCopying 2%%\\nWARN: \\033[31mretry\\n\\nError: manifest unknown\\n' >&2
        exit 125";
    fs::write(&podman, script)?;
    fs::set_permissions(&podman, fs::Permissions::from_mode(0o755))?;
    let log = new_log();
    let failed = image::unpacked(&podman, "example.org/no:1", tools.path(), &log).await;
    let failed = failed.map(|_| ()).unwrap_err().to_string();
    let expected = "exit status: 125: Copying 2%; WARN:  [31mretry; Error: manifest unknown";
    assert!(failed.ends_with(expected), "{failed}");
    let log = log.finish();
    assert!(log.contains("$ podman pull") && log.contains("Error: manifest unknown"), "{log}");
    Ok(())
}

/// The launcher: restricts itself and then executes a command. The function does nothing unless
/// another test started it.
#[cfg(target_os = "linux")]
#[test]
fn landlock_launcher() {
    // The arguments of the launcher follow the options of the test harness.
    let mut args = std::env::args_os().skip_while(|arg| arg != "--launch").skip(1).peekable();
    if args.peek().is_some() {
        panic!("{}", landlock::restrict_and_run(args));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn landlock_refuses_writes_that_mounts_allow() -> Done {
    if !sandbox_is_installed() {
        return Ok(());
    }
    let (dir, outside) = (tempfile::tempdir()?, outside_of_tmp()?);
    let test = std::env::current_exe()?;
    let name = "command::isolation_tests::landlock_launcher";
    let launcher = [test.to_str().unwrap(), name, "--exact", "--nocapture", "--skip", "--launch"];
    let mut isolation = Isolation::default().read_only(&*test).writable(outside.path());
    isolation.landlock = Some(launcher.map(PathBuf::from).to_vec());
    let script = format!(
        "touch file /tmp/file {outside}/file; : >/dev/null; ls / >/dev/null; echo end",
        outside = outside.path().display()
    );
    let (ended, log) = run(&script, dir.path(), isolation).await;
    assert!(ended.is_ok() && log.ends_with("end\n"), "{log}");
    // Without a sandbox, only Landlock can prevent access to the second file. Landlock allows
    // writes to `/tmp`, which may contain the directory of this test.
    let home = std::env::var_os("HOME").expect("HOME is set");
    let (log, outside) = (new_log(), tempfile::tempdir_in(home)?);
    let script = format!(
        "cd {0}; touch file2; touch {1}/file2",
        dir.path().display(),
        outside.path().display()
    );
    let args = [dir.path().to_str().unwrap(), "--", "sh", "-c", &script];
    let direct = Command::new(launcher.into_iter().chain(args), dir.path());
    let ended = direct.sandbox(Sandbox::Unsandboxed).timeout(LIMIT).run(&log).await;
    assert!(matches!(ended, Err(CommandError::Failed { .. })), "{ended:?}: {}", log.finish());
    assert!(dir.path().join("file2").exists() && !outside.path().join("file2").exists());
    Ok(())
}
