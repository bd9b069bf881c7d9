//go:build linux

// Package preflight finds out before anything is made whether a lab can run here, and says all that is missing at once.
// It installs nothing and leaves nothing.
package preflight

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/netns"
)

//go:embed debian-packages.txt
var debianPackages string

// Needs says what a lab is going to use.
type Needs struct {
	Tools     string   // folder of the Kubernetes programs
	Programs  []string // in Tools
	Images    []string // archives that must be there
	ProxyMode string   // nftables or iptables
	Routers   bool     // the lab has routers
}

// Check returns every reason why the lab cannot run.
func Check(ctx context.Context, n Needs) error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root, to make network namespaces and to run kubelet: run it as root or with sudo")
	}
	var problems []error
	missing, err := missingPackages(debianPackages, present)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		problems = append(problems, fmt.Errorf("packages are missing: run `apt-get install --no-install-recommends %s`", strings.Join(missing, " ")))
	}
	var tools []string
	for _, name := range n.Programs {
		if !present(filepath.Join(n.Tools, name)) {
			tools = append(tools, name)
		}
	}
	if len(tools) > 0 {
		problems = append(problems, fmt.Errorf("programs are missing in %s: %s: run `make tools`", n.Tools, strings.Join(tools, ", ")))
	}
	for _, image := range n.Images {
		if !present(image) {
			problems = append(problems, fmt.Errorf("image %s is missing: run `make lab-images`", image))
		}
	}
	if len(missing) == 0 {
		problems = append(problems, kernel(ctx, n))
	}
	return errors.Join(problems...)
}

// missingPackages reads lines of a package and what shows that it is there.
func missingPackages(list string, present func(string) bool) ([]string, error) {
	var missing []string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return nil, fmt.Errorf("the list of packages has a line of %d words instead of 2: %q", len(fields), line)
		}
		if !present(fields[1]) {
			missing = append(missing, fields[0])
		}
	}
	return missing, nil
}

// present looks for a program on the PATH, or for a file when the name is a path.
func present(name string) bool {
	if strings.Contains(name, "/") {
		_, err := os.Stat(name)
		return err == nil
	}
	_, err := exec.LookPath(name)
	return err == nil
}

// kernel tries each feature in namespaces that end with the trial.
func kernel(ctx context.Context, n Needs) error {
	child := exec.CommandContext(ctx, "/bin/true")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	var problems []error
	if err := child.Run(); err != nil {
		problems = append(problems, fmt.Errorf("the kernel lets this user make no PID, mount and UTS namespaces: %w", err))
	}
	err := netns.OnFreshThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("the kernel lets this user make no network namespace: %w", err)
		}
		var problems []error
		for _, f := range features(ctx, n) {
			if err := f.try(); err != nil {
				problems = append(problems, fmt.Errorf("the kernel has no usable %s: %w", f.name, err))
			}
		}
		return errors.Join(problems...)
	})
	return errors.Join(append(problems, err)...)
}

type feature struct {
	name string
	try  func() error
}

func features(ctx context.Context, n Needs) []feature {
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	fs := []feature{
		{"bridge (CONFIG_BRIDGE)", func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br")}) }},
		{"veth (CONFIG_VETH)", func() error { return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs("a"), PeerName: "b"}) }},
		{"packet sockets (CONFIG_PACKET)", packetSocket},
		{"IPv6 (CONFIG_IPV6)", func() error { _, err := os.Stat("/proc/sys/net/ipv6/conf/all/forwarding"); return err }},
	}
	if n.Routers {
		fs = append(fs,
			feature{"routes with several next hops (CONFIG_IP_ROUTE_MULTIPATH)", multipathRoute},
			feature{"TCP MD5 signatures (CONFIG_TCP_MD5SIG)", tcpMD5})
	}
	if n.ProxyMode == "iptables" {
		return append(fs,
			feature{"iptables with NAT and connection tracking", rules(ctx, "iptables")},
			feature{"ip6tables with NAT and connection tracking", rules(ctx, "ip6tables")})
	}
	return append(fs, feature{"nftables with NAT and connection tracking", func() error { return nftRules(ctx) }})
}

func packetSocket() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func multipathRoute() error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "m", Flags: net.FlagUp}, PeerName: "n"}); err != nil {
		return err
	}
	link, err := netlink.LinkByName("m")
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}
	if err := errors.Join(netlink.LinkSetUp(link), netlink.AddrAdd(link, addr)); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(198, 51, 100, 0), Mask: net.CIDRMask(24, 32)}, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: link.Attrs().Index, Gw: net.IPv4(192, 0, 2, 2)}, {LinkIndex: link.Attrs().Index, Gw: net.IPv4(192, 0, 2, 3)},
	}})
}

func tcpMD5() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	sig := unix.TCPMD5Sig{Addr: unix.SockaddrStorage{Family: unix.AF_INET}, Keylen: 1}
	return errors.Join(unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig), unix.Close(fd))
}

// rules tries one rule of each kind that kube-proxy writes.
func rules(ctx context.Context, program string) func() error {
	return func() error {
		for _, args := range [][]string{
			{"-t", "nat", "-A", "POSTROUTING", "-m", "comment", "--comment", "lab", "-m", "mark", "!", "--mark", "0x4000/0x4000", "-j", "RETURN"},
			{"-t", "nat", "-A", "POSTROUTING", "-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "MASQUERADE", "--random-fully"},
			{"-t", "filter", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"},
		} {
			if err := run(exec.CommandContext(ctx, program, append([]string{"-w"}, args...)...)); err != nil {
				return err
			}
		}
		return nil
	}
}

func nftRules(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet lab {
	map services { type ipv4_addr . inet_proto . inet_service : verdict; }
	chain nat { type nat hook prerouting priority dstnat; ip daddr . meta l4proto . th dport vmap @services; }
	chain post { type nat hook postrouting priority srcnat; meta mark & 0x4000 == 0x4000 masquerade fully-random; }
	chain filter { type filter hook forward priority filter; ct state new numgen random mod 2 vmap { 0 : accept, 1 : accept }; }
}
`)
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
