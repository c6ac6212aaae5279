#!/bin/sh
# A host's power supply: keeps nspawn running through reboots, until the host powers off or is killed.
# Usage: power.sh NSPAWN-WORDS..., with the entrances of the host's control groups in $ENTRANCES.
for entrance in $ENTRANCES; do
    echo $$ >"$entrance" || exit 1
done
unset ENTRANCES
while :; do
    "$@"
    code=$?
    # What nspawn exits with when the system inside asked for a reboot.
    [ "$code" = 133 ] || exit "$code"
done
