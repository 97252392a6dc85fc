# SPDX-License-Identifier: MIT
# Common part of the build scripts: where things are cached, how a long step reports itself.
# Sourced by bash scripts; never run by itself.

set -euo pipefail

# What a script says of itself at its head is its help: it is asked for before anything is done.
if [[ ${1:-} == --help || ${1:-} == -h ]]; then
	sed -n '3,/^[^#]/ { /^#/!d; s/^# \{0,1\}//p }' "$0"
	exit 0
fi

ZW_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ZW_BUILD=${ZW_BUILD:-$ZW_ROOT/build}
ZW_LOGS=$ZW_BUILD/logs
ZW_CACHE=${ZW_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zhenwu}
ZW_JOBS=${ZW_JOBS:-$(nproc)}

# Messages go to stderr: several scripts print their result (a path, a version) on stdout.
zw_say()
{
	printf '  %s\n' "$*" >&2
}

zw_die()
{
	printf 'zhenwu: error: %s\n' "$*" >&2
	exit 1
}

zw_elapsed()
{
	local s=$1

	if ((s >= 60)); then
		printf '%dm%02ds' $((s / 60)) $((s % 60))
	else
		printf '%ds' "$s"
	fi
}

# Last thing a build tool said about how far it is: ninja's [12/345], else the last line.
zw_progress_of()
{
	local line

	line=$(tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1) ||
		line=
	if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
		printf '%d of %d' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
	else
		printf '%.60s' "$line"
	fi
}

# zw_step NAME "what it does" "hint when it fails" command...
# Runs the command with its output in build/logs/NAME.log. On a terminal the line is redrawn with
# the progress; elsewhere (CI) a line is printed every 30 s, so that a long step never looks hung.
zw_step()
{
	local name=$1 what=$2 hint=$3 log pid start now last errors rc=0
	shift 3

	mkdir -p "$ZW_LOGS"
	log=$ZW_LOGS/$name.log
	start=$SECONDS
	last=$SECONDS
	[[ -t 2 ]] || printf '  [....] %s\n' "$what" >&2
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		now=$SECONDS
		if [[ -t 2 ]]; then
			printf '\r\033[K  [%s] %s (%s)' "$(zw_elapsed $((now - start)))" "$what" \
				"$(zw_progress_of "$log")" >&2
			sleep 0.5
		else
			if ((now - last >= 30)); then
				printf '  [%s] %s: %s\n' "$(zw_elapsed $((now - start)))" "$what" \
					"$(zw_progress_of "$log")" >&2
				last=$now
			fi
			sleep 0.2
		fi
	done
	wait "$pid" || rc=$?
	[[ -t 2 ]] && printf '\r\033[K' >&2
	if ((rc)); then
		printf '  [FAIL] %s after %s (exit %d); last lines of %s:\n' "$what" \
			"$(zw_elapsed $((SECONDS - start)))" "$rc" "$log" >&2
		tail -n 25 "$log" | sed 's/^/    | /' >&2
		# With several jobs at once the reason is often far above the end.
		errors=$(head -n -25 "$log" | grep -nE '(error|ERROR): |undefined reference' |
			sed -n 1,8p) || errors=
		[[ -n $errors ]] && printf '  earlier errors in it:\n%s\n' "$errors" >&2
		[[ -n $hint ]] && printf '  hint: %s\n' "$hint" >&2
		return "$rc"
	fi
	printf '  [ ok ] %s (%s)\n' "$what" "$(zw_elapsed $((SECONDS - start)))" >&2
}

# Two makes may run at once (make -j, or two terminals): one at a time writes a cache entry.
zw_lock()
{
	mkdir -p "$ZW_CACHE/lock"
	exec {zw_lock_fd}>"$ZW_CACHE/lock/$1"
	if ! flock -n "$zw_lock_fd"; then
		zw_say "waiting for another run that is preparing '$1'"
		flock "$zw_lock_fd"
	fi
}
