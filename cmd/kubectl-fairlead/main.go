// Command kubectl-fairlead is the kubectl plugin: kubectl fairlead status.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/version"
)

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var kubeconfig, contextName string
	root := &cobra.Command{
		Use:           "kubectl-fairlead",
		Short:         "Look into Fairlead, the bare-metal LoadBalancer",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&kubeconfig, "kubeconfig", "", "path of the kubeconfig (default: as kubectl finds it)")
	root.PersistentFlags().StringVar(&contextName, "context", "", "context of the kubeconfig to use")
	root.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "Show pools, speakers and Services, and what needs attention",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cli.NewClient(kubeconfig, contextName)
			if err != nil {
				return err
			}
			snapshot, err := cli.Read(cmd.Context(), c)
			if err != nil {
				return err
			}
			return cli.PrintStatus(cmd.OutOrStdout(), snapshot)
		},
	})
	return root
}
