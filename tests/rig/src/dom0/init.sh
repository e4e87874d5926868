#!/bin/sh
# dom0's whole userland: Xen's daemons, then one job after the other, then the end. No disk, no device model.
#
# Two ways out: hvc0 (Xen's COM1) carries what a person may want to read; a channel, the port of a virtio console, carries the
# guests' consoles and, between them, the lines that the rig acts on, each starting with "@rig ". The rig reads them in
# tests/rig/src/console. What it says, words and the jobs, comes by the channel, too; with the jobs a secret, which no guest
# knows and each of those lines has from then on.
#
# What the rig puts into /jobs before dom0 is ready:
#   xenstored        the program to start as that
#   modules          kernel modules in /mods, in load order
#   channel-modules  those for the channel
#   abuse.sh         what is done to guests, by functions
#   bundle.sh        what the script for a real host is put through, by functions, too
#   bundle.tar.gz    what a real host is given
#   desk.pub         the key of who comes by ssh, where a story wants that
#   channel          the address of the console whose port is the channel: 0000:00:0f.0
#   hide             devices for pciback, as its parameter wants them: (0000:00:05.0)(...)
#
# What it gives a dom0 that is ready, which may have been so for days:
#   pvbounce         the guest
#   NNNN/name        the job's name
#   NNNN/limit       seconds until the domain is destroyed
#   NNNN/guest.cfg   the xl config, a file of xl-configs/
#   NNNN/device      the devices that are passed through, if any are, a line each
#   NNNN/together    there if its domain, called "partner", lives at the same time as that of the job before it
#   NNNN/hog         further config lines of a second domain, which takes the low memory first; its config is NNNN/hog.cfg
#   NNNN/attach      there if the device is attached to the paused guest, whose config has none
#   NNNN/host-numbers  there if the guest is to see its devices where the host has them
#   NNNN/hotplug     there if the guest has none at first, and its devices come and go as it asks
#   NNNN/silent      there if the guest is to see a PCI device whose backend never answers
#   NNNN/bundle      there if not xl starts the guest, but the script for a real host: a story of bundle.sh, its exit code, its arguments
#   NNNN/abuse       what is done to the guest when the rig says so, a function of abuse.sh
#   NNNN/overrides   further config lines for `xl create`, one a line
#
# shellcheck disable=SC1091,SC2013 # What it sources the rig puts there; devices are words.
export PATH=/bin:/usr/sbin

/bin/busybox mkdir -p /proc /sys /dev /run /tmp /var/log/xen/console /var/lib/xen /var/lib/xenstored /etc/xen
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mkdir -p /run/xen /run/xenstored /run/lock
ln -sfn /run /var/run
# Where xenconsole keeps its locks.
ln -sfn /run/lock /var/lock
# xl and its libraries complain about settings that aren't there.
touch /etc/xen/xl.conf

# A pipe for all who write to the channel, whose port can be opened but once. Descriptor 9 holds it open.
mkfifo /run/channel
exec 9<>/run/channel

# The console daemon opens its log by the domain's name, and every job's domain is called "guest".
ln -sf /run/channel /var/log/xen/console/guest-guest.log

uptime() {
    read -r up _ </proc/uptime
    echo "$up"
}

secret=
mark() {
    printf '@rig%s %s\n' "$secret" "$*" >&9
}

# Xen's free memory in MiB, and its free pages below 4 GiB, which no other figure of its tools shows: a zone N has frames of N bits,
# and zone 0 is Xen's own. dom0's memory in MiB, since without dom0_mem on Xen's command line xl has dom0 give guests what they
# need; and how many domains there are.
measure() {
    xl debug-keys H
    low=$(xl dmesg | awk -F '[]=]|-> | pages' '!/heap\[node=0\]\[zone=/ { next } $4 == 0 { all = low = 0; next }
        { all += $6 } $4 <= 20 { low += $6 } END { print int(all / 256), low }')
    free=${low% *}
    low=${low#* }
    domains=$(xl list | awk '$2 == "0" { own = $3 } END { print own, NR - 1 }')
    own=${domains% *}
    domains=${domains#* }
}

# What dom0 itself has and holds: memory to spare, its event channels.
own_figures() {
    until [ "$of" = MemAvailable: ]; do read -r of available _ || break; done </proc/meminfo
    echo "dom0-kib=$available dom0-ports=$(grep -c 'xen-' /proc/interrupts)"
}

# Measures once Xen has all of a dead domain's memory back, so many MiB and low pages, or after a while: it works through it after
# the domain is gone, and gives back what it knew the domain by last of all.
settle() {
    tries=20
    while
        measure
        [ "$tries" -gt 0 ] && { [ $((free + own)) -lt "$1" ] || [ "$low" -lt "$2" ]; }
    do
        tries=$((tries - 1))
        usleep 100000
    done
}

echo "dom0: up $(uptime)"
while read -r module; do insmod "/mods/$module.ko"; done </jobs/modules
# The channel's console only: others of virtio are for guests.
echo 0 >/sys/bus/pci/drivers_autoprobe
while read -r module; do insmod "/mods/$module.ko"; done </jobs/channel-modules
# No line end follows the address. A driver that is built into dom0's kernel has it already.
read -r channel </jobs/channel
[ -e "/sys/bus/pci/devices/$channel/driver" ] || echo "$channel" >/sys/bus/pci/drivers/virtio-pci/bind
echo 1 >/sys/bus/pci/drivers_autoprobe
# The console tells of its port in the background. Its number depends on what else there is of virtio.
tries=600
until set -- /dev/vport*p1 && [ -c "$1" ] || [ "$tries" = 0 ]; do
    tries=$((tries - 1))
    usleep 100000
done
# Nobody would hear of anything that follows.
[ -c "$1" ] || {
    echo "dom0: no channel: the console at $channel has no port"
    poweroff -f
}
exec 8<>"$1"
cat </run/channel >&8 9>&- &
mount -t xenfs xenfs /proc/xen
case $(cat /jobs/xenstored) in
xenstored) xenstored --pid-file /run/xenstored.pid ;;
*)
    # Its package has this file, and without it the daemon does not know where the kernel has its ring.
    printf 'xenstored-%s = /proc/xen/xsd_%s\n' kva kva port port >/etc/xen/oxenstored.conf
    # Left to itself it goes to the background before it answers, and who asks then waits for ever.
    "$(cat /jobs/xenstored)" --no-fork --pid-file /run/xenstored.pid 9>&- 8<&- &
    tries=300
    until [ -S /run/xenstored/socket ] || [ "$tries" = 0 ]; do
        tries=$((tries - 1))
        usleep 100000
    done
    ;;
esac
xen-init-dom0
start_xenconsoled() {
    xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xenconsoled.pid
}
start_xenconsoled
. /jobs/abuse.sh
. /jobs/bundle.sh
# A driver that is built into dom0's kernel has its device already, and pciback takes none away.
for device in $(tr '()' '  ' </jobs/hide); do
    driver=/sys/bus/pci/devices/$device/driver
    [ ! -e "$driver" ] || echo "$device" >"$driver/unbind"
done
if [ -e /mods/xen-pciback.ko ]; then
    insmod /mods/xen-pciback.ko "hide=$(cat /jobs/hide)"
else
    # Built into dom0's kernel, it is told of each.
    for device in $(tr '()' '  ' </jobs/hide); do
        for file in new_slot bind; do echo "$device" >"/sys/bus/pci/drivers/pciback/$file"; done
    done
fi
# Xen answers tools of its own version only.
said=$(xl vcpu-list 0 2>&1 >/dev/null)
[ -z "$said" ] || mark "stranger text=$said"
# What the first job begins with.
measure
echo "dom0: ready $(uptime)"
mark "ready t=$(uptime)"

# The rig says when the jobs follow.
until [ "${word:-}" = jobs ]; do read -r word secret <&8; done
(cd / && cpio -idmu <&8)
echo "dom0: has the jobs $(uptime)"

# pciback numbers a guest's devices as it was told when it was loaded: 0, each in a slot of bus 0; 1, as the host does.
numbering=0
number_devices() {
    [ "$1" != "$numbering" ] || return 0
    numbering=$1
    rmmod xen-pciback
    insmod /mods/xen-pciback.ko "hide=$(cat /jobs/hide)" "passthrough=$numbering"
}

# Whose number this is: nothing for the job's guest, and what ends the names of files for its partner.
whose() {
    [ "$(xl domid partner 2>/dev/null)" = "$1" ] && echo -partner
}

# The guest is done with its device. Taken back now it goes at once; from a dead guest, after ten seconds. Once only: the
# watch may tell twice, and a second xl would wait for a device that is gone.
take_back() {
    [ ! -e "$job/bundle" ] || return 0
    case " $taken_back " in *" $1 "*) return 0 ;; esac
    taken_back="$taken_back $1"
    folder=$job
    [ -n "$2" ] && folder=$partner
    while read -r device; do xl pci-detach "$1" "$device" </dev/null; done <"$folder/device"
}

# What suite hotplug asks for, as ROUND-DEVICES: none yet, or as many as it is to have. Once each: the watch may tell twice.
come_and_go() {
    [ -e "$job/hotplug" ] && mkdir "/tmp/hotplug-${1%%/*}-$2" 2>/dev/null || return 0
    case $2 in
    *-0) for device in $(cat "$job/device"); do xl pci-attach guest "$device"; done ;;
    *-"$(grep -c . "$job/device")") for device in $(cat "$job/device"); do xl pci-detach guest "$device"; done ;;
    esac
}

# Notes what the guest writes to data/pvbounce while it runs: its part of the store goes with it.
watch_store() {
    taken_back=
    xenstore-watch "/local/domain/$1/data/pvbounce" "/local/domain/$(($1 + 1))/data/pvbounce" \
        "/local/domain/$(($1 + 2))/data/pvbounce" | while read -r path; do
        value=$(xenstore-read "$path" 2>/dev/null) || continue
        [ -n "$value" ] || continue
        id=${path#/local/domain/}
        id=${id%%/*}
        whose=
        [ -n "$partner" ] && whose=$(whose "$id")
        echo "key=${path##*/} value=$value" >>"/tmp/store$whose"
        case ${path##*/} in
        detach) take_back "$id" "$whose" ;;
        hotplug) come_and_go "${path#/local/domain/}" "$value" ;;
        esac
    done
}

# Ends a function that runs in the background, and what it waits for. To look through all of /proc for that takes a second.
end() {
    # No line end follows, which is no failure. It may be gone by now.
    read -r waited <"/proc/$1/task/$1/children"
    # The function first: else it goes on, with what follows its wait.
    for process in "$1" $waited; do kill "$process"; done
    waited=
}

# A guest that does not end in time is destroyed; an xl that does not end then, is killed.
watchdog() {
    sleep "$1"
    touch "/tmp/late$4"
    echo "dom0: the job's $1 s are over: destroying the domain"
    # Paused first: destroying takes its device away, and what the guest then finds is nobody's finding.
    bounded xl pause "$3"
    bounded xl destroy "$3"
    sleep 15
    kill -9 "$2"
}

# Without xenstored xl waits for ever.
bounded() {
    timeout -s KILL 15 "$@"
}

store_lives() {
    kill -0 "$(cat /run/xenstored.pid)" 2>/dev/null
}

# What the rig says while a job runs: `abuse`, when the guest is where the job wants it for that; `said`, when its verdict
# is out. An xl that has not buried it a minute later never will, and without xenstored it can't at all.
listen() {
    while read -r word <&8; do
        case $word in
        abuse)
            echo "dom0: $(uptime) abuse: $(cat "$job/abuse")"
            touch /tmp/abusing
            "abuse_$(cat "$job/abuse")" || mark undone
            echo "dom0: $(uptime) abuse: over"
            rm /tmp/abusing
            ;;
        said)
            touch /tmp/said
            store_lives && sleep 50
            sleep 10
            touch /tmp/stuck
            kill -9 "$1"
            ;;
        esac &
    done
}

# Waits until what was begun with a guest has ended, so that it does not go on with the next one.
await_abuse() {
    tries=450
    while [ -e /tmp/abusing ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        usleep 100000
    done
}

# Buries a guest whose xl is gone before it: in the end, or when its time is over.
bury() {
    store_lives || return
    until [ -e /tmp/said ] || [ -e /tmp/late ] || ! xl domid guest >/dev/null 2>&1; do usleep 200000; done
    bounded xl list guest && bounded xl destroy guest
}

# Gives the paused guest the store nodes of a PCI device, but nobody at the other end; then lets it run.
play_silent() {
    until id=$(xl domid guest 2>/dev/null); do usleep 50000; done
    front=/local/domain/$id/device/pci/0
    back=/local/domain/0/backend/pci/$id/0
    xenstore-write "$back/state" 1
    xenstore-chmod "$back" n0 "r$id"
    xenstore-chmod "$back/state" n0 "r$id"
    xenstore-write "$front/backend" "$back" "$front/backend-id" 0 "$front/state" 1
    xenstore-chmod "$front" "n$id" r0
    for node in backend backend-id state; do xenstore-chmod "$front/$node" "n$id" r0; done
    xl unpause guest
}

# Gives the paused guest its device, which its config had not: so xl gave it no memory map of the host's. Then lets it run.
play_attach() {
    until grep -q 'Waiting for domain' /tmp/xl 2>/dev/null; do usleep 50000; done
    xl pci-attach guest "$(cat "$job/device")"
    xl unpause guest
}

# Starts the domain that takes the low memory, and waits until it has it.
start_hog() {
    set --
    while read -r line; do set -- "$@" "$line"; done <"$job/hog"
    xl create "$job/hog.cfg" "$@" </dev/null
    next=$((next + 1))
    while id=$(xl domid hog 2>/dev/null); do
        word=$(xenstore-read "/local/domain/$id/data/pvbounce/hog" 2>/dev/null)
        [ "$word" = holding ] && break
        usleep 100000
    done
}

# Ends it; if it does not go, by force. What it said is for dom0's log.
stop_hog() {
    xl shutdown hog
    tries=300
    while xl domid hog >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || xl destroy hog
        usleep 100000
    done
    sed 's/^/hog: /' /var/log/xen/console/guest-hog.log
}

# Starts the domain of the job that follows. What it says goes to a file until its turn has come.
start_partner() {
    rm -f /tmp/store-partner /tmp/late-partner /var/log/xen/console/guest-partner.log
    touch /tmp/store-partner
    set --
    while read -r line; do set -- "$@" "$line"; done <"$partner/overrides"
    read -r partner_start _ </proc/uptime
    xl create -F "$partner/guest.cfg" "$@" </dev/null >/tmp/xl-partner 2>&1 &
    partner_xl=$!
    watchdog "$(cat "$partner/limit")" "$partner_xl" partner -partner &
    partner_dog=$!
}

# Waits until it is gone.
await_partner() {
    wait "$partner_xl"
    partner_code=$?
    [ "$partner_code" = 0 ] || bounded xl destroy partner
    read -r partner_gone _ </proc/uptime
    end "$partner_dog" 2>/dev/null
}

# What it said while the other one ran, as if it ran now.
tell_partner() {
    name=$(cat "$partner/name")
    await_go
    mark "begin job=$name"
    cat /var/log/xen/console/guest-partner.log >&9
    echo >&9
    stuck=0
    tell_end "$partner_start" "$partner_gone" "$partner_code" -partner
}

# The rig knows which job is next, and says when; or that another machine has it.
await_go() {
    mark "ask job=$name"
    # What was meant for the job before may still be there.
    while read -r word <&8; do
        case $word in
        go) return 0 ;;
        skip) return 1 ;;
        esac
    done
    return 1
}

# What there is to tell of a domain that is gone: when it started, when it was gone, xl's exit code; and whose it was. The next
# domain's number follows that of the one that xl created, by what it said. A creation that failed may or may not have used a
# number up; the watch covers three.
tell_end() {
    reason=none
    [ -e "/tmp/late$4" ] && late=1 || late=0
    while read -r line; do mark "store job=$name $line"; done <"/tmp/store$4"
    while read -r line; do
        mark "xl job=$name text=$line"
        case $line in
        *'(domid '*)
            domid=${line##*'(domid '}
            domid=${domid%%)*}
            # A guest may say such words, too.
            [ "$domid" -ge "$next" ] 2>/dev/null && next=$((domid + 1))
            ;;
        *'has shut down, reason code '*)
            reason=${line##*'reason code '}
            reason=${reason%% *}
            ;;
        esac
    done <"/tmp/xl$4"
    mark "end job=$name start=$1 gone=$2 code=$3 reason=$reason late=$late stuck=$stuck $figures"
}

# Runs a job, and beside it the one that follows if the two go together.
run_job() {
    job=$1
    # Neither has a line end.
    read -r name <"$job/name"
    read -r limit <"$job/limit"
    partner=
    [ -e "$2/together" ] && partner=$2
    await_go || {
        partner=
        return
    }
    rm -f /tmp/store /tmp/late /tmp/xl /tmp/said /tmp/stuck /tmp/abusing
    : >/tmp/store
    wanted=0
    [ -e "$job/host-numbers" ] && wanted=1
    number_devices "$wanted"
    # As the job before left it, unless something was mended since.
    [ -n "$free" ] || settle 0 0
    before=$free
    own_before=$own
    low_before=$low
    [ -e "$job/hog" ] && start_hog
    watch_store "$next" &
    store=$!
    set --
    while read -r line; do set -- "$@" "$line"; done <"$job/overrides"
    paused=
    player=
    for part in silent attach; do
        [ -e "$job/$part" ] || continue
        "play_$part" &
        player=$!
        paused=-p
    done

    [ -e "$job/bundle" ] && bundle_before
    mark "begin job=$name"
    read -r start _ </proc/uptime
    if [ -e "$job/bundle" ]; then
        bundle_run </dev/null >/tmp/xl 2>&1 &
    else
        xl create -F ${paused:+"$paused"} "$job/guest.cfg" "$@" </dev/null >/tmp/xl 2>&1 &
    fi
    xl=$!
    watchdog "$limit" "$xl" guest "" &
    dog=$!
    listen "$xl" &
    ears=$!
    [ -n "$partner" ] && start_partner
    wait "$xl"
    code=$?
    if [ -e "$job/bundle" ]; then
        bundle_after "$code"
    elif [ "$code" != 0 ]; then
        bury
    fi
    read -r gone _ </proc/uptime
    await_abuse
    [ -n "$partner" ] && await_partner
    # The guest may have ended in the middle of a line.
    echo >&9

    # A part whose guest was never created still waits for it, and would take the next one for it.
    for helper in "$dog" "$store" "$ears" $player; do end "$helper"; done 2>/dev/null
    [ -e /tmp/stuck ] && stuck=1 || stuck=0
    [ -e "$job/hog" ] && stop_hog
    figures=
    if store_lives; then
        settle $((before + own_before)) "$low_before"
        figures="free-before=$before free-after=$free low-before=$low_before low-after=$low own-before=$own_before own-after=$own domains=$domains $(own_figures)"
    fi
    tell_end "$start" "$gone" "$code" ""
    if [ -e "$job/abuse" ]; then
        after=after_$(cat "$job/abuse")
        type "$after" >/dev/null 2>&1 && "$after"
        free=
    fi
    # Nothing that xl does ends without it, and it can't be started again.
    store_lives || mark "ruined what=xenstored"
}

next=1
partner=
set -- /jobs/[0-9]*
while [ -d "${1:-}" ]; do
    if [ "$1" = "$partner" ]; then tell_partner; else run_job "$1" "${2:-}"; fi
    shift
done
mark "done t=$(uptime)"
# The rig ends QEMU now. Should it be gone, this ends the machine.
sleep 30
poweroff -f
