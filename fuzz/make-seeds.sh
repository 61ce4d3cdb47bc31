#!/bin/sh
# Makes the seeds of the fuzz targets from small images that the real tools make.
# Needs e2fsprogs, xfsprogs, ntfs-3g, dosfstools, mtools, exfatprogs, btrfs-progs, xorriso,
# squashfs-tools, gdisk and qemu-utils. The seeds are committed; run this to add one.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$work/tree/a/b"
printf 'one\n' > "$work/tree/one"
head -c 9000 /dev/zero | tr '\0' 'x' > "$work/tree/a/nine"
printf 'three\n' > "$work/tree/a/b/three"
ln -s one "$work/tree/link"

# pack TARGET NAME IMAGE
pack() {
    mkdir -p "seeds/$1"
    cargo run --quiet --release --example pack "$3" "seeds/$1/$2"
}
# image TARGET NAME BYTES: a fresh image in $work/image
image() { rm -f "$work/image"; truncate -s "$1" "$work/image"; }

image 1M; mke2fs -q -F -t ext2 -b 1024 -d "$work/tree" "$work/image"; pack ext ext2 "$work/image"
image 2M; mke2fs -q -F -t ext4 -b 1024 -O inline_data,^has_journal -d "$work/tree" "$work/image"; pack ext inline "$work/image"
image 4M; mke2fs -q -F -t ext4 -b 1024 -J size=1 -d "$work/tree" "$work/image"
printf 'jo\njw -b 100 %s/tree/a/nine\njc\n' "$work" > "$work/commands"
debugfs -w -f "$work/commands" "$work/image" > "$work/log" 2>&1 || true
pack ext journal "$work/image"
printf '/\n16 1\nd--755 0 0\none ---644 0 0 %s/tree/one\na d--755 0 0\nnine ---644 0 0 %s/tree/a/nine\n$\n$\n' "$work" "$work" > "$work/proto"
image 16M; mkfs.xfs -q -f --unsupported -p "$work/proto" "$work/image"; pack xfs v5 "$work/image"
image 16M; mkfs.xfs -q -f --unsupported -m crc=0,finobt=0,reflink=0,rmapbt=0 "$work/image"; pack xfs v4 "$work/image"
image 2M; mkntfs -q -F -Q "$work/image"; ntfscp -f -q "$work/image" "$work/tree/one" one; ntfscp -f -q "$work/image" "$work/tree/a/nine" nine; pack ntfs small "$work/image"
for bits in 12:1M 16:8M; do
    size=${bits#*:}; bits=${bits%:*}
    image "$size"; mkfs.fat -F $bits -s 1 "$work/image" > "$work/log"; mcopy -s -i "$work/image" "$work/tree/one" "$work/tree/a" ::; pack fat "fat$bits" "$work/image"
done
image 40M; mkfs.fat -F 32 -s 1 "$work/image" > "$work/log"; mcopy -i "$work/image" "$work/tree/one" ::; pack fat fat32 "$work/image"
image 4M; mkfs.exfat -b 4096 "$work/image" > "$work/log"; pack exfat empty "$work/image"
image 16M; mkfs.btrfs -q -M --rootdir "$work/tree" "$work/image"; pack btrfs mixed "$work/image"
xorriso -as mkisofs -quiet -J -R -o "$work/image" "$work/tree" 2> "$work/log"; truncate -s %1M "$work/image"; pack iso9660 small "$work/image"
rm "$work/image"; mksquashfs "$work/tree" "$work/image" -quiet -no-progress > "$work/log"; truncate -s %1M "$work/image"; pack squashfs gzip "$work/image"
image 2M; sgdisk -a 1 -n 1:64:+512K -n 2:0:+512K "$work/image" > "$work/log"; pack partitions gpt "$work/image"
image 1M; printf ',64,83\n,64,5\n' | sfdisk -q "$work/image" > "$work/log" 2>&1 || true; pack partitions mbr "$work/image"

head -c 1500 /dev/zero | tr '\0' 'y' > "$work/raw"; truncate -s 64K "$work/raw"
truncate -s 4M "$work/empty"
mkdir -p seeds/image_qcow2 seeds/image_vmdk seeds/image_vhd seeds/image_raw
qemu-img convert -O qcow2 -o cluster_size=512 "$work/raw" seeds/image_qcow2/small
qemu-img convert -O qcow2 -o cluster_size=512 -c "$work/raw" seeds/image_qcow2/compressed
qemu-img convert -O vmdk -o subformat=streamOptimized "$work/raw" seeds/image_vmdk/stream
# The blocks of VHD are MiB large, and so are the headers of VHDX and VDI: too much for a seed.
qemu-img convert -O vpc "$work/empty" seeds/image_vhd/empty
printf raw > seeds/image_raw/raw

mkdir -p seeds/compressed seeds/zip seeds/pdf seeds/sqlite seeds/mail
for tool in gzip bzip2 xz zstd lz4; do "$tool" -c < "$work/tree/a/nine" > "seeds/compressed/$tool"; done
tar -cf - -C "$work/tree" one a | gzip -n > seeds/compressed/tar
{ printf 'some text\n'; seq 200 | base64; } > seeds/compressed/base64
(cd "$work/tree" && zip -q -r - one a) > seeds/zip/deflate
(cd "$work/tree" && zip -q -0 - one a/nine) > seeds/zip/stored
printf '%%PDF-1.4\n4 0 obj\n<</Length 40>>\nstream\nBT /F1 9 Tf 1 2 Td [(a) -200 <62>] TJ ET\nendstream\nendobj\n' > seeds/pdf/plain
rm -f "$work/db"; python3 -c "import sqlite3, sys
c = sqlite3.connect(sys.argv[1]); c.execute('create table t(id integer primary key, a text)')
c.executemany('insert into t values(?, ?)', [(i, 'x' * i) for i in range(60)]); c.execute('create index i on t(a)'); c.commit()" "$work/db"
cp "$work/db" seeds/sqlite/small
printf 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Transfer-Encoding: base64\n\nYWJj\n--b\n\nx\n--b--\n' > seeds/mail/parts
