//! A manager built to lie: every step of the protocol, each to be done wrongly.

use crate::manager::Manager;
use crate::site::{Site, strict};
use airlock_evidence::{SourceReport, Statement};
use airlock_link::{Connector, Link, TlsLink};
use airlock_policy::Chunk;
use airlock_transfer::{Bits, Entry, Hello, Message, Refusal, RefusalKind, Welcome};

/// What a lie came to, as far as the liar sees it.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The director does not go on, and says why.
    Refused(RefusalKind, String),
    /// Both have signed how it ended.
    Ended(Box<Statement>),
}

impl From<Refusal> for Seen {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.kind, refusal.text)
    }
}

/// Goes on with what the director says, or returns its refusal.
pub(crate) type Told<T> = Result<T, Refusal>;

/// One transfer of a liar: a control connection and one data stream.
pub(crate) struct Liar<'l> {
    pub(crate) manager: &'l Manager,
    connector: Connector,
    address: &'l str,
    pub(crate) control: TlsLink,
    pub(crate) data: TlsLink,
    pub(crate) welcome: Welcome,
    next: u64,
}

/// What it opens with: the truth, under a policy that holds everything planted.
pub(crate) fn hello(manager: &Manager, vm: &str) -> Hello {
    Hello { policy: strict(), ..manager.hello(vm) }
}

pub(crate) fn connect(site: &Site, tenant: usize) -> (Connector, TlsLink) {
    let connector = Connector::new(&site.identity(tenant)).expect("an identity");
    let link = connector.connect(&site.address).expect("let in");
    (connector, link)
}

/// Says hello, and returns the connection and the answer.
pub(crate) fn greet(site: &Site, tenant: usize, hello: Hello) -> (Connector, TlsLink, Told<Welcome>) {
    let (connector, mut control) = connect(site, tenant);
    say(&mut control, &Message::Hello(Box::new(hello)));
    let answer = match hear(&mut control) {
        Ok(Message::Welcome(welcome)) => Ok(*welcome),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal),
    };
    (connector, control, answer)
}

impl<'l> Liar<'l> {
    /// Begins a transfer as the first tenant.
    pub(crate) fn begin(site: &'l Site, manager: &'l Manager, hello: Hello) -> Self {
        Self::begin_as(site, 0, manager, hello)
    }

    pub(crate) fn begin_as(site: &'l Site, tenant: usize, manager: &'l Manager, hello: Hello) -> Self {
        let (connector, control, welcome) = greet(site, tenant, hello);
        let welcome = welcome.expect("it may begin");
        let mut data = connector.connect(&site.address).expect("let in");
        attach(&mut data, &welcome).expect("attached");
        Self { manager, connector, address: &site.address, control, data, welcome, next: 0 }
    }

    /// Opens another connection, and says nothing.
    pub(crate) fn another(&self) -> TlsLink {
        self.connector.connect(self.address).expect("let in")
    }

    pub(crate) fn entry(&self, chunk: &Chunk) -> Entry {
        let length = u32::try_from(chunk.length()).expect("at most 1 MiB");
        let id = self.welcome.tenant_key.chunk_id(&chunk.record().content, length);
        Entry { id, extents: chunk.record().extents.clone() }
    }

    /// Offers something, and returns what the director needs of it.
    pub(crate) fn offer(&mut self, group: u64, entries: Vec<Entry>) -> Told<Bits> {
        say(&mut self.data, &Message::Offer { group, entries });
        match hear(&mut self.data)? {
            Message::Need { need, .. } => Ok(need),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn data(&mut self, group: u64, body: &[&[u8]]) {
        // The director may have left already; what it said before can still be heard.
        let _ = self.data.send(&Message::Data { group }, body);
    }

    /// Sends chunks as an honest manager would.
    pub(crate) fn send(&mut self, chunks: &[&Chunk]) -> Told<()> {
        for group in chunks.chunks(16) {
            let number = self.next;
            self.next += 1;
            let entries = group.iter().map(|chunk| self.entry(chunk)).collect();
            let need = self.offer(number, entries)?;
            let needed = group.iter().enumerate().filter(|(index, _)| need.contains(*index));
            let body: Vec<&[u8]> = needed.map(|(_, chunk)| chunk.bytes().expect("read")).collect();
            self.data(number, &body);
        }
        Ok(())
    }

    /// Returns why the data stream is refused.
    pub(crate) fn refused(&mut self) -> Seen {
        loop {
            match hear(&mut self.data) {
                Ok(Message::Closed) => panic!("the stream ends in good order"),
                Ok(_) => {}
                Err(refusal) => return refusal.into(),
            }
        }
    }

    pub(crate) fn close(&mut self) -> Told<()> {
        say(&mut self.data, &Message::Close);
        while hear(&mut self.data)? != Message::Closed {}
        Ok(())
    }

    /// Reports, signs what the director proposes, and returns how it ended.
    pub(crate) fn finish(&mut self, report: &SourceReport) -> Seen {
        self.finish_signing(report, <[u8]>::to_vec)
    }

    /// The same, but what is signed is what `altered` makes of the record.
    pub(crate) fn finish_signing(
        &mut self,
        report: &SourceReport,
        altered: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Seen {
        let report = serde_json::to_vec(report).expect("plain data");
        say(&mut self.control, &Message::Finish { report });
        loop {
            match hear(&mut self.control) {
                Ok(Message::Propose { payload, .. }) => {
                    let signature = self.manager.key.sign(&altered(&payload));
                    let signature = (signature.keyid, signature.sig);
                    say(&mut self.control, &Message::Countersign { signature });
                }
                Ok(Message::Sealed { evidence, .. }) => {
                    let statement = airlock_evidence::verify(&evidence, [None, None]).expect("true evidence");
                    return Seen::Ended(Box::new(statement));
                }
                Ok(other) => panic!("{other:?}"),
                Err(refusal) => return refusal.into(),
            }
        }
    }
}

pub(crate) fn attach(link: &mut TlsLink, welcome: &Welcome) -> Told<()> {
    say(link, &Message::Attach { transfer: welcome.transfer, token: welcome.token });
    match hear(link)? {
        Message::Attached => Ok(()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn say(link: &mut TlsLink, message: &Message) {
    // Nobody may listen any more; what was said before can still be heard.
    let _ = link.send(message, &[]);
}

pub(crate) fn hear(link: &mut TlsLink) -> Told<Message> {
    loop {
        match link.receive(&mut Vec::new()) {
            Ok(Message::Working { .. }) => {}
            Ok(Message::Refuse(refusal)) => return Err(refusal),
            Ok(message) => return Ok(message),
            Err(error) => panic!("the director left without a word: {error}"),
        }
    }
}
