//! A run for tests, with names as bad as guests have them.

use crate::{Disk, Feeds, Report, Transfer, Verb};
use airlock_inventory::{Ecosystem, Evidence, Inventory, Package, Product, System};
use airlock_licensing::Verdict;
use airlock_model::{
    Action, Check, Confidence, Coverage, Decision, Escaped, Finding, Fingerprint, Reason, Severity, Site,
};
use airlock_vulnerability::{Assessment, Problem};

/// Names that steer terminals, browsers and spreadsheets, or are no text at all.
pub(crate) const HOSTILE: [&[u8]; 8] = [
    b"/srv/<script>alert(1)</script>\"'>&.csv",
    b"=cmd|' /C calc'!A0",
    b"@SUM(1+1)*cmd,\"x\"\r\n,y",
    b"/srv/\xff\xfe\x80 caf\xc3\xa9\\n",
    b"/srv/\x1b[2J\x1b]0;owned\x07\x00\x08",
    "/srv/\u{202e}gpj.exe\u{2028}\u{feff}".as_bytes(),
    b"../../../../etc/passwd",
    b"/srv/%2e%2e/${jndi:ldap://x}/`id`/$(id)/?a#b",
];

pub(crate) fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
    Package {
        ecosystem,
        name: name.into(),
        version: version.into(),
        source: None,
        source_version: None,
        architecture: None,
        licence: None,
        evidence: evidence("/var/lib/dpkg/status"),
    }
}

fn evidence(path: &str) -> Evidence {
    let digest = format!("blake3:{}", "ab".repeat(32));
    Evidence { disk: "disk0".into(), volume: "p1".into(), path: path.into(), digest, offset: 4096 }
}

pub(crate) fn inventory() -> Inventory {
    let system = System {
        id: "debian".into(),
        version: "12".into(),
        codename: "bookworm".into(),
        name: "Debian GNU/Linux 12 <b>".into(),
        evidence: Some(evidence("/etc/os-release")),
    };
    let mut packages = vec![
        Package {
            source: Some("glibc".into()),
            architecture: Some("amd64".into()),
            ..package(Ecosystem::Deb, "libc6", "2.36-9")
        },
        Package { licence: Some("MIT OR <i>".into()), ..package(Ecosystem::Npm, "@scope/left-pad", "1.0.0") },
        package(Ecosystem::Kernel, "linux", "6.1.0-13-amd64"),
    ];
    packages
        .extend(HOSTILE.iter().map(|name| package(Ecosystem::Pypi, &String::from_utf8_lossy(name), "1.0")));
    let product = |name: &str| Product {
        name: name.into(),
        version: "12\u{7}".into(),
        publisher: "=Acme".into(),
        evidence: evidence("/usr/share/swidtag/a.swidtag"),
    };
    Inventory {
        systems: vec![system],
        packages,
        products: vec![product("Acme <DB>"), product("Free Tool")],
        left_out: 1,
    }
}

fn finding(index: u8, check: Check, path: Option<&[u8]>, action: Action) -> Finding {
    Finding {
        check,
        detector: if check == Check::Malware { "eicar".into() } else { "pan".into() },
        confidence: Confidence::percent(97),
        severity: Severity::High,
        action,
        site: Site::Source,
        disk: "disk0".into(),
        trail: format!("disk0:p1:{}@{index}", Escaped(path.unwrap_or_default())),
        place: if path.is_some() { "file".into() } else { "free".into() },
        path: path.map(|path| Escaped(path).to_string()),
        offset: u64::from(index) * 512,
        length: 16,
        disk_offset: Some(5_000_000_000),
        deleted: path.is_none(),
        fingerprint: Fingerprint([index; 32]),
        display: if check == Check::Malware {
            "EICAR test file".into()
        } else {
            "visa ************1111".into()
        },
    }
}

/// What a report borrows from.
pub(crate) struct Sample {
    coverage: Coverage,
    findings: Vec<Finding>,
    inventory: Inventory,
    assessments: Vec<Assessment>,
    licences: Vec<Verdict>,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let mut findings: Vec<Finding> = (1..)
            .zip(HOSTILE)
            .map(|(index, path)| finding(index, Check::Financial, Some(path), Action::Hold))
            .collect();
        findings.push(finding(90, Check::Financial, None, Action::Warn));
        findings.push(finding(91, Check::Malware, Some(b"/tmp/a"), Action::Hold));
        let coverage = Coverage {
            total: 5_000_000_000,
            cleared: 4_000_000_000,
            held: 999_999_000,
            unscannable: [(Reason::Encrypted, 1000)].into(),
            ..Coverage::default()
        };
        let vulnerable = |id: &str, exploited| Problem::Vulnerable {
            id: id.into(),
            aliases: vec!["CVE-2026-0001".into()],
            fixed: Some("2.36-10".into()),
            exploited,
        };
        let assessments = vec![
            Assessment { package: 0, problem: vulnerable("DSA-1-1", true) },
            Assessment {
                package: 0,
                problem: Problem::Unpatched { fixed: "2.36-10".into(), suite: "bookworm-security".into() },
            },
            Assessment { package: 1, problem: vulnerable("<b>\u{1b}", false) },
            Assessment { package: 2, problem: Problem::Unknown { id: "GO-1".into() } },
        ];
        Self {
            coverage,
            findings,
            inventory: inventory(),
            assessments,
            licences: vec![Verdict::NoEntitlement, Verdict::Ok],
        }
    }

    /// A transfer with everything that a report can have.
    pub(crate) fn report(&self) -> Report<'_> {
        Report {
            version: "0.1.0",
            verb: Verb::Transfer,
            at: 1_795_392_000,
            subject: "erp <img src=x>.qcow2".into(),
            kind: "image",
            disks: vec![Disk {
                id: "disk0",
                format: "qcow2",
                bytes: 5_000_000_000,
                root: format!("blake3:{}", "0".repeat(64)),
            }],
            code: 3,
            decision: Decision::Withhold,
            incomplete: false,
            coverage: &self.coverage,
            findings: &self.findings,
            findings_omitted: 7,
            inventory: &self.inventory,
            feeds: Some(Feeds {
                digest: "blake3:12".into(),
                stale: false,
                valid_until: 1_795_996_800,
                assessed: 9,
                unknown: 2,
            }),
            assessments: &self.assessments,
            licences: &self.licences,
            rules: "blake3:34".into(),
            policy: "blake3:56".into(),
            transfer: Some(Transfer {
                id: "0123",
                state: "active-withheld",
                evidence: "vault/evidence/0123.json".into(),
                destination: &self.coverage,
            }),
        }
    }

    /// A scan with nothing in it.
    pub(crate) fn empty(&self) -> Report<'_> {
        Report {
            verb: Verb::Scan,
            subject: "empty".into(),
            disks: Vec::new(),
            code: 0,
            decision: Decision::Allow,
            findings: &[],
            findings_omitted: 0,
            feeds: None,
            assessments: &[],
            licences: &[],
            transfer: None,
            ..self.report()
        }
    }
}
