# shellcheck shell=bash disable=SC2154
# One authority, an identity for each component. Extensions as Python 3.13 checks them.

make_credentials() {
    if [[ -e $KUBECONFIG ]]; then return; fi
    local name service=kubernetes.default.svc
    (umask 077 && mkdir -p "$PKI")
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=local-cluster \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
    openssl genrsa -out "$PKI/sa.key" 2048 2>/dev/null
    certificate apiserver /CN=kube-apiserver \
        "IP:$NODE_IP,IP:127.0.0.1,IP:${SERVICE_CIDR%.*}.1,DNS:localhost,DNS:kubernetes,DNS:${service%.svc},DNS:$service,DNS:$service.cluster.local"
    certificate kubelet-client /O=system:masters/CN=apiserver-kubelet-client
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "IP:$NODE_IP,DNS:$NODE"
    certificate admin /O=system:masters/CN=admin
    for name in kube-controller-manager kube-scheduler kube-proxy; do certificate $name "/CN=system:$name"; done
    for name in kubelet kube-controller-manager kube-scheduler kube-proxy; do make_kubeconfig "$PKI/$name.kubeconfig" $name; done
    make_kubeconfig "$KUBECONFIG" admin
}

certificate() { # NAME SUBJECT [SUBJECT-ALT-NAMES]
    local extensions=$'extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nbasicConstraints=critical,CA:FALSE\n'
    if [[ -n ${3:-} ]]; then extensions+="subjectAltName=$3"; fi
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$PKI/$1.key" -out "$PKI/$1.csr" 2>/dev/null
    openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 3650 -out "$PKI/$1.crt" \
        -extfile <(printf '%s\n' "$extensions") 2>/dev/null
}

make_kubeconfig() { # FILE CERTIFICATE
    local user=$2
    encoded() { base64 -w0 "$PKI/$1"; }
    (umask 077 && cat >"$1.new") <<-END
	apiVersion: v1
	kind: Config
	current-context: local
	contexts: [{name: local, context: {cluster: local, user: $user}}]
	clusters: [{name: local, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(encoded ca.crt)}}]
	users: [{name: $user, user: {client-certificate-data: $(encoded "$user.crt"), client-key-data: $(encoded "$user.key")}}]
	END
    mv "$1.new" "$1"
}
