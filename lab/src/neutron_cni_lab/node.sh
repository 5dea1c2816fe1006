# Run in new mount and host-name namespaces and the node's network namespace: makes the node's view
# of the file system, then stays as the process that keeps these namespaces alive.
# Usage: node.sh NAME FOLDER
set -eu
name=$1
folder=$2

# Written when all is done, by way of a descriptor: FOLDER may be hidden below.
exec 3>"$folder/pid"

hostname "$name"

# The host's named namespaces are not the node's business, and a mount of one left here would keep
# it alive after the host removed it. One that is removed there at this moment is gone here as well.
awk '$5 ~ "^/run/netns(/|$)" {print $5}' /proc/self/mountinfo | sort -r | while read -r mounted; do
    umount -l "$mounted" 2>/dev/null || true
done

# An own /etc, /opt and /usr/local on top of the host's, so that no mount point has to be made there.
for part in etc opt usr-local; do
    target=/$(echo "$part" | tr - /)
    layers="lowerdir=$target,upperdir=$folder/root/$part/upper,workdir=$folder/root/$part/work"
    mount -t overlay overlay -o "$layers" "$target"
done

# /sys/class/net shows the namespace in which /sys was mounted; the cgroups below it are kept.
mkdir -p "$folder/cgroup"
mount --rbind /sys/fs/cgroup "$folder/cgroup"
mount -t sysfs sysfs /sys
mount --move "$folder/cgroup" /sys/fs/cgroup

# The kernel has one boot id for all; a node that was started anew has one of its own.
cat /proc/sys/kernel/random/uuid >"$folder/boot_id"
mount --bind "$folder/boot_id" /proc/sys/kernel/random/boot_id

# /run is lost when the node "reboots" (its holder dies), /var/lib is not.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount --bind "$folder/root/var-lib" /var/lib

echo $$ >&3
exec 3>&-
exec sleep infinity
