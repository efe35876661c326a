#!/bin/sh
# Runs PostgreSQL of Debian's package: reached from the whole network of the environment, by users with a password.
# shellcheck disable=SC2046 # its words: version, name, …
set -- $(pg_lsclusters --no-header)
install -d -m 2775 -o postgres -g postgres /run/postgresql
cat >"/etc/postgresql/$1/$2/pg_hba.conf" <<'END'
local all postgres peer
local all all scram-sha-256
host all all all scram-sha-256
END
exec pg_ctlcluster "$1" "$2" start --foreground -o "-c listen_addresses=*"
