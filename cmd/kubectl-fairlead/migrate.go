package main

import (
	"errors"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/metallb"
)

func newMigrate(from *source) *cobra.Command {
	root := &cobra.Command{Use: "migrate", Short: "Move a live cluster from another load balancer to Fairlead, and back"}
	var o cli.MigrateOptions
	cmd := &cobra.Command{
		Use:   "metallb [--back] [--apply]",
		Short: "Stop MetalLB and let Fairlead take its addresses over, step by step; --back is the way back",
		Long: "Move a live cluster from MetalLB to Fairlead: import the configuration, stop MetalLB, start Fairlead, and see that no address has changed and\n" +
			"each is announced. MetalLB is stopped and not deleted: --back starts it again exactly as it was, and stops Fairlead.\n\n" +
			"Without --apply the plan is printed, with what is in the way of it, and nothing is changed. Each step looks at what the cluster shows and does\n" +
			"what is left: the same command goes on with a move that was interrupted, and changes nothing where it is finished.\n\n" +
			"Fairlead must be installed and not run yet: kubectl apply --server-side -k config/held\n\n" +
			"Exit status: 0 when it is done, or the plan has nothing in its way; 3 when something is in the way, which is printed; 1 when a step failed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case len(from.files) > 0:
				return errors.New("a move is made in a cluster, and not in files: leave -f out")
			case o.RemoveImported && !o.Back:
				return errors.New("--remove-imported is for --back: give both")
			case o.Timeout <= 0:
				return errors.New("--timeout must be more than 0")
			}
			if o.Apply {
				signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE) // a terminal that is gone does not end a move
			}
			o.Kubeconfig, o.Context = from.kubeconfig, from.context
			config := func() (*rest.Config, error) { return cli.Config(from.kubeconfig, from.context) }
			return cli.MigrateMetalLB(cmd.Context(), cmd.OutOrStdout(), config, o) //nolint:wrapcheck // it says what failed
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.Apply, "apply", false, "make the move; without it the plan is printed")
	flags.BoolVar(&o.Back, "back", false, "stop Fairlead, and start MetalLB exactly as it was")
	flags.BoolVar(&o.Prepare, "prepare", false, "end before those speakers are stopped that announce: all that comes before disturbs no traffic")
	flags.BoolVar(&o.AcceptIncomplete, "accept-incomplete", false, "go on though something is not carried over, which is printed as LOSS")
	flags.BoolVar(&o.RemoveImported, "remove-imported", false, "with --back: delete the objects that were imported")
	flags.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "how long to wait for each thing that is waited for")
	flags.StringVar(&o.MetalLBNamespace, "metallb-namespace", "", "namespace that MetalLB runs in (default: where its Deployment is, or else "+metallb.DefaultNamespace+")")
	flags.StringVar(&o.Namespace, "namespace", "fairlead-system", "namespace that Fairlead runs in")
	root.AddCommand(cmd)
	return root
}
