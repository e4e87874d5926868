#!/bin/sh
# A toolstack for the tests of host/pvbounce.sh: moves drivers in a tree that plays sysfs, and plays a guest from a file.
# In $STATE: calls (what was asked of it), refuses (a word that it does not obey), slow (a word, and seconds that it takes),
# befalls (commands), struck (there if its parent, timeout, is told to stop meanwhile), dmesg-after (what dmesg is when it was asked for once),
# console (what the guest prints), state (how its domain ends), hold (there if it does not end before its
# device is detached).
printf '%s\n' "$*" >>"$STATE/calls"
if [ -e "$STATE/slow" ]; then
    read -r word seconds <"$STATE/slow"
    if [ "$word" = "$1" ]; then
        [ ! -e "$STATE/struck" ] || { sleep 0.3 && kill -TERM "$PPID"; }
        sleep "$seconds"
    fi
fi
if [ "$(cat "$STATE/refuses" 2>/dev/null)" = "$1" ]; then
    echo "libxl: error: no $1 today" >&2
    exit 1
fi

# The device $1 goes to driver $2.
move() {
    rm -f "$SYS/bus/pci/devices/$1/driver"
    [ -z "$2" ] || ln -s "$SYS/bus/pci/drivers/$2" "$SYS/bus/pci/devices/$1/driver"
}

# What the domain does from now on. Never seen in part.
now() {
    printf '%s\n' "$1" >"$STATE/now.new"
    mv "$STATE/now.new" "$STATE/now"
}

case $1 in
info)
    cat "$STATE/info"
    # What befalls a run before it takes anything.
    # shellcheck disable=SC1091 # A test writes it.
    [ ! -e "$STATE/befalls" ] || . "$STATE/befalls"
    ;;
list)
    case ${2:-0} in 0 | 7) ;; *) exit 1 ;; esac
    [ "${2:-0}" = 0 ] || [ -e "$STATE/domain" ] || exit 1
    printf 'Name ID Mem VCPUs State Time(s)\n'
    case ${2:-0} in 0) printf 'Domain-0 0 768 1 r----- 9.1\n' ;; esac
    if [ "${2:-7}" = 7 ] && [ -e "$STATE/domain" ]; then
        name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$STATE/config" | tail -n 1)
        printf '%s 7 256 1 %s 0.3\n' "$name" "$(cat "$STATE/now")"
    fi
    ;;
domid) [ -e "$STATE/domain" ] && echo 7 ;;
create)
    grep -q '^extra = "suite=smoke ' "$4" || exit 1
    cp "$4" "$STATE/config"
    : >"$STATE/domain"
    now --p---
    ;;
unpause) now r----- ;;
pause) now --p--- ;;
console)
    until [ "$(cat "$STATE/now")" = r----- ]; do [ -e "$STATE/domain" ] && sleep 0.05 || exit 0; done
    cat "$STATE/console"
    # The daemon keeps the console of a domain that is there.
    while [ -e "$STATE/domain" ]; do
        [ -e "$STATE/hold" ] || now "$(cat "$STATE/state")"
        sleep 0.05
    done
    ;;
destroy) rm -f "$STATE/domain" ;;
dmesg)
    cat "$STATE/dmesg"
    [ ! -e "$STATE/dmesg-after" ] || mv "$STATE/dmesg-after" "$STATE/dmesg"
    ;;
pci-assignable-list)
    for device in "$SYS"/bus/pci/devices/*; do
        case $(readlink "$device/driver") in */pciback) [ -e "$STATE/assigned" ] || basename "$device" ;; esac
    done
    ;;
pci-assignable-add)
    driver=$(readlink "$SYS/bus/pci/devices/$2/driver")
    echo "${driver##*/}" >"$STATE/owner-$2"
    move "$2" pciback
    ;;
pci-assignable-remove) move "$3" "$(cat "$STATE/owner-$3")" ;;
pci-detach) rm -f "$STATE/hold" ;;
*) exit 1 ;;
esac
