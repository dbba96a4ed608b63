// netpol enforces networking.k8s.io/v1 NetworkPolicy on a one-node IPv4 cluster.
//
// On every change of a policy, pod or namespace it renders the whole rule set and loads it with one
// atomic "nft -f": a pod selected by a policy gets a chain for that direction, with a rule for each
// thing a policy allows and a final drop. Pods that no policy selects are not in the maps at all.
// The CNI plugin local-netpol says on a socket which address a pod is given, before the pod starts.
// Traffic between a pod and its own node: ingress is always let through (kubelet probes), egress is
// filtered like any other egress (the API server is reached there).
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const table = "local-netpol"

// patience is how long a pod that the plugin names may take to arrive from the API server.
const patience = 5 * time.Second

type agent struct {
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   netlisters.NetworkPolicyLister

	noting sync.Mutex
	given  map[types.UID]string // addresses that the plugin named
	noted  int                  // how many it named so far

	loading sync.Mutex
	loaded  int    // how many of them the rules know that are loaded
	last    string // these rules
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	socket := flag.String("socket", "", "where the CNI plugin asks")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
	a := &agent{pods: factory.Core().V1().Pods().Lister(), namespaces: factory.Core().V1().Namespaces().Lister(),
		policies: factory.Networking().V1().NetworkPolicies().Lister(), given: map[types.UID]string{}}
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, informer := range []cache.SharedIndexInformer{factory.Core().V1().Pods().Informer(),
		factory.Core().V1().Namespaces().Informer(), factory.Networking().V1().NetworkPolicies().Informer()} {
		informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { poke() },
			UpdateFunc: func(any, any) { poke() }, DeleteFunc: func(any) { poke() }})
	}
	factory.Start(nil)
	factory.WaitForCacheSync(nil)
	poke()
	if *socket != "" {
		os.Remove(*socket)
		listener, err := net.Listen("unix", *socket)
		if err != nil {
			log.Fatal(err)
		}
		go a.listen(listener)
	}
	for range changed {
		time.Sleep(50 * time.Millisecond) // gather a burst of events
		if err := a.apply(0); err != nil {
			log.Print(err)
			time.Sleep(time.Second)
			poke()
		}
	}
}

// apply loads the rules where they differ from those that are loaded. Of many that wait for the rules to know so many
// addresses, one does the work for all.
func (a *agent) apply(wanted int) error {
	a.loading.Lock()
	defer a.loading.Unlock()
	if wanted > 0 && a.loaded >= wanted {
		return nil
	}
	rules, noted, err := a.render()
	if err == nil && rules != a.last {
		began := time.Now()
		if err = load(rules); err == nil {
			a.last = rules
			log.Printf("loaded %d lines in %s", strings.Count(rules, "\n"), time.Since(began).Round(time.Millisecond))
		}
	}
	if err == nil {
		a.loaded = noted
	}
	return err
}

func (a *agent) listen(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			connection.SetDeadline(time.Now().Add(2 * patience))
			var uid, address string
			_, err := fmt.Fscanln(connection, &uid, &address)
			if err == nil {
				err = a.note(types.UID(uid), address)
			}
			if err != nil {
				fmt.Fprintln(connection, err)
				return
			}
			fmt.Fprintln(connection, "ok")
		}()
	}
}

// note returns once the rules know the address of a pod.
func (a *agent) note(uid types.UID, address string) error {
	for deadline := time.Now().Add(patience); !a.knows(uid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("there is no pod %s", uid)
		}
	}
	a.noting.Lock()
	a.given[uid] = address
	a.noted++
	wanted := a.noted
	a.noting.Unlock()
	return a.apply(wanted)
}

func (a *agent) knows(uid types.UID) bool {
	all, _ := a.pods.List(labels.Everything())
	return slices.ContainsFunc(all, func(p *corev1.Pod) bool { return p.UID == uid })
}

func load(rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %v: %s", err, out)
	}
	return nil
}

// addressed returns the pods that have an address of their own, in a fixed order. A pod on its way out may
// still name an address that has a new owner by now; the address is the new one's. It also returns how many of those
// that the plugin named are known.
func (a *agent) addressed() ([]*corev1.Pod, int, error) {
	a.noting.Lock()
	defer a.noting.Unlock()
	all, err := a.pods.List(labels.Everything())
	owners, given := map[string]*corev1.Pod{}, map[types.UID]string{}
	for _, p := range all {
		if address := a.given[p.UID]; address != "" {
			given[p.UID] = address
			if address != p.Status.PodIP {
				p = p.DeepCopy() // what the lister has is everybody's
				p.Status.PodIP = address
			}
		}
		if p.Status.PodIP == "" || p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if other := owners[p.Status.PodIP]; other == nil || succeeds(p, other) {
			owners[p.Status.PodIP] = p
		}
	}
	pods := []*corev1.Pod{}
	for _, p := range owners {
		pods = append(pods, p)
	}
	if err == nil {
		a.given = given // without those of pods that are gone
	}
	sort.Slice(pods, func(i, j int) bool { return pods[i].UID < pods[j].UID })
	return pods, a.noted, err
}

func succeeds(p, other *corev1.Pod) bool {
	if (p.DeletionTimestamp == nil) != (other.DeletionTimestamp == nil) {
		return p.DeletionTimestamp == nil
	}
	return other.CreationTimestamp.Before(&p.CreationTimestamp)
}

func (a *agent) render() (string, int, error) {
	pods, noted, err := a.addressed()
	if err != nil {
		return "", 0, err
	}
	policies, err := a.policies.List(labels.Everything())
	if err != nil {
		return "", 0, err
	}
	sort.Slice(policies, func(i, j int) bool { return policies[i].UID < policies[j].UID })
	var chains bytes.Buffer
	maps := map[string][]string{}
	for _, pod := range pods {
		for _, dir := range []string{"ingress", "egress"} {
			selected := false
			var rules bytes.Buffer
			for _, policy := range policies {
				if policy.Namespace != pod.Namespace || !applies(policy, dir) || !matches(&policy.Spec.PodSelector, pod.Labels) {
					continue
				}
				selected = true
				if dir == "ingress" {
					for _, r := range policy.Spec.Ingress {
						a.allow(&rules, policy, "saddr", r.From, r.Ports, pod, pods)
					}
				} else {
					for _, r := range policy.Spec.Egress {
						a.allow(&rules, policy, "daddr", r.To, r.Ports, nil, pods)
					}
				}
			}
			if selected {
				name := dir + "_" + strings.ReplaceAll(pod.Status.PodIP, ".", "_")
				maps[dir] = append(maps[dir], pod.Status.PodIP+" : jump "+name)
				fmt.Fprintf(&chains, "\tchain %s { # %s/%s\n%s\t\tcounter drop\n\t}\n", name, pod.Namespace, pod.Name, rules.String())
			}
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "table ip %s\ndelete table ip %s\ntable ip %s {\n", table, table, table)
	for _, dir := range []string{"ingress", "egress"} {
		elements := ""
		if len(maps[dir]) > 0 {
			elements = " elements = { " + strings.Join(maps[dir], ", ") + " };"
		}
		fmt.Fprintf(&chains, "\tmap %s { type ipv4_addr : verdict;%s }\n", dir, elements)
	}
	out.Write(chains.Bytes())
	fmt.Fprint(&out, "\tchain forward {\n\t\ttype filter hook forward priority filter - 1;\n\t\tct state established,related accept\n"+
		"\t\tip saddr vmap @egress\n\t\tip daddr vmap @ingress\n\t}\n"+
		"\tchain input {\n\t\ttype filter hook input priority filter - 1;\n\t\tct state established,related accept\n"+
		"\t\tip saddr vmap @egress\n\t}\n}\n")
	return out.String(), noted, nil
}

func applies(policy *netv1.NetworkPolicy, dir string) bool {
	for _, t := range policy.Spec.PolicyTypes { // the API server fills in the default
		if strings.EqualFold(string(t), dir) {
			return true
		}
	}
	return false
}

func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}

// allow writes the nft rules for one rule of a policy. dst is the pod whose named ports count; nil (egress)
// means that each peer's own named ports count.
func (a *agent) allow(out *bytes.Buffer, policy *netv1.NetworkPolicy, side string, peers []netv1.NetworkPolicyPeer,
	ports []netv1.NetworkPolicyPort, dst *corev1.Pod, all []*corev1.Pod) {
	var selected []*corev1.Pod
	addresses := []string{} // nft expressions
	if len(peers) == 0 {
		addresses, selected = []string{""}, all
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			if prefix, err := netip.ParsePrefix(peer.IPBlock.CIDR); err == nil && prefix.Addr().Is4() {
				match := "ip " + side + " " + prefix.Masked().String()
				for _, except := range peer.IPBlock.Except {
					match += " ip " + side + " != " + except
				}
				addresses = append(addresses, match)
			}
			continue
		}
		ips := []string{}
		for _, pod := range all {
			if a.isPeer(policy.Namespace, peer, pod) {
				selected, ips = append(selected, pod), append(ips, pod.Status.PodIP)
			}
		}
		if len(ips) > 0 {
			addresses = append(addresses, "ip "+side+" { "+strings.Join(ips, ", ")+" }")
		}
	}
	if len(ports) == 0 {
		for _, address := range addresses {
			fmt.Fprintf(out, "\t\t%s return\n", address)
		}
	}
	for _, port := range ports {
		proto := "tcp"
		if port.Protocol != nil {
			proto = strings.ToLower(string(*port.Protocol))
		}
		if port.Port != nil && port.Port.Type == intstr.String { // a named port is a number of each pod's own
			if dst != nil {
				for _, number := range named(dst, port.Port.StrVal, proto) {
					for _, address := range addresses {
						fmt.Fprintf(out, "\t\t%s %s dport %d return\n", address, proto, number)
					}
				}
				continue
			}
			for _, pod := range selected {
				for _, number := range named(pod, port.Port.StrVal, proto) {
					fmt.Fprintf(out, "\t\tip daddr %s %s dport %d return\n", pod.Status.PodIP, proto, number)
				}
			}
			continue
		}
		match := "meta l4proto " + proto
		if port.Port != nil {
			match = fmt.Sprintf("%s dport %d", proto, port.Port.IntVal)
			if port.EndPort != nil {
				match += fmt.Sprintf("-%d", *port.EndPort)
			}
		}
		for _, address := range addresses {
			fmt.Fprintf(out, "\t\t%s %s return\n", address, match)
		}
	}
}

func (a *agent) isPeer(namespace string, peer netv1.NetworkPolicyPeer, pod *corev1.Pod) bool {
	if peer.NamespaceSelector == nil {
		if pod.Namespace != namespace {
			return false
		}
	} else {
		ns, err := a.namespaces.Get(pod.Namespace)
		if err != nil || !matches(peer.NamespaceSelector, ns.Labels) {
			return false
		}
	}
	return peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)
}

func named(pod *corev1.Pod, name, proto string) (numbers []int32) {
	containers := append([]corev1.Container{}, pod.Spec.Containers...)
	for _, c := range pod.Spec.InitContainers { // sidecars
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name == name && (strings.EqualFold(string(p.Protocol), proto) || p.Protocol == "" && proto == "tcp") {
				numbers = append(numbers, p.ContainerPort)
			}
		}
	}
	return numbers
}
