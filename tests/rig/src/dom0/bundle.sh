# What dom0 does in a job whose guest is not started by xl, but by the script for a real host. Sourced by init.sh, which runs
# `bundle_before`, then `bundle_run` in xl's place, then `bundle_after` with its exit code.
#
# dom0 is then like a host of somebody's: Linux has the devices, with a driver where it has one. Whatever is done to the
# script, the drivers have them afterwards; what is not as it has to be goes to the rig as `found`. A story is a function,
# and does what comes before the run whose console the rig reads.
# shellcheck shell=sh disable=SC2034,SC2154 # What init.sh has, and what it reads.
#
# NNNN/bundle: the story; the exit code that the run has to have; its arguments in front of the devices.

tree=/tmp/pvbounce

found() {
    mark "found job=$name text=$*"
    echo "dom0: found: $*"
}

pci_driver() {
    [ ! -L "/sys/bus/pci/devices/$1/driver" ] || basename "$(readlink "/sys/bus/pci/devices/$1/driver")"
}

# What is told to sysfs is looked at by its effect.
tell() { echo "$2" >"$1"; } 2>/dev/null

# The devices go from pciback to their drivers; whose they then are is kept in /tmp/owners.
bundle_before() {
    {
        read -r story
        read -r wanted
        read -r arguments
    } <"$job/bundle"
    rm -rf "$tree" && tar -xzf /jobs/bundle.tar.gz -C /tmp
    for module in mii 8139cp e1000; do [ ! -e "/mods/$module.ko" ] || insmod "/mods/$module.ko" 2>/dev/null; done
    devices=$(cat "$job/device")
    for device in $devices; do
        tell "$pciback/unbind" "$device"
        tell "$pciback/remove_slot" "$device"
        tell /sys/bus/pci/drivers_probe "$device"
        echo "$device $(pci_driver "$device")"
    done >/tmp/owners
    echo "dom0: $(uptime) story $story; $(tr '\n' ' ' </tmp/owners)"
    "story_$story"
}

# Whether each device has the driver that it had.
expect_owners() {
    while read -r device owner; do
        [ "$(pci_driver "$device")" = "$owner" ] || found "$1: $device is with $(pci_driver "$device"), not with $owner"
    done </tmp/owners
    ! xl list | grep -q pvbounce- || found "$1: a domain is left"
}

# Runs the script, with its console and its words in /tmp/said.
pvbounce() {
    # shellcheck disable=SC2086 # Addresses.
    "$tree/pvbounce" "$@" $devices </dev/null >/tmp/said 2>&1 9>&- 8<&-
}

# It says why it refuses, and takes nothing; told to, it takes the device all the same.
story_route() {
    read -r device _ </tmp/owners
    card=$(ls "/sys/bus/pci/devices/$device/net")
    ip addr add 10.0.2.15/24 dev "$card"
    ip link set "$card" up
    ip route add default via 10.0.2.2
    pvbounce
    code=$?
    [ "$code" = 3 ] || found "a card with the default route: exit code $code"
    grep -q "SKIP *device-in-use: .*$card carries the default route" /tmp/said || found "it does not say what depends on the card"
    sed 's/^/said: /' /tmp/said
    expect_owners "a card with the default route"
    pvbounce --force --words suite=boot
    code=$?
    [ "$code" = 0 ] || found "with --force: exit code $code"
    expect_owners "with --force"
    sed 's/^/said: /' /tmp/said
    ip link set "$card" down
    # What the card still had to do for dom0.
    sleep 1
}

# Ended at any moment, it gives the devices back. Not by SIGINT, which no shell lets a background job hear. NNNN/moments: a signal and seconds, a line each.
story_killed() {
    stopped=
    while read -r signal moment; do
        # shellcheck disable=SC2086 # Addresses.
        "$tree/pvbounce" --timeout 60 $devices </dev/null >/tmp/said 2>&1 9>&- 8<&- &
        run=$!
        sleep "$moment"
        kill "-$signal" "$run" 2>/dev/null
        since=$(uptime)
        wait "$run"
        code=$?
        echo "dom0: SIG$signal after $moment s: exit code $code, $since to $(uptime); $(tail -n 3 /tmp/said | tr '\n' ';')"
        case $signal/$code in
        # It is told what nobody can be told of, by the next run.
        KILL/*) "$tree/pvbounce" --give-back </dev/null >/tmp/said 2>&1 9>&- 8<&- || found "--give-back: $?" ;;
        */130) stopped="$stopped $signal" ;;
        # The shell died of it before the script's first lines were read: nothing was said, and nothing touched.
        HUP/129 | TERM/143) [ ! -s /tmp/said ] || found "SIG$signal after $moment s: exit code $code after $(tail -n 1 /tmp/said)" ;;
        # A run that was over before has its verdict.
        */0) ;;
        *) found "SIG$signal after $moment s: exit code $code, $(tail -n 2 /tmp/said | tr '\n' ';')" ;;
        esac
        expect_owners "SIG$signal after $moment s"
    done <"$job/moments"
    for signal in TERM HUP; do
        case $stopped in *"$signal"*) ;; *) found "no run was stopped by SIG$signal: each was over before" ;; esac
    done
}

# An xl that does not do what it is told: nothing is taken and not given back.
story_xl() {
    for refused in create console unpause pci-assignable-add pci-assignable-remove pci-detach; do
        cat >/tmp/xl-refuses <<END
#!/bin/sh
[ "\$1" != $refused ] || { echo "no $refused today" >&2; exit 1; }
exec xl "\$@"
END
        chmod +x /tmp/xl-refuses
        # Less than the guest waits to be rid of its device.
        PVBOUNCE_TEST_XL=/tmp/xl-refuses pvbounce --words suite=boot --timeout 20
        code=$?
        echo "dom0: xl without $refused: exit code $code; $(tail -n 4 /tmp/said | tr '\n' ';')"
        case $refused/$code in
        create/4 | unpause/7 | pci-assignable-add/4 | console/5 | pci-assignable-remove/0 | pci-detach/7) ;;
        *) found "xl without $refused: exit code $code" ;;
        esac
        expect_owners "xl without $refused"
    done
}

# Each device that can be spared, one after the other, in a guest of its own. The machine may have more than the job: what becomes of
# those is the machine's affair, as long as it is no worse than a SKIP. The run that follows has the job's in one guest.
story_all() {
    "$tree/pvbounce" --all --words "suite=irq,dma transfers=20" </dev/null >/tmp/said 2>&1 9>&- 8<&-
    code=$?
    sed 's/^/said: /' /tmp/said
    case $code in 0 | 3) ;; *) found "--all: exit code $code" ;; esac
    while read -r device _; do
        grep -q "^$device *SUCCESS" /tmp/said || found "--all: no SUCCESS with $device"
    done </tmp/owners
    expect_owners "--all"
}

# A host that ssh gets to, by a card that it keeps, until the desk has said that it is done. /jobs/desk.pub: who may come.
story_desk() {
    echo "root:x:0:0:root:/root:/bin/sh" >/etc/passwd
    mkdir -p /etc/dropbear /root/.ssh
    cp /jobs/desk.pub /root/.ssh/authorized_keys
    door=$(ls /sys/bus/pci/devices/0000:00:03.0/net)
    ip addr add 10.0.2.15/24 dev "$door"
    ip link set "$door" up
    dropbear -R -s -E -P /run/dropbear.pid 2>/tmp/dropbear
    tries=800
    while [ ! -e /tmp/desk-done ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 1
    done
    [ -e /tmp/desk-done ] || found "the desk did not come, or did not come to its end"
    sed 's/^/sshd: /' /tmp/dropbear
    kill "$(cat /run/dropbear.pid)"
    ip link set "$door" down
    expect_owners "after what came by ssh"
}

story_plain() { :; }

bundle_run() {
    # shellcheck disable=SC2086 # Words and addresses.
    "$tree/pvbounce" --console $arguments $devices 8<&- 2>&1 >&9 9>&-
}

# The devices go back to pciback, for the jobs that follow, and the next domain's number is found out.
bundle_after() {
    [ "$1" = "$wanted" ] || found "exit code $1, not $wanted"
    [ "$1" != 7 ] || touch /tmp/late
    expect_owners "in the end"
    sed 's/^/said by xl: /' "$(find "$tree/runs" -name xl.log | sort | tail -n 1)"
    for device in $devices; do
        tell "/sys/bus/pci/devices/$device/driver/unbind" "$device"
        tell "$pciback/new_slot" "$device"
        tell "$pciback/bind" "$device"
    done
    xl create -p -e /jobs/count.cfg >/dev/null 2>&1
    next=$(($(xl domid count) + 1))
    xl destroy count
}
