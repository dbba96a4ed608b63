# shellcheck shell=bash disable=SC2154
# One bridge, and rules that keep its traffic on this machine. Everything is given back by remove_network.
# The kubelet changes some of these settings, we the last three.
SYSCTLS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
    kernel.keys.root_maxbytes net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables)

make_network() {
    modprobe -aq br_netfilter overlay 2>/dev/null || true # built in, or already there
    remember_settings
    if [[ -e $STATE/forward-was-accept ]]; then iptables -P FORWARD DROP; fi
    set_sysctl net.ipv4.ip_forward 1
    set_sysctl net.bridge.bridge-nf-call-iptables 1
    set_sysctl net.bridge.bridge-nf-call-ip6tables 1
    ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
    ip addr replace "$NODE_IP/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    ip route replace "$SERVICE_CIDR" dev "$BRIDGE" # never out by the default route
    # Docker's policy for FORWARD is DROP.
    iptables -C FORWARD -i "$BRIDGE" -o "$BRIDGE" -j ACCEPT 2>/dev/null || iptables -I FORWARD -i "$BRIDGE" -o "$BRIDGE" -j ACCEPT
    nft -f - <<-END
	table inet local-cluster
	delete table inet local-cluster
	table inet local-cluster {
	  chain forward { # pods reach pods and this machine, nothing beyond it
	    type filter hook forward priority filter - 2
	    iifname $BRIDGE meta nfproto ipv6 drop # policies speak of IPv4; link-local addresses are no way around them
	    iifname $BRIDGE oifname != $BRIDGE reject with icmpx type admin-prohibited
	    oifname $BRIDGE iifname != $BRIDGE ct state new drop
	  }
	  chain input {
	    type filter hook input priority filter - 2
	    iifname $BRIDGE meta nfproto ipv6 drop
	  }
	}
	END
}

place_plugins() { # what the machine has, and our own, which is there even when the cache is not any more; containerd looks in one folder
    ln -sf /usr/lib/cni/* "$STATE/cni/"
    install "$PROGRAMS/local-netpol" "$STATE/cni/"
}

remember_settings() {
    local name
    if [[ -e $STATE/sysctl ]]; then return; fi
    for name in "${SYSCTLS[@]}"; do echo "$name $(<"/proc/sys/${name//.//}")"; done >"$STATE/sysctl.new"
    mv "$STATE/sysctl.new" "$STATE/sysctl"
    # A machine that forwarded nothing must not become a router between its networks. Docker does the same,
    # but not where forwarding is already on.
    if [[ $(</proc/sys/net/ipv4/ip_forward) == 0 ]] && iptables -S FORWARD | grep -qx -- '-P FORWARD ACCEPT'; then
        touch "$STATE/forward-was-accept"
    fi
}

set_sysctl() { # NAME VALUE
    echo "$2" >"/proc/sys/${1//.//}"
}

remove_network() {
    local table name value
    ip link del "$BRIDGE" 2>/dev/null || true
    for table in "inet local-cluster" "ip local-netpol" "ip kube-proxy" "ip6 kube-proxy"; do
        # shellcheck disable=SC2086 # family and name
        nft delete table $table 2>/dev/null || true
    done
    while iptables -D FORWARD -i "$BRIDGE" -o "$BRIDGE" -j ACCEPT 2>/dev/null; do :; done
    conntrack -D -s "$POD_CIDR" >/dev/null 2>&1 || true
    conntrack -D -d "$SERVICE_CIDR" >/dev/null 2>&1 || true
    if [[ ! -e $STATE/sysctl ]]; then return; fi
    while read -r name value; do
        # An engine that was started in the meantime found its settings made and relies on them.
        if [[ $name != net.* || ! -e /sys/class/net/docker0 ]]; then set_sysctl "$name" "$value"; fi
    done <"$STATE/sysctl"
    if [[ -e $STATE/forward-was-accept && ! -e /sys/class/net/docker0 ]]; then iptables -P FORWARD ACCEPT; fi
}
