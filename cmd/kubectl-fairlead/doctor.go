package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/internal/cli"
)

func newDoctor(from *source) *cobra.Command {
	var o cli.DoctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the cluster and the installation, and say what is wrong and what to do",
		Long: "Examine a live cluster and Fairlead in it, for what its objects cannot say of themselves: kinds, namespace, controller, speakers and nodes, ports,\n" +
			"kube-proxy, other load balancers, addresses of pools, advertisements, Services; and for what they do say, as status has it under NEEDS ATTENTION.\n\n" +
			"Nothing is written. What you may not read is said to be not checked, with the right that lacks.\n\n" +
			"Exit status: 0 when no problem was found; 3 when one was, which is printed; 1 when the cluster, or a part of it that you may read, could not be read.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case len(from.files) > 0:
				return errors.New("doctor examines a live cluster, and not files: leave -f out")
			case o.Output != "" && o.Output != cli.OutputJSON:
				return fmt.Errorf("--output is %q: it must be %s, or left out", o.Output, cli.OutputJSON)
			}
			config := func() (*rest.Config, error) { return cli.Config(from.kubeconfig, from.context) }
			return cli.Doctor(cmd.Context(), cmd.OutOrStdout(), config, o) //nolint:wrapcheck // it says what failed
		},
	}
	cmd.Flags().StringVar(&o.Namespace, "namespace", "fairlead-system", "namespace that Fairlead runs in")
	cmd.Flags().StringVarP(&o.Output, "output", "o", "", "json: a list of {check, object, level, message}, for programs")
	return cmd
}
