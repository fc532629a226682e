# The look at a host: everything that a visit may have to change, in one exec, changing nothing.
# A preamble sets: mirror branch dir user cfg bindings program state unit
# marker listen git_url settings pythons bash_ask ask nonce, home logs find (a script, run here, or "").
LC_ALL=C GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export LC_ALL GIT_OPTIONAL_LOCKS GIT_CONFIG_NOSYSTEM GIT_TERMINAL_PROMPT
# An ordinary account's PATH, which sudo may leave as it is, has no runuser.
PATH=$PATH:/usr/sbin:/sbin
export PATH
say() { printf '\n@%s %s\n' "$nonce" "$1"; }
eval "$find"
# A plugin folder that is no repository must not be taken for a part of one further up.
GIT_CEILING_DIRECTORIES=${dir%/*}
export GIT_CEILING_DIRECTORIES
uid=$(id -u)
as=
if [ -n "$user" ] && [ "$user" != root ] && [ "$uid" = 0 ]; then
  # As root, git would refuse the agent's checkout, and a repository must not run things as root.
  as="runuser -u $user --"
  HOME=/ export HOME
fi
# Its own settings must not run anything while it is looked at.
inert='-c core.fsmonitor=false -c core.hooksPath=/dev/null -c core.fileMode=true'
say mirror
if [ -f "$mirror/refs/heads/$branch" ]; then
  cat "$mirror/refs/heads/$branch"
elif [ -f "$mirror/HEAD" ]; then
  $as git $inert --git-dir "$mirror" rev-parse --verify --quiet "refs/heads/$branch"
fi
say status
in_folder='git $inert -C "$dir" status --porcelain=v2 --branch --untracked-files=all $ignored 2>&1'
ignored=
if [ -n "$git_url" ]; then
  # An agent runs what is ignored too. ls-files tells of files that git is told to overlook edits of.
  ignored=--ignored=matching
  in_folder="$in_folder"'
    printf "\n@%s settings\n" "$nonce"
    git $inert -C "$dir" config --local --get-regexp "$settings"
    printf "\n@%s hidden\n" "$nonce"
    case "
$(git $inert -C "$dir" ls-files -v)" in
      *"
"[a-zS]*) echo yes ;;
    esac'
fi
if [ -e "$dir/.git" ]; then
  # All at once: to become another user costs a host 6 ms each time.
  if [ -n "$as" ]; then
    export inert dir ignored nonce settings
    $as /bin/sh -c "$in_folder"
  else
    eval "$in_folder"
  fi
fi
if [ -n "$git_url" ]; then
  say place
  [ -L "$dir" ] && case "$(readlink "$dir")" in *.releases/*) printf 'executor\n' ;; esac
  [ -d "$dir/.git" ] && [ ! -L "$dir/.git" ] || printf 'elsewhere\n'
fi
if [ -n "$git_url" ] && [ -e "$dir/.git/logs/HEAD" ]; then
  # When the folder came to its commit, and what plugins have written to stderr since.
  say since
  # The time of this very process is now.
  stat -c %Y "/proc/$$" "$dir/.git/logs/HEAD"
  [ -z "$logs" ] || find "$logs" -type f -name '*.stderr.log' -newer "$dir/.git/logs/HEAD" \
    -exec stat -c '%Y %n' {} + 2>/dev/null
fi
for name in cfg bindings unit; do
  eval "path=\$$name"
  [ -n "$path" ] && [ -e "$path" ] || continue
  say "$name"
  cat "$path" 2>&1 || say "unreadable-$name"
done
if [ -n "$program" ]; then
  say program
  [ -e "$program" ] && sha256sum "$program"
fi
if [ -n "$state" ] && [ "$uid" = 0 ]; then
  say owner
  [ -e "$state" ] && stat -c %U "$state"
fi
[ -e "$marker" ] && say marker
say tools
command -v git >/dev/null && printf 'git\n'
[ -d /run/systemd/system ] && printf 'systemd\n'
printf 'uid %s\n' "$uid"
python=
for name in $pythons; do
  python=$(command -v "$name") && printf 'python %s\n' "$python" && break
done
if [ -n "$listen" ]; then
  host=${listen%:*}
  host=${host#[}
  host=${host%]}
  say plugins
  # bash takes a third of curl's time; it may have been built without /dev/tcp.
  if command -v bash >/dev/null && timeout 5 bash -c "$bash_ask" "${host:-127.0.0.1}" "${listen##*:}"
  then :
  elif command -v curl >/dev/null; then
    curl --silent --include --noproxy '*' --max-time 5 "http://$listen/plugins"
  elif [ -n "$python" ]; then
    "$python" -E -s -S -c "$ask" "$listen"
  fi 2>/dev/null
fi
say end
