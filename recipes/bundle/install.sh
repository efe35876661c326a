#!/bin/sh
# Verifies every byte of this bundle, then installs the release from it. No network, nothing but the host's own tools.
#
#   sh install.sh --key FILE [verify | deb | os | image [TARGET] | wheelhouse DEST [TARGET] | pex DEST [TARGET]]
#
# FILE is the signer's public key, which you were given by a way that you trust: NAME.gpg (for gpgv or sqv) or NAME.pub (for openssl).
# Exit codes: 0 done, 1 failed, 2 usage, 4 something is not as it was signed, 5 a program is missing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
name=@name@
version=@version@
debs='@debs@'

usage() {
    sed -n 's/^#   \(sh install\.sh.*\)/usage: \1/p' "$0"
}

fail() {
    echo "error: $2" >&2
    [ $# -lt 3 ] || echo "hint: $3" >&2
    exit "$1"
}

needs() {
    command -v "$1" >/dev/null 2>&1 || fail 5 "the program $1 is not on this host" "apt install $2"
}

verify() {
    [ -r "$key" ] || fail 2 "the key $key cannot be read"
    case $key in
        *.gpg)
            case $key in /*) ;; *) key=$PWD/$key ;; esac # a name without a folder is looked for in ~/.gnupg
            if command -v sqv >/dev/null 2>&1 && ! command -v gpgv >/dev/null 2>&1; then # apt's own since Debian 13
                said=$(sqv --keyring "$key" --signature-file "$here/BUNDLE.asc" "$here/BUNDLE" 2>&1) || untrusted "$said"
            else
                needs gpgv gpgv
                said=$(gpgv --keyring "$key" "$here/BUNDLE.asc" "$here/BUNDLE" 2>&1) || untrusted "$said"
            fi
            ;;
        *.pub)
            needs openssl openssl
            said=$(openssl dgst -sha256 -verify "$key" -signature "$here/BUNDLE.sig" "$here/BUNDLE" 2>&1) || untrusted "$said"
            ;;
        *) fail 2 "$key is neither NAME.gpg nor NAME.pub" ;;
    esac
    listed=$(cd "$here" && sed 's/^[0-9a-f]*  //' BUNDLE | LC_ALL=C sort)
    found=$(cd "$here" && find . ! -type d | sed 's,^\./,,' | grep -vx -e BUNDLE -e 'BUNDLE\.asc' -e 'BUNDLE\.sig' | LC_ALL=C sort)
    [ "$listed" = "$found" ] || fail 4 "files are missing, or were added: nothing was installed" "unpack the bundle again into an empty folder"
    said=$(cd "$here" && sha256sum --check --strict --quiet BUNDLE 2>&1) || {
        echo "$said" >&2
        fail 4 "these files are not as they were signed: nothing was installed" "copy the bundle again from where it was made"
    }
    echo "$name $version: every file is as it was signed" >&2
}

untrusted() {
    echo "$1" >&2
    fail 4 "the bundle is not signed with this key, or was changed since: nothing was installed"
}

# artifact SUFFIX TARGET: the one file of the release that ends so.
artifact() {
    suffix=$1 target=${2:-}
    set --
    for file in "$here"/release/*"$suffix"; do
        case $file in
            *.index.oci.tar) continue ;;
            *"-$target$suffix") set -- "$@" "$file" ;;
            *) [ -n "$target" ] || set -- "$@" "$file" ;;
        esac
    done
    if [ $# -eq 0 ] || [ ! -e "$1" ]; then
        fail 1 "this bundle has no $name-$version-${target:-*}$suffix"
    fi
    [ $# -eq 1 ] || fail 2 "this bundle is for several targets" "name one of: $(printf ' %s' "$@" | sed "s,$here/release/$name-$version-,,g; s,$suffix,,g")"
    printf '%s\n' "$1"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# find_deb: sets $codename, and $deb to the deb for this host.
find_deb() {
    needs apt-get apt
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    machine=$(dpkg --print-architecture)
    file=$(printf '%s\n' "$debs" | sed -n "s/^$codename $machine //p")
    [ -n "$file" ] || fail 1 "this bundle has no deb for $codename on $machine" "it has: $(printf '%s\n' "$debs" | sed 's/ [^ ]*$//' | tr '\n' ';')"
    deb=$here/release/$file
}

# apt_get ARGUMENT...: from the OS packages of this bundle alone; if these will not do, from where this host has its packages.
apt_get() {
    own=$(mktemp -d)
    trap 'rm -rf "$own"' EXIT
    mkdir -p "$own/lists/partial" "$own/sources"
    cp "$here"/keys/*.gpg "$own/key.gpg"
    # Every byte of it was verified above, and the clock of a host without network may be wrong.
    cat >"$own/sources/bundle.sources" <<END
Types: deb
URIs: file:$(printf '%s' "$here/os" | sed 's/%/%25/g; s/ /%20/g')
Suites: $codename
Components: main
Signed-By: $own/key.gpg
Check-Date: no
Check-Valid-Until: no
END
    cat >"$own/apt.conf" <<END
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$own/sources";
Dir::State::Lists "$own/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "root";
END
    set -- -o APT::Sandbox::User=root --yes --no-install-recommends "$@"
    if [ -d "$here/os/dists/$codename" ] && as_root env APT_CONFIG="$own/apt.conf" apt-get -qq update \
        && as_root env APT_CONFIG="$own/apt.conf" apt-get -qq --simulate "$@" >/dev/null 2>&1; then
        as_root env DEBIAN_FRONTEND=noninteractive APT_CONFIG="$own/apt.conf" apt-get "$@"
    else
        as_root env DEBIAN_FRONTEND=noninteractive apt-get "$@"
    fi
}

install_deb() {
    find_deb
    apt_get --allow-downgrades install "$deb"
}

install_os() {
    find_deb
    apt_get satisfy "$(dpkg-deb --field "$deb" Depends)"
}

install_image() {
    file=$(artifact .oci.tar "${1:-}") || exit
    if command -v docker >/dev/null 2>&1; then
        docker load --input "$file"
    elif command -v podman >/dev/null 2>&1; then
        podman load --input "$file"
    else
        fail 5 "neither docker nor podman is on this host" "apt install podman"
    fi
}

install_wheelhouse() {
    [ $# -ge 1 ] || { usage >&2; exit 2; }
    file=$(artifact .wheelhouse.tar "${2:-}") || exit
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    tar -xf "$file" -C "$unpacked"
    sh "$unpacked/install.sh" "$1"
}

install_pex() {
    [ $# -ge 1 ] || { usage >&2; exit 2; }
    file=$(artifact .pex "${2:-}") || exit
    install -D -m 755 "$file" "$1"
    echo "$1"
}

key=''
while [ $# -gt 0 ]; do
    case $1 in
        --key)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            key=$2
            shift 2
            ;;
        --key=*) key=${1#--key=} && shift ;;
        -h | --help) usage && exit 0 ;;
        *) break ;;
    esac
done
what=${1:-verify}
[ $# -eq 0 ] || shift
[ -n "$key" ] || fail 2 "name the signer's public key with --key" \
    "$here/keys has the one that came with the bundle: of use when you can tell that it is the signer's"
case $what in
    verify) verify ;;
    deb | os | image | wheelhouse | pex) verify && "install_$what" "$@" ;;
    *) usage >&2 && exit 2 ;;
esac
