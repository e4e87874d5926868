#!/bin/sh
# The whole userland of the Linux guest that `bench --peer linux` puts beside ours: loads the card's drivers, waits for an
# answer to a ping, downloads, and reports in our own guest's words, so that the rig reads both alike.
#
# Words on the kernel's command line that the kernel does not know, and so are in the environment:
#   drivers    modules in load order, with commas between; those the kernel has built in are not in /mods
#   download   ADDRESS:PORT/BYTES
#   bounces    forced: everything has to bounce
#
# It waits for nothing longer than LIMIT. What it prints before the report is for whoever reads the log of a guest that
# did not get that far.
export PATH=/bin

/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ROUTER=10.0.2.2
LIMIT=30
: "${drivers:=none}" "${download:=nowhere}" "${bounces:=needed}"

# Hundredths of a second since the kernel started.
hundredths() {
    read -r up _ </proc/uptime
    up=${up%.*}${up#*.}
    # A number with a leading zero would be octal.
    up=${up#0}
    echo "${up#0}"
}

seconds() {
    echo "$(($1 / 100)).$(($1 / 10 % 10))$(($1 % 10))"
}

# Runs a command until it succeeds, but not for longer than LIMIT.
await() {
    since=$(hundredths)
    until "$@" >/dev/null 2>&1; do
        [ $(($(hundredths) - since)) -lt $((LIMIT * 100)) ] || return 1
        usleep 10000
    done
}

# Ends the report with its first failure: number, check, code, what was seen. The plan comes last, as KTAP allows: how many
# checks there are depends on how far it got.
fail() {
    echo "  # reason: $3: $4"
    echo "  not ok $1 $2 # FAILURE $3: $4"
    echo "  1..$1"
    echo "not ok 1 net # FAILURE"
    echo "Test result: FAILURE"
    poweroff -f
}

echo "linux: $(uname -r), init after $(seconds "$(hundredths)") s; drivers: $drivers"
for driver in $(echo "$drivers" | tr , ' '); do
    [ ! -e "/mods/$driver.ko" ] || insmod "/mods/$driver.ko" || echo "linux: $driver does not load"
done

echo "KTAP version 1"
echo "1..1"
echo "  KTAP version 1"
echo "  # Subtest: net"
await [ -e /sys/class/net/eth0 ] ||
    fail 1 card_is_there peer-no-card "no driver took a card: $(grep -h PCI_ID /sys/bus/pci/devices/*/uevent)"
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
echo "  ok 1 card_is_there"
await ping -c 1 -W 1 -q "$ROUTER" ||
    fail 2 router_answers_a_ping peer-no-answer "$ROUTER did not answer for $LIMIT s"
echo "  ok 2 router_answers_a_ping # $(seconds "$(hundredths)") s after the kernel's start"
start=$(hundredths)
# Not by wget's own -T: with it, busybox 1.35 crashes.
said=$(timeout "$LIMIT" wget -q -O /dev/null "http://$download" 2>&1) ||
    fail 3 download_is_there peer-no-download "wget ended with $?: $said"
took=$(($(hundredths) - start))
echo "  ok 3 download_is_there # ${download##*/} bytes in $(seconds "$took") s"
# The card's receive buffers are mapped for as long as it is up: none in the pool would mean that Linux does not bounce.
mount -t debugfs debug /sys/kernel/debug
slots=/sys/kernel/debug/swiotlb/io_tlb_used
if [ -e "$slots" ]; then
    read -r used <"$slots"
    [ "${used:-0}" -gt 0 ] || [ "$bounces" != forced ] || fail 4 frames_bounce peer-no-bounce "no slot of the pool is in use"
    echo "  ok 4 frames_bounce # $used slots of 2 KiB in use"
else
    # Linux 6.1 counts only for a pool that was there early.
    echo "  ok 4 frames_bounce # SKIP peer-no-counter: $(dmesg | grep -i 'software IO TLB' | tail -n 1)"
fi
echo "  1..4"
echo "ok 1 net"
echo "Test result: SUCCESS"
poweroff -f
