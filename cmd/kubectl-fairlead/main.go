// Command kubectl-fairlead is the kubectl plugin: kubectl fairlead status, kubectl fairlead explain, kubectl fairlead doctor,
// kubectl fairlead import, kubectl fairlead migrate.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/version"
	"fairlead.io/fairlead/ipam"
)

func main() {
	ctrl.SetLogger(logr.Discard()) // what there is to say is printed
	err := newCommand().ExecuteContext(ctrl.SetupSignalHandler())
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
	}
	os.Exit(exitStatus(err))
}

// exitStatus is 3 for an import that could not carry everything over, a move that something is in the way of, and an examination that found
// problems, so that scripts can tell it from one that failed.
func exitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, cli.ErrIncomplete), errors.Is(err, cli.ErrNotMoved), errors.Is(err, cli.ErrProblems):
		return 3
	}
	return 1
}

// source of what the commands look at: a cluster, or files.
type source struct {
	kubeconfig, context string
	files               []string
}

// read takes a snapshot; the Services named are in it whatever their type.
func (s *source) read(cmd *cobra.Command, services ...ipam.Key) (cli.Snapshot, error) {
	if len(s.files) > 0 {
		return cli.ReadFiles(s.files, cmd.InOrStdin()) //nolint:wrapcheck // it says what failed
	}
	c, err := cli.NewClient(s.kubeconfig, s.context)
	if err != nil {
		return cli.Snapshot{}, err //nolint:wrapcheck // as above
	}
	return cli.Read(cmd.Context(), c, services...) //nolint:wrapcheck // as above
}

func newCommand() *cobra.Command {
	var from source
	root := &cobra.Command{
		Use:           "kubectl-fairlead",
		Short:         "Look into Fairlead, the bare-metal LoadBalancer",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&from.kubeconfig, "kubeconfig", "", "path of the kubeconfig (default: as kubectl finds it)")
	root.PersistentFlags().StringVar(&from.context, "context", "", "context of the kubeconfig to use")
	root.PersistentFlags().StringArrayVarP(&from.files, "filename", "f", nil,
		"read objects from this file and not from a cluster, as kubectl get -A -o yaml services,namespaces,nodes,endpointslices,ipaddresspools,l2advertisements,bgpadvertisements,bgppeers,bfdprofiles,communities,speakers writes it; - is stdin; repeatable")
	root.AddCommand(
		&cobra.Command{
			Use:   "status",
			Short: "Show pools, speakers, BGP sessions and Services, and what needs attention",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				snapshot, err := from.read(cmd)
				if err != nil {
					return err
				}
				return cli.PrintStatus(cmd.OutOrStdout(), snapshot) //nolint:wrapcheck // it says what failed
			},
		},
		newExplain(&from),
		newDoctor(&from),
		newImport(&from),
		newMigrate(&from),
	)
	return root
}

func newExplain(from *source) *cobra.Command {
	explain := &cobra.Command{Use: "explain", Short: "Say why something is as it is"}
	var namespace string
	var options cli.ExplainOptions
	svc := &cobra.Command{
		Use:     "service NAME",
		Aliases: []string{"svc"},
		Short:   "Which addresses a Service gets, who answers for them and advertises them, and for each pool, node and peer why or why not",
		Long: "Which addresses a Service gets, which node answers for them on the local network, and which routes nodes advertise to BGP peers; and for each pool, node and peer that was looked at why or why not.\n\n" +
			"The decisions are made anew, by the controller's and the speakers' own code, from what the cluster or the files show.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ns := namespace
			if ns == "" {
				ns = cli.DefaultNamespace(from.kubeconfig, from.context)
			}
			name := ipam.Service(ns, args[0])
			snapshot, err := from.read(cmd, name)
			if err != nil {
				return err
			}
			return cli.ExplainService(cmd.OutOrStdout(), snapshot, name, options) //nolint:wrapcheck // it says what failed
		},
	}
	svc.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the Service (default: that of the kubeconfig's context, else default)")
	svc.Flags().BoolVar(&options.Anew, "anew", false, "decide as if the Service held no address")
	svc.Flags().StringSliceVar(&options.Without, "without", nil, "decide who answers and advertises as if these nodes were cut off")
	svc.Flags().BoolVar(&options.IgnoreExcludeLabel, "ignore-exclude-lb", false, "as fairlead-speaker has it")
	svc.Flags().StringVar(&options.Class.Name, "load-balancer-class", v1beta1.DefaultLoadBalancerClass, "as fairlead-controller has it")
	svc.Flags().BoolVar(&options.Class.Require, "require-load-balancer-class", false, "as fairlead-controller has it")
	explain.AddCommand(svc)
	return explain
}
