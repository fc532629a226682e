#!/bin/sh
# Load averages per core, and what the waiting is for: CPU, disk or blocked processes.
#
# Arguments: none. Source: /proc/loadavg, /proc/stat, /proc/pressure (HOST_PROC moves /proc).
# load.<n>min.per.core is the load average divided by the online cores: above 1 there is a queue.

# --- what every sh script of this tree agrees with the agent on (plugins/README.md) ---
LC_ALL=C
export LC_ALL

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

step=${0##*/}
step=${step%%_*}
step=${step#+}
# A leading zero is a number to the agent, but neither to sh (octal) nor to JSON.
while :; do
    case $step in
        0?*) step=${step#0} ;;
        *) break ;;
    esac
done
case $step in
    '' | 0 | *[!0-9]* | ???????????*)
        fail "the file name must begin with its step in seconds and a _, as in 60_name.sh" ;;
esac

endpoint=${FALCON_ENDPOINT:-}
[ -n "$endpoint" ] || endpoint=$(uname -n)
case $endpoint in
    *\"* | *\\* | *[[:cntrl:]]*)
        fail "FALCON_ENDPOINT holds a quote, a backslash or a control character: name the host plainly" ;;
esac

now=$(date +%s)
case $now in
    '' | *[!0-9]*) fail "date +%s gives no epoch seconds here" ;;
esac
proc=${HOST_PROC:-/proc}
rows=

# add METRIC VALUE [COUNTER]: a value that is no number is left out, never guessed.
add() {
    case $2 in
        '' | *[!0-9.]* | .* | *. | *.*.*) return 0 ;;
    esac
    rows=$rows${rows:+,}
    rows=$rows"{\"endpoint\":\"$endpoint\",\"metric\":\"$1\",\"value\":$2,\"step\":$step,"
    rows=$rows"\"counterType\":\"${3:-GAUGE}\",\"tags\":\"\",\"timestamp\":$now}"
}

push() {
    [ -n "$rows" ] || fail "nothing was measured"
    printf '[%s]\n' "$rows"
}
# --- end of the agreement ---

# thousandths COUNT: COUNT thousandths as a decimal number.
thousandths() {
    printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

# per_core LOAD: a load average such as 0.52, divided by the cores; sh counts in integers only.
per_core() {
    case $1 in
        *[!0-9.]* | *.*.* | .* | '') return 0 ;;
        *.??) digits=${1%.*}${1#*.} ;;
        *) return 0 ;;
    esac
    while :; do
        case $digits in
            0?*) digits=${digits#0} ;;
            *) break ;;
        esac
    done
    thousandths $((digits * 10 / cores))
}

{ read -r one five fifteen entities _ <"$proc/loadavg"; } 2>/dev/null ||
    fail "cannot read $proc/loadavg: is /proc mounted here?"

cores=0
blocked=
{
    while read -r key value _; do
        case $key in
            cpu[0-9]*) cores=$((cores + 1)) ;;
            procs_blocked) blocked=$value ;;
        esac
    done <"$proc/stat"
} 2>/dev/null
[ "$cores" -gt 0 ] || fail "cannot read the cores from $proc/stat: is /proc mounted here?"

add load.1min.per.core "$(per_core "$one")"
add load.5min.per.core "$(per_core "$five")"
add load.15min.per.core "$(per_core "$fifteen")"
add load.cores "$cores"
add load.running "${entities%%/*}"
add load.blocked "$blocked"

for resource in cpu io; do
    # The file may be there and still refuse to be read (psi=0 at boot).
    { read -r kind _ avg60 _ <"$proc/pressure/$resource"; } 2>/dev/null || continue
    [ "$kind" = some ] && add "load.pressure.$resource.some.percent" "${avg60#avg60=}"
done

push
