#!/bin/sh
# join.sh "CGROUP.PROCS..." COMMAND...: runs a command in the given cgroups, so that it and all that it
# starts is counted and can be found.
for members in $1; do
    echo $$ > "$members" || exit 125
done
shift
exec "$@"
