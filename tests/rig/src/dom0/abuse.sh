# What dom0 does to a running guest, each by its name in the table of tests/rig/src/commands/abuse.rs. Sourced by init.sh, which
# runs `abuse_NAME` when the rig says that the guest is where the job wants it, and `after_NAME`, if there is one, to mend the machine
# when the domain is gone. One that can't do what it is for fails: then the job shows nothing.
#
# shellcheck shell=sh disable=SC2154,SC2086 # The job and its xl are init.sh's; what is stopped are words.

pciback=/sys/bus/pci/drivers/pciback

abuse_unbind_pciback() {
    cat "$job/device" >"$pciback/unbind"
}

after_unbind_pciback() {
    # It forgot the device, and would not take it by itself.
    cat "$job/device" >"$pciback/new_slot"
    cat "$job/device" >"$pciback/bind"
}

abuse_kill_xenstored() {
    kill -9 "$(cat /run/xenstored.pid)"
}

abuse_kill_xenconsoled() {
    kill -9 "$(cat /run/xenconsoled.pid)"
}

after_kill_xenconsoled() {
    start_xenconsoled
}

# What dom0's daemons and its toolstack do, stands still for 30 s. Xen lets no domain pause dom0, so this is as near as it gets; its
# kernel, and pciback in it, goes on.
abuse_stop_dom0() {
    stopped="$(cat /run/xenstored.pid) $(cat /run/xenconsoled.pid) $xl"
    kill -STOP $stopped
    sleep 30
    kill -CONT $stopped
}

# Power off for the slot, by its register (PCI Express, Slot Control: power controller and indicator off), behind the back of all who
# would ask for leave first.
abuse_pull_device() {
    port=/sys/bus/pci/devices/$(cat "$job/device")
    port=$(readlink -f "$port/..")
    at=$((0x$(capability "$port/config" 10) + 0x18))
    printf '\300\007' | dd of="$port/config" bs=1 seek="$at" conv=notrunc
}

# Where a capability with this number is in a function's config space, in hexadecimal.
capability() {
    next=34
    while next=$(config_byte "$1" "$next"); [ "$next" != 00 ]; do
        [ "$(config_byte "$1" "$next")" = "$2" ] && echo "$next" && return
        next=$(printf %x $((0x$next + 1)))
    done
    echo 00
}

config_byte() {
    dd if="$1" bs=1 skip=$((0x$2)) count=1 2>/dev/null | od -An -tx1 | tr -d ' \n'
}

# The guest has no balloon; and Xen can't take a PV guest's pages, but it can refuse it any more.
abuse_take_memory() {
    xl mem-set guest 64 && xl mem-max guest 64
}

abuse_destroy() {
    xl destroy guest
}

abuse_pause() {
    xl pause guest && sleep 10 && xl unpause guest
}

# Of a guest that does not answer any more xl says so, and has done it all the same.
abuse_pci_detach() {
    xl pci-detach guest "$(cat "$job/device")" || true
}

abuse_shutdown() {
    xl shutdown guest
}

abuse_reboot() {
    xl reboot guest
}

abuse_save() {
    xl save guest /tmp/saved
    rm -f /tmp/saved
}

abuse_kill_xl() {
    kill -9 "$xl"
}

# A device for a guest that runs already, and looks for none. It leaves with the guest, which waits here so that it can't leave first: xl
# forgets what it was about to give to a domain that is gone, and pciback does not. One that has shut down before it could be paused
# (`--ps--` in the list) gets none.
abuse_plug() {
    xl pause guest
    plugged=0
    if xl list guest | grep -q -e '--p---'; then
        xl pci-attach guest "$(cat "$job/device")" || plugged=1
    fi
    xl unpause guest
    return "$plugged"
}
