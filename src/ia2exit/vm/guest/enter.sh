#!/bin/sh
# Runs in the guest, as root, when virtme-ng's init is done: makes the host's file system the guest's own and goes there.
#
#   enter.sh PYTHON AGENT MODULES [WRITABLE …]
#
# virtme-ng's root is the host's, read-only and uncached. Here the same files come once more, cached, under an overlay in memory
# that takes what is written; each WRITABLE folder comes as it is, and writes to it reach the host.
set -eu
python=$1
agent=$2
modules=$3
shift 3

base=/run/ia2exit
options=trans=virtio,version=9p2000.L,access=any,msize=512000
modprobe -d "$modules" -a overlay
mkdir -p "$base"
mount -t tmpfs -o mode=0755,size=75% ia2exit "$base"
mkdir "$base/host" "$base/written" "$base/work" "$base/root"
mount -t 9p -o "$options,ro,cache=loose" ia2host "$base/host"
mount -t overlay -o "lowerdir=$base/host,upperdir=$base/written,workdir=$base/work,xino=off" overlay "$base/root"
for folder in proc sys dev; do
    mount --rbind "/$folder" "$base/root/$folder"
done
mount -t tmpfs -o mode=0755 run "$base/root/run"
mount -t tmpfs -o mode=1777 shm "$base/root/dev/shm" 2>/dev/null || true
number=0
for writable; do
    mount -t 9p -o "$options,rw,cache=mmap" "ia2rw$number" "$base/root$writable"
    number=$((number + 1))
done
exec chroot "$base/root" "$python" -I -S "$agent"
