// Command mkimage packs static binaries into a container image archive without Docker or a registry.
//
// The archive is one tar that is at once an OCI image layout and what "docker load" reads, so containerd, Docker and
// Podman all take it. The same input always gives the same bytes: no times, no user of the building machine, no
// compression. It never contacts a registry and adds nothing to the image that was not asked for.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(args []string, stdout, stderr io.Writer) error {
	var files, entrypoint, env, labels, platforms list
	fs := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	fs.SetOutput(stderr)
	output := fs.String("output", "", "archive to write (required)")
	reference := fs.String("reference", "", "image reference, such as fairlead:dev (required)")
	user := fs.String("user", "", "numeric user, or user:group, that the image runs as")
	workdir := fs.String("workdir", "", "working directory")
	sbom := fs.String("sbom", "", "file to write the image's bill of materials to, as CycloneDX JSON: the modules that its Go programs are built from")
	version := fs.String("version", "", "the image's version in the bill of materials")
	fs.Var(&files, "file", "HOST:IMAGE[:MODE], a file to put into the image, mode 0755 unless given; "+anyArch+" in HOST is the architecture; repeatable")
	fs.Var(&entrypoint, "entrypoint", "entrypoint, one argument each time; repeatable")
	fs.Var(&env, "env", "NAME=VALUE; repeatable")
	fs.Var(&labels, "label", "NAME=VALUE; repeatable")
	fs.Var(&platforms, "platform", "OS/ARCH of the binaries (default linux/"+runtime.GOARCH+"); repeatable: the image is then one for all")
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case fs.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case *output == "":
		return fmt.Errorf("--output is required: the archive to write")
	}
	spec := Spec{Reference: *reference, Platforms: platforms, User: *user, Workdir: *workdir, Entrypoint: entrypoint, Env: env}
	if len(platforms) == 0 {
		spec.Platforms = []string{"linux/" + runtime.GOARCH}
	}
	var err error
	if spec.Labels, err = parseLabels(labels); err != nil {
		return err
	}
	for _, f := range files {
		file, err := parseFile(f)
		if err != nil {
			return err
		}
		spec.Files = append(spec.Files, file)
	}
	var digest string
	err = writeWhole(*output, func(w io.Writer) error {
		digest, err = Write(w, spec)
		return err
	})
	if err != nil {
		return err
	}
	if *sbom != "" {
		if err := writeWhole(*sbom, func(w io.Writer) error { return WriteSBOM(w, spec, *version) }); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(stdout, "%s %s %s\n", *output, *reference, digest)
	return err
}

// writeWhole goes through a temporary file beside the output: a reader never sees half of it.
func writeWhole(output string, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(output), 0o750); err != nil {
		return fmt.Errorf("make the folder of %s: %w", output, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if err = write(tmp); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	if err = tmp.Chmod(0o644); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	if err = tmp.Close(); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	if err = os.Rename(tmp.Name(), output); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return nil
}
