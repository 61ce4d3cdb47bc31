//! Against the tools that others use, and against servers that lie.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not there")]

use airlock_disk::{BlockSource, Format, OpenOptions, SpanKind};
use airlock_nbd::{Address, Error, Export, NbdDisk, Server, Uri};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// A disk of 64 MiB with data here and there: most of it is a hole.
fn make_disk(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 64 * MIB];
    for (start, length) in [(0, 4096), (3 * MIB + 512, 700), (40 * MIB, 5 * MIB), (64 * MIB - 512, 512)] {
        for (place, byte) in bytes[start..start + length].iter_mut().enumerate() {
            *byte = u8::try_from((place * 7 + place / 256) % 251).unwrap() + 1;
        }
    }
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for block in 0..bytes.len() / 4096 {
        let part = &bytes[block * 4096..(block + 1) * 4096];
        if part.iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(&file, part, (block * 4096) as u64).unwrap();
        }
    }
    bytes
}

fn open_image(path: &Path) -> Arc<dyn BlockSource> {
    let options = OpenOptions { format: None, allow_backing: None };
    airlock_disk::open(path, &options).unwrap().source
}

/// Exports a disk while `work` runs, and hands it the address.
fn serving(disk: Arc<dyn BlockSource>, folder: &Path, work: impl FnOnce(&Path)) {
    let socket = folder.join("export.sock");
    let other = Export { name: "other".into(), disk: Arc::clone(&disk) };
    let server = Server::bind_unix(&socket, vec![Export { name: "disk0".into(), disk }, other]).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| server.run(&stop));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&socket)));
        stop.store(true, Ordering::Relaxed);
        done.unwrap();
    });
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn others_read_what_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow) = (folder.path().join("disk.raw"), folder.path().join("disk.qcow2"));
    let bytes = make_disk(&raw);
    run(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).args([&raw, &qcow]));
    serving(open_image(&qcow), folder.path(), |socket| {
        let uri = |export: &str| format!("nbd+unix:///{export}?socket={}", socket.display());
        let said = run(Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", "raw", &uri("disk0")])
            .arg(&raw));
        assert!(said.contains("identical"), "{said}");
        let copy = folder.path().join("copy.raw");
        run(Command::new("nbdcopy").arg(uri("other")).arg(&copy));
        assert_eq!(std::fs::read(&copy).unwrap(), bytes);
        let map = run(Command::new("nbdinfo").args(["--map", "--json", &uri("")]));
        let map: Vec<serde_json::Value> = serde_json::from_str(&map).unwrap();
        let data: u64 =
            map.iter().filter(|one| one["type"] == 0).map(|one| one["length"].as_u64().unwrap()).sum();
        assert!(data < 7 << 20 && map.len() > 4, "{map:?}");
        let list = run(Command::new("nbdinfo").args(["--list", &uri("")]));
        assert!(list.contains("disk0") && list.contains("other"), "{list}");
        let refused = Command::new("nbdinfo").arg(uri("nothing")).output().unwrap();
        assert!(!refused.status.success());
        let write =
            Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 512", &uri("disk0")]).output().unwrap();
        assert!(!write.status.success(), "nobody writes");
    });
    assert!(!folder.path().join("export.sock").exists());
}

/// A server of somebody else, ended with the test.
struct Foreign(Child);

impl Foreign {
    fn start(command: &mut Command, socket: &Path) -> Self {
        let child = Self(command.stdout(Stdio::null()).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads all of a disk in pieces of an odd size from two threads, and counts what it calls data.
fn check_disk(disk: &NbdDisk, bytes: &[u8]) -> u64 {
    assert_eq!((disk.size(), disk.format()), (bytes.len() as u64, Format::Raw));
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                let mut piece = vec![0; 3 * MIB + 7];
                for start in (0..bytes.len()).step_by(piece.len()).skip(half).step_by(2) {
                    let length = piece.len().min(bytes.len() - start);
                    disk.read_at(start as u64, &mut piece[..length]).unwrap();
                    assert!(piece[..length] == bytes[start..start + length], "at {start}");
                }
            });
        }
    });
    let (mut at, mut data) = (0, 0);
    while at < disk.size() {
        let span = disk.span_at(at).unwrap();
        assert!(span.length > 0 && at + span.length <= disk.size());
        let part = &bytes[usize::try_from(at).unwrap()..usize::try_from(at + span.length).unwrap()];
        match span.kind {
            SpanKind::Zero => assert!(part.iter().all(|byte| *byte == 0), "at {at}"),
            SpanKind::Data => data += span.length,
        }
        at += span.length;
    }
    assert!(disk.read_at(disk.size(), &mut [0]).is_err());
    data
}

#[test]
fn servers_of_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow) = (folder.path().join("disk.raw"), folder.path().join("disk.qcow2"));
    let bytes = make_disk(&raw);
    run(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).args([&raw, &qcow]));
    let socket = |name: &str| folder.path().join(name);
    let uri = |socket: &Path, export: &str| {
        Uri::parse(&format!("nbd+unix:///{export}?socket={}", socket.display())).unwrap()
    };

    let qemu = socket("qemu.sock");
    let mut command = Command::new("qemu-nbd");
    command.args(["-t", "-r", "-f", "qcow2", "-x", "vm", "-e", "4", "-k"]).arg(&qemu).arg(&qcow);
    let _server = Foreign::start(&mut command, &qemu);
    assert!(check_disk(&NbdDisk::open(&uri(&qemu, "vm")).unwrap(), &bytes) < 7 << 20);
    let error = NbdDisk::open(&uri(&qemu, "other")).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");

    // Blocks of 4 KiB, no structured replies, one connection.
    let plain = socket("plain.sock");
    let mut command = Command::new("nbdkit");
    command
        .args(["--foreground", "--exit-with-parent", "--no-sr", "--filter=blocksize-policy", "-U"])
        .arg(&plain);
    command.args(["file"]).arg(&raw).args(["blocksize-minimum=4096", "blocksize-error-policy=error"]);
    let _server = Foreign::start(&mut command, &plain);
    assert_eq!(check_disk(&NbdDisk::open(&uri(&plain, "")).unwrap(), &bytes), bytes.len() as u64);
}

#[test]
fn a_connection_that_breaks_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.raw");
    let bytes = make_disk(&raw);
    let mut disk = None;
    for _ in 0..2 {
        serving(open_image(&raw), folder.path(), |socket| {
            let uri = Uri { address: Address::Unix(socket.to_path_buf()), export: "disk0".into() };
            let disk = disk.get_or_insert_with(|| NbdDisk::open(&uri).unwrap());
            let mut piece = vec![0; 9000];
            disk.read_at(40 << 20, &mut piece).unwrap();
            assert!(piece == bytes[40 * MIB..40 * MIB + 9000]);
        });
    }
    assert!(disk.unwrap().read_at(0, &mut [0; 4]).is_err(), "nobody serves any more");
}

/// The negotiation of a server up to the end of GO, for an export of `size` bytes.
fn hello(socket: &mut (impl Read + Write), size: u64, block: u32) {
    let take = |count: usize, socket: &mut dyn Read| {
        let mut bytes = vec![0; count];
        socket.read_exact(&mut bytes).unwrap();
        bytes
    };
    socket.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
    take(4, socket);
    loop {
        let head = take(16, socket);
        let option = u32::from_be_bytes(head[8..12].try_into().unwrap());
        take(u32::from_be_bytes(head[12..16].try_into().unwrap()) as usize, socket);
        let mut reply = |kind: u32, data: &[u8]| {
            let mut packet = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
            for word in [option, kind, u32::try_from(data.len()).unwrap()] {
                packet.extend(word.to_be_bytes());
            }
            packet.extend(data);
            socket.write_all(&packet).unwrap();
        };
        match option {
            10 => reply(4, b"\0\0\0\x07base:allocation"),
            7 => {
                reply(3, &[&[0, 0], &size.to_be_bytes()[..], &[0, 3]].concat());
                let sizes = [block, 4096, 1 << 20].map(u32::to_be_bytes).concat();
                reply(3, &[&[0, 3], sizes.as_slice()].concat());
            }
            _ => {}
        }
        reply(1, &[]);
        if option == 7 {
            return;
        }
    }
}

/// Serves one connection after the other with `script`, and returns the address.
fn liar(script: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            script(&mut socket);
        }
    });
    Uri { address: Address::Tcp { host: "127.0.0.1".into(), port }, export: String::new() }
}

/// A chunk of a structured reply to the request that is read first.
fn answer(socket: &mut (impl Read + Write), chunks: &[(u16, u16, Vec<u8>)]) {
    let mut request = [0; 28];
    socket.read_exact(&mut request).unwrap();
    for (flags, kind, payload) in chunks {
        let mut packet = 0x668e_33ef_u32.to_be_bytes().to_vec();
        packet.extend(flags.to_be_bytes());
        packet.extend(kind.to_be_bytes());
        packet.extend(&request[8..16]);
        packet.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        packet.extend(payload);
        socket.write_all(&packet).unwrap();
    }
}

fn data(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&offset.to_be_bytes(), bytes].concat()
}

#[test]
fn replies_cover_what_was_asked_for() {
    let check = |chunks: Vec<(u16, u16, Vec<u8>)>, right: bool| {
        let shown = format!("{chunks:?}");
        let uri = liar(move |socket| {
            hello(socket, 1 << 20, 1);
            answer(socket, &chunks);
        });
        let disk = NbdDisk::open(&uri).unwrap();
        let mut bytes = [9; 8];
        let read = disk.read_at(512, &mut bytes);
        assert_eq!(read.is_ok(), right, "{shown}: {read:?}");
        if right {
            assert_eq!(bytes, [1, 2, 0, 0, 0, 0, 7, 8]);
        }
    };
    let hole = |offset: u64, size: u32| [&offset.to_be_bytes()[..], &size.to_be_bytes()].concat();
    check(vec![(0, 1, data(518, &[7, 8])), (0, 2, hole(514, 4)), (1, 1, data(512, &[1, 2]))], true);
    check(vec![(0, 1, data(512, &[1, 2, 0, 0, 0, 0])), (0, 1, data(518, &[7, 8])), (1, 0, vec![])], true);
    // Left out, twice, outside, empty, beyond all numbers, of no kind, without end.
    check(vec![(1, 1, data(512, &[1, 2]))], false);
    check(vec![(0, 1, data(512, &[1, 2, 0, 0, 0])), (1, 1, data(516, &[0, 0, 7]))], false);
    check(vec![(1, 1, data(510, &[0; 8]))], false);
    check(vec![(1, 1, data(516, &[0; 8]))], false);
    check(vec![(1, 1, data(512, &[]))], false);
    check(vec![(1, 2, hole(u64::MAX, 8))], false);
    check(vec![(1, 2, hole(512, u32::MAX))], false);
    check(vec![(1, 77, vec![1])], false);
    check(vec![(1, 0x8001, vec![0, 0, 0, 5, 0, 0])], false);
    check(vec![(1, 0x8001, vec![])], false);
    check(vec![(1, 1, vec![0; 4])], false);
}

#[test]
fn extents_stay_within_the_disk() {
    let status = |extents: &[(u32, u32)]| {
        let mut payload = 7_u32.to_be_bytes().to_vec();
        for (length, flags) in extents {
            payload.extend(length.to_be_bytes());
            payload.extend(flags.to_be_bytes());
        }
        payload
    };
    let check = |payload: Vec<u8>, expected: Option<(SpanKind, u64)>| {
        let uri = liar(move |socket| {
            hello(socket, 1 << 20, 1);
            answer(socket, &[(1, 5, payload.clone())]);
        });
        let disk = NbdDisk::open(&uri).unwrap();
        assert_eq!(disk.span_at(4096).ok().map(|span| (span.kind, span.length)), expected);
    };
    check(status(&[(8192, 3), (4096, 0)]), Some((SpanKind::Zero, 8192)));
    check(status(&[(8192, 1)]), Some((SpanKind::Data, 8192)));
    check(status(&[(u32::MAX, 2)]), Some((SpanKind::Zero, (1 << 20) - 4096)));
    check(status(&[(0, 2)]), None);
    check(status(&[]), None);
    check([status(&[(4096, 2)]), vec![0; 3]].concat(), None);
}

#[test]
fn servers_that_lie_are_refused_in_time() {
    let check = |script: fn(&mut std::net::TcpStream)| {
        let start = Instant::now();
        let error = NbdDisk::open(&liar(script)).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(10), "{error}");
    };
    check(|socket| socket.write_all(&[0; 64]).unwrap());
    check(|socket| socket.write_all(b"NBDMAGIC\0\0B\x02\x81\x86\x12\x53").unwrap());
    check(|socket| socket.write_all(b"NBDMAGICIHAVEOPT\0\x02").unwrap());
    // A reply of 4 GiB; replies without end; sizes that cannot be.
    check(|socket| {
        let reply =
            [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &[0, 0, 0, 8, 0, 0, 0, 1, 255, 255, 255, 255]];
        socket.write_all(&[b"NBDMAGICIHAVEOPT\0\x03", reply.concat().as_slice()].concat()).unwrap();
        let _ = socket.read(&mut [0; 64]);
    });
    check(|socket| {
        let reply =
            [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &[0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 0]].concat();
        socket.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
        while socket.write_all(&reply).is_ok() {}
    });
    check(|socket| hello(socket, u64::MAX, 1));
    check(|socket| hello(socket, 1 << 20, 3));
    check(|socket| hello(socket, 1 << 20, 1 << 30));
    check(|socket| hello(socket, 1000, 512));
}
