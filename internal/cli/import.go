package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/internal/metallb"
)

// ErrIncomplete is the end of an import that did all it could, and could not carry everything over. The report says what.
var ErrIncomplete = errors.New("not everything was carried over: the report says what, and what to do")

// Outputs of an import on its standard output.
const (
	OutputYAML   = "yaml"
	OutputReport = "report"
)

// ImportOptions say what is imported, and what is done with it.
type ImportOptions struct {
	metallb.Options
	// Files to read; none: the cluster is read.
	Files []string
	// Apply writes to the cluster.
	Apply bool
	// Prune, with Apply, deletes what was imported from the cluster before and is there no more.
	Prune bool
	// ShowSecrets prints passwords.
	ShowSecrets bool
	// Output is OutputYAML, OutputReport or empty: YAML, but with Apply what was written.
	Output string
	// ReportFile is where the report goes; empty: to the standard error, or with OutputReport to the standard output.
	ReportFile string
}

// ImportMetalLB reads MetalLB's configuration and prints what it is in ours, with a report; with Apply it writes that to the cluster.
// The config is that of the cluster; it is asked for only where a cluster is needed.
func ImportMetalLB(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, config func() (*rest.Config, error), o ImportOptions) error {
	var cluster *importCluster
	if len(o.Files) == 0 || o.Apply {
		var err error
		if cluster, err = newImportCluster(config); err != nil {
			return err
		}
	}
	var in importInput
	var err error
	if len(o.Files) > 0 {
		in, err = readImportFiles(o.Files, stdin)
	} else {
		in, err = (&clusterReader{cluster.disco, cluster.dynamic}).readImportCluster(ctx, o.MetalLBNamespace)
	}
	if err != nil {
		return err
	}
	x, err := cluster.convert(ctx, in, o.Options, o.Apply)
	if err != nil {
		return err
	}
	report := &x.result.Report
	if o.Apply {
		err = (&planner{cluster.dynamic}).write(ctx, x.list)
	}
	addPlan(report, x.list)
	if len(o.Files) == 0 && err == nil { // files need not have all that there is
		err = cluster.seeLeftOver(ctx, &x, o.Namespace, o.Prune)
	}
	err = errors.Join(err, printImport(stdout, stderr, report, x.objects, x.list, &o))
	if err == nil && !report.Complete() {
		return ErrIncomplete
	}
	return err
}

type importCluster struct {
	disco   discovery.DiscoveryInterface
	dynamic dynamic.Interface
}

func newImportCluster(config func() (*rest.Config, error)) (*importCluster, error) {
	c, err := config()
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Host, err)
	}
	dyn, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Host, err)
	}
	return &importCluster{disco, dyn}, nil
}

// converted is what MetalLB's configuration comes to.
type converted struct {
	result  *metallb.Result
	objects []*unstructured.Unstructured
	// list says of each what writing it would do; it has none where the cluster was not asked.
	list []planned
	// leftOver is what an earlier import made, and this one does not.
	leftOver []*unstructured.Unstructured
}

// convert what was read. Without a cluster nobody is asked what writing the objects would do.
func (c *importCluster) convert(ctx context.Context, in importInput, o metallb.Options, apply bool) (converted, error) {
	x := converted{result: metallb.Convert(in.objects, o)}
	report := &x.result.Report
	report.Items = append(in.items, report.Items...)
	report.Notes = append(report.Notes, in.notes...)
	var err error
	if x.objects, err = x.result.Objects(); err != nil || c == nil {
		return x, err //nolint:wrapcheck // it says what failed
	}
	if x.list, err = c.plan(ctx, x.objects, apply, report); err != nil {
		return x, err
	}
	x.objects = slices.DeleteFunc(x.objects, func(obj *unstructured.Unstructured) bool {
		return slices.ContainsFunc(x.list, func(p planned) bool { return p.object == obj && p.verdict == metallb.Broken })
	})
	return x, nil
}

// plan by dry runs. A cluster without Fairlead can be read, and not written to.
func (c *importCluster) plan(ctx context.Context, objects []*unstructured.Unstructured, apply bool, report *metallb.Report) ([]planned, error) {
	if err := checkInstalled(c.disco); err != nil {
		if errors.Is(err, errNotInstalled) && !apply {
			report.Note("The cluster does not have Fairlead's kinds yet, so that the API server could not be asked what it makes of the objects.")
			return nil, nil
		}
		return nil, err
	}
	return (&planner{c.dynamic}).plan(ctx, objects)
}

// addPlan tells in the report what is left alone.
func addPlan(report *metallb.Report, list []planned) {
	for _, x := range list {
		if x.action != leave {
			continue
		}
		source := x.object.GetAnnotations()[metallb.ImportedFromAnnotation]
		i := slices.IndexFunc(report.Items, func(item *metallb.Item) bool {
			return item.Source == source && slices.Contains(item.Becomes, x.object.GetKind()+" "+x.object.GetName())
		})
		item := &metallb.Item{Source: source}
		if i >= 0 {
			item = report.Items[i]
		} else {
			report.Items = append(report.Items, item)
		}
		item.Find(x.verdict, "", "%s", x.why)
	}
}

func printImport(stdout, stderr io.Writer, report *metallb.Report, objects []*unstructured.Unstructured, list []planned, o *ImportOptions) error {
	reportTo := stderr
	switch {
	case o.Output == OutputReport:
		reportTo = stdout
	case o.Output == OutputYAML || !o.Apply:
		if err := writeObjects(stdout, objects, o); err != nil {
			return err
		}
	}
	if o.ReportFile != "" {
		f, err := os.OpenFile(o.ReportFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // a report is no secret
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		reportTo = f
		defer f.Close()
	}
	if err := report.Write(reportTo); err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	if o.Apply && o.Output == "" {
		return writeActions(stdout, list)
	}
	return nil
}

// writeActions says what was written.
func writeActions(w io.Writer, list []planned) error {
	var b strings.Builder
	written := 0
	for _, x := range list {
		if x.action == create || x.action == change || x.action == pruned {
			written++
		}
		fmt.Fprintf(&b, "%s %s\n", nameOf(x.object), x.action)
	}
	if written == 0 {
		b.WriteString("Nothing was written.\n")
	}
	return writeText(w, b.String())
}

// writeObjects as YAML. A Secret is shown only to who asks for it.
func writeObjects(w io.Writer, objects []*unstructured.Unstructured, o *ImportOptions) error {
	var b strings.Builder
	for _, obj := range objects {
		b.WriteString("---\n")
		if obj.GetKind() == "Secret" && !o.ShowSecrets {
			fmt.Fprintf(&b, "# %s is made by --apply of the password in %s; --show-secrets shows it.\n", nameOf(obj), obj.GetAnnotations()[metallb.ImportedFromAnnotation])
			continue
		}
		raw, err := yaml.Marshal(obj.Object)
		if err != nil {
			return fmt.Errorf("write %s: %w", nameOf(obj), err)
		}
		b.Write(raw)
	}
	return writeText(w, b.String())
}

func writeText(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write what was imported: %w", err)
	}
	return nil
}
