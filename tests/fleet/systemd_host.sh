#!/bin/sh
# systemd_host.sh FOLDER BASE NETNS MACHINE NAME INIT: in a mount namespace of its own, makes the root of a
# systemd host and becomes its systemd-nspawn. All mounts are gone when the host is.
set -eu
folder=$1 base=$2 netns=$3 machine=$4 name=$5 init=$6
root=$folder/root

mkdir -p "$root" "$folder/work"
mount -t overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/work" plugfleet "$root"
# systemd-nspawn keeps state of every machine there, also of one that was killed.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
exec systemd-nspawn --quiet --directory="$root" --machine="$machine" --hostname="$name" \
    --register=no --keep-unit --network-namespace-path="$netns" --console=pipe \
    --resolv-conf=off --timezone=off --link-journal=no --kill-signal=SIGRTMIN+3 "$init"
