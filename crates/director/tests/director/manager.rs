//! A manager that sends what it is told to, in whatever order.

use airlock_checks::{Outcome, Progress, Report, Rules, Sink, Station, StationError, malware::HashList};
use airlock_director::{Config, DEFAULT_VDC, Director, WorkerConfig};
use airlock_disk::{OpenOptions, open};
use airlock_evidence::{Disk, Predicate, SiteKey, SourceDisk, SourceReport, Statement};
use airlock_link::{Link, MemoryLink, pair};
use airlock_model::{ChunkRecord, Finding, RootBuilder, Site, Space};
use airlock_policy::{Chunk, DEFAULT_YAML, Document, Effective, OnFail};
use airlock_transfer::{Entry, Hello, Message, VERSION, Welcome};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The built-in policy, but everything planted is held, and only the destination looks.
fn policy() -> String {
    let warn = "{check: secrets, confidence: 0.5, scope: file, action: warn}";
    let yaml = DEFAULT_YAML.replace(warn, &warn.replace("warn", "hold"));
    yaml.replace("scope: file,", "scope: file, where: [destination],")
}

/// Keeps what a source would send, and how much of it says what the disk means.
#[derive(Default)]
struct Keep(Vec<Chunk>, usize);

impl Sink for Keep {
    fn wants_bytes(&self) -> bool {
        true
    }

    fn take(&mut self, outcome: &mut Outcome<'_>) -> Result<(), StationError> {
        outcome.cleared(&mut |chunk| {
            self.0.push(chunk.into_inner());
            Ok(())
        })
    }

    fn described(&mut self) -> Result<(), StationError> {
        self.1 = self.0.len();
        Ok(())
    }
}

/// A manager that sends in whatever order it is told to.
pub(crate) struct Manager {
    pub(crate) rules: Arc<Rules>,
    pub(crate) key: SiteKey,
    report: Report,
    pub(crate) chunks: Vec<Chunk>,
    /// How many of the chunks come until it is said what the disk means.
    pub(crate) described: usize,
    pub(crate) disk_bytes: u64,
}

impl Manager {
    pub(crate) fn of(image: &Path) -> Self {
        let source = open(image, &OpenOptions::default()).expect("an image").source;
        let survey = airlock_guest::survey(&*source).expect("a disk");
        let rules = Arc::new(Rules::new([3; 32], HashList::default()));
        let document = Document::parse(&policy()).expect("a policy");
        let effective = Effective::merge(&document, &document);
        let space = Space::of_disk(source.size(), "raw");
        let mut sinks = [Keep::default()];
        let station = Station::new(&rules, &effective, Site::Source);
        let report =
            station.run(&space, &*source, &survey, &mut sinks, &Progress::default()).expect("readable");
        let [Keep(chunks, described)] = sinks;
        let key = SiteKey::from_seed(&[9; 32].into());
        Self { rules, key, report, chunks, described, disk_bytes: source.size() }
    }

    /// Says the truth about itself, but that these chunks are what it has sent.
    pub(crate) fn report(&self, sent: &[&Chunk]) -> SourceReport {
        let mut root = RootBuilder::default();
        let records: BTreeMap<_, &ChunkRecord> =
            sent.iter().map(|chunk| (chunk.record().extents[0], chunk.record())).collect();
        for record in records.into_values() {
            root.add(record.clone());
        }
        let disk = SourceDisk {
            root: self.report.members[0].root.to_string(),
            kept_root: root.finish(self.disk_bytes).to_string(),
            coverage: self.report.coverage.clone(),
            holes: Vec::new(),
        };
        let rules = format!("blake3:{}", hex::encode(self.rules.digest()));
        let (decision, findings) = (self.report.decision, Vec::new());
        SourceReport {
            decision,
            rules,
            disks: vec![disk],
            replays: vec![],
            counts: BTreeMap::new(),
            findings,
        }
    }

    /// Sends these chunks in this order as `vm`, and returns what the director finds and keeps.
    pub(crate) fn send(&self, director: &Director, vm: &str, order: &[&Chunk]) -> (Vec<Finding>, Disk) {
        let mut predicate = self.transfer(director, vm, order, &|_| ());
        assert!(predicate.transfer.state.starts_with("active"), "{:?}", predicate.transfer);
        let mut disk = predicate.disks.remove(0);
        // It names where the chunks happen to lie.
        disk.manifest = None;
        (predicate.findings.listed, disk)
    }

    /// Sends these chunks in this order as `vm`, calls `after` with the number of each group, and returns
    /// the record.
    pub(crate) fn transfer(
        &self,
        director: &Director,
        vm: &str,
        order: &[&Chunk],
        after: &dyn Fn(u64),
    ) -> Predicate {
        std::thread::scope(|scope| {
            let connect = || {
                let (mut theirs, ours) = pair();
                scope.spawn(move || director.serve(&mut theirs, DEFAULT_VDC));
                ours
            };
            let mut control = connect();
            let welcome = self.open(&mut control, vm);
            let mut data = connect();
            say(&mut data, &Message::Attach { transfer: welcome.transfer, token: welcome.token });
            assert_eq!(hear(&mut data), Message::Attached);
            for (group, chunks) in (0..).zip(order.chunks(16)) {
                send_group(&mut data, &welcome, group, chunks);
                after(group);
            }
            say(&mut data, &Message::Close);
            while hear(&mut data) != Message::Closed {}
            self.conclude(&mut control)
        })
    }

    pub(crate) fn hello(&self, vm: &str) -> Hello {
        Hello {
            version: VERSION,
            vdc: DEFAULT_VDC.into(),
            vm: vm.into(),
            space: Space::of_disk(self.disk_bytes, "raw"),
            machine: None,
            policy: policy(),
            on_fail: OnFail::Withhold,
            rules: self.rules.digest(),
            key: self.key.public().0,
            resume: false,
        }
    }

    /// Sends these chunks until it is told to stop, and returns how many groups it has sent by then, and the
    /// record. One failing file is the end of all.
    pub(crate) fn until_stopped(&self, director: &Director, groups: &[&[Chunk]]) -> (usize, Predicate) {
        std::thread::scope(|scope| {
            let connect = || {
                let (mut theirs, ours) = pair();
                scope.spawn(move || director.serve(&mut theirs, DEFAULT_VDC));
                ours
            };
            let mut control = connect();
            let hello = Hello { on_fail: OnFail::Terminate, ..self.hello("vm") };
            let welcome = open_as(&mut control, hello);
            let mut data = connect();
            say(&mut data, &Message::Attach { transfer: welcome.transfer, token: welcome.token });
            assert_eq!(hear(&mut data), Message::Attached);
            let mut told = false;
            let mut sent = 0;
            for (group, chunks) in (0..).zip(groups) {
                let first = chunks.first().expect("a group has chunks").record();
                if !told && self.chunks[self.described].record() == first {
                    say(&mut data, &Message::Described);
                    told = true;
                }
                let chunks: Vec<&Chunk> = chunks.iter().collect();
                if !offer_group(&mut data, &welcome, group, &chunks) {
                    break;
                }
                sent += 1;
                // The judges need a moment.
                std::thread::park_timeout(Duration::from_millis(20));
            }
            say(&mut data, &Message::Close);
            while hear(&mut data) != Message::Closed {}
            (sent, self.conclude(&mut control))
        })
    }

    /// Says that all was sent, and signs the record.
    fn conclude(&self, control: &mut MemoryLink) -> Predicate {
        let all: Vec<&Chunk> = self.chunks.iter().collect();
        let report = serde_json::to_vec(&self.report(&all)).expect("plain data");
        say(control, &Message::Finish { report });
        loop {
            match hear(control) {
                Message::Working { .. } => {}
                Message::Propose { payload, .. } => {
                    let signature = self.key.sign(&payload);
                    let signature = (signature.keyid, signature.sig);
                    say(control, &Message::Countersign { signature });
                    assert!(matches!(hear(control), Message::Sealed { .. }));
                    let statement: Statement = serde_json::from_slice(&payload).expect("a statement");
                    return statement.predicate;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn open(&self, control: &mut MemoryLink, vm: &str) -> Welcome {
        open_as(control, self.hello(vm))
    }
}

fn open_as(control: &mut MemoryLink, hello: Hello) -> Welcome {
    say(control, &Message::Hello(Box::new(hello)));
    match hear(control) {
        Message::Welcome(welcome) => *welcome,
        other => panic!("{other:?}"),
    }
}

fn say(link: &mut MemoryLink, message: &Message) {
    link.send(message, &[]).expect("the director listens");
}

fn hear(link: &mut MemoryLink) -> Message {
    link.receive(&mut Vec::new()).expect("the director answers")
}

fn send_group(link: &mut MemoryLink, welcome: &Welcome, group: u64, chunks: &[&Chunk]) {
    assert!(offer_group(link, welcome, group, chunks), "the director wants no more");
}

/// Offers a group, and sends what is asked for of it. Returns whether the director wants any more.
fn offer_group(link: &mut MemoryLink, welcome: &Welcome, group: u64, chunks: &[&Chunk]) -> bool {
    let entry = |chunk: &&Chunk| {
        let length = u32::try_from(chunk.length()).expect("at most 1 MiB");
        let id = welcome.tenant_key.chunk_id(&chunk.record().content, length);
        Entry { id, extents: chunk.record().extents.clone() }
    };
    say(link, &Message::Offer { group, entries: chunks.iter().map(entry).collect() });
    let need = loop {
        match hear(link) {
            Message::Need { need, .. } => break need,
            Message::Durable { .. } => {}
            Message::Stop => return false,
            other => panic!("{other:?}"),
        }
    };
    let needed = chunks.iter().enumerate().filter(|(index, _)| need.contains(*index));
    let body: Vec<&[u8]> = needed.map(|(_, chunk)| chunk.bytes().expect("read")).collect();
    link.send(&Message::Data { group }, &body).expect("the director listens");
    true
}

pub(crate) fn director(folder: &Path, rules: &Arc<Rules>, worker: Option<WorkerConfig>) -> Director {
    let config = Config {
        directory: folder.to_path_buf(),
        policy_yaml: policy(),
        rules: Arc::clone(rules),
        threads: 2,
        clock: || 1_800_000_000,
        worker,
    };
    Director::open(config).expect("a director")
}
