#!/bin/busybox sh
# The guest's first process: makes the host's file system the guest's own, under an overlay in memory that takes what is
# written, and starts the agent there. Runs in virtme-ng's initramfs, with its busybox and its modules: a program of the host
# would be read over 9p first, and that is slow.
#
# /ia2exit/settings (initramfs.py) says python and modules, and sets the positional parameters: the folders in which writes
# reach the host.
set -eu
PATH=/bin
/bin/busybox --install -s /bin 2>/dev/null || :
mount -t proc proc /proc
say() {
    echo "ia2exit: $*" >/dev/console
}
log() {
    :
}
. /ia2exit/settings

say "loading modules"
. /modules/load_all.sh
for module in /ia2exit/modules/*; do
    [ ! -e "$module" ] || insmod "$module"
done

say "mounting the host's files"
options=trans=virtio,version=9p2000.L,access=any,msize=512000
mkdir /guest
mount -t tmpfs -o mode=0755,size=75% ia2exit /guest
mkdir /guest/host /guest/written /guest/work /guest/root
mount -t 9p -o "$options,ro,cache=loose" ia2host /guest/host
mount -t overlay -o lowerdir=/guest/host,upperdir=/guest/written,workdir=/guest/work,xino=off overlay /guest/root
cd /guest/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=0755 run run
ln -sf /proc/self/fd dev/fd
ln -sf /proc/self/fd/0 dev/stdin
ln -sf /proc/self/fd/1 dev/stdout
ln -sf /proc/self/fd/2 dev/stderr
number=0
for writable; do
    mount -t 9p -o "$options,rw,cache=mmap" "ia2rw$number" "/guest/root$writable"
    number=$((number + 1))
done
# Modules that a command has the kernel load: those of this kernel lie in a folder of their own.
release=$(uname -r)
if [ ! -e "lib/modules/$release" ]; then
    mkdir -p lib/modules
    ln -s "$modules" "lib/modules/$release"
fi
ifconfig lo 127.0.0.1 up

say "starting $python"
mkdir run/ia2exit
cp /ia2exit/agent/* run/ia2exit
umount /proc
exec switch_root /guest/root "$python" -I -S /run/ia2exit/agent.pyc
