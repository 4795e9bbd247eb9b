// nodeagent runs on every node (DaemonSet, hostNetwork) and replaces two things a kind node image ships:
//   - the pod network: writes the CNI config of this node (its podCIDR) and keeps a route to each other node's podCIDR;
//   - the volume provisioner: local PersistentVolumes for claims whose pod was scheduled to this node.
// It polls the API with plain net/http; no client-go.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	sa          = "/var/run/secrets/kubernetes.io/serviceaccount/"
	provisioner = "pghad.test/dir"
	provBy      = "pv.kubernetes.io/provisioned-by"
)

var (
	node   = os.Getenv("NODE_NAME")
	cniDir = env("CNI_DIR", "/etc/cni/net.d")
	volDir = env("VOL_DIR", "/var/local-volumes")
	mtu    = env("POD_MTU", "1500")
	api    = "https://" + net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT", "443"))
	client *http.Client
)

func env(k, d string) string {
	if v := os.Getenv(k); v != "" {
		return v
	}
	return d
}

type meta struct {
	Name        string            `json:"name,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
	UID         string            `json:"uid,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, api+path, body)
	if err != nil {
		return err
	}
	tok, err := os.ReadFile(sa + "token")
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+string(tok))
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, b)
	}
	if out != nil {
		return json.Unmarshal(b, out)
	}
	return nil
}

func network() error {
	var l struct {
		Items []struct {
			Metadata meta
			Spec     struct{ PodCIDR string }
			Status   struct {
				Addresses []struct{ Type, Address string }
			}
		}
	}
	if err := call("GET", "/api/v1/nodes?resourceVersion=0", nil, &l); err != nil {
		return err
	}
	for _, n := range l.Items {
		if n.Spec.PodCIDR == "" {
			continue
		}
		if n.Metadata.Name == node {
			if err := writeCNI(n.Spec.PodCIDR); err != nil {
				return err
			}
			continue
		}
		_, dst, err := net.ParseCIDR(n.Spec.PodCIDR)
		if err != nil {
			return err
		}
		for _, a := range n.Status.Addresses {
			if a.Type != "InternalIP" {
				continue
			}
			if err := netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(a.Address)}); err != nil {
				return fmt.Errorf("route %s via %s: %w", dst, a.Address, err)
			}
		}
	}
	return nil
}

func writeCNI(cidr string) error {
	want := fmt.Sprintf(`{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [
    {"type": "ptp", "mtu": %s, "ipMasq": false,
     "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": %q}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, mtu, cidr)
	f := filepath.Join(cniDir, "10-pods.conflist")
	if have, _ := os.ReadFile(f); string(have) == want {
		return nil
	}
	if err := os.WriteFile(f+".tmp", []byte(want), 0o644); err != nil {
		return err
	}
	log.Printf("CNI config for %s", cidr)
	return os.Rename(f+".tmp", f)
}

type pv struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		Capacity    map[string]string `json:"capacity"`
		AccessModes []string          `json:"accessModes"`
		Reclaim     string            `json:"persistentVolumeReclaimPolicy"`
		Class       string            `json:"storageClassName"`
		VolumeMode  string            `json:"volumeMode"`
		ClaimRef    map[string]string `json:"claimRef"`
		Local       struct {
			Path string `json:"path"`
		} `json:"local"`
		Affinity json.RawMessage `json:"nodeAffinity,omitempty"`
	} `json:"spec"`
	Status *struct{ Phase string } `json:"status,omitempty"`
}

func volumes() error {
	var cl struct {
		Items []struct {
			Metadata meta
			Spec     struct {
				VolumeName, StorageClassName string
				AccessModes                  []string
				Resources                    struct{ Requests map[string]string }
			}
			Status struct{ Phase string }
		}
	}
	if err := call("GET", "/api/v1/persistentvolumeclaims?resourceVersion=0", nil, &cl); err != nil {
		return err
	}
	for _, c := range cl.Items {
		a := c.Metadata.Annotations
		if c.Status.Phase != "Pending" || c.Spec.VolumeName != "" ||
			a["volume.kubernetes.io/storage-provisioner"] != provisioner || a["volume.kubernetes.io/selected-node"] != node {
			continue
		}
		var v pv
		v.APIVersion, v.Kind = "v1", "PersistentVolume"
		v.Metadata.Name = "pvc-" + c.Metadata.UID
		v.Metadata.Annotations = map[string]string{provBy: provisioner, "pghad.test/node": node}
		v.Spec.Capacity = map[string]string{"storage": c.Spec.Resources.Requests["storage"]}
		v.Spec.AccessModes, v.Spec.Class = c.Spec.AccessModes, c.Spec.StorageClassName
		v.Spec.Reclaim, v.Spec.VolumeMode = "Delete", "Filesystem"
		v.Spec.ClaimRef = map[string]string{"kind": "PersistentVolumeClaim", "apiVersion": "v1",
			"namespace": c.Metadata.Namespace, "name": c.Metadata.Name, "uid": c.Metadata.UID}
		v.Spec.Local.Path = filepath.Join(volDir, v.Metadata.Name)
		v.Spec.Affinity = json.RawMessage(fmt.Sprintf(`{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":[%q]}]}]}}`, node))
		if err := os.MkdirAll(v.Spec.Local.Path, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(v.Spec.Local.Path, 0o777); err != nil {
			return err
		}
		if err := call("POST", "/api/v1/persistentvolumes", &v, nil); err != nil {
			return err
		}
		log.Printf("volume %s for %s/%s", v.Metadata.Name, c.Metadata.Namespace, c.Metadata.Name)
	}
	var vl struct{ Items []pv }
	if err := call("GET", "/api/v1/persistentvolumes?resourceVersion=0", nil, &vl); err != nil {
		return err
	}
	for _, v := range vl.Items {
		a := v.Metadata.Annotations
		if a[provBy] != provisioner || a["pghad.test/node"] != node || v.Status == nil || v.Status.Phase != "Released" || v.Spec.Reclaim != "Delete" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(volDir, v.Metadata.Name)); err != nil {
			return err
		}
		if err := call("DELETE", "/api/v1/persistentvolumes/"+v.Metadata.Name, nil, nil); err != nil {
			return err
		}
		log.Printf("volume %s deleted", v.Metadata.Name)
	}
	return nil
}

func main() {
	ca, err := os.ReadFile(sa + "ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	for last := ""; ; time.Sleep(time.Second) {
		msg := ""
		if err := network(); err != nil {
			msg = err.Error()
		}
		if err := volumes(); err != nil {
			msg += " " + err.Error()
		}
		if msg != last && msg != "" {
			log.Print(msg)
		}
		last = msg
	}
}
