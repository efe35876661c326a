#!/bin/sh
# Prints what a host has that no installation may need: a way out, compilers, installers of Python packages. Runs inside hosts.

# Interfaces alone say nothing: some kernels put unconnected tunnels into every network namespace. Routes do.
sed 1d /proc/net/route
grep -v ' lo$' /proc/net/ipv6_route || true
if bash -c 'exec 3<>/dev/tcp/192.0.2.1/9' 2>/dev/null; then echo "network: a connection"; fi
if getent hosts example.org; then echo "network: names are resolved"; fi

for program in cc c++ gcc g++ c89 c99 clang tcc cpp as ld make rustc cargo go pip pip3 pipx uv easy_install conda curl wget; do
    command -v "$program" || true
done
# Also where PATH does not lead: the compilers proper, their versioned names, and the packages of Python's installers.
find / -xdev \( -path /proc -o -path /sys -o -path /var/lib/dpkg \) -prune -o \( \
    -name cc1 -o -name cc1plus -o -name collect2 -o -name 'gcc-[0-9]' -o -name 'gcc-[0-9][0-9]' -o -name '*-linux-gnu-gcc*' -o -name Python.h \
    -o -type d \( -name pip -o -name 'pip-*' -o -name setuptools -o -name 'setuptools-*' -o -name ensurepip -o -name wheel \) \
    \) ! -path '/usr/share/doc/*' -print

for python in /usr/bin/python3 /usr/bin/python3.*[0-9]; do
    [ ! -x "$python" ] || for module in pip setuptools ensurepip wheel; do
        ! "$python" -c "import $module" 2>/dev/null || echo "$python: $module"
    done
done
