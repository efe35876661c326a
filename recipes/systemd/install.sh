#!/bin/sh
# Installs the service @name@ from a release of it. When the new version is not well, the one before comes back by itself.
#
#   sh install.sh DIR       the folder of the release @version@
#   sh install.sh --back    to the version that was there before
#
# TIMEOUT is in how many seconds it has to be well (60).
# Exit codes: 0 done; 1 failed, everything as before; 2 usage; 4 a file is not the one that was signed; 5 something is missing here.
# shellcheck disable=SC2016  # values of settings are meant as they are written
set -eu

name=@name@
base=/opt/$name
url='@url@'
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

fail() {
    echo "error: $2" >&2
    [ $# -lt 3 ] || echo "hint: $3" >&2
    exit "$1"
}

# The version that a link leads to, such as 1.4.0; nothing when there is none.
at() {
    [ ! -L "$base/$1" ] || basename "$(readlink "$base/$1")"
}

# point LINK VERSION: in one step, so that nobody ever finds no link.
point() {
    ln -sfn "releases/$2" "$base/$1.new"
    mv -T "$base/$1.new" "$base/$1"
}

# start VERSION: runs it, with the unit that came with it. Answers whether it is well.
start() {
    point current "$1"
    rm -f "/etc/systemd/system/$name.socket"
    cp "$base/releases/$1/units/"* /etc/systemd/system/
    systemctl daemon-reload
    for unit in "$base/releases/$1/units/"*; do
        systemctl --quiet enable "$(basename "$unit")"
    done
    systemctl reset-failed "$name.service" 2>/dev/null || true # a version that crashed used up the starts that it had
    systemctl restart "$name.service" && "$(cat "$base/releases/$1/interpreter")" -I "$here/health.py" "$url" "$1" "${TIMEOUT:-60}"
}

# switch VERSION: starts it, or what ran before when it is not well.
switch() {
    before=$(at current)
    if start "$1"; then
        [ -z "$before" ] || [ "$before" = "$1" ] || point previous "$before"
        echo "$name $1 runs and is well"
        return
    fi
    journalctl --unit "$name.service" --lines 20 --no-pager >&2 || true
    if [ -z "$before" ] || [ "$before" = "$1" ]; then
        systemctl --quiet disable --now "$name.service" || true
        [ "$before" = "$1" ] || rm -f "$base/current"
        fail 1 "$name $1 is not well, and there is no version before it: it was stopped"
    fi
    start "$before" || fail 1 "neither $name $1 nor $before is well"
    fail 1 "$name $1 is not well: $before runs again"
}

# Finds the artifact for this host, and compares it with the digest in the signed manifest.
choose() {
    # shellcheck disable=SC1091  # the host's
    . /etc/os-release
    row=$(grep "^${ID:-} ${VERSION_ID:-} $(dpkg --print-architecture) " "$here/artifacts") \
        || fail 5 "the release has nothing for ${ID:-} ${VERSION_ID:-} $(dpkg --print-architecture)" "it has: $(cut -d ' ' -f 1-3 "$here/artifacts" | tr '\n' ';')"
    # shellcheck disable=SC2086  # its words
    set -- "$1" $row
    interpreter=$5 sha256=$6 file=$1/$7
    command -v "$interpreter" >/dev/null || fail 5 "$interpreter is not on this host" "apt install $(basename "$interpreter")"
    [ -r "$file" ] || fail 5 "$file cannot be read" "name the folder of the release @version@"
    echo "$sha256  $file" | sha256sum --check --status || fail 4 "$file is not the file that was signed: nothing was installed"
}

# Lays the version out in a folder of its own; what runs is not touched.
stage() {
    place=$base/releases/@version@
    [ "$(at current)" != @version@ ] || return 0
    rm -rf "$place"
    mkdir -p "$place/units"
@stage@
    cp "$here/$name".* "$place/units/"
    echo "$interpreter" >"$place/interpreter"
}

[ $# -eq 1 ] || fail 2 "usage: sh install.sh DIR | --back"
[ "$(id -u)" = 0 ] || fail 1 "only root can install a service" "sudo sh install.sh $1"
if [ "$1" = --back ]; then
    [ -n "$(at previous)" ] || fail 1 "there is no version to go back to"
    switch "$(at previous)"
    exit
fi
choose "$1"
if [ "$(at current)" = @version@ ] && "$interpreter" -I "$here/health.py" "$url" @version@ 3 2>/dev/null; then
    echo "$name @version@ runs already"
    exit
fi
install -D -m 0644 "$here/sysusers.conf" "/etc/sysusers.d/$name.conf"
install -D -m 0644 "$here/tmpfiles.conf" "/etc/tmpfiles.d/$name.conf"
systemd-sysusers "/etc/sysusers.d/$name.conf"
systemd-tmpfiles --create "/etc/tmpfiles.d/$name.conf"
stage
@migrate@
switch @version@
