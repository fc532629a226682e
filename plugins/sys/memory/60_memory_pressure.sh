#!/bin/sh
# Memory that is left, and how long work has to wait for memory (pressure stall information).
#
# Arguments: none. Source: /proc/meminfo, /proc/vmstat, /proc/pressure/memory (HOST_PROC moves /proc).
# Pressure needs Linux 4.20 with PSI on; without it memory.pressure.supported is 0 and the rest is sent.

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

# percent PART WHOLE: with two decimals; sh counts in integers only.
percent() {
    hundredths=$(($1 * 10000 / $2))
    printf '%d.%02d' $((hundredths / 100)) $((hundredths % 100))
}

total=
available=
swap_total=
swap_free=
{
    while read -r key value _; do
        case $value in
            '' | *[!0-9]*) continue ;;
        esac
        case $key in
            MemTotal:) total=$value ;;
            MemAvailable:) available=$value ;;
            SwapTotal:) swap_total=$value ;;
            SwapFree:) swap_free=$value ;;
        esac
    done <"$proc/meminfo"
} 2>/dev/null
[ "${total:-0}" -gt 0 ] || fail "cannot read MemTotal from $proc/meminfo: is /proc mounted here?"
[ -n "$available" ] ||
    fail "$proc/meminfo has no MemAvailable: this kernel is older than 3.14 and cannot tell"

add memory.available.percent "$(percent "$available" "$total")"
add memory.available.bytes $((available * 1024))
if [ "${swap_total:-0}" -gt 0 ] && [ -n "$swap_free" ]; then
    add memory.swap.used.percent "$(percent $((swap_total - swap_free)) "$swap_total")"
fi

# A kernel counts the processes it has killed for want of memory since 4.13.
{
    while read -r key value _; do
        [ "$key" = oom_kill ] && add memory.oom.kills "$value" COUNTER
    done <"$proc/vmstat"
} 2>/dev/null

supported=0
{
    while read -r kind avg10 avg60 _ total_us; do
        case $kind in
            some | full) ;;
            *) continue ;;
        esac
        supported=1
        add "memory.pressure.$kind.10s.percent" "${avg10#avg10=}"
        add "memory.pressure.$kind.60s.percent" "${avg60#avg60=}"
        add "memory.pressure.$kind.stalled.us" "${total_us#total=}" COUNTER
    done <"$proc/pressure/memory"
} 2>/dev/null
add memory.pressure.supported "$supported"

push
