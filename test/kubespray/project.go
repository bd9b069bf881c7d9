package kubespray

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// Project is a folder with an inventory of one control-plane host, which is this machine, to run playbooks in.
type Project struct {
	Dir string
}

// Result of a playbook that ran to its end, well or not.
type Result struct {
	Output string
	// Changed and Failed are the numbers of tasks, over all hosts.
	Changed, Failed int
}

const (
	inventory = "[kube_control_plane]\ncp\nanother-control-plane\n\n[kube_control_plane:vars]\nansible_connection=local\nansible_python_interpreter={{ ansible_playbook_python }}\n"
	// Everything that Ansible writes stays in the folder.
	config = "[defaults]\ninventory = inventory.ini\nroles_path = roles\ncollections_path = collections\nhome = home\nlocal_tmp = home/tmp\nremote_tmp = home/tmp\n" +
		"localhost_warning = False\nnocows = True\nretry_files_enabled = False\n\n[connection]\npipelining = True\n"
)

// NewProject makes a folder ready.
func NewProject(dir string) (*Project, error) {
	for name, text := range map[string]string{"inventory.ini": inventory, "ansible.cfg": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("make an Ansible project: %w", err)
		}
	}
	return &Project{Dir: dir}, nil
}

// ReplaceAddon copies the role, from the module in root, to where kubespray has the addon: roles/kubernetes-apps/metallb.
func (p *Project) ReplaceAddon(root string) error {
	to := filepath.Join(p.Dir, "roles", "kubernetes-apps", "metallb")
	if err := os.CopyFS(to, os.DirFS(filepath.Join(root, "config", "kubespray", "roles", "fairlead"))); err != nil {
		return fmt.Errorf("copy the role over the addon: %w", err)
	}
	return nil
}

// InstallCollection installs the collection from the module in root, as its README says.
func (p *Project) InstallCollection(ctx context.Context, root string) error {
	out, err := p.command(ctx, "ansible-galaxy", "collection", "install", filepath.Join(root, "config", "kubespray"), "-p", filepath.Join(p.Dir, "collections")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("install the collection: %w\n%s", err, out)
	}
	return nil
}

// Run a playbook, a file in the folder or one of an installed collection. That tasks failed is no error, but in the result.
func (p *Project) Run(ctx context.Context, playbook string, args ...string) (*Result, error) {
	out, err := p.command(ctx, "ansible-playbook", append([]string{playbook}, args...)...).CombinedOutput()
	r := &Result{Output: string(out)}
	recap := regexp.MustCompile(`(?m)^\S+ +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+) `).FindAllStringSubmatch(r.Output, -1)
	if recap == nil {
		return r, fmt.Errorf("ansible-playbook %s did not come to its end: %w\n%s", playbook, err, r.Output)
	}
	for _, host := range recap {
		changed, _ := strconv.Atoi(host[1]) // digits
		failed, _ := strconv.Atoi(host[2])
		r.Changed, r.Failed = r.Changed+changed, r.Failed+failed
	}
	return r, nil
}

func (p *Project) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(p.Dir, "ansible.cfg"), "ANSIBLE_FORCE_COLOR=0", "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8")
	return cmd
}
