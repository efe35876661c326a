#!/bin/sh
# Runs in a container that holds the essential packages' files and, in /var/cache/release, all packages: installs them
# as a new Debian is installed, and leaves nothing that makes two hosts of this image one.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /var/cache/release || exit
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # nothing is started
chmod 755 /usr/sbin/policy-rc.d
mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates
: >/var/lib/dpkg/status
: >/var/lib/dpkg/available
dpkg --force-unsafe-io --force-depends --install base-passwd_*.deb base-files_*.deb
dpkg --force-unsafe-io --force-depends --unpack ./*.deb
dpkg --force-unsafe-io --configure --pending
test -z "$(dpkg --audit)"
if test -e /bin/systemctl; then
    # What writes or takes apt's lock at times of its own, or wants hardware.
    systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
        systemd-tmpfiles-clean.timer console-getty.service getty.target systemd-logind.service dev-hugepages.mount \
        sys-fs-fuse-connections.mount systemd-udevd.service
    test ! -e /usr/sbin/sshd || systemctl --quiet disable ssh # started for a deployment, with keys of its own
fi
rm -rf /usr/sbin/policy-rc.d /var/cache/release /var/log/*.log /var/log/apt /etc/ssh/ssh_host_*
: >/etc/machine-id
