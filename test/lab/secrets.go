//go:build linux

package lab

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"fairlead.io/fairlead/test/lab/internal/pki"
	"fairlead.io/fairlead/test/lab/internal/render"
	"fairlead.io/fairlead/test/lab/plan"
)

// Users of the API server.
const (
	adminUser      = "admin"
	managerUser    = "system:kube-controller-manager"
	schedulerUser  = "system:kube-scheduler"
	proxyUser      = "system:kube-proxy"
	nodeUserPrefix = "system:node:"
)

// users lists who the API server knows, without tokens.
func users(p plan.Plan) []render.User {
	nodes := p.WithRole(plan.Node)
	list := make([]render.User, 0, 4+len(nodes))
	list = append(list, render.User{Name: adminUser, Groups: []string{"system:masters"}}, render.User{Name: managerUser}, render.User{Name: schedulerUser}, render.User{Name: proxyUser})
	for _, h := range nodes {
		list = append(list, render.User{Name: nodeUserPrefix + h.Name, Groups: []string{"system:nodes"}})
	}
	return list
}

// ensureSecrets makes certificates and tokens once for the lab's life; the folder appears complete or not at all.
func (l *Lab) ensureSecrets() error {
	dir := filepath.Dir(l.secret("x"))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.writeSecrets(dir); err != nil {
		return fmt.Errorf("make the lab's secrets: %w", err)
	}
	return nil
}

func (l *Lab) writeSecrets(dir string) error {
	cp := l.controlPlane()
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", cp.Name}
	addrs := []netip.Addr{cp.IPv4, cp.IPv6, l.plan.API4, l.plan.API6, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	b, err := pki.New(time.Now(), names, addrs)
	if err != nil {
		return err
	}
	list := users(l.plan)
	tokens := map[string]string{}
	for i := range list {
		raw := make([]byte, 16)
		if _, err := rand.Read(raw); err != nil {
			return fmt.Errorf("make a token: %w", err)
		}
		list[i].Token = hex.EncodeToString(raw)
		tokens[list[i].Name] = list[i].Token
	}
	rawTokens, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.Mkdir(partial, 0o700); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt": b.CACert, "apiserver.crt": b.ServerCert, "apiserver.key": b.ServerKey, "sa.key": b.AccountKey, "sa.pub": b.AccountPub,
		"tokens.csv": render.Tokens(list), "tokens.json": rawTokens,
	} {
		if err := os.WriteFile(filepath.Join(partial, name), content, 0o600); err != nil {
			return err
		}
	}
	return os.Rename(partial, dir)
}

// readTokens gives the token of each user.
func (l *Lab) readTokens() (map[string]string, error) {
	raw, err := os.ReadFile(l.secret("tokens.json"))
	if err != nil {
		return nil, fmt.Errorf("read the tokens of lab %s: %w", l.cfg.Name, err)
	}
	var tokens map[string]string
	if err := json.Unmarshal(raw, &tokens); err != nil {
		return nil, fmt.Errorf("read the tokens of lab %s: %w", l.cfg.Name, err)
	}
	return tokens, nil
}
