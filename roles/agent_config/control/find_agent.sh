# Finding a host's Open-Falcon agent: the only process of its name, else the one that listens where it
# should, else where people put one. Of home, cfg, dir, logs and user only what is empty is found; `listen`
# says where it answers. Nothing is changed. What the shell can do by itself, it does: each program
# that is started costs a host 1 ms or more.
holders() {
  # The processes among these /proc/PID/fd that hold one of the listening sockets.
  ls -l /dev/null "$@" 2>/dev/null | sed -n "/^\/proc\//h$sockets"
}
setting() {
  # A text of the file's plugin section; control/falconcfg.py reads the same with a real parser.
  value=
  case $section in *\""$1"\"*:*\"*\"*) ;; *) return ;; esac
  value=${section#*\""$1"\"}
  value=${value#*\"}
  value=${value%%\"*}
}
below_home() {
  case $value in
    '' | /*) ;;
    *) value=${home:+$home/${value#./}} ;;
  esac
}
named=
folders=
for file in $(grep -lx falcon-agent /proc/[0-9]*/comm 2>/dev/null); do
  file=${file%/comm}
  named="$named ${file#/proc/}"
  folders="$folders $file/fd"
done
pids=$named
set -- $named
if [ $# != 1 ]; then
  # The kernel takes 10 ms for these tables, so they are not read where a name tells.
  port=$(printf '%04X' "${listen##*:}" 2>/dev/null)
  row="^ *[0-9]*: [0-9A-F]*:$port [0-9A-F]*:0000 0A [^ ]* [^ ]* [^ ]* *[0-9]* *[0-9]* \([0-9]*\) .*"
  sockets=
  for inode in $(sed -n "s/$row/\1/p" /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
    sockets="$sockets;/socket:\[$inode\]\$/{g;s/[^0-9]//g;p;}"
  done
  if [ -n "$sockets" ]; then
    pids=$(holders ${folders:-/proc/[0-9]*/fd})
    : "${pids:=$named}"
  fi
fi
agents=
told=$home
for pid in $pids; do
  case " $agents " in *" $pid "*) continue ;; esac
  [ -z "$told" ] || [ "/proc/$pid/cwd" -ef "$told" ] || continue
  agents="$agents $pid"
done
all=$agents
agents=
for pid in $all; do
  # A plugin that is being started still is its agent for a moment.
  read -r line <"/proc/$pid/stat" || continue
  set -- ${line##*) }
  case " $all " in *" $2 "*) ;; *) agents="$agents $pid" ;; esac
done 2>/dev/null
say agent
set -- $agents
printf 'pids %s\n' "$*"
if [ $# = 1 ]; then
  owner=
  while read -r _ _ account _ _ _ _ _ line; do
    case $line in
      */cwd' -> '*) : "${home:=${line#* -> }}" ;;
      */root' -> '*) printf 'root %s\n' "${line#* -> }" ;;
      "/proc/$1") owner=$account ;;
    esac
  done <<END
$(ls -ld "/proc/$1" "/proc/$1/cwd" "/proc/$1/root" 2>/dev/null)
END
  : "${user:=$owner}"
  if [ -z "$cfg" ] && [ -n "$home" ]; then
    value=cfg.json
    before=
    while IFS= read -r word; do
      case $before in -c | --c | -config | --config) value=$word ;; esac
      case $word in -c=* | --c=* | -config=* | --config=*) value=${word#*=} ;; esac
      before=$word
    done <<END
$(tr '\0' '\n' <"/proc/$1/cmdline")
END
    below_home
    cfg=$value
  fi
elif [ $# = 0 ] && [ -z "$cfg" ]; then
  places=0
  if [ -n "$home" ]; then
    set -- "$home"
  else
    set -- /home/work/open-falcon /home/work/agent /opt/open-falcon /opt/falcon /usr/local/open-falcon
  fi
  for base do
    for name in agent/config/cfg.json config/cfg.json cfg.json agent/cfg.json; do
      [ -f "$base/$name" ] || continue
      printf 'place %s\n' "$base/$name"
      places=$((places + 1))
      cfg=$base/$name
      found=$base
      [ "$name" != agent/cfg.json ] || found=$base/agent
      break
    done
  done
  if [ "$places" = 1 ]; then : "${home:=$found}"; else cfg=; fi
  set --
fi
if [ $# -lt 2 ]; then
  section=$(tr -d '\r\n' <"$cfg" 2>/dev/null)
  section=${section#*\"plugin\"}
  section=${section%%\}*}
  setting dir
  below_home
  : "${dir:=$value}"
  setting logs
  below_home
  : "${logs:=$value}"
  [ -n "$user" ] || [ -z "$home" ] || user=$(stat -Lc %U "$home" 2>/dev/null)
fi
while case $dir in ?*/) ;; *) false ;; esac; do dir=${dir%/}; done
printf 'home %s\ncfg %s\ndir %s\nlogs %s\nuser %s\n' "$home" "$cfg" "$dir" "$logs" "$user"
