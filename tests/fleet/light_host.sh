#!/bin/sh
# light_host.sh FOLDER LOWER MASK NAME DROP: process 1 of a light host, in namespaces of its own. Makes
# the host's root, gives up what a host may not do, and becomes its SSH server.
# FOLDER: the host's own; LOWER: the tree that all hosts start from; MASK: lies over this machine's /usr.
set -eu
folder=$1 lower=$2 mask=$3 name=$4 drop=$5
root=$folder/root

mkdir -p "$root" "$folder/upper" "$folder/work" "$folder/usr-upper" "$folder/usr-work"
mount -t overlay -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" plugfleet "$root"
mount -t overlay -o "lowerdir=$mask:/usr,upperdir=$folder/usr-upper,workdir=$folder/usr-work" \
    plugfleet "$root/usr"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o nosuid,nodev,mode=755,size=64m tmpfs "$root/run"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
# The kernel's knobs are the machine's.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
cp "$folder/host_key" "$root/etc/ssh/ssh_host_key"
echo "$name" > "$root/etc/hostname"
hostname "$name"
mkdir -p "$root/run/sshd" "$root/run/lock"

cd "$root"
pivot_root . mnt
umount -l /mnt
exec setpriv "$drop" /usr/sbin/sshd -D -E /var/log/sshd.log
