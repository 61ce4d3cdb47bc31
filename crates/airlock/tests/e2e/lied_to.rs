//! What a manager notices of a director that lies, it does not sign, and says so with exit code 6.
//!
//! That a director keeps what it should not, or loses what it should keep, cannot be seen from the source:
//! `docs/THREAT-MODEL.md` says what that means.

use crate::false_director::{End, FalseDirector, HONEST, Lie};
use crate::support::{Bench, Ran, files_ending};
use airlock_evidence::{Hole, Statement};
use airlock_model::{Coverage, Extent, Site};
use airlock_testkit::PlantedDiskBuilder;
use airlock_transfer::{Bits, Message, Refusal, RefusalKind};
use std::path::{Path, PathBuf};

/// What a lie makes of a record.
type Edit = fn(&mut Statement);

struct Bed {
    bench: Bench,
    image: PathBuf,
    director: FalseDirector,
}

impl Bed {
    fn new(image: impl FnOnce(&Bench) -> PathBuf) -> Self {
        let bench = Bench::new();
        let image = image(&bench);
        let director = FalseDirector::start(image.parent().unwrap_or(Path::new(".")));
        Self { bench, image, director }
    }

    fn send(&self, lie: Lie, flags: &[&str], code: i32) -> Ran {
        self.director.tell(lie);
        let run = self.bench.airlock("transfer").arg(&self.image).arg(&self.director.url);
        run.args(["--name", "vm", "--streams", "2", "--identity"])
            .arg(&self.director.identity)
            .args(flags)
            .expect(code)
    }

    /// The manager notices, says what it is, and keeps no evidence of a good end.
    #[track_caller]
    fn check(&self, name: &str, lie: Lie, flags: &[&str], why: &str) {
        let before = files_ending(&self.bench.home(), "json").len();
        let ran = self.send(lie, flags, 6);
        assert!(ran.err.contains(why), "{name}: {}", ran.err);
        assert_eq!(files_ending(&self.bench.home(), "json").len(), before, "{name}");
    }

    #[track_caller]
    fn check_record(&self, name: &str, record: Edit, flags: &[&str], why: &str) {
        self.check(name, Lie { record, ..HONEST }, flags, why);
    }
}

fn transfer(statement: &mut Statement) -> &mut airlock_evidence::Transfer {
    &mut statement.predicate.transfer
}

fn disk(statement: &mut Statement) -> &mut airlock_evidence::Disk {
    &mut statement.predicate.disks[0]
}

fn hole(site: Site) -> Hole {
    Hole { extent: Extent::new(0, 512), site, reasons: vec!["pan".into()], path: None }
}

/// Every sentence of a record that the source knows to be false is refused before it is signed.
#[test]
fn a_false_record_is_not_signed() {
    let bed = Bed::new(|bench| bench.clean_disk(1 << 20));
    bed.send(HONEST, &[], 0);
    let lies: [(&str, Edit, &str); 21] = [
        ("other transfer", |s| transfer(s).id = "09".repeat(16), "the transfer"),
        ("other VM", |s| transfer(s).vm = "other".into(), "the VM"),
        ("other center", |s| transfer(s).vdc = "other".into(), "the VM"),
        ("invented state", |s| transfer(s).state = "fine".into(), "how it ended"),
        ("kept and refused", |s| transfer(s).decision = airlock_model::Decision::Terminate, "the decision"),
        ("withheld nothing", |s| transfer(s).state = "active-withheld".into(), "what was withheld"),
        ("other source", |s| s.predicate.sites.source = "00".repeat(32), "the source's key"),
        ("other key", |s| s.predicate.sites.destination = "00".repeat(32), "its own key"),
        ("other policy", |s| s.predicate.policies.source = "blake3:00".into(), "the source's policy"),
        ("other own policy", |s| s.predicate.policies.destination = "blake3:00".into(), "its own policy"),
        ("other effective", |s| s.predicate.policies.effective = "blake3:00".into(), "the effective policy"),
        ("other wish", |s| s.predicate.policies.on_fail = airlock_policy::OnFail::Withhold, "asked for"),
        ("other rules", |s| s.predicate.rules.source = "blake3:00".into(), "the source's rules"),
        ("no disks", |s| s.predicate.disks.clear(), "the disks"),
        ("other size", |s| disk(s).virtual_size += 512, "coverage of disk0"),
        (
            "other root",
            |s| (disk(s).source_root, disk(s).kept_root) = Default::default(),
            "what the source read",
        ),
        ("edited", |s| disk(s).kept_root = "0".repeat(64), "roots differ"),
        ("other coverage", |s| disk(s).source_coverage.cleared -= 1, "sum to"),
        ("own coverage", |s| disk(s).destination_coverage = Coverage::default(), "what it has inspected"),
        ("invented findings", |s| s.predicate.findings.counts.extend([("source/hold".into(), 9)]), "found"),
        ("other subject", |s| s.subject[0].name = "vm/disk1".into(), "its subject"),
    ];
    for (name, lie, why) in lies {
        bed.check_record(name, lie, &[], why);
    }
    bed.check_record("blames the source", |s| disk(s).holes.push(hole(Site::Source)), &[], "withheld");
    let asked_not = |s: &mut Statement| {
        disk(s).holes.push(hole(Site::Destination));
        disk(s).kept_root = "0".repeat(64);
        s.subject[0].digest.insert("airlockDiskRootV1".into(), "0".repeat(64));
        transfer(s).state = "active-withheld".into();
    };
    bed.check_record("withholds unasked", asked_not, &[], "what was asked for");
}

/// What the source has refused or withheld is not signed for as kept.
#[test]
fn refused_data_is_not_signed_for_as_kept() {
    let bed = Bed::new(|bench| bench.planted(PlantedDiskBuilder::gpt).image().to_owned());
    bed.send(HONEST, &[], 4);
    let keeps = |s: &mut Statement| {
        transfer(s).state = "active-withheld".into();
        transfer(s).decision = airlock_model::Decision::Withhold;
        let root = disk(s).kept_root.clone();
        s.subject[0].digest.insert("airlockDiskRootV1".into(), root);
    };
    bed.check_record("keeps what was refused", keeps, &[], "the refusal");
    let withhold = ["--on-fail", "withhold"];
    bed.send(HONEST, &withhold, 3);
    bed.check_record("drops a hole", |s| drop(disk(s).holes.pop()), &withhold, "what the source withheld");
    let forgets = |s: &mut Statement| {
        disk(s).holes.clear();
        let root = disk(s).source_root.clone();
        disk(s).kept_root.clone_from(&root);
        s.subject[0].digest.insert("airlockDiskRootV1".into(), root);
        transfer(s).state = "active".into();
    };
    bed.check_record("keeps everything", forgets, &withhold, "what the source withheld");
}

/// The end of a transfer is what both have signed, and nothing else.
#[test]
fn the_end_is_what_both_have_signed() {
    let bed = Bed::new(|bench| bench.clean_disk(1 << 20));
    bed.send(HONEST, &[], 0);
    let end = |end| Lie { end, ..HONEST };
    let forged = Lie { signature: |signature| signature.keyid = "00".into(), ..HONEST };
    bed.check("forged", forged, &[], "signature under the record is false");
    bed.check("no record", end(End::EvidenceOfAnother), &[], "without a record");
    // The evidence of the transfer before differs in nothing but the time.
    let later = |s: &mut Statement| transfer(s).decided_at += 1;
    let replayed = Lie { record: later, ..end(End::RecordAndEvidenceOfAnother) };
    bed.check("another's evidence", replayed, &[], "not the record that was signed");
    bed.check("other state", end(End::OtherState), &[], "not the record that was signed");
    bed.check("half signed", end(End::HalfSigned), &[], "source");
    bed.check("noise", end(End::Noise), &[], "cannot be read");
    bed.check("two records", end(End::TwoRecords), &[], "unexpected message");
    let ran = bed.send(end(End::Nothing), &[], 1);
    assert!(ran.err.contains("closed the connection"), "{}", ran.err);
}

/// No data leaves before both mean the same policy, and no answer makes the source send wrongly or wait without end.
#[test]
fn what_a_director_says_in_between_is_not_believed_either() {
    let bed = Bed::new(|bench| bench.clean_disk(1 << 20));
    bed.send(HONEST, &[], 0);
    let welcome = |welcome| Lie { welcome, ..HONEST };
    let weak = welcome(|welcome| {
        let lax = airlock_policy::Document::parse(airlock_policy::DEFAULT_YAML).expect("a policy");
        welcome.effective = lax.digest();
    });
    bed.check("weakens the policy", weak, &[], "different effective policies");
    assert_eq!(bed.director.streams(), 0, "data streams are opened under another policy");
    bed.check("no policy", welcome(|welcome| welcome.policy = "rules: {".into()), &[], "cannot be believed");
    bed.check("another version", welcome(|welcome| welcome.version += 1), &[], "protocol version");
    assert_eq!(bed.director.streams(), 0);
    bed.send(welcome(|welcome| welcome.credit = 0), &[], 0);
    bed.send(welcome(|welcome| welcome.credit = u64::MAX), &[], 0);
    let refused =
        |answer: fn(Message) -> Option<Message>, code| bed.send(Lie { answer, ..HONEST }, &[], code).err;
    let never_durable =
        refused(|message| (!matches!(message, Message::Durable { .. })).then_some(message), 1);
    assert!(never_durable.contains("before everything was durable"), "{never_durable}");
    let other_group = refused(
        |message| match message {
            Message::Need { need, .. } => Some(Message::Need { group: 77, need }),
            other => Some(other),
        },
        1,
    );
    assert!(other_group.contains("unexpected need"), "{other_group}");
    let closes = refused(
        |message| match message {
            Message::Need { .. } => Some(Message::Closed),
            other => Some(other),
        },
        1,
    );
    assert!(closes.contains("protocol"), "{closes}");
    let stops: fn(Message) -> Option<Message> = |message| match message {
        Message::Need { .. } => Some(Message::Stop),
        other => Some(other),
    };
    bed.check("refuses and keeps", Lie { answer: stops, ..HONEST }, &[], "the refusal");
    let busy = refused(
        |_| Some(Message::Refuse(Refusal { kind: RefusalKind::Busy, text: "come later".into() })),
        11,
    );
    assert!(busy.contains("come later"), "{busy}");
    // That it has everything already cannot be disproved: it is recorded as what it said.
    let claims = refused(
        |message| match message {
            Message::Need { group, .. } => Some(Message::Need { group, need: Bits::of(&[]) }),
            other => Some(other),
        },
        0,
    );
    assert!(!claims.contains("error"), "{claims}");
}
