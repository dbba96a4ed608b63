// local-netpol is the CNI plugin of netpol: last in the chain, it tells the agent the address that a pod was given, and
// lets the pod start once the agent's rules know it. Without it a pod would be open, and unknown to the policies of those
// that it speaks to, until the kubelet reports its address, which takes up to a second.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const patience = 20 * time.Second

type config struct {
	CNIVersion string          `json:"cniVersion"`
	Socket     string          `json:"socket"`
	PrevResult json.RawMessage `json:"prevResult"`
}

func main() {
	var c config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		fail(c, err)
	}
	switch os.Getenv("CNI_COMMAND") {
	case "VERSION":
		fmt.Println(`{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}`)
	case "ADD":
		if err := announce(c); err != nil {
			fail(c, err)
		}
		os.Stdout.Write(c.PrevResult)
	}
}

// announce tells the agent who has which address, and returns once its rules know.
func announce(c config) error {
	var result struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(c.PrevResult, &result); err != nil || len(result.IPs) == 0 {
		return fmt.Errorf("the plugin before names no address: %v", err)
	}
	address, _, _ := strings.Cut(result.IPs[0].Address, "/")
	connection, err := net.DialTimeout("unix", c.Socket, patience)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(connection, argument("K8S_POD_UID"), address); err != nil {
		return err
	}
	answer, err := io.ReadAll(connection)
	if err == nil && string(answer) != "ok\n" {
		err = fmt.Errorf("netpol does not know the pod: %s", answer)
	}
	return err
}

func argument(name string) string {
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}

func fail(c config, err error) {
	json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": c.CNIVersion, "code": 11, "msg": err.Error()})
	os.Exit(1)
}
