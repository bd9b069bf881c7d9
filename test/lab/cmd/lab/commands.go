//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/test/lab"
	"fairlead.io/fairlead/test/router"
)

func newCommand() *cobra.Command {
	cfg := &lab.Config{}
	root := &cobra.Command{
		Use:   "lab",
		Short: "A real Kubernetes cluster in network namespaces on this machine",
		Long: `A real Kubernetes cluster in network namespaces on this machine: etcd, API server, controller manager and scheduler
on host cp, containerd, kubelet and kube-proxy on node1.., and host client on the same LAN; with --routers also BGP routers tor, tor2..
on the LAN, and host ext behind them.`,
		// Run makes a word that is no command an error.
		Args:             cobra.NoArgs,
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true, // flags of the lab come before the command, all after it is the command's
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return complete(cfg)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&cfg.Name, "name", os.Getenv("FAIRLEAD_LAB"), "name of the lab (default $FAIRLEAD_LAB or "+lab.DefaultName+"); labs of different names run side by side")
	flags.StringVar(&cfg.StateDir, "state-dir", os.Getenv("FAIRLEAD_LAB_STATE_DIR"), "folder for all that the lab writes (default $FAIRLEAD_LAB_STATE_DIR or /var/lib/NAME-lab)")
	flags.StringVar(&cfg.Root, "root", "", "the repository, with bin/tools, dist and config/default (default: found from where this program is)")
	root.AddCommand(checkCommand(), upCommand(cfg), downCommand(cfg), statusCommand(cfg), kubectlCommand(cfg), execCommand(cfg), loadImageCommand(cfg), faultCommand(cfg))
	return root
}

// complete finds this program and, from there, the repository: bin/lab is in it.
func complete(cfg *lab.Config) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cfg.Executable = exe
	if cfg.Root == "" {
		cfg.Root = filepath.Dir(filepath.Dir(exe))
	}
	for _, path := range []*string{&cfg.Root, &cfg.StateDir} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return fmt.Errorf("find %s: %w", *path, err)
		}
	}
	return nil
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say what keeps this machine from running a lab; needs nothing but this program",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return lab.CheckMachine(cmd.Context()) },
	}
}

func upCommand(cfg *lab.Config) *cobra.Command {
	var routers []string
	var settings router.Settings
	var bfd time.Duration
	var noInstall bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the lab up, or what is missing of it, and print the path of its kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range routers {
				kind, err := router.ParseKind(name)
				if err != nil {
					return fmt.Errorf("--routers: %w", err)
				}
				cfg.Routers = append(cfg.Routers, kind)
			}
			if bfd != 0 {
				settings.BFD = &router.BFD{Interval: bfd, Multiplier: 3}
			}
			if flags := cmd.Flags(); flags.Changed("router-md5") || flags.Changed("router-bfd") || flags.Changed("router-static") {
				cfg.RouterSettings = &settings
			}
			cfg.Install = !noInstall
			l, err := lab.Up(cmd.Context(), *cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), l.Kubeconfig())
			return err
		},
	}
	cmd.Flags().IntVar(&cfg.Nodes, "nodes", lab.DefaultNodes, "number of nodes")
	cmd.Flags().StringVar(&cfg.ProxyMode, "proxy-mode", lab.DefaultProxyMode, "how kube-proxy works: nftables or iptables")
	cmd.Flags().StringSliceVar(&routers, "routers", nil, "routers to have on the LAN: frr, bird, gobgp; the first one is tor. Those that are there already stay")
	cmd.Flags().StringVar(&settings.Password, "router-md5", "", "password that all routers ask for (TCP MD5); of the three --router flags those that are not given are reset")
	cmd.Flags().DurationVar(&bfd, "router-bfd", 0, "BFD beside each session, with packets at this interval and a multiplier of 3; gobgpd goes without")
	cmd.Flags().Lookup("router-bfd").NoOptDefVal = "100ms"
	cmd.Flags().BoolVar(&settings.Static, "router-static", false, "let the routers know each node by its address, instead of taking sessions from the whole LAN")
	cmd.Flags().BoolVar(&noInstall, "no-install", false, "leave the cluster empty")
	cmd.Flags().StringVar(&cfg.Kustomization, "kustomization", "", "what to install (default ROOT/config/default)")
	return cmd
}

func downCommand(cfg *lab.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab: every namespace, mount, process, control group and file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Down(cmd.Context(), *cfg, cmd.ErrOrStderr())
		},
	}
}

func statusCommand(cfg *lab.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the lab's hosts and what runs on them; exit code 1 unless all does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(*cfg)
			if err != nil {
				return err
			}
			return l.Status(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func kubectlCommand(cfg *lab.Config) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ARGS...",
		Short:              "Run kubectl against the lab",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := lab.Open(*cfg)
			if err != nil {
				return err
			}
			path, env := l.Kubectl()
			if err := syscall.Exec(path, append([]string{"kubectl"}, args...), append(os.Environ(), env...)); err != nil {
				return fmt.Errorf("run %s: %w: run `make tools`", path, err)
			}
			return nil
		},
	}
}

func execCommand(cfg *lab.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "exec HOST -- COMMAND...",
		Short:   "Run a command on a host, with this terminal's input and output and the command's exit code",
		Example: "  bin/lab exec client -- curl http://192.168.100.240\n  bin/lab exec tor -- vtysh -c 'show bgp summary'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			command := args[1:]
			if len(command) > 0 && command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("no command: want lab exec HOST -- COMMAND")
			}
			h, err := openHost(cfg, args[0])
			if err != nil {
				return err
			}
			return runOn(h, command)
		},
	}
	cmd.Flags().SetInterspersed(false) // a command's flags are its own
	return cmd
}

func openHost(cfg *lab.Config, name string) (*lab.Host, error) {
	l, err := lab.Open(*cfg)
	if err != nil {
		return nil, err
	}
	return l.Host(name)
}

// runOn stays beside the command until it ends. The terminal sends its interrupts to both; what is sent to this process
// alone is passed on.
func runOn(h *lab.Host, command []string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	defer signal.Stop(signals)
	cmd := exec.CommandContext(context.Background(), command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := h.Start(cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case sig := <-signals:
			if sig == syscall.SIGINT {
				continue
			}
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("pass %s on to %s: %w", sig, command[0], err)
			}
		}
	}
}

func loadImageCommand(cfg *lab.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "load-image FILE.tar",
		Short: "Give an image archive to every node",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*cfg)
			if err != nil {
				return err
			}
			return l.LoadImage(cmd.Context(), args[0])
		},
	}
}

func faultCommand(cfg *lab.Config) *cobra.Command {
	var names []string
	for f := range slices.Values(lab.Faults()) {
		names = append(names, string(f))
	}
	return &cobra.Command{
		Use:   "fault HOST " + strings.Join(names, "|"),
		Short: "Make something go wrong on a host, or end that",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := openHost(cfg, args[0])
			if err != nil {
				return err
			}
			return h.Fault(lab.Fault(args[1]))
		},
	}
}
