#!/bin/sh
# Installs this release into a new virtual environment and checks every file of it.
#
#   sh install.sh DEST [--python PYTHON] [--no-compile]
#
# Needs the Python that the wheels are for and nothing else: no pip, no venv package, no network.
# Exit codes: 0 done (also when it is installed there already), 1 failed, 2 usage, 4 a file is not what it should be, 5 no Python.
set -eu

usage() {
    echo "usage: sh install.sh DEST [--python PYTHON] [--no-compile]"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=''
dest=''
compile=''

while [ $# -gt 0 ]; do
    case $1 in
        --python)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            python=$2
            shift
            ;;
        --python=*) python=${1#--python=} ;;
        --no-compile) compile=--no-compile ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *)
            [ -z "$dest" ] || { usage >&2; exit 2; }
            dest=$1
            ;;
    esac
    shift
done
[ -n "$dest" ] || { usage >&2; exit 2; }

fact() {
    sed -n "s/^ *\"$1\": \"\\([^\"]*\\)\",\\{0,1\\}\$/\\1/p" "$here/wheelhouse.json"
}

wanted=$(fact python)
if [ -z "$python" ]; then
    for python in "$(fact interpreter)" "python$wanted"; do
        if command -v "$python" >/dev/null 2>&1; then
            break
        fi
    done
fi
if ! command -v "$python" >/dev/null 2>&1; then
    echo "error: $python is not on this host" >&2
    echo "hint: apt install python$wanted, or name one with --python" >&2
    exit 5
fi

# -I: nothing of the caller's environment; -B: nothing is written beside the wheels, which may lie on read-only media.
exec "$python" -I -B "$here/install.py" ${compile:+"$compile"} -- "$dest"
