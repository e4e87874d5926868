#!/bin/sh
# pvbounce on a Xen host: takes PCI devices from dom0, boots the guest with them, shows what it finds, and gives them back.
#
#   look      is this dom0 of a Xen with an IOMMU and pciback? each device: what is it, who depends on it?
#   take      xl pci-assignable-add, the driver's name kept in RUN/taken first
#   run       xl create -p, xl console into a file and a table, xl unpause; a watcher ends it in time
#   give      xl destroy if need be, xl pci-assignable-remove -r, else by sysfs; whatever happened before
#
# One shell waits, and nothing else: so a signal is obeyed at once. What it waits for (xl, the watcher, the console's
# reader) ignores INT, TERM, HUP and QUIT and ends in bounded time, so that none of those cuts an xl short with a device half
# taken. After KILL what was under way goes on, and --give-back waits for it by the notes in RUN. POSIX sh, and of programs
# beside xl what busybox has. Names and texts from sysfs and the guest are data: quoted, cut to printable characters, never
# evaluated. No redirection hangs on `:` or another special builtin, as the shell ends where it fails.
#
# Exit code: 0 SUCCESS, 2 the command line, 3 SKIP, 4 ERROR, 5 FAILURE, 6 CRASH, 7 TIMEOUT, 8 INCONCLUSIVE, 130 interrupted.
set -u
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
umask 022

# For tests alone.
SYS=${PVBOUNCE_TEST_SYS:-/sys}
PROC=${PVBOUNCE_TEST_PROC:-/proc}
XL=${PVBOUNCE_TEST_XL:-xl}

here=$(CDPATH='' cd "$(dirname "$0")" && pwd) || exit 4
PCI=$SYS/bus/pci
PCIBACK=$PCI/drivers/pciback

# What any single xl may take, in seconds; and beyond it for each device, from which libxl waits up to 10 s.
XL_LIMIT=60
# How long the guest waits to be rid of its devices.
DETACH=60

usage() {
    cat <<'END'
usage: pvbounce [OPTION]... DEVICE...     a PCI address, as lspci -D writes it: 0000:03:00.0; several go into one guest
       pvbounce [OPTION]... --all         each network card and disk that can be spared, one after the other
       pvbounce --check [DEVICE]...       says what is found, and takes nothing
       pvbounce --give-back               gives back what a run left behind that was killed
  --force           take a device although something on this host depends on it
  --timeout S       how long the guest may live (600)
  --memory MIB      its memory (128)
  --cpus LIST       the processors it may run on (any)
  --words WORDS     further words for its command line, such as "suite=boot,dma swiotlb=early"
  --console         print its console as it is; what this script says goes to standard error
  --tied            stop when standard input ends
  --output DIR      where logs and reports go (runs beside this script)
END
}

# --- words ---------------------------------------------------------------------------------------------------------

# Says it, in the report, too. Descriptor 3 is the terminal, or nobody any more.
say() {
    printf '%s\n' "$*" >&3
    [ -z "${dir:-}" ] || printf '%s\n' "$*" >>"$dir/report.txt"
} 2>/dev/null

fact() { say "$(printf '  %-12s %s' "$1" "$2")"; }

printable() { tr -cd ' -~'; }

# A verdict with its reason: code, detail, remedy.
because() {
    reason="$2: $3"
    say "$(printf '%-12s %s' "$1" "$reason")"
    [ -z "${4:-}" ] || fact remedy "$4"
    worse "$1"
}

code_of() {
    case $1 in
    SUCCESS) echo 0 ;;
    SKIP) echo 3 ;;
    FAILURE) echo 5 ;;
    CRASH) echo 6 ;;
    TIMEOUT) echo 7 ;;
    INCONCLUSIVE) echo 8 ;;
    *) echo 4 ;;
    esac
}

rank() {
    case $1 in
    '') echo 0 ;;
    SUCCESS) echo 1 ;;
    SKIP) echo 2 ;;
    INCONCLUSIVE) echo 3 ;;
    FAILURE) echo 4 ;;
    CRASH) echo 6 ;;
    TIMEOUT) echo 7 ;;
    *) echo 5 ;;
    esac
}

# The worst verdict counts.
worse() {
    [ "$(rank "$1")" -le "$(rank "$verdict")" ] || verdict=$1
}

# --- marks and processes --------------------------------------------------------------------------------------------

# Makes an empty file. Not by `:`, which ends the shell where the file can't be.
mark() { true >"$1"; } 2>/dev/null

# Sets `born`, when a process was started, in ticks since the machine was: numbers are given out again. Empty if it has ended.
born_at() {
    stat='' born=''
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null
    # What is in brackets is its name, which may hold anything.
    # shellcheck disable=SC2086 # Numbers, from proc(5)'s third on.
    set -- ${stat##*) }
    case ${1:-Z} in [ZX]) ;; *) born=${20:-} ;; esac
}

# Notes which process this is, a subshell by its own number.
note_self() {
    born_at self
    printf '%s %s\n' "${stat%% *}" "$born" >"$1"
} 2>/dev/null

# Whether a process lives that noted itself.
noted_lives() {
    number='' since=''
    { read -r number since <"$1"; } 2>/dev/null
    case $number in '' | *[!0-9]*) return 1 ;; esac
    born_at "$number"
    [ -n "$born" ] && [ "$born" = "$since" ]
}

# Waits for a process's end, at most so many seconds.
await_end() {
    tries=$2
    born_at "$1"
    while [ -n "$born" ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 1
        born_at "$1"
    done
}

# The same for one that noted itself, and takes its note away in the end; one that can't be told is given all the time.
await_noted() {
    tries=$2
    while [ -e "$1" ] && [ "$tries" -gt 0 ]; do
        [ ! -s "$1" ] || noted_lives "$1" || return 0
        tries=$((tries - 1))
        sleep 1
    done
}

# --- xl ------------------------------------------------------------------------------------------------------------

# Deaf to whoever wants the script to stop.
deaf() { trap '' INT TERM HUP QUIT USR1 PIPE; }

# Runs a program with at most so many seconds. timeout passes on what signals come, and its child hears them again.
bounded() {
    limit=$1
    shift
    timeout -s KILL "$limit" sh -c 'trap "" INT TERM HUP QUIT USR1 PIPE; exec "$@"' sh "$@"
}

# Runs xl with at most so many seconds, deaf to signals; its words go to the log. The shell can be interrupted while it
# waits, and xl goes on: `settle` waits for it again. RUN/busy is there for as long, so that others can wait, too.
xl_within() {
    limit=$1
    shift
    xl_log=$dir/xl.log
    { printf '# xl %s\n' "$*" >>"$xl_log"; } 2>/dev/null || xl_log=/dev/null
    mark "$dir/busy"
    busy=$limit
    (
        deaf
        note_self "$dir/busy"
        bounded "$limit" "$XL" "$@"
        xl_code=$?
        rm -f "$dir/busy"
        exit "$xl_code"
    ) </dev/null >>"$xl_log" 2>&1 3>&- &
    wait "$!"
    xl_code=$?
    busy=
    return "$xl_code"
}

# Its last complaint.
xl_said() { grep -v '^#' "$dir/xl.log" 2>/dev/null | tail -n 1 | printable; }

# What xl prints of something.
xl_ask() { bounded 20 "$XL" "$@" </dev/null 2>/dev/null 3>&-; }

store() { bounded 10 xenstore-read "/local/domain/$domid/data/pvbounce/$1" 2>/dev/null 3>&- | printable; }

# --- sysfs ---------------------------------------------------------------------------------------------------------

# The first line of a file, printable.
line_of() {
    first=
    { read -r first <"$1"; } 2>/dev/null || [ -n "$first" ] || return 0
    # Mostly it is, and two processes the fewer.
    case $first in
    *[!\ -~]*) printf %s "$first" | printable ;;
    *) printf %s "$first" ;;
    esac
}

link_name() {
    [ ! -L "$1" ] || {
        target=$(readlink "$1")
        printf '%s\n' "${target##*/}"
    }
}

driver_of() { link_name "$PCI/devices/$1/driver"; }

# A byte of config space, in decimal; nothing if it can't be read.
config_byte() {
    dd if="$PCI/devices/$1/config" bs=1 skip="$2" count=1 2>/dev/null | od -An -tu1 | tr -cd 0-9
}

hex_of() {
    value=$(line_of "$PCI/devices/$1/$2")
    value=${value#0x}
    case $value in '' | *[!0-9a-fA-F]*) value='????' ;; esac
    printf %s "$value"
}

# An address as sysfs has it, or nothing.
address() {
    h='[0-9a-fA-F]'
    # shellcheck disable=SC2254 # They are patterns.
    case $1 in
    $h$h$h$h:$h$h:[01]$h.[0-7]) echo "$1" ;;
    $h$h:[01]$h.[0-7]) echo "0000:$1" ;;
    esac | tr A-F a-f
}

# --- who depends on a device -----------------------------------------------------------------------------------------

# The folders in sysfs that something stands on: a bridge on its ports, LVM and md on their disks.
stands_on() (
    [ "$2" -gt 0 ] && path=$(readlink -f "$1") && [ -n "$path" ] || exit 0
    printf '%s\n' "$path"
    for below in "$path"/lower_* "$path"/slaves/*; do
        [ ! -e "$below" ] || stands_on "$below" $(($2 - 1))
    done
    [ ! -e "$path/partition" ] || stands_on "$path/.." $(($2 - 1))
    # A disk that several controllers may reach hangs on none of them; its controllers are beside it.
    case $path in
    */nvme-subsystem/*)
        for controller in "$path"/../nvme[0-9]*; do
            [ ! -L "$controller" ] || readlink -f "$controller"
        done
        ;;
    esac
)

depends() {
    stands_on "$1" 8 | while IFS= read -r path; do printf '%s/|%s\n' "$path" "$2"; done
}

block_device() {
    name=$(readlink -f "$1" 2>/dev/null) || name=$1
    [ -e "$SYS/class/block/${name##*/}" ] || name=$1
    printf '%s' "$SYS/class/block/${name##*/}"
}

routes() {
    while read -r card target _ _ _ _ _ mask _; do
        case $card/$target/$mask in
        Iface/*) ;;
        */00000000/00000000) depends "$SYS/class/net/$card" "$card carries the default route" ;;
        *) depends "$SYS/class/net/$card" "$card carries a route" ;;
        esac
    done <"$PROC/net/route"
    while read -r target length _ _ _ _ _ _ _ card; do
        case $card/$target/$length in
        # Every link that is up has the last two.
        lo/* | */fe80* | */ff*) ;;
        */00000000000000000000000000000000/00) depends "$SYS/class/net/$card" "$card carries the default route (IPv6)" ;;
        *) depends "$SYS/class/net/$card" "$card carries a route (IPv6)" ;;
        esac
    done <"$PROC/net/ipv6_route"
    for card in "$SYS"/class/net/*; do
        [ ! -L "$card/master" ] || depends "$card" "${card##*/} is part of $(link_name "$card/master")"
    done
} 2>/dev/null

disks() {
    while read -r _ _ number _ point rest; do
        rest=${rest##* - }
        type=${rest%% *}
        source=${rest#* }
        source=${source%% *}
        case $number/$type in
        */zfs) printf 'zfs|%s is on ZFS, which does not say on which disks\n' "$point" ;;
        0:*) case $source in /dev/*) depends "$(block_device "$source")" "$point is mounted from it" ;; esac ;;
        *) depends "$SYS/dev/block/$number" "$point is mounted from it" ;;
        esac
    done <"$PROC/self/mountinfo"
    while read -r area _; do
        case $area in /dev/*) depends "$(block_device "$area")" "it has swap space, ${area##*/}" ;; esac
    done <"$PROC/swaps"
    for member in "$SYS"/fs/btrfs/*/devices/*; do
        [ ! -e "$member" ] || depends "$member" "it is part of a Btrfs file system"
    done
    for holder in "$SYS"/class/block/*/holders/*; do
        [ -e "$holder" ] || continue
        depends "${holder%/holders/*}" "it is part of ${holder##*/}"
    done
    for number in "$SYS"/bus/xen-backend/devices/vbd-*/physical_device; do
        number=$(line_of "$number")
        case $number in
        *[!0-9a-f:]* | *:*:*) ;;
        [0-9a-f]*:*[0-9a-f]) depends "$SYS/dev/block/$((0x${number%:*})):$((0x${number#*:}))" "a guest has a disk on it" ;;
        esac
    done
} 2>/dev/null

consoles() {
    line_of "$SYS/class/tty/console/active" | tr ' ' '\n' | while read -r port || [ -n "$port" ]; do
        depends "$SYS/class/tty/$port/device" "$port is dom0's console"
    done
    for screen in "$SYS"/class/graphics/fb*; do
        depends "$screen/device" "${screen##*/} is a screen of dom0's console"
    done
    for input in "$SYS"/class/input/event*; do
        case $(readlink -f "$input") in
        */usb[0-9]*) depends "$input" "a keyboard, mouse or the like is plugged into it" ;;
        esac
    done
} 2>/dev/null

# What depends on which folder, a line each: FOLDER/|WHY. The last line says that none is missing.
find_dependents() {
    {
        {
            routes
            disks
            consoles
        } | sort -u && echo 'end|'
    } >"$dir/dependents"
} 2>/dev/null

# Why a device can't be spared, a line each.
why_kept() {
    while IFS='|' read -r path why; do
        case $path/$class in
        */"$1"/*) printf '%s\n' "$why" ;;
        zfs/01*) printf '%s\n' "$why" ;;
        esac
    done <"$dir/dependents" | printable_lines | sort -u
    [ "$(tail -n 1 "$dir/dependents" 2>/dev/null)" = 'end|' ] || echo "what depends on it can't be listed in $dir"
    [ "$(line_of "$PCI/devices/$1/boot_vga")" != 1 ] || echo "it is the display that the machine booted with"
    functions=$(line_of "$PCI/devices/$1/sriov_numvfs")
    case $functions in '' | 0 | *[!0-9]*) ;; *) echo "it has $functions virtual functions" ;; esac
}

printable_lines() { tr -cd '\n -~'; }

# Why a device can't be had at all.
why_never() {
    header=$(config_byte "$1" 14)
    case $class/$header in
    060* | */1 | */129 | */2 | */130) echo "a bridge can't be passed through" ;;
    esac
    [ "$driver" = pciback ] && ! xl_ask pci-assignable-list | grep -q -F "$1" &&
        echo "another domain has it: see xl list and xl pci-list"
}

# --- what a device is ------------------------------------------------------------------------------------------------

name_of() {
    name=
    [ "$SYS" != /sys ] || name=$(lspci -D -s "$1" 2>/dev/null | head -n 1 | printable)
    name=${name#"$1 "}
    case ${name:+named}$class in
    named*) ;;
    0106*) name="SATA controller" ;;
    0108*) name="NVMe controller" ;;
    01*) name="storage controller" ;;
    0200*) name="Ethernet controller" ;;
    02*) name="network controller" ;;
    03*) name="display controller" ;;
    06*) name="bridge" ;;
    0c03*) name="USB controller" ;;
    *) name="class $class" ;;
    esac
    printf %s "$name"
}

reset_of() {
    way=$(line_of "$PCI/devices/$1/reset_method")
    [ -n "$way" ] || [ ! -e "$PCI/devices/$1/reset" ] || way="there is one"
    printf %s "${way:-none: it comes as its driver left it}"
}

# The pin and its line, and who else rings on it.
intx_of() {
    pin=$(config_byte "$1" 61)
    case $pin in
    [1-4]) ;;
    *)
        echo "none"
        return
        ;;
    esac
    irq=$(line_of "$PCI/devices/$1/irq")
    others=
    for other in "$PCI"/devices/*/irq; do
        { read -r line <"$other" && [ "$line" = "$irq" ]; } 2>/dev/null || continue
        other=${other%/irq}
        other=${other##*/}
        mate=$(driver_of "$other")
        [ "$other" = "$1" ] || [ -z "$mate" ] || others="$others, shared with $other ($mate)"
    done
    # 0 is no line, and to firmware 255 is none.
    case $irq in '' | 0 | 255) others=", which firmware has routed nowhere" ;; esac
    printf 'pin %s, line %s%s\n' "$(printf %s "$pin" | tr 1234 ABCD)" "${irq:-unknown}" "$others"
}

group_of() {
    group=$(link_name "$PCI/devices/$1/iommu_group")
    mates=
    for mate in "$PCI/devices/$1/iommu_group/devices"/*; do
        mate=${mate##*/}
        [ "$mate" = "$1" ] || [ "$mate" = '*' ] || mates="$mates $mate"
    done
    printf '%s' "${group:-not in sysfs, as under Xen}${mates:+, with$mates}"
}

# Lines as one, with semicolons between.
paste_lines() {
    between=
    while IFS= read -r line; do
        printf '%s%s' "$between" "$line"
        between='; '
    done
}

# Says what a device is and whether it can be had; sets `class`, `driver`, and `kept` if not.
look_at() {
    kept=
    class=$(hex_of "$1" class)
    driver=$(driver_of "$1")
    say "$1 $(hex_of "$1" vendor):$(hex_of "$1" device) $(name_of "$1")"
    fact driver "${driver:-none}"
    fact "IOMMU group" "$(group_of "$1")"
    fact reset "$(reset_of "$1")"
    fact INTx "$(intx_of "$1")"
    never=$(why_never "$1")
    dependents=$(why_kept "$1")
    [ -n "$dependents" ] || fact "to spare" "no route, mounted file system, swap space or console of this host's is on it"
    if [ -n "$never" ]; then
        kept="device-not-to-be-had: $never"
    elif [ -n "$dependents" ]; then
        printf '%s\n' "$dependents" | while IFS= read -r why; do fact "in use" "$why"; done
        kept="device-in-use: $(printf '%s\n' "$dependents" | paste_lines)"
        [ -z "$force" ] || kept=
    fi
}

# --- the host --------------------------------------------------------------------------------------------------------

# Each of these ends the script where the host lacks something.
lacks() {
    because SKIP "$@"
    exit
}

look_at_host() {
    [ "$(id -u)" = 0 ] || lacks not-root "this is user $(id -u)" "run it as root"
    for tool in timeout mkfifo readlink od awk; do
        command -v "$tool" >/dev/null || lacks no-tool "there is no $tool" "install coreutils or busybox"
    done
    case $(line_of "$SYS/hypervisor/type")/$(line_of "$PROC/xen/capabilities") in
    xen/*control_d*) ;;
    xen/) lacks no-dom0 "this is a guest of Xen's, or xenfs is not mounted on /proc/xen" "run it in dom0; mount -t xenfs xenfs /proc/xen" ;;
    *) lacks no-xen "this system does not run on Xen" "boot Xen, with this system as its dom0" ;;
    esac
    command -v "$XL" >/dev/null || lacks no-toolstack "there is no xl" "install Xen's tools (xen-utils, xen-tools)"
    if ! xl_info=$(xl_ask info) || ! xl_ask list >/dev/null; then
        lacks no-toolstack "xl does not answer" "start xenstored and xenconsoled, or see why xl info and xl list fail"
    fi
    fact toolstack "xl answers"
    info() { printf '%s\n' "$xl_info" | sed -n "s/^$1 *: *//p" | head -n 1 | printable; }
    fact Xen "$(info xen_version), dom0 $(info release)"
    case $(info virt_caps) in
    *directio*) fact IOMMU "on: $(info virt_caps)" ;;
    *) lacks no-iommu "xl info has no directio in virt_caps: $(info virt_caps)" "turn VT-d or AMD-Vi on in the firmware, and iommu=on for Xen; see xl dmesg" ;;
    esac
    [ -d "$PCIBACK" ] || modprobe xen-pciback >/dev/null 2>&1
    [ -d "$PCIBACK" ] || lacks no-pciback "dom0's kernel has no xen-pciback" "a kernel with CONFIG_XEN_PCIDEV_BACKEND"
    fact pciback there
}

# --- taking and giving back -------------------------------------------------------------------------------------------

# Takes a device from its driver. First it is noted whose it was: what is noted is given back, by this shell's own list, and by
# the file where this shell is no more.
take() {
    driver=$(driver_of "$1")
    override=$(line_of "$PCI/devices/$1/driver_override")
    note="$1 ${driver:--} ${override:-(null)}"
    { printf '%s\n' "$note" >>"$dir/taken"; } 2>/dev/null
    if [ "$(tail -n 1 "$dir/taken" 2>/dev/null)" != "$note" ] || ! noted_lives "$dir/pid"; then
        because ERROR note-lost "$1 is not taken: whose it is can't be noted in $dir" "see that its file system is not full; --output DIR takes another"
        return 1
    fi
    taken=$taken$note$newline
    [ "$driver" != pciback ] || return 0
    xl_within "$XL_LIMIT" pci-assignable-add "$1" && return
    because ERROR not-assignable "$1: $(xl_said)" "see $dir/xl.log and dom0's kernel log"
    return 1
}

# Tells a file in sysfs; what it says to that is looked at by its effect.
tell() { printf '%s\n' "$2" >"$1"; } 2>/dev/null

# Whether a domain is known to be no more: xl can say what there is, and it is not among them.
is_gone() {
    [ -n "$1" ] || return 0
    there=$(xl_ask list) || return 1
    case $newline$there in *"$newline$1 "*) return 1 ;; esac
}

# Gives a device back to the driver that it had; false if that has not got it then.
give_back_one() {
    device=$1
    owner=$2
    override=$3
    [ "$owner" != - ] || owner=
    [ -n "$(address "$device")" ] && [ -e "$PCI/devices/$device" ] || return 1
    driver=$(driver_of "$device")
    [ "$driver" != "$owner" ] || return 0
    # Whoever has it must not lose it by what follows.
    class=$(hex_of "$device" class)
    [ -z "$(why_never "$device")" ] || return 1
    [ "$driver" != pciback ] || {
        waits "xl to give $device back"
        xl_within "$XL_LIMIT" pci-assignable-remove -r "$device"
    }
    [ "$(driver_of "$device")" != "$owner" ] || return 0
    is_gone "$domain" || return 1
    # libxl has forgotten whose it was, or never knew.
    tell "$PCIBACK/unbind" "$device"
    tell "$PCIBACK/remove_slot" "$device"
    if [ -n "$owner" ]; then
        modprobe "$owner" >/dev/null 2>&1
        tell "$PCI/devices/$device/driver_override" "$owner"
        tell "$PCI/drivers_probe" "$device"
        [ "$(driver_of "$device")" = "$owner" ] || tell "$PCI/drivers/$owner/bind" "$device"
        [ "$override" != "(null)" ] || override=
        tell "$PCI/devices/$device/driver_override" "$override"
    fi
    [ "$(driver_of "$device")" = "$owner" ]
}

# All that a run has taken, by its notes, a line each. Its folder keeps them if one can't be given back.
give_back_taken() {
    lost=
    notes=$2
    while [ -n "$notes" ]; do
        note=${notes%%"$newline"*}
        notes=${notes#*"$newline"}
        override=${note#* }
        owner=${override%% *}
        override=${override#* }
        device=${note%% *}
        if give_back_one "$device" "$owner" "$override"; then
            case $owner in
            '') say "$device is free again, as it was" ;;
            *) say "$device is back with $owner" ;;
            esac
        else
            now=$(driver_of "$device")
            because ERROR not-given-back "$device is with ${now:-no driver}, not with ${owner:-none}" \
                "see $dir/xl.log; xl destroy whatever domain has it, then $again"
            lost=1
        fi
    done
    is_gone "$domain" || lost=1
    [ -n "$lost" ] || rm -f "$1/taken" "$1/domain"
}

# What runs that are no more have left behind. What they had begun goes on without them, and comes to its end first.
give_back_leftovers() {
    none=1
    for left in "$output"/*/taken "$output"/*/*/taken; do
        [ -e "$left" ] || continue
        run=${left%/taken}
        ! noted_lives "$run/pid" || continue
        none=
        say "left behind by ${run#"$output/"}:"
        mark "$run/stop"
        await_noted "$run/watcher" $((2 * XL_LIMIT))
        await_noted "$run/busy" $((3 * XL_LIMIT))
        domain=$(line_of "$run/domain")
        [ -z "$domain" ] || bury "$domain"
        # Of a line without an end nothing was taken.
        notes=
        while IFS= read -r note; do notes=$notes$note$newline; done <"$left"
        give_back_taken "$run" "$notes"
        rm -f "$run/stop" "$run/watcher" "$run/busy" "$run/pid" "$run/fifo"
        domain=
    done
    [ "$mode$none" != --give-back1 ] || say "nothing was left behind in $output"
}

# --- the guest -------------------------------------------------------------------------------------------------------

configure() {
    pci=
    for device in "$@"; do pci="$pci${pci:+, }\"$device\""; done
    {
        cat "$here/xl-configs/smoke-late.cfg"
        printf '\n# Of this run; in this syntax the last line of a name counts.\n'
        printf 'name = "%s"\nkernel = "%s"\nmemory = %s\n' "$domain" "$here/pvbounce.elf" "$memory"
        printf 'extra = "suite=smoke swiotlb=late %s%s"\n' "$detach" "$words"
        printf 'pci = [ %s ]\n' "$pci"
        [ -z "$cpus" ] || printf 'cpus = "%s"\n' "$cpus"
    } >"$dir/guest.cfg"
}

# Reads the guest's console: keeps it, and shows it or a table made of it.
read_console() {
    suite='?' passed=0 skipped=0 ended=0 plan=0 bad='' advice='' whole='' unshown='' defect='' over=''
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in *[!\ -~]*) line=$(printf %s "$line" | printable) ;; esac
        printf '%s\n' "$line" >&5
        [ -z "$raw" ] || printf '%s\n' "$line" 2>/dev/null
        case $line in
        '  # Subtest: '*) suite=${line#*: } passed=0 skipped=0 bad= ;;
        '  # remedy: '*) advice=${line#  # } ;;
        '  ok '*' # SKIP'*) skipped=$((skipped + 1)) advice= ;;
        '  ok '*) passed=$((passed + 1)) advice= ;;
        '  not ok '*)
            bad=1
            complain "$suite" "${line#  not ok * }"
            [ -z "$advice" ] || fact '' "$advice"
            advice=
            ;;
        '1..'*) plan=${line#1..} ;;
        'ok '*' # SKIP'*) row SKIP ;;
        'ok '*) row SUCCESS ;;
        'not ok '*' # FAILURE'* | 'not ok '*' # INCONCLUSIVE'*) line=${line#* # } && row "${line%% *}" ;;
        'not ok '*) row ERROR ;;
        '# not-shown '*)
            unshown=1
            say "  ${line#\# }"
            why "${line#\# not-shown }"
            ;;
        *'PANIC: '*)
            say "  $line"
            over=panic
            printf 'panic: %s\n' "$line" >"$dir/result"
            ;;
        'Test result: '*) last_word "${line#*: }" ;;
        esac
    done 5>"$dir/console.log"
}

complain() {
    say "$(printf '    %s.%s' "$1" "$2")"
    why "$1.$2"
}

# Keeps the first reason that the guest has for its verdict.
why() { [ -e "$dir/why" ] || printf '%s\n' "$1" >"$dir/why"; } 2>/dev/null

row() {
    counts="$passed passed"
    [ "$skipped" = 0 ] || counts="$counts, $skipped skipped"
    say "$(printf '  %-20s %-12s %s' "$suite" "$1" "$counts")"
    ended=$((ended + 1))
    # As the guest sums up: what passed outweighs what was skipped, and `close` shows nothing.
    case $suite/$1/$whole in
    close/SUCCESS/ | */SKIP/) whole=SKIP ;;
    close/SUCCESS/* | */SKIP/*) ;;
    */SUCCESS/SKIP) whole=SUCCESS ;;
    *) [ "$(rank "$1")" -le "$(rank "$whole")" ] || whole=$1 ;;
    esac
    case $bad/$1 in 1/SUCCESS | 1/SKIP) defect="$suite says $1, and not each of its checks does" ;; esac
    [ -z "$over" ] || last_word "$whole"
    suite='?' passed=0 skipped=0 bad=
}

# The guest's verdict, if all that came before it comes to that, and nothing comes after it. In one file, with one write.
last_word() {
    [ "$over" != panic ] || return 0
    [ -z "$unshown" ] || [ "$whole" != SUCCESS ] || whole=SKIP
    [ "$ended" = "$plan" ] && [ "$ended" -gt 0 ] || defect="it reports $ended of $plan suites"
    [ -z "$over" ] || defect="it goes on after its result"
    [ "$1" = "$whole" ] || defect=${defect:-"its suites come to ${whole:-nothing}"}
    over=1
    [ -z "$defect" ] || set -- "broken: it says $1, but $defect"
    printf '%s\n' "$1" >"$dir/result"
}

# Ends when the guest has ended, or when its time is over, or when the script is to stop; says which in a file. On the way it
# takes the devices back as soon as the guest wants to be rid of them: libxl waits 10 s for each device of a dead one.
watch() {
    until=$(($(date +%s) + timeout))
    while [ ! -e "$dir/stop" ]; do
        state=$(xl_ask list "$domid" | tail -n 1 | state_of)
        case $state in
        [r-][b-][p-]*[scd]*)
            echo "$state" >"$dir/ended"
            return
            ;;
        '')
            if xl_lives; then
                echo gone >"$dir/ended"
                return
            fi
            ;;
        esac
        if [ ! -e "$dir/detached" ] && [ "$(store detach)" = ready ]; then
            mark "$dir/detached"
            for device in "$@"; do xl_within "$XL_LIMIT" pci-detach "$domid" "$device"; done
        fi
        if [ "$(date +%s)" -ge "$until" ]; then
            mark "$dir/late"
            # Before its devices are taken away: what it then finds is nobody's finding.
            xl_within "$XL_LIMIT" pause "$domid"
            return
        fi
        sleep 1
    done
}

# The fifth word: of r, b, p, s, c, d those that a domain is: running, blocked, paused, shut down, crashed, dying.
state_of() {
    read -r _ _ _ _ state _
    printf '%s\n' "${state:-}"
}

# Whether it is the domain that is gone, and not xl that can't say.
xl_lives() { xl_ask list 0 >/dev/null; }

# Waits until the console has nothing more to say: its verdict, or nothing for a while. A guest that left its verdict in
# xenstore has printed it, too.
drain() {
    said=$(store result)
    quiet=0 size=0
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        [ ! -e "$dir/result" ] || return 0
        before=$size
        size=$(wc -c <"$dir/console.log")
        quiet=$((quiet + 1))
        [ "$size" = "$before" ] || quiet=0
        [ "$quiet" -lt 2 ] || [ -n "$said" ] || return 0
        sleep 1
    done
}

# Ends the console; what it has said by then is read to its end.
hang_up() {
    [ -z "$console" ] || kill -9 "$console" 2>/dev/null
    # Its fifo may never have had a writer; opened both ways it has had one.
    [ -z "$reader" ] || true 2>/dev/null <>"$dir/fifo"
    [ -z "$reader" ] || await_end "$reader" 30
    console='' reader=
}

# Boots the guest, and waits for its end.
boot() {
    mkfifo "$dir/fifo" 2>/dev/null || {
        because ERROR no-fifo "$dir can't have a named pipe" "--output DIR, on another file system"
        return 1
    }
    domain=pvbounce-$$
    configure "$@"
    printf '%s\n' "$domain" >"$dir/domain"
    xl_within $((XL_LIMIT + 20 * $#)) create -p -e "$dir/guest.cfg" || {
        because ERROR xl-create "$(xl_said)" "see $dir/xl.log, and xl dmesg"
        return 1
    }
    domid=$(xl_ask domid "$domain" | tr -cd 0-9)
    (
        deaf
        exec "$XL" console "$domid"
    ) </dev/null >"$dir/fifo" 2>>"$xl_log" 3>&- &
    console=$!
    (
        deaf
        read_console <"$dir/fifo"
    ) &
    reader=$!
    xl_within "$XL_LIMIT" unpause "$domid" || because ERROR xl-unpause "$(xl_said)" "see $dir/xl.log"
    watcher=1
    (
        deaf
        note_self "$dir/watcher"
        watch "$@"
        rm -f "$dir/watcher"
    ) &
    wait "$!"
    watcher=
}

# What came of the guest.
judge() {
    result=$(line_of "$dir/result")
    last=$(tail -n 1 "$dir/console.log" | printable)
    state=$(line_of "$dir/ended")
    case $result/$state in
    panic:*) crashed=${result#panic: } ;;
    */*c*) crashed="Xen says that it crashed, $state; its last line: $last" ;;
    *) crashed= ;;
    esac
    case $result in
    '' | SUCCESS | SKIP | INCONCLUSIVE | FAILURE | ERROR) broken= ;;
    *) broken=${result#broken: } ;;
    esac
    if [ -e "$dir/late" ]; then
        because TIMEOUT timeout "no end after $timeout s; its last line: $last" "--timeout, if the machine is slow; the last line says where it waits"
    elif [ -n "$crashed" ]; then
        because CRASH crash "$crashed" "please report it, with $dir"
    elif [ -n "$broken" ]; then
        because ERROR report-broken "$broken" "lines of the console were lost: see $dir/console.log"
    elif [ -n "$result" ]; then
        reason=$(line_of "$dir/why")
        worse "$result"
    elif [ -n "$said" ]; then
        because FAILURE console-lost "it left its verdict in xenstore, $said; its console ended with: $last" "see that xenconsoled runs, and its log"
    elif [ "$state" = gone ]; then
        because CRASH destroyed "the domain is gone; its last line: $last" "find out who ran xl destroy"
    else
        because CRASH crash "no verdict, state $state; its last line: $last" "please report it, with $dir"
    fi
}

# What a log of Xen's has about these devices, and about interrupts that found nobody.
complaints() {
    log=$1
    shift
    for device in "$@"; do
        grep -E 'DMAR:.*fault|IO_PAGE_FAULT' "$log" | grep -F "${device#0000:}" | unasked
    done
    grep -F 'No irq handler for vector' "$log"
}

# Of faults those that the guest did not ask for: suite isolation has its device read pages that it has to be kept from.
unasked() {
    awk '
        function page(address) {
            sub(/^0x/, "", address)
            sub(/^0+/, "", address)
            return substr(address, 1, length(address) - 3)
        }
        function after(word) {
            for (n = 1; n < NF; n++) if ($n == word) return $(n + 1)
        }
        FILENAME == ARGV[1] {
            if (/^# isolation / && /answer=blocked/ && match($0, /page=0x[0-9a-f]+/))
                tried[page(substr($0, RSTART + 5, RLENGTH - 5))]
            next
        }
        !(/DMA Read/ || /IO_PAGE_FAULT/ && !/ RW/) || !(page(after("addr")) in tried)' "$dir/console.log" -
}

# Keeps Xen's log in this file; false if it can't be had.
xen_log() {
    xl_ask dmesg >"$dir/xl-dmesg" && printable_lines <"$dir/xl-dmesg" >"$dir/$1" && [ -s "$dir/$1" ] && return
    rm -f "$dir/$1"
    return 1
} 2>/dev/null

# What a log has that an older one had not. Xen's ring drops the oldest, in the middle of a line: what is left of the old log is
# what the new one begins with. Its own last line may have been without an end.
since() {
    awk '
        function same(was, is, first, last) {
            return was == is || last && index(is, was) == 1 ||
                first && length(is) < length(was) && substr(was, length(was) - length(is) + 1) == is
        }
        FILENAME == ARGV[1] { old[olds++] = $0; next }
        { new[news++] = $0 }
        END {
            for (gone = 0; gone < olds; gone++) {
                left = olds - gone
                for (n = 0; n < left && n < news && same(old[gone + n], new[n], n == 0, n == left - 1); n++);
                if (n == left) break
            }
            for (n = olds - gone; n < news; n++) print new[n]
        }' "$1" "$2"
}

# What Xen complained of since the log that was kept before.
xen_said() {
    if ! xen_log xen.log || ! since "$dir/xen-before.log" "$dir/xen.log" >"$dir/xen-new.log"; then
        because SKIP evidence-absent "xl dmesg does not say what Xen complained of" "see why xl dmesg fails, or says nothing"
        return
    fi 2>/dev/null
    new=$(complaints "$dir/xen-new.log" "$@")
    [ -n "$new" ] || return 0
    printf '%s\n' "$new" | tail -n 3 | while IFS= read -r line; do fact "Xen said" "$line"; done
    case $new in
    *fault* | *FAULT*) because FAILURE xen-complained "the IOMMU refused an address" "see $dir/xen.log, whose line names device and address" ;;
    *) fact remedy "where an interrupt is lost: --cpus 0, or iommu=no-intremap on Xen's command line" ;;
    esac
}

# The end of a domain of this name, if it is there.
bury() {
    ! is_gone "$1" || return 0
    waits "xl to destroy $1, which takes libxl 10 s for each device"
    xl_within "$XL_LIMIT" pause "$1"
    xl_within $((XL_LIMIT + 80)) destroy "$1"
    is_gone "$1" || because ERROR domain-left "$1 can't be destroyed: $(xl_said)" "xl destroy $1, then $again"
}

# Says what an interrupted run waits for.
waits() { [ -z "$interrupted" ] || fact waits "for $1"; }

# Ends all that was begun with the guest, in any state of it.
settle() {
    # What was begun last, and the script was stopped before it could keep its number.
    last=${!-}
    [ -z "$busy" ] || {
        waits "xl, which was at something: at most $busy s"
        await_end "$last" "$busy"
    }
    busy=
    [ -z "$watcher" ] || {
        waits "whoever watches the guest: a second, or the xl that it has begun"
        # Where it can't be told so, it ends with the domain.
        mark "$dir/stop" || [ -z "$domain" ] || bury "$domain"
        await_end "$last" $((2 * XL_LIMIT))
    }
    watcher=
    [ -z "$domain" ] || bury "$domain"
    hang_up
}

# --- the script --------------------------------------------------------------------------------------------------------

# One guest with these devices, from taking them to giving them back. In a folder of its own where several follow.
try() {
    mark "$dir/console.log"
    for device in "$@"; do take "$device" || return; done
    xen_log xen-before.log
    boot "$@" || return
    drain
    hang_up
    judge
    xen_said "$@"
}

give_back() {
    deaf
    settle
    give_back_taken "$dir" "$taken"
    rm -f "$dir/fifo" "$dir/pid" "$dir/busy" "$dir/watcher" "$dir/stop" "$dir/xl-dmesg"
    domain='' taken=
}

stop() {
    interrupted=1
    exit 130
}

listen() { trap stop INT TERM HUP QUIT USR1; }

# Whatever the script ends by.
finish() {
    deaf
    trap - EXIT
    [ -z "$keeper" ] || kill "$keeper" 2>/dev/null
    since=$(date +%s)
    [ -z "$interrupted" ] || say "interrupted: what was taken goes back first"
    give_back
    if [ -n "$interrupted" ] && [ "$verdict" != ERROR ]; then
        say "interrupted: nothing is left running, $(($(date +%s) - since)) s later; logs and report are in $root"
        exit 130
    fi
    verdict=${verdict:-ERROR}
    say "$(printf '%-12s %s' "$verdict" "logs and report are in $root")"
    exit "$(code_of "$verdict")"
}

# The network cards and disks of the machine.
candidates() {
    for device in "$PCI"/devices/*; do
        device=${device##*/}
        case $(hex_of "$device" class) in 01* | 02*) echo "$device" ;; esac
    done
}

# Each of them that can be spared, in a guest of its own.
try_each() {
    total=
    for one in $(candidates); do
        dir=$root/$one verdict='' reason=''
        mkdir -p "$dir"
        note_self "$dir/pid"
        cp "$root/dependents" "$dir/dependents"
        look_at "$one"
        if [ -n "$kept" ]; then
            printf '%-14s %-12s %s\n' "$one" kept "$kept" >>"$root/table"
            continue
        fi
        try "$one"
        give_back
        listen
        printf '%-14s %-12s %s\n' "$one" "${verdict:-ERROR}" "$reason" >>"$root/table"
        one=${verdict:-ERROR} verdict=$total
        worse "$one"
        total=$verdict
    done
    dir=$root verdict=$total
    [ -n "$total" ] || because SKIP no-device "nothing that can be spared" "name a device; --force takes what is in use, too"
    [ ! -e "$root/table" ] || while IFS= read -r line; do say "$line"; done <"$root/table"
}

# The devices that were asked for, in one guest.
try_all() {
    refused=
    for one in "$@"; do
        [ -e "$PCI/devices/$one" ] || lacks no-device "there is no $one" "lspci -D lists what there is"
        look_at "$one"
        refused=${refused:-$kept}
    done
    [ -z "$refused" ] || lacks "${refused%%: *}" "${refused#*: }" \
        "another device, or --force where it says device-in-use"
    try "$@"
}

bad_usage() {
    printf 'pvbounce: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# Sets `number`, without the zeros in front that would make it octal.
number() {
    case $2 in '' | *[!0-9]* | ???????*) bad_usage "$1 takes a number" ;; esac
    number=$2
    while :; do case $number in 0?*) number=${number#0} ;; *) return ;; esac; done
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --timeout | --memory | --cpus | --words | --output) [ $# -gt 1 ] || bad_usage "$1 takes a value" ;;
        esac
        case $1 in
        -h | --help) usage && exit 0 ;;
        --all | --check | --give-back) mode=$1 ;;
        --force) force=1 ;;
        --console) raw=1 ;;
        --tied) tied=1 ;;
        --timeout) number "$1" "$2" && timeout=$number && shift ;;
        --memory) number "$1" "$2" && memory=$number && shift ;;
        --cpus) cpus=$2 && shift ;;
        --words) words=$2 && shift ;;
        --output) output=$2 && shift ;;
        -*) bad_usage "no such option: $1" ;;
        *)
            [ -n "$(address "$1")" ] || bad_usage "no PCI address: $1"
            devices="$devices $(address "$1")"
            ;;
        esac
        shift
    done
    case $cpus$words in *[!A-Za-z0-9\ =,.:_/@^+-]*) bad_usage "--cpus and --words take no such characters" ;; esac
    case $here in *[\"\\]*) bad_usage "xl can't be told of this folder: move it to a path without quotes" ;; esac
    case $mode:$devices in
    run:) bad_usage "which device?" ;;
    --all:?* | --give-back:?*) bad_usage "$mode takes no device" ;;
    esac
}

mode=run devices='' force='' raw='' tied='' timeout=600 memory=128 cpus='' words='' output=$here/runs
verdict='' reason='' dir='' root='' busy='' watcher='' console='' reader='' domain='' domid='' keeper='' interrupted='' taken=''
newline='
'
exec 3>&1 6<&0 </dev/null
read_options "$@"
[ -z "$raw" ] || exec 3>&2
run=$(date +%Y%m%d-%H%M%S)-$$
{ mkdir -p "$output" && output=$(CDPATH='' cd "$output" && pwd) && root=$output/$run &&
    mkdir "$root" && note_self "$root/pid" && noted_lives "$root/pid"; } || {
    because ERROR note-lost "this run can't be noted in $output" "see that its file system is not full or read-only; --output DIR takes another"
    exit 4
}
again="$here/${0##*/} --give-back"
[ "$output" = "$here/runs" ] || again="$again --output $output"
dir=$root
trap '' PIPE
trap finish EXIT
listen
if [ -n "$tied" ]; then
    (
        trap - INT TERM HUP QUIT USR1 EXIT
        while read -r _; do :; done
        # A signal that no parent of ours has ignored for us.
        kill -USR1 $$
    ) <&6 >/dev/null 3>&- &
    keeper=$!
fi
exec 6<&-
detach=
! command -v xenstore-read >/dev/null || detach="detach=$DETACH "

look_at_host
give_back_leftovers
find_dependents
# shellcheck disable=SC2086 # A list of addresses, each looked at.
set -- $devices
case $mode in
--give-back) worse SUCCESS ;;
--all) try_each ;;
--check)
    # shellcheck disable=SC2046 # Addresses, too.
    [ $# -gt 0 ] || set -- $(candidates)
    for one in "$@"; do
        look_at "$one"
        [ -z "$kept" ] || fact "" "not taken without --force: $kept"
    done
    worse SUCCESS
    ;;
run) try_all "$@" ;;
esac
