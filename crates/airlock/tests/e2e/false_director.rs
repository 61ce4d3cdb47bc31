//! A director built to lie: it speaks the protocol, keeps nothing, and says what it is told to say.

use airlock_console::{Config, Front, Handoff};
use airlock_evidence::{
    Disk, Envelope, Findings, PREDICATE_TYPE, Policies, Predicate, Rules, STATEMENT_TYPE, Signature, SiteKey,
    Sites, SourceReport, Statement, Subject, Transfer,
};
use airlock_link::{Authority, Identity, Link, TlsLink, server_config};
use airlock_model::{Coverage, TenantKey};
use airlock_policy::{DEFAULT_YAML, Document, Effective};
use airlock_transfer::{Bits, Hello, Message, VERSION, Welcome};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most connections that a test opens.
const STREAMS_MAX: usize = 64;

/// What it lies about; by default nothing.
#[derive(Clone, Copy)]
pub(crate) struct Lie {
    /// Changes the answer to the opening.
    pub(crate) welcome: fn(&mut Welcome),
    /// Changes what a data stream is answered with; nothing is said where it returns none.
    pub(crate) answer: fn(Message) -> Option<Message>,
    /// Changes the record that it proposes.
    pub(crate) record: fn(&mut Statement),
    /// Changes its signature under the record.
    pub(crate) signature: fn(&mut Signature),
    /// What it does at the end.
    pub(crate) end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// What both have agreed on.
    Agreed,
    /// Closes the connection instead of a record.
    Nothing,
    /// No record, but the evidence of the transfer before.
    EvidenceOfAnother,
    /// A record, and the evidence of the transfer before.
    RecordAndEvidenceOfAnother,
    /// The evidence says one thing, its message another.
    OtherState,
    /// Only its own signature.
    HalfSigned,
    /// A record that cannot be read.
    Noise,
    /// Two records.
    TwoRecords,
}

pub(crate) const HONEST: Lie =
    Lie { welcome: |_| (), answer: Some, record: |_| (), signature: |_| (), end: End::Agreed };

struct Shared {
    lie: Mutex<Lie>,
    key: SiteKey,
    /// Data streams that were opened since the lie was told.
    streams: AtomicUsize,
    last_evidence: Mutex<Vec<u8>>,
}

/// A false director that listens on a port of 127.0.0.1.
pub(crate) struct FalseDirector {
    pub(crate) url: String,
    pub(crate) identity: PathBuf,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl FalseDirector {
    pub(crate) fn start(folder: &Path) -> Self {
        let (authority, _) = Authority::create().expect("an authority");
        let own = Identity::parse(&authority.issue_director().expect("issued")).expect("an identity");
        let identity = folder.join("false.pem");
        std::fs::write(&identity, authority.issue_manager("test").expect("issued")).expect("written");
        let shared = Arc::new(Shared {
            lie: Mutex::new(HONEST),
            key: SiteKey::from_seed(&[5; 32].into()),
            streams: AtomicUsize::new(0),
            last_evidence: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let handoff: Handoff = Arc::new(move |mut link, _| {
            // A manager that is not fooled leaves in the middle.
            let _ = serving.serve(&mut link);
        });
        let config = Config {
            tls: server_config(&own).expect("an identity"),
            connections_max: STREAMS_MAX,
            streams_max: STREAMS_MAX,
            patience: Duration::from_secs(10),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("airlock://{}/default", listener.local_addr().expect("an address"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let front = Front::new(config, axum::Router::new(), handoff);
        let serving = std::thread::spawn(move || front.serve(listener, &stopped).expect("it serves"));
        Self { url, identity, shared, stop, serving: Some(serving) }
    }

    /// Lies like this from now on.
    pub(crate) fn tell(&self, lie: Lie) {
        *self.shared.lie.lock().expect("no holder panics") = lie;
        self.shared.streams.store(0, Ordering::Relaxed);
    }

    /// Returns how many data streams were opened since.
    pub(crate) fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed)
    }
}

impl Drop for FalseDirector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(serving) = self.serving.take() {
            drop(serving.join());
        }
    }
}

impl Shared {
    fn serve(&self, link: &mut TlsLink) -> Result<(), airlock_link::Error> {
        let lie = *self.lie.lock().expect("no holder panics");
        match link.receive(&mut Vec::new())? {
            Message::Hello(hello) => self.control(link, lie, &hello),
            Message::Attach { .. } => {
                self.streams.fetch_add(1, Ordering::Relaxed);
                data(link, lie)
            }
            other => panic!("{other:?}"),
        }
    }

    fn control(&self, link: &mut TlsLink, lie: Lie, hello: &Hello) -> Result<(), airlock_link::Error> {
        let source = Document::parse(&hello.policy).expect("a policy");
        let own = Document::parse(DEFAULT_YAML).expect("a policy");
        let mut welcome = Welcome {
            version: VERSION,
            transfer: [8; 16],
            token: [7; 32],
            tenant_key: TenantKey([6; 32]),
            policy: DEFAULT_YAML.to_owned(),
            effective: Effective::merge(&source, &own).digest(),
            key: self.key.public().0,
            credit: 12 << 20,
            durable: 0,
        };
        (lie.welcome)(&mut welcome);
        let policies = Policies {
            source: source.digest().to_string(),
            destination: own.digest().to_string(),
            effective: welcome.effective.to_string(),
            on_fail: hello.on_fail,
        };
        link.send(&Message::Welcome(Box::new(welcome)), &[])?;
        let report = loop {
            match link.receive(&mut Vec::new())? {
                Message::Working { .. } => {}
                Message::Finish { report } => break report,
                other => panic!("{other:?}"),
            }
        };
        let report: SourceReport = serde_json::from_slice(&report).expect("a report");
        let mut record = self.record(hello, &report, policies);
        (lie.record)(&mut record);
        self.conclude(link, lie, &record)
    }

    /// Returns what an honest director would say that inspects nothing.
    fn record(&self, hello: &Hello, report: &SourceReport, policies: Policies) -> Statement {
        let refused = report.decision == airlock_model::Decision::Terminate;
        let withheld = report.disks.iter().any(|disk| !disk.holes.is_empty());
        let state = match (refused, withheld) {
            (true, _) => "discarded",
            (false, true) => "active-withheld",
            (false, false) => "active",
        };
        let disks = hello.space.members().iter().zip(&report.disks).map(|(member, own)| Disk {
            id: member.id.clone(),
            format: "raw".into(),
            virtual_size: member.size,
            source_root: own.root.clone(),
            kept_root: own.kept_root.clone(),
            manifest: None,
            source_coverage: own.coverage.clone(),
            destination_coverage: Coverage {
                cleared: member.size,
                total: member.size,
                ..Coverage::default()
            },
            holes: own.holes.clone(),
            name: String::new(),
        });
        let disks: Vec<Disk> = disks.collect();
        let subject = |disk: &Disk| Subject {
            name: format!("{}/{}", hello.vm, disk.id),
            digest: [(
                "airlockDiskRootV1".to_owned(),
                if refused { &disk.source_root } else { &disk.kept_root }.clone(),
            )]
            .into(),
        };
        Statement {
            statement_type: STATEMENT_TYPE.into(),
            subject: disks.iter().map(subject).collect(),
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                transfer: Transfer {
                    id: "08".repeat(16),
                    vm: hello.vm.clone(),
                    vdc: hello.vdc.clone(),
                    state: state.into(),
                    reason: None,
                    decision: report.decision,
                    decided_at: 1_800_000_000,
                },
                sites: Sites {
                    source: airlock_evidence::PublicKey(hello.key).to_string(),
                    destination: self.key.public().to_string(),
                },
                policies,
                rules: Rules { source: report.rules.clone(), destination: report.rules.clone() },
                disks,
                replays: report.replays.clone(),
                findings: Findings { counts: report.counts.clone(), listed: report.findings.clone() },
            },
        }
    }

    fn conclude(&self, link: &mut TlsLink, lie: Lie, record: &Statement) -> Result<(), airlock_link::Error> {
        let mut state = record.predicate.transfer.state.clone();
        let mut payload = serde_json::to_vec(record).expect("plain data");
        if lie.end == End::Nothing {
            return Ok(());
        }
        if lie.end == End::Noise {
            payload.truncate(40);
        }
        let mut own = self.key.sign(&payload);
        (lie.signature)(&mut own);
        let mut evidence = self.last_evidence.lock().expect("no holder panics").clone();
        if lie.end != End::EvidenceOfAnother {
            let signature = (own.keyid.clone(), own.sig.clone());
            let propose = Message::Propose { payload: payload.clone(), signature };
            link.send(&propose, &[])?;
            let Message::Countersign { signature: (keyid, sig) } = link.receive(&mut Vec::new())? else {
                panic!("it does not sign");
            };
            if lie.end == End::TwoRecords {
                link.send(&propose, &[])?;
                let second = link.receive(&mut Vec::new());
                assert!(second.is_err(), "it signs twice: {second:?}");
                return Ok(());
            }
            if lie.end != End::RecordAndEvidenceOfAnother {
                let mut signatures = vec![Signature { keyid, sig }, own];
                if lie.end == End::HalfSigned {
                    signatures[0] = signatures[1].clone();
                }
                evidence = Envelope::new(&payload, signatures).to_bytes();
            }
        }
        if lie.end == End::OtherState {
            "active-withheld".clone_into(&mut state);
        }
        self.last_evidence.lock().expect("no holder panics").clone_from(&evidence);
        link.send(&Message::Sealed { state, evidence }, &[])?;
        // Until it has read that.
        let _ = link.receive(&mut Vec::new());
        Ok(())
    }
}

/// Takes everything, and keeps nothing.
fn data(link: &mut TlsLink, lie: Lie) -> Result<(), airlock_link::Error> {
    let say = |link: &mut TlsLink, message| match (lie.answer)(message) {
        Some(message) => link.send(&message, &[]),
        None => Ok(()),
    };
    say(link, Message::Attached)?;
    let mut last = 0;
    loop {
        match link.receive(&mut Vec::new())? {
            Message::Offer { group, entries } => {
                say(link, Message::Need { group, need: Bits::of(&vec![true; entries.len()]) })?;
            }
            Message::Described => {}
            Message::Data { group } => last = group,
            Message::Close => {
                say(link, Message::Durable { group: last })?;
                return say(link, Message::Closed);
            }
            other => panic!("{other:?}"),
        }
    }
}
