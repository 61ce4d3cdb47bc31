//! Every command that a benchmark runs, in one table.
//!
//! Words in braces are replaced: `{airlock}` the release build, `{examples}` the folder of the
//! examples, `{image}` the disk, `{work}` a scratch folder, `{data}` a fresh folder of a server,
//! `{port}` its port.

/// Commands that are measured together.
#[derive(Debug)]
pub(super) struct Section {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What it is called in the report.
    pub(super) title: &'static str,
    /// What has to be built for it, as words for cargo.
    pub(super) builds: &'static [&'static [&'static str]],
    /// What has to be run once before it.
    pub(super) before: &'static [&'static str],
    /// The first is what the others are compared with.
    pub(super) contenders: &'static [Contender],
}

const AIRLOCK: &[&str] = &["build", "--release", "--locked", "-p", "airlock"];

/// Every section.
pub(super) const SECTIONS: &[Section] = &[
    Section { name: "scan", title: "Scan", builds: &[AIRLOCK], before: &[], contenders: SCAN },
    Section {
        name: "transfer",
        title: "Transfer over loopback, mutual TLS",
        builds: &[AIRLOCK],
        before: &[],
        contenders: TRANSFER,
    },
    Section {
        name: "image",
        title: "Reading qcow2",
        builds: &[&["build", "--release", "--locked", "-p", "airlock-disk", "--example", "read_speed"]],
        before: &["qemu-img convert -f raw -O qcow2 {image} {work}/disk.qcow2"],
        contenders: IMAGE,
    },
];

/// A command that is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contender {
    /// What the table calls it.
    pub(super) name: &'static str,
    /// The command, its words separated by blanks.
    pub(super) line: &'static str,
    /// Exit codes that mean that it did its work.
    pub(super) codes: &'static [i32],
    /// The server that it talks to.
    pub(super) server: Option<Server>,
    /// The same against the same server once more, with what differs in the command.
    pub(super) again: Option<&'static str>,
}

/// A server that a command talks to, started anew for each run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// The command, its words separated by blanks.
    pub(super) line: &'static str,
    /// A file in `{data}` of the size of the image that has to be there first.
    pub(super) target: Option<&'static str>,
}

const NBDKIT: Server = Server {
    line: "nbdkit --foreground --exit-with-parent --ipaddr=127.0.0.1 --port={port} --tls=require \
        --tls-verify-peer --tls-certificates={work}/certificates file {data}/target.raw",
    target: Some("target.raw"),
};

/// Reading a disk. The first is what the others are compared with.
const SCAN: &[Contender] = &[
    Contender {
        name: "airlock bench-read (read and BLAKE3)",
        line: "{airlock} bench-read {image} --source-format raw",
        codes: &[0],
        server: None,
        again: None,
    },
    Contender {
        name: "airlock scan for cards, accounts, SSN, keys, EICAR; containers left",
        line: "{airlock} --progress none --format json scan {image} --source-format raw --no-memo --policy \
            {work}/few.yaml",
        // 3 to 5: something would be held, refused, or is not covered.
        codes: &[0, 3, 4, 5],
        server: None,
        again: None,
    },
    Contender {
        name: "airlock scan, containers left as they are",
        line: "{airlock} --progress none --format json scan {image} --source-format raw --no-memo --policy \
            {work}/leave.yaml",
        // 3 to 5: something would be held, refused, or is not covered.
        codes: &[0, 3, 4, 5],
        server: None,
        again: None,
    },
    Contender {
        name: "airlock scan, containers opened",
        line: "{airlock} --progress none --format json scan {image} --source-format raw --no-memo",
        // 3 to 5: something would be held, refused, or is not covered.
        codes: &[0, 3, 4, 5],
        server: None,
        again: None,
    },
    Contender {
        name: "airlock scan, of what the memo knows",
        line: "{airlock} --progress none --format json scan {image} --source-format raw --memo {work}/memo",
        codes: &[0, 3, 4, 5],
        server: None,
        again: None,
    },
    Contender {
        name: "ripgrep, equivalent patterns",
        line: "rg -a -c --no-unicode -j2 -f {work}/patterns {image}",
        codes: &[0, 1],
        server: None,
        again: None,
    },
];

/// Moving a disk over TLS with certificates on both sides. The first is what the others are compared with.
const TRANSFER: &[Contender] = &[
    Contender {
        name: "nbdcopy to nbdkit, unchecked",
        line: "nbdcopy --connections=4 --flush {image} \
            nbds://localhost:{port}/?tls-certificates={work}/certificates",
        codes: &[0],
        server: Some(NBDKIT),
        again: None,
    },
    Contender {
        name: "qemu-img convert to nbdkit, unchecked",
        line: "qemu-img convert -n -W -m 16 --object \
            tls-creds-x509,id=tls,endpoint=client,dir={work}/certificates --image-opts \
            driver=raw,file.driver=file,file.filename={image} --target-image-opts \
            driver=nbd,host=localhost,port={port},tls-creds=tls",
        codes: &[0],
        server: Some(NBDKIT),
        again: None,
    },
    Contender {
        name: "airlock transfer, containers left as they are",
        line: "{airlock} --progress none --format json transfer {image} airlock://127.0.0.1:{port}/default \
            --source-format raw --identity {data}/tls/manager.pem --evidence {data}/evidence.json --memo \
            {data}/source.memo --on-fail withhold --name bench --policy {work}/leave.yaml",
        codes: &[0, 3],
        server: Some(Server {
            line: "{airlock} director --data {data} --listen 127.0.0.1:{port} --policy {work}/leave.yaml",
            target: None,
        }),
        again: Some("the same disk again, containers left"),
    },
    Contender {
        name: "airlock transfer, containers opened at both sites",
        line: "{airlock} --progress none --format json transfer {image} airlock://127.0.0.1:{port}/default \
            --source-format raw --identity {data}/tls/manager.pem --evidence {data}/evidence.json --memo \
            {data}/source.memo --on-fail withhold --name bench",
        codes: &[0, 3],
        server: Some(Server {
            line: "{airlock} director --data {data} --listen 127.0.0.1:{port}",
            target: None,
        }),
        again: Some("the same disk again, containers opened"),
    },
];

/// Reading a qcow2. The first is what the others are compared with.
const IMAGE: &[Contender] = &[
    Contender {
        name: "qemu-img convert to raw",
        line: "qemu-img convert -f qcow2 -O raw {work}/disk.qcow2 {work}/disk.raw",
        codes: &[0],
        server: None,
        again: None,
    },
    Contender {
        name: "disk, read by one thread",
        line: "{examples}/read_speed {work}/disk.qcow2 - 1",
        codes: &[0],
        server: None,
        again: None,
    },
    Contender {
        name: "disk, read by two threads",
        line: "{examples}/read_speed {work}/disk.qcow2 - 2",
        codes: &[0],
        server: None,
        again: None,
    },
];

/// A policy that asks for few detectors.
pub(super) const FEW: &str = include_str!("few.yaml");

/// What ripgrep looks for: the same values, as far as a regular expression can say them.
/// It checks no check digits, and sees no UTF-16 and no value across two extents.
pub(super) const PATTERNS: &str = r"\b4[0-9]{3}([ -]?[0-9]{4}){3}\b
\b5[1-5][0-9]{2}([ -]?[0-9]{4}){3}\b
\b2(22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)([ -]?[0-9]{4}){3}\b
\b3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}\b
\b6(011|5[0-9]{2})([ -]?[0-9]{4}){3}\b
\b35(2[89]|[3-8][0-9])([ -]?[0-9]{4}){3}\b
\b36[0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{4}\b
\b[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,3})?\b
\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b
%B[0-9]{12,19}\^[^^]{2,26}\^[0-9]{7}
;[0-9]{12,19}=[0-9]{7}
-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----
EICAR-STANDARD-ANTIVIRUS-TEST
";
