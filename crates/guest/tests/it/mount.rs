//! Images that the kernel has mounted.

use crate::fixture::text;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount of an image; it ends with this.
pub(crate) struct Mount {
    pub(crate) root: PathBuf,
}

impl Mount {
    /// Mounts `image` on the directory `root`, which is made.
    pub(crate) fn new(image: &Path, root: &Path, options: &str) -> Self {
        std::fs::create_dir_all(root).expect("directory");
        let options = format!("loop,{options}");
        let output = Command::new("mount").args(["-o", &options, text(image), text(root)]).output();
        let output = output.expect("mount (Debian package mount)");
        assert!(
            output.status.success(),
            "this test mounts an image, which needs root, loop devices and a kernel that has the file \
             system: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { root: root.to_owned() }
    }

    /// Unmounts.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..50 {
            if Command::new("umount").arg(&self.root).status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Writes, syncs, renames and deletes files below `root`, as a guest that is not shut down does.
pub(crate) fn work(root: &Path, files: usize) {
    use std::io::Write;
    let mut random = crate::fixture::Random(77);
    let (first, second) = (root.join("work"), root.join("work/more"));
    std::fs::create_dir_all(&second).expect("directory");
    for index in 0..files {
        let size = [10, 1000, 5000, 40_000][random.below(4)];
        let path = first.join(format!("file {index}"));
        let mut file = std::fs::File::create(&path).expect("create");
        file.write_all(&random.bytes(size)).expect("write");
        if index % 3 == 0 {
            file.sync_all().expect("fsync");
        }
        if index % 5 == 0 {
            std::fs::rename(&path, second.join(format!("renamed {index}"))).expect("rename");
        }
        if index % 7 == 6 {
            let _ = std::fs::remove_file(first.join(format!("file {}", index - 2)));
        }
        if index % 50 == 49 {
            let inner = second.join(format!("directory {index}"));
            std::fs::create_dir(&inner).expect("directory");
            std::fs::write(inner.join("inner"), random.bytes(3000)).expect("write");
            std::fs::File::open(&inner).and_then(|inner| inner.sync_all()).expect("fsync");
        }
    }
    // Deleted directories leave blocks behind that are not to be written again.
    let gone = root.join("gone");
    std::fs::create_dir(&gone).expect("directory");
    for index in 0..files / 4 {
        std::fs::write(gone.join(format!("a name of some length {index}")), b"gone").expect("write");
    }
    std::fs::File::open(&gone).and_then(|gone| gone.sync_all()).expect("fsync");
    std::fs::remove_dir_all(&gone).expect("remove");
    let last = std::fs::File::create(first.join("last")).expect("create");
    last.set_len(1_000_000).expect("truncate");
    last.sync_all().expect("fsync");
}
