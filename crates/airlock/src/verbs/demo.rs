//! `airlock demo`: everything on a small VM disk. No root, no network, no mount.

mod disk;

use super::Context;
use super::report::Clock;
use crate::cli::{DemoArgs, ProgressStyle};
use crate::failure::{Code, Failure};
use crate::progress::Meter;
use crate::{output, site, stats};
use airlock_checks::{Progress, Rules, malware::HashList};
use airlock_director::{Check, Config, DEFAULT_VDC, Director, Server};
use airlock_evidence::{SiteKey, verify};
use airlock_link::{Connector, Identity, Link};
use airlock_manager::{Offer, Outcome, Source, SourceOptions};
use airlock_model::Finding;
use airlock_policy::{DEFAULT_YAML, Document, Effective, OnFail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs the verb.
pub(crate) fn run(_: Context, args: &DemoArgs) -> Result<Code, Failure> {
    if let Some(path) = &args.image_only {
        disk::build(path, &path.with_extension("tree"))?;
        return Ok(Code::Clean);
    }
    let clock = Clock::start();
    let folder = folder(args)?;
    let mut demo = Demo::prepare(folder, args.built_in_image)?;
    demo.scan()?;
    demo.over_the_network()?;
    demo.verify()?;
    demo.next(&clock)?;
    Ok(Code::Clean)
}

fn folder(args: &DemoArgs) -> Result<PathBuf, Failure> {
    let path = args
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("airlock-demo-{}", std::process::id())));
    std::fs::create_dir_all(&path).map_err(|error| Failure::io("create", &path, &error))?;
    let mut entries = std::fs::read_dir(&path).map_err(|error| Failure::io("list", &path, &error))?;
    if entries.next().is_some() {
        let text = format!("{} is not empty", path.display());
        return Err(Failure::new(Code::Usage, text).hint("name a folder that does not exist yet"));
    }
    Ok(path)
}

struct Demo {
    folder: PathBuf,
    image: PathBuf,
    rules: Arc<Rules>,
    policy: Document,
    key: SiteKey,
    evidence: Vec<PathBuf>,
}

impl Demo {
    fn prepare(folder: PathBuf, built_in: bool) -> Result<Self, Failure> {
        let image = folder.join("vm.img");
        let made = if built_in { disk::unpack(&image)? } else { disk::make(&image, &folder.join("tree"))? };
        say(&format!("1. A VM disk: {} ({made})\n", image.display()))?;
        let home = folder.join("source-site");
        let key = site::signing_key(&home)?;
        let rules = Arc::new(Rules::new(airlock_checks_key(), HashList::default()));
        Ok(Self { folder, image, rules, policy: Document::default(), key, evidence: Vec::new() })
    }

    fn source(&self) -> Result<Source, Failure> {
        Ok(Source::open(&self.image, &SourceOptions::default())?)
    }

    fn scan(&self) -> Result<(), Failure> {
        say("2. airlock scan: what would a transfer hold, and why?\n")?;
        let effective = Effective::merge(&self.policy, &self.policy);
        let progress = Progress::default();
        let source = self.source()?;
        let report =
            super::scan::inspect(&source, &self.rules, &effective, None, stats::processors(), &progress)?;
        let mut text = summary(&report.findings);
        let coverage = &report.coverage;
        text.push_str(&format!(
            "   every one of {} bytes is in one class: cleared {}, held {}, hole {}\n\n",
            coverage.total, coverage.cleared, coverage.held, coverage.hole
        ));
        expect(!report.held.is_empty(), "the planted values are found")?;
        say(&text)
    }

    /// Runs a director on loopback and moves the disk to it, twice.
    fn over_the_network(&mut self) -> Result<(), Failure> {
        let config = Config {
            directory: self.cloud(),
            policy_yaml: DEFAULT_YAML.to_owned(),
            rules: Arc::clone(&self.rules),
            threads: stats::processors(),
            clock: stats::now,
            // It is the demo's own disk, and has to run on any kernel.
            worker: None,
        };
        let server = Server::bind(Arc::new(Director::open(config)?), "127.0.0.1:0")?;
        let address = server.address()?.to_string();
        let pem = std::fs::read_to_string(server.manager_identity())
            .map_err(|error| Failure::io("read identity", server.manager_identity(), &error))?;
        let identity = Identity::parse(&pem).map_err(|error| Failure::of(Code::Error, &error))?;
        let connector = Connector::new(&identity).map_err(|error| Failure::of(Code::Error, &error))?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| server.run(&stop));
            let moved = self.move_twice(&address, &connector);
            stop.store(true, Ordering::Relaxed);
            moved
        })
    }

    fn move_twice(&mut self, address: &str, connector: &Connector) -> Result<(), Failure> {
        say(&format!("3. airlock transfer to a director at {address} (mutual TLS): the default refuses\n"))?;
        let refused = self.transfer(address, connector, OnFail::Terminate)?;
        expect(refused.state == "discarded", "the default refuses")?;
        say(&format!("   {}: everything discarded, nothing kept (exit code 4)\n\n", refused.state))?;
        say("4. airlock transfer --on-fail withhold: goes on without the files that fail\n")?;
        let kept = self.transfer(address, connector, OnFail::Withhold)?;
        expect(kept.state == "active-withheld", "the rest is kept")?;
        let mut text = format!("   {}: sent {}\n", kept.state, output::bytes(kept.stats.sent));
        for hole in kept.statement.predicate.disks.iter().flat_map(|disk| &disk.holes) {
            let path = hole.path.as_deref().unwrap_or("free space");
            let line = format!(
                "   withheld {:>6} bytes at {:#09x}  {path}: {}\n",
                hole.extent.length,
                hole.extent.offset,
                hole.reasons.join(", ")
            );
            text.push_str(&line);
        }
        text.push('\n');
        say(&text)
    }

    fn transfer(
        &mut self,
        address: &str,
        connector: &Connector,
        on_fail: OnFail,
    ) -> Result<Outcome, Failure> {
        let source = self.source()?;
        let offer = Offer {
            source: &source,
            vm: "demo".into(),
            vdc: DEFAULT_VDC.into(),
            policy: &self.policy,
            policy_yaml: DEFAULT_YAML,
            on_fail,
            memo: None,
            rules: &self.rules,
            key: &self.key,
            streams: 2,
            resume: false,
            now: stats::now(),
        };
        let connect = || {
            let link: Box<dyn Link> = Box::new(connector.connect(address)?);
            Ok(link)
        };
        let progress = Arc::new(Progress::default());
        let meter = Meter::start("sending", Arc::clone(&progress), ProgressStyle::None);
        let outcome = super::transfer::send(&offer, &connect, &progress, &meter)?;
        self.evidence.push(self.cloud().join("evidence").join(format!("{}.json", outcome.id)));
        Ok(outcome)
    }

    fn verify(&self) -> Result<(), Failure> {
        say("5. airlock verify: both sites have signed what happened\n")?;
        let path = self.evidence.last().expect("two transfers were made");
        let evidence = std::fs::read(path).map_err(|error| Failure::io("read", path, &error))?;
        let statement = verify(&evidence, [Some(self.key.public()), None])
            .map_err(|failure| Failure::of(Code::Verification, &failure))?;
        let checked = AtomicU64::new(0);
        let failures = Check::new(&self.cloud(), &statement, &checked).run(&evidence);
        expect(failures.is_empty(), &failures.join("; "))?;
        let checked = output::bytes(checked.load(Ordering::Relaxed));
        say(&format!(
            "   {}\n   verified: both signatures, {checked} of chunks, manifest and root\n",
            path.display()
        ))?;
        let mut flipped = evidence;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let failure = verify(&flipped, [None, None]).err();
        let failure = failure.ok_or_else(|| Failure::new(Code::Error, "one flipped bit was not noticed"))?;
        say(&format!("   with one bit flipped: failed: {failure} (exit code 6)\n\n"))
    }

    fn next(&self, clock: &Clock) -> Result<(), Failure> {
        let cloud = self.cloud().display().to_string();
        let folder = self.folder.display();
        let evidence = self.evidence.last().expect("two transfers were made").display();
        say(&format!(
            "Done in {:.1} s; all of it is in {folder}\n\
             Try next:\n  \
             airlock scan {}\n  \
             airlock verify {evidence} --vault {cloud}\n  \
             airlock export demo --vault {cloud} --to {folder}/kept.qcow2\n",
            clock.seconds(),
            self.image.display(),
        ))
    }

    fn cloud(&self) -> PathBuf {
        self.folder.join("cloud-site")
    }
}

/// The demo's fingerprints need to be compared with nothing else.
fn airlock_checks_key() -> [u8; 32] {
    let mut key = [0; 32];
    // A demo without random bytes still shows everything.
    let _ = aws_lc_rs::rand::fill(&mut key);
    key
}

fn say(text: &str) -> Result<(), Failure> {
    output::print(text)
}

fn expect(holds: bool, what: &str) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(Code::Error, format!("the demo did not go as it should: {what}")))
    }
}

/// Says what was found, file by file.
fn summary(findings: &[Finding]) -> String {
    let mut files: BTreeMap<(String, &str), (usize, &Finding)> = BTreeMap::new();
    for finding in findings {
        let place = finding.path.clone().unwrap_or_else(|| format!("({} space)", finding.place));
        files.entry((place, &finding.detector)).or_insert((0, finding)).0 += 1;
    }
    let mut text = String::new();
    for ((place, detector), (count, first)) in files {
        let line =
            format!("   {:<5} {count:>3} {detector:<12} {place}  {}\n", first.action.name(), first.display);
        text.push_str(&line);
    }
    text
}

/// Returns whether a program can be run.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.iter().any(|folder| folder.join(program).is_file())
}

/// Returns a program with the folders that ordinary users do not have in their path.
fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
