# shellcheck shell=bash disable=SC2154
# The components are plain processes: started in a session of their own, known by a recorded pid, ended by it.

alive() { # NAME…: do the processes that we started still run, all of them; one that ended may stay in the table until somebody asks for it
    local name pid
    for name; do
        pid=$(cat "$RUN/$name.pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "${name:0:15}" ]] &&
            ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null || return 1
    done
}

start() { # NAME ARGUMENT…
    if alive "$1"; then return; fi
    setsid nohup "$@" >>"$LOG/$1.log" 2>&1 </dev/null &
    echo $! >"$RUN/$1.pid"
}

stop() { # NAME…: ask all, then insist; the API server would wait for its watchers, but its state goes anyway
    local name
    for name; do if alive "$name"; then kill "$(<"$RUN/$name.pid")"; fi; done
    for name; do
        for _ in {1..20}; do alive "$name" || break; sleep 0.1; done
        if alive "$name"; then kill -KILL "$(<"$RUN/$name.pid")"; fi
        rm -f "$RUN/$name.pid"
    done
}

wait_for() { # SECONDS COMMAND…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            echo "The cluster does not come up. Waited in vain for: $*" >&2
            for name in "${COMPONENTS[@]}"; do alive "$name" || echo "$name does not run; its log: $LOG/$name.log" >&2; done
            exit 1
        fi
        sleep 0.2
    done
}

fill_in() { # FILE…: files of config/ with our variables filled in; untouched where nothing changed, because kube-proxy ends itself over it
    local name target
    local -a edits=()
    for name in STATE PKI RUN LOG NODE_IP NODE BRIDGE POD_CIDR DNS_IP; do edits+=(-e "s|[$]{$name}|${!name}|g"); done
    for name; do
        target=$STATE/config/$name
        sed "${edits[@]}" "$HERE/config/${name##*/}" >"$target.new"
        if cmp -s "$target.new" "$target"; then rm "$target.new"; else mv "$target.new" "$target"; fi
    done
}
