#!/usr/bin/env bash
# The front door. It makes sure that what the rig needs to be built and to run is there, then hands over to it:
# tests/rig does the work, and `./run.sh --help` is its help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

die() {
    printf 'error: %s\n  remedy: %s\n' "$1" "$2" >&2
    exit 4
}

# The Debian packages that bring the missing programs: program=package.
missing_packages() {
    local pair
    for pair in cc=gcc dpkg-deb=dpkg setpriv=util-linux; do
        command -v "${pair%%=*}" >/dev/null || printf '%s\n' "${pair##*=}"
    done
    # The C library's headers and start files, for linking the rig; a compiler alone does not bring them.
    [ -e /usr/include/stdio.h ] || printf 'libc6-dev\n'
    # Some minimal images lack it, and cargo fetches over https.
    [ -e /etc/ssl/certs/ca-certificates.crt ] || printf 'ca-certificates\n'
}

install_packages() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "these packages are missing: $*" \
                "as root, run: apt-get update && apt-get install -y --no-install-recommends $*"
        sudo=(sudo)
    fi
    printf 'installing: %s\n' "$*" >&2
    # Lists may be missing in a fresh container; where they are there, an update is not needed.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { "${sudo[@]}" apt-get update -qq &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -qq -y --no-install-recommends "$@" >/dev/null; } ||
        die "apt-get could not install: $*" "see its message above"
}

need_rustup() {
    # Where rustup puts it when the shell that is running has not read its profile since.
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    if ! command -v cargo >/dev/null || ! command -v rustup >/dev/null; then
        die "cargo and rustup are needed, and not on PATH" \
            "install them as https://rustup.rs says (a distribution's cargo alone can't build the guest)"
    fi
}

ensure_target() {
    local toolchain
    toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    if ! rustup target list --installed --toolchain "$toolchain" 2>/dev/null | grep -qx x86_64-unknown-none; then
        printf 'installing: Rust %s with target x86_64-unknown-none\n' "$toolchain" >&2
        rustup toolchain install "$toolchain" --profile minimal --component rustfmt,clippy \
            --target x86_64-unknown-none --no-self-update >/dev/null 2>&1 ||
            die "rustup could not install Rust $toolchain" \
                "check the network, then run: rustup toolchain install $toolchain --target x86_64-unknown-none"
    fi
}

command -v apt-get >/dev/null ||
    die "this is neither Debian nor Ubuntu: no apt-get" "use Debian 12 or 13 or Ubuntu 24.04, also in a container"
[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m)" "use an x86-64 machine: Xen PV is x86 only"
need_rustup
mapfile -t packages < <(missing_packages)
[ "${#packages[@]}" -eq 0 ] || install_packages "${packages[@]}"
ensure_target

# Whether nothing that the rig is built from is newer: cargo would take 0.2 s to find that out.
is_current() {
    local sources=(Cargo.toml Cargo.lock rust-toolchain.toml protocol tests/rig docs/suites.md docs/testing.md)
    [ -x "$1" ] && [ -z "$(find "${sources[@]}" -newer "$1" -print -quit)" ]
}

build_rig() {
    cargo build --quiet --profile rig --locked -p rig
}

# Built apart from the guest, with its own profile: quick to build. --quiet keeps the first build silent, so say it.
rig=${CARGO_TARGET_DIR:-target}/rig/rig
if is_current "$rig"; then
    :
elif [ -x "$rig" ]; then
    build_rig
else
    printf 'building the rig (once, about a minute)\n' >&2
    case ${1-} in
    '' | test | dom0)
        # Linking the guest is one thread's work, so it is done beside: in a group of its own, that can be ended. Whatever
        # is wrong with it the rig hears as well, and says.
        set -m
        cargo guest --quiet >/dev/null 2>&1 &
        set +m
        trap 'kill -- "-$!" 2>/dev/null || true' EXIT
        build_rig
        wait "$!" || true
        trap - EXIT
        ;;
    *) build_rig ;;
    esac
fi
exec "$rig" "$@"
