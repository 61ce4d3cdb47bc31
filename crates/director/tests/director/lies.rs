//! Whatever a manager does, nothing that fails is kept, and nothing of it can be read.
//!
//! Each lie ends in one of two ways: the director says what is wrong and destroys what had arrived, or it judges
//! what has arrived as if nobody had told it anything.

use crate::liar::{Liar, Seen, attach, connect, greet, hear, hello, say};
use crate::manager::Manager;
use crate::raw::Raw;
use crate::site::{Site, lax};
use airlock_evidence::{Hole, SourceReport};
use airlock_model::{ChunkId, Extent, Site as Where};
use airlock_policy::{Chunk, OnFail};
use airlock_testkit::{Planted, PlantedDisk};
use airlock_transfer::{BODY_BYTES_MAX, Entry, HEADER_BYTES_MAX, Message, RefusalKind, encode};
use serde_json::Value;

/// A director, and a manager that has a disk with planted values and lets all of it pass.
struct Bed {
    _folder: tempfile::TempDir,
    manager: Manager,
    planted: Vec<Planted>,
    site: Site,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = PlantedDisk::builder(folder.path().join("disk"), 5).gpt().clean_bytes(1 << 20);
        let disk = disk.build().expect("a disk");
        let manager = Manager::of(disk.image());
        let site = Site::new(&manager.rules);
        Self { _folder: folder, manager, planted: disk.planted().to_vec(), site }
    }

    fn begin(&self, vm: &str) -> Liar<'_> {
        Liar::begin(&self.site, &self.manager, hello(&self.manager, vm))
    }

    fn all(&self) -> Vec<&Chunk> {
        self.manager.chunks.iter().collect()
    }

    /// Sends everything and closes the stream.
    fn sent(&self, vm: &str) -> Liar<'_> {
        let mut liar = self.begin(vm);
        liar.send(&self.all()).expect("taken");
        liar.close().expect("closed");
        liar
    }

    /// Sends everything, and reports what `lie` makes of the truth.
    fn reports(&self, vm: &str, lie: impl FnOnce(&mut SourceReport)) -> ([u8; 16], Seen) {
        let mut liar = self.sent(vm);
        let mut report = self.manager.report(&self.all());
        lie(&mut report);
        let seen = liar.finish(&report);
        (liar.welcome.transfer, seen)
    }

    /// The director has said this, and destroyed everything.
    #[track_caller]
    fn check_breach(&self, (transfer, seen): ([u8; 16], Seen), why: &str) {
        let (kind, text) = match seen {
            Seen::Refused(kind, text) => (kind, text),
            Seen::Ended(statement) => panic!("not refused: {:?}", statement.predicate.transfer),
        };
        assert!(text.contains(why), "{text}, not {why}");
        assert_eq!(kind, RefusalKind::Protocol, "{text}");
        self.site.wait_for(&transfer, "failed");
        self.site.assert_nothing_of(&transfer);
        self.site.assert_no_value(&self.planted);
    }

    /// The director has judged what there was, and this came of it.
    #[track_caller]
    fn check_judged(&self, (transfer, seen): ([u8; 16], Seen), state: &str) {
        let statement = match seen {
            Seen::Ended(statement) => statement,
            Seen::Refused(_, why) => panic!("not judged: {why}"),
        };
        let record = &statement.predicate;
        assert_eq!(record.transfer.state, state);
        let found = record.findings.listed.iter().any(|finding| finding.site == Where::Destination);
        assert!(found, "the destination has found nothing");
        if state == "discarded" {
            self.site.wait_for(&transfer, "rejected");
            self.site.assert_nothing_of(&transfer);
        }
        self.site.assert_no_value(&self.planted);
    }
}

#[test]
fn what_a_manager_does_not_check_is_checked_all_the_same() {
    let bed = Bed::new();
    let report = bed.manager.report(&bed.all());
    // Skips its checks, and sends what nobody has judged.
    let opening = |vm: &str, on_fail| airlock_transfer::Hello { on_fail, ..hello(&bed.manager, vm) };
    let mut liar = Liar::begin(&bed.site, &bed.manager, opening("unjudged", OnFail::Terminate));
    liar.send(&bed.all()).expect("taken");
    liar.close().expect("closed");
    let seen = liar.finish(&report);
    bed.check_judged((liar.welcome.transfer, seen), "discarded");
    // Weakens the policy.
    let weak = airlock_transfer::Hello { policy: lax(), ..opening("weak", OnFail::Withhold) };
    let mut liar = Liar::begin(&bed.site, &bed.manager, weak);
    liar.send(&bed.all()).expect("taken");
    liar.close().expect("closed");
    let seen = liar.finish(&report);
    bed.check_judged((liar.welcome.transfer, seen), "active-withheld");
    // Swaps what was judged for something else while it can.
    let mut liar = bed.begin("swapped");
    let harmless: Vec<Chunk> = bed.all().iter().map(|chunk| harmless(chunk)).collect();
    liar.send(&harmless.iter().collect::<Vec<_>>()).expect("taken");
    liar.send(&bed.all()).expect("taken");
    liar.close().expect("closed");
    let seen = liar.finish(&report);
    bed.check_judged((liar.welcome.transfer, seen), "active-withheld");
    // Leaves out what says what the disk means.
    let mut liar = bed.begin("bare");
    let bare: Vec<&Chunk> = bed.all().into_iter().filter(|chunk| has_value(&bed.planted, chunk)).collect();
    liar.send(&bare).expect("taken");
    liar.close().expect("closed");
    let mut report = bed.manager.report(&bare);
    report.disks[0].root = report.disks[0].kept_root.clone();
    let seen = liar.finish(&report);
    bed.check_judged((liar.welcome.transfer, seen), "active-withheld");
}

fn harmless(chunk: &Chunk) -> Chunk {
    Chunk::new(chunk.record().extents.clone(), vec![b'a'; chunk.length()])
}

fn has_value(planted: &[Planted], chunk: &Chunk) -> bool {
    let has = |extent: &Extent| {
        let inside = |offset| (extent.offset..extent.end()).contains(&offset);
        planted.iter().any(|value| value.disk_offset.is_some_and(inside))
    };
    chunk.record().extents.iter().any(has)
}

#[test]
fn a_false_report_is_refused() {
    let bed = Bed::new();
    let first = bed.manager.chunks[0].record().extents[0];
    let hole = |site| Hole { extent: first, site, reasons: vec!["pan".into()], path: None };
    let zeros = || format!("blake3:{}", "0".repeat(64));
    let refused = |vm: &str, lie: &dyn Fn(&mut SourceReport), why: &str| {
        bed.check_breach(bed.reports(vm, lie), why);
    };
    refused("false-root", &|report| report.disks[0].kept_root = zeros(), "no hole explains it");
    let both = |report: &mut SourceReport| {
        report.disks[0].kept_root = zeros();
        report.disks[0].root = zeros();
    };
    refused("false-roots", &both, "not what it says it sent");
    refused("other-digest", &|report| report.rules = zeros(), "other rules");
    refused(
        "withheld-and-sent",
        &|report| report.disks[0].holes.push(hole(Where::Source)),
        "withheld that it has sent",
    );
    refused(
        "for-the-other",
        &|report| report.disks[0].holes.push(hole(Where::Destination)),
        "speaks for this site",
    );
    refused(
        "counts-of-the-other",
        &|report| report.counts.extend([("destination/allow".into(), u64::MAX)]),
        "speaks for this site",
    );
    refused("no-disks", &|report| report.disks.clear(), "other disks");
    refused(
        "sum-that-wraps",
        &|report| {
            let coverage = &mut report.disks[0].coverage;
            (coverage.cleared, coverage.held) = (u64::MAX, coverage.total + 1);
            (coverage.hole, coverage.known, coverage.dropped) = (0, 0, 0);
            coverage.unscannable.clear();
        },
        "does not sum to its size",
    );
    // It says hole where bytes were: nothing explains what is missing.
    let mut liar = bed.begin("hole");
    let half = &bed.all()[..bed.manager.chunks.len() / 2];
    liar.send(half).expect("taken");
    liar.close().expect("closed");
    let seen = liar.finish(&bed.manager.report(half));
    bed.check_breach((liar.welcome.transfer, seen), "no hole explains it");
    // It signs another record than the one that both have come to.
    let mut liar = bed.sent("signs-another");
    let seen = liar.finish_signing(&bed.manager.report(&bed.all()), |payload| {
        String::from_utf8_lossy(payload).replace("active-withheld", "active").into_bytes()
    });
    bed.check_breach((liar.welcome.transfer, seen), "signature under the record is false");
    let (transfer, seen) = bed.reports("truth", |_| ());
    bed.check_judged((transfer, seen), "active-withheld");
}

#[test]
fn a_chunk_is_had_by_whoever_has_sent_it() {
    let bed = Bed::new();
    // Another tenant brings the same disk.
    let mut other = Liar::begin_as(&bed.site, 1, &bed.manager, hello(&bed.manager, "theirs"));
    other.send(&bed.all()).expect("taken");
    other.close().expect("closed");
    let seen = other.finish(&bed.manager.report(&bed.all()));
    assert!(matches!(seen, Seen::Ended(_)), "{seen:?}");

    let mut liar = bed.begin("claims");
    let chunks = &bed.all()[..8];
    let mut entries: Vec<Entry> = chunks.iter().map(|chunk| liar.entry(chunk)).collect();
    entries.extend(chunks.iter().map(|chunk| other.entry(chunk)));
    let need = liar.offer(0, entries.clone()).expect("an answer");
    assert!((0..entries.len()).all(|index| need.contains(index)), "what another tenant has is not had");
    // It claims to have had them, and sends nothing.
    liar.data(0, &[]);
    let seen = liar.refused();
    bed.check_breach((liar.welcome.transfer, seen), "length of data");

    // What was refused is not had either, however often it is offered.
    let mut refused = bed.begin("claims");
    refused.send(&bed.all()).expect("taken");
    refused.close().expect("closed");
    let mut report = bed.manager.report(&bed.all());
    report.decision = airlock_model::Decision::Terminate;
    bed.site.assert_no_value(&bed.planted);
    let seen = refused.finish(&report);
    assert!(matches!(seen, Seen::Ended(_)), "{seen:?}");
    bed.site.assert_nothing_of(&refused.welcome.transfer);
    let mut again = bed.begin("claims");
    let entries: Vec<Entry> = bed.all()[..8].iter().map(|chunk| again.entry(chunk)).collect();
    let need = again.offer(0, entries).expect("an answer");
    assert!((0..8).all(|index| need.contains(index)), "what was discarded is not had");
    // And a name that nobody has ever had.
    let id = ChunkId([7; 32]);
    let entry = Entry { id, extents: vec![Extent::new(0, 4096)] };
    assert!(again.offer(1, vec![entry]).expect("an answer").contains(0));
    say(&mut again.data, &Message::Close);
    let seen = again.refused();
    bed.check_breach((again.welcome.transfer, seen), "unexpected");
}

#[test]
fn a_stream_out_of_order_is_cut() {
    let bed = Bed::new();
    let chunk = bed.all()[0];
    let check = |vm: &str, lie: &dyn Fn(&mut Liar<'_>), why: &str| {
        let mut liar = bed.begin(vm);
        lie(&mut liar);
        let seen = liar.refused();
        bed.check_breach((liar.welcome.transfer, seen), why);
    };
    let bytes = || chunk.bytes().expect("read");
    let offer = |liar: &mut Liar<'_>, group| {
        let entries = vec![liar.entry(chunk)];
        say(&mut liar.data, &Message::Offer { group, entries });
    };
    check("reordered", &|liar| offer(liar, 1), "unexpected offer");
    check("replayed-offer", &|liar| (0..2).for_each(|_| offer(liar, 0)), "unexpected offer");
    let twice = |liar: &mut Liar<'_>| {
        offer(liar, 0);
        (0..2).for_each(|_| liar.data(0, &[bytes()]));
    };
    check("replayed-data", &twice, "unexpected data");
    check("data-first", &|liar| liar.data(0, &[bytes()]), "unexpected data");
    check("data-of-another", &|liar| (offer(liar, 0), liar.data(1, &[bytes()])).1, "unexpected data");
    let forged = |liar: &mut Liar<'_>| {
        offer(liar, 0);
        liar.data(0, &[&vec![b'x'; chunk.length()]]);
    };
    check("forged", &forged, "do not have the name");
    check("long", &|liar| (offer(liar, 0), liar.data(0, &[bytes(), b"more"])).1, "length of data");
    check("closes-early", &|liar| (offer(liar, 0), say(&mut liar.data, &Message::Close)).1, "unexpected");
    check("talks-back", &|liar| say(&mut liar.data, &Message::Attached), "unexpected message");
    let place = |liar: &mut Liar<'_>, extents: Vec<Extent>| {
        let id = liar.entry(chunk).id;
        say(&mut liar.data, &Message::Offer { group: 0, entries: vec![Entry { id, extents }] });
    };
    let outside = Extent::new(bed.manager.disk_bytes - 512, 1024);
    check("outside", &|liar| place(liar, vec![outside]), "outside the bundle");
    check("wraps", &|liar| place(liar, vec![Extent::new(u64::MAX, 2)]), "outside the bundle");
    check("empty", &|liar| place(liar, vec![Extent::new(0, 0)]), "outside the bundle");
    let greedy = |liar: &mut Liar<'_>| {
        let entry = Entry { id: ChunkId([7; 32]), extents: vec![Extent::new(0, 1 << 20)] };
        liar.offer(0, vec![entry.clone(); 13]).expect("an answer");
        say(&mut liar.data, &Message::Offer { group: 1, entries: vec![entry] });
    };
    check("greedy", &greedy, "more than its credit allows");
    // Two places at once: seen when everything is laid out.
    let whole = |chunk: &&&Chunk| chunk.record().extents.len() == 1 && chunk.length() > 1024;
    let chunk = *bed.all().iter().find(whole).expect("a chunk in one piece");
    let bytes = || chunk.bytes().expect("read");
    let mut liar = bed.begin("overlapping");
    let mut entries = vec![liar.entry(chunk), liar.entry(chunk)];
    for extent in &mut entries[1].extents {
        extent.offset += 512;
    }
    // A name that comes twice is needed twice: the second may be the right one.
    let need = liar.offer(0, entries).expect("an answer");
    assert!(need.contains(0) && need.contains(1));
    liar.data(0, &[bytes(), bytes()]);
    liar.close().expect("closed");
    let mut report = bed.manager.report(&[chunk]);
    report.disks[0].root = report.disks[0].kept_root.clone();
    let seen = liar.finish(&report);
    bed.check_breach((liar.welcome.transfer, seen), "two chunks claim byte");
}

#[test]
fn a_transfer_is_its_managers_and_ends_once() {
    let bed = Bed::new();
    let report = bed.manager.report(&bed.all());
    // Begins twice.
    let mut first = bed.begin("twice");
    let (_, _, second) = greet(&bed.site, 0, hello(&bed.manager, "twice"));
    assert_eq!(second.expect_err("one at a time").kind, RefusalKind::Busy);
    say(&mut first.control, &Message::Hello(Box::new(hello(&bed.manager, "twice"))));
    let refusal = hear(&mut first.control).expect_err("the second opening is refused");
    bed.check_breach((first.welcome.transfer, refusal.into()), "something else than the end");
    // Ends while a stream is open.
    let mut liar = bed.begin("early");
    let seen = liar.finish(&report);
    bed.check_breach((liar.welcome.transfer, seen), "finished while a stream was open");
    // Opens one more when everything is judged, to swap the disk.
    let mut liar = bed.sent("late");
    say(&mut liar.control, &Message::Finish { report: serde_json::to_vec(&report).expect("plain data") });
    while !matches!(hear(&mut liar.control), Ok(Message::Propose { .. })) {}
    let mut late = liar.another();
    let refusal = attach(&mut late, &liar.welcome).expect_err("too late");
    assert!(refusal.text.contains("takes no more streams"), "{}", refusal.text);
    cancel(&bed, &liar.welcome.transfer);
    // Guesses a token; opens more streams than there may be.
    let mut liar = bed.begin("guesses");
    let wrong = airlock_transfer::Welcome { token: [0; 32], ..liar.welcome.clone() };
    let refusal = attach(&mut liar.another(), &wrong).expect_err("a wrong token");
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    let mut streams = Vec::new();
    let refusal = loop {
        let mut stream = liar.another();
        match attach(&mut stream, &liar.welcome) {
            Ok(()) => streams.push(stream),
            Err(refusal) => break refusal,
        }
        assert!(streams.len() < 64, "streams without end");
    };
    assert_eq!((refusal.kind, streams.len()), (RefusalKind::Failed, 31));
    drop(streams);
    // Ends in the middle: it may go on, but it alone.
    liar.send(&bed.all()[..32]).expect("taken");
    let (transfer, token) = (liar.welcome.transfer, liar.welcome.token);
    drop(liar);
    bed.site.wait_for(&transfer, "interrupted");
    let resuming = airlock_transfer::Hello { resume: true, ..hello(&bed.manager, "guesses") };
    let theirs = Liar::begin_as(&bed.site, 1, &bed.manager, resuming);
    assert_ne!(theirs.welcome.transfer, transfer);
    assert_eq!(theirs.welcome.durable, 0);
    let stolen = airlock_transfer::Welcome { transfer, token, ..theirs.welcome.clone() };
    let refusal = attach(&mut theirs.another(), &stolen).expect_err("of another tenant");
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    assert_eq!(bed.site.state(&transfer), "interrupted");
    cancel(&bed, &transfer);
}

/// Whoever runs the site ends what a manager has left, and then nothing of it is there.
fn cancel(bed: &Bed, transfer: &[u8; 16]) {
    let path = format!("/transfers/{}/cancel", hex::encode(transfer));
    let answer = bed.site.ask("POST", &path, &Value::Null);
    assert_eq!(answer["state"], "discarded", "{answer}");
    bed.site.assert_nothing_of(transfer);
    bed.site.assert_no_value(&bed.planted);
}

#[test]
fn who_stalls_stops_nobody_and_what_it_brought_goes_with_it() {
    let bed = Bed::new();
    // One neither sends nor reads in the middle of a frame, another one in the middle of an opening.
    let mut liar = bed.begin("stalls");
    liar.send(&bed.all()[..64]).expect("taken");
    let mut stuck = Raw::upgraded(&bed.site.address, &bed.site.identities[0]);
    let (transfer, token) = (liar.welcome.transfer, liar.welcome.token);
    stuck.say(&encode(&Message::Attach { transfer, token }, 0).expect("a frame"));
    assert_eq!(stuck.hear(), Some(Message::Attached));
    stuck.say(&1000_u32.to_le_bytes());
    let mut half = Raw::upgraded(&bed.site.address, &bed.site.identities[0]);
    half.say(b"\x10");
    let (transfer, seen) = bed.reports("beside", |_| ());
    bed.check_judged((transfer, seen), "active-withheld");
    assert_eq!(bed.site.state(&liar.welcome.transfer), "staging");
    cancel(&bed, &liar.welcome.transfer);
    let Seen::Refused(kind, text) = liar.refused() else { panic!("not refused") };
    assert_eq!(kind, RefusalKind::NotAuthorised);
    assert!(text.contains("cancelled"), "{text}");
}

#[test]
fn frames_that_are_none_are_refused_before_they_are_read() {
    let bed = Bed::new();
    let lengths = |header: usize, body: usize| {
        let word = |length: usize| u32::try_from(length).expect("32 bits").to_le_bytes();
        [word(header), word(body)].concat()
    };
    let hello_frame =
        |vm: &str| encode(&Message::Hello(Box::new(hello(&bed.manager, vm))), 0).expect("a frame");
    let trailing = {
        let mut frame = encode(&Message::Close, 0).expect("a frame");
        frame[0] += 1;
        frame.push(0);
        frame
    };
    let frames = [
        ("header", lengths(HEADER_BYTES_MAX + 1, 0)),
        ("body", lengths(1, BODY_BYTES_MAX + 1)),
        ("all", vec![0xff; 64]),
        ("noise", [lengths(4, 0), vec![0xff; 4]].concat()),
        ("nothing", lengths(0, 0)),
        ("trailing", trailing),
    ];
    for (name, frame) in &frames {
        // Before anything is agreed, and after that.
        let mut raw = Raw::upgraded(&bed.site.address, &bed.site.identities[0]);
        raw.say(frame);
        let Some(Message::Refuse(refusal)) = raw.hear() else { panic!("{name} is not refused") };
        assert_eq!(refusal.kind, RefusalKind::Protocol, "{name}: {}", refusal.text);
        let mut raw = Raw::upgraded(&bed.site.address, &bed.site.identities[0]);
        raw.say(&hello_frame(name));
        let Some(Message::Welcome(welcome)) = raw.hear() else { panic!("not welcome") };
        raw.say(frame);
        let Some(Message::Refuse(refusal)) = raw.hear() else { panic!("{name} is not refused") };
        bed.check_breach((welcome.transfer, refusal.into()), "bad frame");
    }
    // An opening whose sizes have no sum is no opening.
    let mut frame = hello_frame("huge");
    let size = postcard_u64(bed.manager.disk_bytes);
    let at = frame.windows(size.len()).position(|window| window == size).expect("the size of the disk");
    let huge = postcard_u64(u64::MAX);
    let grown = u32::try_from(frame.len() - 8 + huge.len() - size.len()).expect("short");
    frame.splice(at..at + size.len(), huge);
    frame[..4].copy_from_slice(&grown.to_le_bytes());
    let mut raw = Raw::upgraded(&bed.site.address, &bed.site.identities[0]);
    raw.say(&frame);
    let Some(Message::Refuse(refusal)) = raw.hear() else { panic!("not refused") };
    assert_eq!(refusal.kind, RefusalKind::Protocol, "{}", refusal.text);
    // Openings that are frames, and not more.
    let mut openings = vec![hello(&bed.manager, ""), hello(&bed.manager, "a\nb"), hello(&bed.manager, "old")];
    openings[2].version += 1;
    openings.push(airlock_transfer::Hello { policy: "rules: {".into(), ..hello(&bed.manager, "yaml") });
    for opening in openings {
        let (_, _, answer) = greet(&bed.site, 0, opening);
        assert_eq!(answer.expect_err("no opening").kind, RefusalKind::Protocol);
    }
    let (_, mut link) = connect(&bed.site, 0);
    say(&mut link, &Message::Close);
    assert_eq!(hear(&mut link).expect_err("no opening").kind, RefusalKind::Protocol);
}

/// Seven bits in each byte, the lowest first (postcard, "Varint Encoded Integers").
fn postcard_u64(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("7 bits"));
    bytes
}
