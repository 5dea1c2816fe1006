#!/bin/sh
# The VM's first process on its own root, after init.sh: names it, connects it, and lets its host in.
umount -l /.host && rmdir /.host

modprobe ipv6
hostname "${lab_node:?}"
ip link set lo up
ip link set vec0 name eth0
# What a VM's cloud-init or DHCP client would do; the lab does it once more, and hears of failures.
sh -e /etc/neutron-cni-lab/network.sh

# The node's processes shall find nothing of this in their environment.
guest=${lab_guest:?} address=${lab_address:?}
while :; do
    env -i PATH="$PATH" LANG="$LANG" /usr/bin/python3 -I -S "$guest/remote" serve vec7 "$address"
    sleep 1
done
