package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/metallb"
)

func newImport(from *source) *cobra.Command {
	root := &cobra.Command{Use: "import", Short: "Take over the configuration of another load balancer"}
	var o cli.ImportOptions
	var fromCluster bool
	cmd := &cobra.Command{
		Use:   "metallb (--from-cluster | -f FILE...) [--apply [--prune]]",
		Short: "Print MetalLB's configuration as Fairlead's, and a report of what changes",
		Long: "Read MetalLB's objects, of any version, or the ConfigMap of its old releases; print what they are as Fairlead's objects, and a report\n" +
			"that has a verdict on each field: it maps, changes meaning, has no equivalent, is unknown, or is broken.\n\n" +
			"Nothing is written without --apply. With it, objects that were not imported are left alone, and so is what somebody changed since.\n\n" +
			"Exit status: 0 when everything was carried over; 3 when something was not, which the report names; 1 when the import failed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Files = from.files
			switch {
			case fromCluster == (len(o.Files) > 0):
				return errors.New("say what to read: --from-cluster, or -f with a file")
			case o.Prune && (!fromCluster || !o.Apply):
				return errors.New("--prune compares with all that is in the cluster, and deletes: give it with --from-cluster --apply")
			case o.Output != "" && o.Output != cli.OutputYAML && o.Output != cli.OutputReport:
				return fmt.Errorf("--output is %q: it must be %s or %s", o.Output, cli.OutputYAML, cli.OutputReport)
			}
			config := func() (*rest.Config, error) { return cli.Config(from.kubeconfig, from.context) }
			return cli.ImportMetalLB(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), config, o) //nolint:wrapcheck // it says what failed
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&fromCluster, "from-cluster", false, "read the cluster that the kubeconfig names")
	flags.BoolVar(&o.Apply, "apply", false, "write the objects, and Secrets with the passwords, to the cluster")
	flags.BoolVar(&o.Prune, "prune", false, "with --from-cluster --apply: delete what was imported before and is no longer made of anything in the cluster")
	flags.BoolVar(&o.ShowSecrets, "show-secrets", false, "print Secrets with the passwords in them")
	flags.StringVarP(&o.Output, "output", "o", "", "what goes to the standard output: yaml, or report (default: yaml; with --apply, what was written)")
	flags.StringVar(&o.ReportFile, "report", "", "write the report to this file (default: to the standard error)")
	flags.StringVar(&o.MetalLBNamespace, "metallb-namespace", "", "namespace that MetalLB runs in (default: where its Deployment is, or else "+metallb.DefaultNamespace+")")
	flags.StringVar(&o.Namespace, "namespace", "fairlead-system", "namespace that Fairlead runs in, where Secrets go")
	root.AddCommand(cmd)
	return root
}
