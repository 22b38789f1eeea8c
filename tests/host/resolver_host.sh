# A host of its own for one of Debian's resolvers, unpacked in ROOT, in namespaces of its own:
#     unshare --mount --net --pid --fork --mount-proc sh resolver_host.sh KIND ROOT COMMAND …
# Nothing of it reaches the machine: /usr and /etc are overlaid in memory, /run is new.
set -e
kind=$1 root=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs /run
for place in usr etc; do
    mkdir -p /run/over/$place /run/work/$place
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=/run/over/$place,workdir=/run/work/$place" /$place
done
for place in usr etc lib sbin; do
    [ ! -d "$root/$place" ] || cp -a "$root/$place/." "/$place/"
done
ip link set lo up
rm -f /etc/resolv.conf
case $kind in
openresolv)
    printf 'nameserver 192.0.2.53\nsearch example.org\n' | resolvconf -a eth0.dhcp
    ;;
resolvconf)
    ln -s /run/resolvconf/resolv.conf /etc/resolv.conf
    resolvconf --enable-updates
    printf 'nameserver 192.0.2.53\nsearch example.org\n' | resolvconf -a eth0.dhcp
    ;;
resolvconf-beside-its-file)
    printf 'nameserver 192.0.2.53\n' >/etc/resolv.conf
    resolvconf --enable-updates
    ;;
systemd-resolved)
    grep -q ^systemd-resolve: /etc/passwd || echo 'systemd-resolve:x:996:996::/:/usr/sbin/nologin' >>/etc/passwd
    grep -q ^systemd-resolve: /etc/group || echo 'systemd-resolve:x:996:' >>/etc/group
    ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    mkdir -p /run/dbus /run/systemd/resolve
    chown systemd-resolve: /run/systemd/resolve
    dbus-daemon --system --nofork --nopidfile 2>/dev/null &
    until [ -S /run/dbus/system_bus_socket ]; do sleep 0.02; done
    /usr/lib/systemd/systemd-resolved 2>/dev/null &
    until resolvectl status >/dev/null 2>&1; do sleep 0.05; done
    ;;
esac
"$@"
