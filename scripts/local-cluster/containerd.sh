# shellcheck shell=bash disable=SC2154
# containerd's side: our own few images, those that are loaded, and the end of all containers.

ctr() { command ctr -a "$RUN/containerd.sock" -n k8s.io "$@"; }

make_images() { # of single programs, and of busybox for the scripts of the provisioner and of tests
    local folder name
    if [[ $(ctr images ls -q | grep -c '^docker.io/local/') == 4 ]]; then return; fi
    folder=$(mktemp -d)
    for name in pause coredns local-path-provisioner; do
        mkdir -p "$folder/$name/bin" "$folder/$name/tmp"
        cp "$PROGRAMS/$name" "$folder/$name/bin/"
        make_image "local/$name:1" "$folder/$name" "/bin/$name"
    done
    mkdir -p "$folder/busybox/"{bin,tmp,etc}
    chmod 1777 "$folder/busybox/tmp"
    cp "$(command -v busybox)" "$folder/busybox/bin/busybox"
    echo 'root:x:0:0:root:/:/bin/sh' >"$folder/busybox/etc/passwd"
    for name in $(busybox --list); do [[ $name == busybox ]] || ln -s busybox "$folder/busybox/bin/$name"; done
    make_image local/busybox:1 "$folder/busybox" /bin/sh
    rm -rf "$folder"
}

make_image() { # NAME FOLDER ENTRYPOINT: an image of one layer, imported
    local work digest
    work=$(mktemp -d)
    tar -C "$2" --owner=0 --group=0 -cf "$work/layer.tar" .
    digest=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    cat >"$work/config.json" <<-END
	{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Env": ["PATH=/bin"], "Entrypoint": ["$3"]},
	 "rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}}
	END
    echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$1\"], \"Layers\": [\"layer.tar\"]}]" >"$work/manifest.json"
    tar -C "$work" -c . | ctr images import - >/dev/null
    rm -rf "$work"
}

load() { # IMAGE…
    local image id name same
    for image; do
        id=$(docker image inspect --format '{{.Id}}' "$image")
        name=$(full_name "$image")
        same=$(list_same "$id")
        if grep -qxF "$name" <<<"$same"; then
            echo "$image is there already"
        elif [[ -n $same ]]; then
            echo "$image is there already, under another name"
            ctr images tag --force "${same%%$'\n'*}" "$name" >/dev/null
        else
            echo "$image ..."
            docker save "$image" | ctr images import - >/dev/null
        fi
    done
}

full_name() { # NAME: as containerd writes it
    local name=$1
    [[ ${name##*/} == *:* ]] || name=$name:latest
    [[ $name == */* ]] || name=library/$name
    [[ ${name%%/*} == *[.:]* || ${name%%/*} == localhost ]] || name=docker.io/$name
    echo "$name"
}

list_same() { # ID: the names of which what they lead to has the ID as its configuration
    local name digest
    # Not by the name that Kubernetes' part of containerd gives to each ID: an image that comes under a name that is there gets none.
    ctr images ls | awk 'NR > 1 && $1 ~ /:/ && $1 !~ /^sha256:/ {print $1, $3}' | while read -r name digest; do
        if ctr content get "$digest" | tr -d ' \n' | grep -q "\"digest\":\"$1\""; then echo "$name"; fi
    done
}

remove_containers() {
    local name
    if ! alive containerd; then return; fi
    for name in $(ctr tasks ls -q); do ctr tasks delete -f "$name" >/dev/null 2>&1 || true; done
    for name in $(ctr containers ls -q); do
        rm -f /var/lib/cni/results/*-"$name"-*
        ctr containers delete "$name" >/dev/null 2>&1 || true
    done
    # The kubelet and CNI insist on these places.
    rm -f /var/lib/kubelet/device-plugins/kubelet.sock
    find /var/log/containers -type l -lname "$LOG/*" -delete 2>/dev/null || true
    rmdir /var/lib/kubelet/device-plugins /var/lib/kubelet /var/lib/cni/results /var/lib/cni /var/log/containers 2>/dev/null || true
}
