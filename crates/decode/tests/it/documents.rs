//! Documents, mails and databases.

use crate::record::{layer, layers, sh, text, trails};

fn python(script: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("folder");
    sh(folder.path(), "python3 -", script.as_bytes())
}

fn of_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn runs_of_a_document_are_joined() {
    let file = python(
        r"
import io, sys, zipfile
b = io.BytesIO()
z = zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED)
z.writestr('[Content_Types].xml', '<?xml version=\'1.0\'?><Types/>')
z.writestr('word/document.xml', '<?xml version=\'1.0\'?><w:document><w:body><w:p><w:r><w:t>card 4539 14</w:t></w:r>'
    '<w:proofErr/><w:r><w:rPr><w:b/></w:rPr><w:t>88 0343 6467</w:t></w:r></w:p></w:body></w:document>')
z.close()
sys.stdout.buffer.write(b.getvalue())",
    );
    let text = layer(&file, "zip:word/document.xml@127 > text");
    assert!(of_text(&text).contains("card 4539 1488 0343 6467\n"), "{}", of_text(&text));
}

#[test]
fn parts_of_a_mail_are_opened() {
    let file = python(
        r"
import email.message, gzip, sys
m = email.message.EmailMessage()
m['From'] = 'a@example.org'
m['To'] = 'b@example.org'
m['Subject'] = 'x'
m.set_content('plain text')
m.add_alternative('<html><body>4539 <b>1488</b> \u00e4</body></html>', subtype='html')
m.add_attachment(gzip.compress(b'inside ' * 1000), maintype='application', subtype='gzip', filename='a b.gz')
inner = email.message.EmailMessage()
inner['Subject'] = 'y'
inner.set_content('inner text')
m.add_attachment(inner)
sys.stdout.buffer.write(m.as_bytes())",
    );
    let (seen, reasons) = layers(&file);
    assert_eq!(reasons, []);
    let names: Vec<&str> =
        trails(&seen).iter().map(|trail| trail.split('@').next().expect("a name")).collect();
    assert_eq!(
        names,
        [
            "mime:text/plain",
            "mime:text/html",
            "mime:text/html",
            "mime:a b.gz",
            "mime:a b.gz",
            "mime:text/plain"
        ]
    );
    assert!(of_text(&seen[1].bytes).contains("4539 1488"), "{}", of_text(&seen[1].bytes));
    assert_eq!(seen[3].bytes, b"inside ".repeat(1000));
    assert_eq!(of_text(&seen[5].bytes).trim_end(), "inner text");
    let mbox =
        [b"From a@b Thu Jan  1 1970\n".as_slice(), &file, b"\nFrom a@b Fri Jan  2 1970\n", &file].concat();
    assert_eq!(layers(&mbox).0.len(), 12);
}

#[test]
fn records_of_a_database_are_lines() {
    let file = python(
        r"
import os, sqlite3, sys
c = sqlite3.connect('x.db')
c.execute('pragma secure_delete=off')
c.execute('create table people(id integer primary key, name text, card text, n integer, x real)')
for i in range(5000):
    c.execute('insert into people values(?,?,?,?,?)', (i, 'Roe\n', '%016d' % i, -i, i / 2))
c.execute('create table long(t text)')
c.execute('insert into long values(?)', ('y' * 30000 + 'end',))
c.execute('create index by_card on people(card)')
c.commit()
c.execute('delete from people where id > 4000')
c.commit()
sys.stdout.buffer.write(open('x.db', 'rb').read())",
    );
    let (seen, reasons) = layers(&file);
    assert_eq!(reasons, []);
    let of = |name: &str| {
        let found = seen.iter().find(|seen| seen.trail.starts_with(name)).expect("a table");
        of_text(&found.bytes).to_owned()
    };
    let people = of("sqlite:people@");
    assert!(
        people.starts_with("id\tname\tcard\tn\tx\n0\tRoe \t0000000000000000\t0\t0\n1\tRoe \t"),
        "{}",
        &people[..90]
    );
    assert!(people.contains("\n3001\tRoe \t0000000000003001\t-3001\t1500.5\n"));
    assert_eq!(people.lines().count(), 4002);
    assert!(of("sqlite:long@").ends_with("yyyend\n"));
    assert!(of("sqlite:by_card@").contains("0000000000003001\t3001\n"));
    // Rows of pages that are free now.
    assert!(of("sqlite:@").contains("0000000000004900\t-4900"));
}

#[test]
fn a_log_of_a_database_is_opened() {
    let file = python(
        r"
import sqlite3, sys
c = sqlite3.connect('x.db')
c.execute('pragma journal_mode=wal')
c.execute('create table t(a text, b text)')
c.execute('insert into t values(?,?)', ('one', 'two'))
c.commit()
sys.stdout.buffer.write(open('x.db-wal', 'rb').read())",
    );
    assert!(of_text(&layer(&file, "sqlite-wal")).contains("one\ttwo\n"));
}

#[test]
fn percent_encoding_is_undone() {
    let encode = |encoded: String, byte: &u8| encoded + &format!("%{byte:02X}");
    let encoded = text(2000).iter().fold(String::new(), encode);
    assert!(layer(encoded.as_bytes(), "percent") == text(2000));
}

#[test]
fn the_text_of_a_page_is_opened() {
    let file = python(
        r"
import base64, sys, zlib
page = b'BT /F1 12 Tf 72 700 Td [(card 45) -20 (39 14)] TJ (88) Tj ET'
old = b'BT (plain text) Tj ET'
packed = zlib.compress(page)
b = b'%PDF-1.4\n4 0 obj\n<< /Length ' + str(len(packed)).encode() + b' /Filter /FlateDecode >>\nstream\r\n' + packed
b += b'\nendstream\nendobj\n5 0 obj\n<</Length 21>>\nstream\n' + old + b'\nendstream\nendobj\n'
both = base64.a85encode(packed) + b'~>'
b += b'6 0 obj\n<</Filter [/ASCII85Decode/FlateDecode]>>stream\n' + both + b'\nendstream\nendobj\n%%EOF\n'
sys.stdout.buffer.write(b)",
    );
    let (seen, reasons) = layers(&file);
    assert_eq!(reasons, []);
    let texts: Vec<&str> =
        seen.iter().filter(|seen| seen.trail.contains(" > text@")).map(|seen| of_text(&seen.bytes)).collect();
    assert_eq!(texts, ["\ncard 4539 1488\n", "plain text\n", "\ncard 4539 1488\n"]);
    let closed = [file.as_slice(), b"trailer << /Encrypt 9 0 R >>"].concat();
    assert_eq!(layers(&closed).1, [airlock_model::Reason::Encrypted]);
}
