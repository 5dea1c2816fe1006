#!/bin/sh
# The VM's first process, on its host's file system, which can't be written: makes the VM's own root,
# a layer on its disk above that. The kernel's command line gives, as variables: lab_node,
# lab_seed (a folder of the host with what is in this VM and not on the host), lab_modules, lab_guest.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8

mount -t proc proc /proc
insmod "${lab_modules:?}/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
mount -t tmpfs tmpfs /mnt
mkdir /mnt/disk /mnt/seed /mnt/root
mount -t ext4 -o noatime /dev/ubda /mnt/disk
mount -t hostfs -o "ro,${lab_seed:?}" none /mnt/seed

# /tmp goes with a reboot, the rest of the disk stays.
rm -rf /mnt/disk/work /mnt/disk/upper/tmp
mkdir -p /mnt/disk/upper /mnt/disk/work /mnt/disk/var-lib/root
layers=lowerdir=/mnt/seed:/,upperdir=/mnt/disk/upper,workdir=/mnt/disk/work
mount -t overlay overlay -o "$layers" /mnt/root
cd /mnt/root

# Databases are on the disk itself.
mount --bind /mnt/disk/var-lib var/lib
mkdir -p usr/lib/modules .host
mount -t hostfs -o "ro,$lab_modules" none usr/lib/modules
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -sfn /proc/self/fd dev/fd
ln -sfn fd/0 dev/stdin
ln -sfn fd/1 dev/stdout
ln -sfn fd/2 dev/stderr
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lock run/netns

pivot_root . .host
# shellcheck disable=SC2094 # a device, no file
exec chroot . sh "${lab_guest:?}/main.sh" <dev/console >dev/console 2>&1
