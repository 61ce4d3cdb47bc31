"""Hides synthetic card numbers in files: sys.argv is a folder and a seed. `found-*` must be found, `unclean-*` must
at least not count as clean."""

import base64
import binascii
import bz2
import codecs
import email.message
import gzip
import io
import lzma
import os
import quopri
import random
import sqlite3
import struct
import sys
import tarfile
import urllib.parse
import zipfile
import zlib

folder, seed = sys.argv[1], sys.argv[2]
rnd = random.Random(seed)
os.chdir(folder)


def check_digit(body):
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def pan():
    body = "4539" + "".join(rnd.choice("0123456789") for _ in range(11))
    return body + check_digit(body)


def records(count=6):
    lines = ["customer records"]
    lines += ["Card number: %s  expiry 12/29  visa payment" % pan() for _ in range(count)]
    return "\n".join(lines) + "\n"


def noise(count):
    return rnd.randbytes(count)


def write(kind, name, content):
    with open("%s-%s" % (kind, name), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


text = records()
plain = text.encode()


def found(name, content):
    write("found", name, content)


def unclean(name, content):
    write("unclean", name, content)


# Every place of a number over the edges of blocks, pieces and groups.
for edge in (4096, 65536, 1 << 20):
    for before in range(0, 20):
        number = b" card " + pan().encode() + b" visa\n"
        filling = (b"just a line of a log\n" * (edge // 20 + 2))[: edge - before]
        found("split-%d-%d" % (edge, before), filling + number + b"and so on\n")

# Characters.
for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig", "cp037", "cp500", "cp1140"):
    found("charset-" + name, text.encode(name))
found("charset-utf-16-odd", b"x" + text.encode("utf-16-le"))

# Spellings.
found("base64", base64.encodebytes(plain))
found("base64-one-line", base64.b64encode(plain))
found("base64-url", base64.urlsafe_b64encode(plain))
found("base64-in-json", b'{"blob": "' + base64.b64encode(plain) + b'"}')
found("base64-twice", base64.b64encode(base64.b64encode(plain)))
found("base64-gzip", base64.b64encode(gzip.compress(plain)))
found("base64-utf-16", base64.b64encode(text.encode("utf-16-le")))
found("base64-in-a-url", b"data:text/plain;base64," + base64.b64encode(plain))
found("hex", binascii.hexlify(plain))
found("hex-upper", binascii.hexlify(plain).upper())
found("hex-blanks", binascii.hexlify(plain, " "))
found("hex-colons", binascii.hexlify(plain, ":"))
found("hex-array", ", ".join("0x%02x" % byte for byte in plain))
rows = [plain[at : at + 16] for at in range(0, len(plain), 16)]
shown = ["".join(chr(byte) if 32 <= byte < 127 else "." for byte in row) for row in rows]
found("xxd", "".join("%08x: %-40s %s\n" % (16 * n, binascii.hexlify(row, " ", -2).decode(), shown[n]) for n, row in enumerate(rows)))
found("hexdump", "".join("%08x  %-24s %-24s |%s|\n" % (16 * n, row[:8].hex(" "), row[8:].hex(" "), shown[n]) for n, row in enumerate(rows)))
found("percent", "".join("%%%02X" % byte for byte in plain))
found("percent-form", urllib.parse.urlencode({"records": text}))
found("quoted", quopri.encodestring("".join("=%02X" % byte for byte in plain).encode()) if False else "".join("=%02X" % byte for byte in plain))
found("escape-x", "".join("\\x%02x" % byte for byte in plain))
found("escape-octal", "".join("\\%03o" % byte for byte in plain))
found("escape-u", '{"a": "' + "".join("\\u%04x" % byte for byte in plain) + '"}')
found("entities", "<p>" + "".join("&#%d;" % byte for byte in plain) + "</p>")
found("entities-hex", "".join("&#x%x;" % byte for byte in plain))
lines = [binascii.b2a_uu(plain[at : at + 45]) for at in range(0, len(plain), 45)]
found("uuencode", b"begin 644 a.txt\n" + b"".join(lines) + b"`\nend\n")

# Compression and archives.
found("gzip", gzip.compress(plain))
found("gzip-members", gzip.compress(b"hello") + gzip.compress(plain))
found("gzip-behind", gzip.compress(b"hello") + plain)
found("zlib", zlib.compress(plain))
found("bzip2", bz2.compress(plain))
found("xz", lzma.compress(plain))
found("lzma", lzma.compress(plain, format=lzma.FORMAT_ALONE))
found("gzip-cut", gzip.compress(noise(1 << 16).hex().encode() + plain + noise(1 << 16))[:-9])


def zipped(content, method=zipfile.ZIP_DEFLATED, name="a.txt"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def tarred(content, mode="w", name="a.txt"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


for name, method in (("stored", 0), ("deflate", 8), ("bzip2", 12), ("lzma", 14)):
    found("zip-" + name, zipped(plain, method))
for mode in ("gz", "bz2", "xz"):
    found("tar-" + mode, tarred(plain, "w:" + mode))
found("tar", tarred(plain))
found("zip-in-tar-gz", tarred(zipped(plain), "w:gz"))
found("tar-gz-in-zip", zipped(tarred(plain, "w:gz")))
deep = plain
for level in range(12):
    deep = zipped(deep, name="level-%d" % level) if level % 2 else gzip.compress(deep)
found("deep-12", deep)
for _ in range(12):
    deep = gzip.compress(deep)
unclean("deep-24", deep)
archive = zipped(plain)
directory = archive.index(b"PK\x01\x02")
found("zip-without-directory", archive[:directory])
found("zip-cut", archive[:-9])
found("zip-name-escapes", zipped(plain, name="../../\x1b[31m.txt"))
found("cpio", b"".join((b"070701" + b"".join(b"%08x" % field for field in (1, 0o100644, 0, 0, 1, 0, len(plain), 0, 0, 0, 0, 6, 0)), b"a.txt\0", plain)))

# In the middle of something else.
program = b"\x7fELF\x02\x01\x01" + noise(5000)
for name, content in (
    ("gzip", gzip.compress(plain)),
    ("bzip2", bz2.compress(plain)),
    ("xz", lzma.compress(plain)),
    ("zip", archive),
    ("zip-utf-16", zipped(text.encode("utf-16"))),
    ("tar-gz", tarred(plain, "w:gz")),
):
    found("behind-a-program-" + name, program + content + noise(300))
    found("far-behind-" + name, noise(3 << 20) + content)
    found("in-an-archive-behind-a-program-" + name, tarred(program + content, "w:gz"))
jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0" + noise(2000) + b"\xff\xd9"
found("behind-a-picture", jpeg + archive)
found("comment-of-a-picture", b"\xff\xd8\xff\xfe" + struct.pack(">H", len(plain) + 2) + plain + b"\xff\xd9")

# Documents and mail.


def pdf(stream, filters=b""):
    body = b"4 0 obj<</Length %d%s>>stream\n" % (len(stream), filters)
    return b"%PDF-1.4\n" + body + stream + b"\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


shown = b"BT " + b" ".join(b"(%s) Tj T*" % line for line in plain.split(b"\n")) + b" ET"
kerned = b"BT " + b" ".join(b"[" + b"".join(b"(%c) -20 " % byte for byte in line) + b"] TJ T*" for line in plain.split(b"\n") if line) + b" ET"
found("pdf", pdf(shown))
found("pdf-flate", pdf(zlib.compress(shown), b"/Filter/FlateDecode"))
found("pdf-ascii85", pdf(base64.a85encode(zlib.compress(shown)) + b"~>", b"/Filter[/ASCII85Decode/FlateDecode]"))
found("pdf-hex", pdf(binascii.hexlify(shown) + b">", b"/Filter/ASCIIHexDecode"))
found("pdf-kerned", pdf(zlib.compress(kerned), b"/Filter/FlateDecode"))
found("pdf-behind-a-program", program + pdf(zlib.compress(shown), b"/Filter/FlateDecode"))
unclean("pdf-lzw", pdf(noise(500), b"/Filter/LZWDecode"))
runs = "".join("<w:r><w:t>%s</w:t></w:r>" % letter for letter in text)
found("docx-runs", zipped('<?xml version="1.0"?><w:document xmlns:w="x"><w:p>%s</w:p></w:document>' % runs, name="word/document.xml"))
found("rtf", "{\\rtf1 " + text.replace("\n", "\\par ") + "}")
found("rtf-hex", "{\\rtf1 " + "".join("\\'%02x" % byte for byte in plain) + "}")
for name, maintype, content in (("text", "text", plain), ("zip", "application", archive), ("utf-16", "application", text.encode("utf-16"))):
    mail = email.message.EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "records", "a@example.org", "b@example.org"
    mail.set_content("see attachment")
    mail.add_attachment(content, maintype=maintype, subtype="plain" if maintype == "text" else "octet-stream", filename="a")
    found("mail-" + name, mail.as_bytes())
    found("mailbox-" + name, b"From a@example.org Mon Jan  1 00:00:00 2026\n" + mail.as_bytes() + b"\n")
rows = [("card %s" % pan(),) for _ in range(300)]
connection = sqlite3.connect("found-sqlite")
connection.execute("create table t(a text)")
connection.executemany("insert into t values(?)", rows)
connection.commit()
connection.close()
with open("found-sqlite", "rb") as file:
    database = file.read()
found("sqlite-gzip", gzip.compress(database))
found("sqlite-behind-a-program", program + database)

# What is closed.
for name, magic in (
    ("7z", b"7z\xbc\xaf\x27\x1c\0\x04"),
    ("rar4", b"Rar!\x1a\x07\0\xcf\x90\x73\0\0\x0d\0\0\0\0\0\0\0"),
    ("rar5", b"Rar!\x1a\x07\x01\0"),
    ("arj", b"\x60\xea\x2c\0\x22\x0b"),
    ("lha", b"!\x12-lh5-"),
    ("ace", b"\x12\x34\x31\0\0\0\x90**ACE**"),
    ("zoo", b"ZOO 2.10 Archive.\x1a\0\0\xdc\xa7\xc4\xfd"),
    ("wim", b"MSWIM\0\0\0"),
    ("lzip", b"LZIP\x01\x0c"),
    ("lzop", b"\x89LZO\0\x0d\x0a\x1a\x0a"),
    ("snappy", b"\xff\x06\0\0sNaPpY"),
    ("qcow2", b"QFI\xfb\0\0\0\x03"),
    ("vmdk", b"KDMV\x01\0\0\0"),
    ("vhdx", b"vhdxfile"),
    ("squashfs", b"hsqs\x10\0\0\0"),
    ("outlook", b"!BDN"),
    ("pg-dump", b"PGDMP\x01\x0e"),
    ("redis", b"REDIS0011"),
    ("parquet", b"PAR1\x15\x04"),
    ("avro", b"Obj\x01\x04"),
    ("openssl", b"Salted__"),
    ("luks", b"LUKS\xba\xbe\0\x02"),
    ("pgp", b"\x8c\x0d\x04\x09\x03\x08"),
    ("pgp-key", b"\x85\x01\x0c\x03abcdefgh\x01"),
    ("pgp-armour", b"-----BEGIN PGP MESSAGE-----\n\njA0E\n"),
    ("age", b"age-encryption.org/v1\n"),
    ("ansible", b"$ANSIBLE_VAULT;1.1;AES256\n"),
    ("keepass", b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5"),
    ("cms", b"\x30\x82\x10\0\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"),
):
    unclean("closed-" + name, magic + noise(3000))
    unclean("closed-in-zip-" + name, zipped(magic + noise(3000)))
start = struct.pack("<QQL", 3000, 20, 7)
unclean("7z-behind-a-program", program + b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<L", zlib.crc32(start)) + start + noise(3000))
