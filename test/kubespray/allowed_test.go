package kubespray

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// allowedBook has the role judge, for each host, what it would have found in a cluster; one run for all.
const allowedBook = `
- hosts: all
  gather_facts: false
  tasks:
  - block:
    - ansible.builtin.include_role: {name: kubernetes-apps/metallb, tasks_from: allowed.yml}
    - ansible.builtin.debug: {msg: "REPORT {{ inventory_hostname }} goes on"}
    rescue:
    - ansible.builtin.debug: {msg: "REPORT {{ inventory_hostname }} stops: {{ ansible_failed_result.msg }}"}
`

// found in a cluster, with what the inventory says.
type found struct {
	// config of kube-proxy in its ConfigMap; runs: its DaemonSet is there.
	config string
	runs   bool
	// metallb are the lines that the role reads of the DaemonSets in MetalLB's namespace.
	metallb []string
	vars    map[string]any
	// stops for this reason; empty: it goes on.
	stops string
}

// TestAllowed: with kube-proxy in mode ipvs without strict ARP, and while MetalLB announces, the role goes no further. The live configuration
// counts, and the inventory only without one.
func TestAllowed(t *testing.T) {
	t.Parallel()
	_, p := project(t)
	ipvs := map[string]any{"kube_proxy_mode": "ipvs", "kube_proxy_strict_arp": false}
	with := func(key string, value any) map[string]any {
		return map[string]any{"kube_proxy_mode": "ipvs", "kube_proxy_strict_arp": false, key: value}
	}
	const loose, strict = "mode: ipvs\nipvs: {strictARP: false}\n", "mode: ipvs\nipvs: {strictARP: true}\n"
	speaker := []string{"speaker,metallb,,3"}
	cases := map[string]found{
		"nothing":               {},
		"inventory-loose":       {vars: ipvs, stops: "kube_proxy_mode and kube_proxy_strict_arp of the inventory say so"},
		"inventory-strict":      {vars: with("kube_proxy_strict_arp", true)},
		"inventory-strict-text": {vars: with("kube_proxy_strict_arp", "yes")},
		"inventory-removed":     {vars: with("kube_proxy_remove", true)},
		"not-required":          {vars: with("fairlead_require_strict_arp", "false"), config: loose, runs: true},
		"live-loose":            {config: loose, runs: true, vars: map[string]any{"kube_proxy_mode": "iptables"}, stops: "its ConfigMap in the cluster says so"},
		"live-strict":           {config: strict, runs: true, vars: ipvs},
		"live-other-mode":       {config: "mode: \"\"\nipvs:\n", runs: true, vars: ipvs},
		"live-unset":            {config: "mode: ipvs\n", runs: true, stops: "its ConfigMap in the cluster says so"},
		"live-empty":            {config: "# nothing\n", runs: true, vars: ipvs},
		"live-removed":          {config: loose, vars: ipvs},
		"metallb":               {metallb: speaker, stops: "MetalLB's speakers run in namespace metallb-system (DaemonSet speaker)"},
		"metallb-chart":         {metallb: []string{"lb-speaker,,metallb,2"}, vars: map[string]any{"metallb_namespace": "lb"}, stops: "MetalLB's speakers run in namespace lb (DaemonSet lb-speaker)"},
		"metallb-allowed":       {metallb: speaker, vars: map[string]any{"fairlead_allow_metallb": true}},
		"metallb-stopped":       {metallb: []string{"speaker,metallb,,0"}},
		"metallb-is-ours":       {metallb: []string{"fairlead-speaker,,fairlead,3", "other,,,3"}},
	}
	if err := os.MkdirAll(filepath.Join(p.Dir, "host_vars"), 0o750); err != nil {
		t.Fatal(err)
	}
	hosts := ""
	for name, c := range cases {
		items := []any{}
		if c.config != "" {
			items = append(items, map[string]any{"kind": "ConfigMap", "data": map[string]string{"config.conf": c.config}})
		}
		if c.runs {
			items = append(items, map[string]any{"kind": "DaemonSet"})
		}
		output := []byte{} // kubectl says nothing where there is nothing
		if len(items) > 0 {
			var err error
			if output, err = json.Marshal(map[string]any{"kind": "List", "items": items}); err != nil {
				t.Fatal(err)
			}
		}
		vars := map[string]any{"_fairlead_kube_proxy": map[string]any{"stdout": string(output)}, "_fairlead_metallb": map[string]any{"stdout_lines": append([]string{}, c.metallb...)}}
		for k, v := range c.vars {
			vars[k] = v
		}
		text, err := yaml.Marshal(vars)
		if err != nil {
			t.Fatal(err)
		}
		write(t, p, "host_vars/"+name+".yml", string(text))
		hosts += name + "\n"
	}
	write(t, p, "inventory.ini", hosts)
	write(t, p, "book.yml", allowedBook)
	result, err := p.Run(t.Context(), "book.yml", "--forks=2")
	if err != nil {
		t.Fatal(err)
	}
	reports := map[string]string{}
	for _, m := range regexp.MustCompile(`"msg": "REPORT (\S+) (.*)"`).FindAllStringSubmatch(result.Output, -1) {
		reports[m[1]] = m[2]
	}
	for name, c := range cases {
		switch got := reports[name]; {
		case c.stops == "" && got != "goes on":
			t.Errorf("%s: it must go on, and %q", name, got)
		case c.stops != "" && (!strings.HasPrefix(got, "stops: ") || !strings.Contains(got, c.stops)):
			t.Errorf("%s: it must stop with the words %q, and %q", name, c.stops, got)
		}
	}
	if !strings.Contains(result.Output, "WARNING: MetalLB's speakers run in namespace metallb-system") {
		t.Errorf("nothing warns of speakers of MetalLB that are allowed to run:\n%s", result.Output)
	}
}
