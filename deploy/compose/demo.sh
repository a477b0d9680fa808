#!/bin/sh
# Sets the demo up and sends a made-up study to it. A configuration that is there already is left
# alone: it is somebody's.
set -eu
if crossdock export | grep -q 'name:'; then
    echo "There is a configuration already, so the demo is not set up."
    exit 0
fi
crossdock apply -f /demo/demo.yaml
tries=0
until crossdock send --demo --to CROSSDOCK@receiver:11112; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || exit 1
    sleep 1 # the receiver takes a change of the configuration in within two seconds
done
